"""The loops that are timed: the suite's own, and the two usual ones in PyTorch, in memory and with DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset
from torch.utils.data import Dataset as TorchDataset

from benchmark.datasets.augment import drawn
from benchmark.networks import build
from benchmark.perf.workload import Workload
from benchmark.training.cuda_graphs import LONG, WARM_UPS
from benchmark.training.device import arithmetic
from benchmark.training.loop import Placement, engine_for, on_device
from benchmark.training.replicas import Strategy, TrainingSetup, masked_start
from benchmark.training.step import Stepped

LoopName = Literal["engine", "in-memory", "dataloader"]
LOOKED_AT_ONCE = 1000  # examples of a batch that is only evaluated


@dataclass(frozen=True)
class Contender:
    """A loop and the resources it gets. `processes` run it side by side, with `replicas` networks in each."""

    loop: LoopName
    device: str = "cpu"
    processes: int = 1
    threads: int = 1
    replicas: int = 1
    strategy: Strategy = "streams"
    fused: bool = False

    @property
    def networks(self) -> int:
        """Networks trained at the same time."""
        return self.processes * self.replicas

    @property
    def label(self) -> str:
        """What a table calls it."""
        where = f"{self.processes} x {self.threads} thread{'s' * (self.threads > 1)}"
        if self.device != "cpu":
            where = f"{self.device}, {self.strategy}{', fused' * self.fused}" if self.loop == "engine" else self.device
        return f"{LABELS[self.loop]} ({where})"


LABELS: dict[LoopName, str] = {
    "engine": "engine",
    "in-memory": "plain loop, in memory",
    "dataloader": "plain loop, DataLoader",
}


def updates(contender: Contender, workload: Workload, seed: int) -> Callable[[int], None]:
    """A function that makes so many updates of all networks of one process."""
    if contender.loop == "engine":
        return _engine(contender, workload, seed)
    network = build(workload.protocol)
    network.load_state_dict(masked_start(workload.replica(seed)))
    network.to(contender.device)
    batches = _loaded(workload) if contender.loop == "dataloader" else _indexed(workload, contender.device)
    return _plain(network, workload, batches, contender.device, seed)


def capture_all(steps: Sequence[Stepped], advance: Callable[[int, int], None]) -> None:
    """Make every graph that training will launch: of whole batches, then of the partial one that ends an epoch.

    Else the last capture would fall into the fourth epoch, and into a turn. Updates begin at 0 again afterwards.
    """
    end = steps[0].tables.per_epoch
    last = max(1, min(end - 1, WARM_UPS + LONG + 1))
    for first, upto in [(0, last), *[(end - 1, end)] * (WARM_UPS + 1), (0, 0)]:
        for step in steps:
            step.tables.counter.fill_(first)
        advance(first, upto)


def _engine(contender: Contender, workload: Workload, seed: int) -> Callable[[int], None]:
    replicas = [workload.replica(seed * contender.replicas + number) for number in range(contender.replicas)]
    dataset = on_device(workload.dataset, contender.device)
    evaluation = workload.protocol.evaluation
    setup = TrainingSetup(workload.module, workload.recipe, evaluation, dataset, fused=contender.fused)
    placement = Placement("cuda" if contender.device == "cuda" else "cpu", contender.strategy)
    make_group, make_updates = engine_for(setup, placement)
    steps = make_group(replicas, setup, False).steps
    advance = make_updates(steps)
    if contender.device == "cuda":
        capture_all(steps, advance)
    done = 0

    def go(count: int) -> None:
        nonlocal done
        advance(done, done + count)
        done += count

    return go


def _plain(
    network: nn.Module, workload: Workload, batches: Iterator[tuple[Tensor, Tensor]], device: str, seed: int
) -> Callable[[int], None]:
    """One network, PyTorch's defaults, weights multiplied by their masks after every update. In the engine's precision:
    with autocast where that is bf16."""
    recipe, parameters = workload.recipe, dict(network.named_parameters())
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "adam":
        optimizer = torch.optim.Adam(parameters.values(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    else:
        fields: dict[str, Any] = {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
        optimizer = torch.optim.SGD(
            parameters.values(), recipe.learning_rate, weight_decay=recipe.weight_decay, **fields
        )
    masks = {name: mask.to(device) for name, mask in workload.masks(seed).items()}

    def go(count: int) -> None:
        for _ in range(count):
            inputs, labels = next(batches)
            optimizer.zero_grad()
            with arithmetic(recipe.precision, device):
                outputs = network(inputs.to(device))
            loss = cross_entropy(outputs.float(), labels.to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                for name, mask in masks.items():
                    parameters[name].mul_(mask)

    return go


def _indexed(workload: Workload, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches by index from tensors that lie in memory, scaled and augmented as a whole."""
    dataset, size = on_device(workload.dataset, device), workload.recipe.batch_size
    spec = dataset.prepare.augmentation
    while True:
        for rows in torch.split(torch.randperm(len(dataset.train_labels), device=device), size):
            stored = dataset.train_inputs[rows]
            if spec is None:
                yield dataset.prepare(stored), dataset.train_labels[rows]
                continue
            if spec.resized is None:
                crops = torch.randint(0, 2 * spec.crop_padding + 1, (len(rows), 2), device=device)
            else:
                crops = drawn(spec, len(rows), stored.shape, torch.default_generator)[0].to(device)
            flips = torch.rand(len(rows), device=device) < 0.5
            yield dataset.prepare.augmented(stored, crops, flips), dataset.train_labels[rows]


def evaluation(loop: LoopName, workload: Workload, count: int) -> Callable[[], None]:
    """A function that has a plain loop's network, on the CPU, look at `count` examples: loss and right answers.

    In memory all at once; with a DataLoader in batches of `LOOKED_AT_ONCE`.
    """
    network, data = build(workload.protocol).eval(), workload.dataset

    batches: Iterable[Any] = [(data.train_inputs[:count], data.train_labels[:count])]
    prepare: Callable[[Tensor], Tensor] = data.prepare
    if loop == "dataloader":  # its transforms prepare
        batches = DataLoader(Subset(_ImageExamples(workload), range(count)), batch_size=LOOKED_AT_ONCE)
        prepare = torch.nn.Identity()

    @torch.no_grad()
    def go() -> None:
        for inputs, labels in batches:
            outputs = network(prepare(inputs))
            float(cross_entropy(outputs, labels))
            int((outputs.argmax(1) == labels).sum())

    return go


class _ImageExamples(TorchDataset[tuple[Tensor, int]]):
    """One example at a time, through PIL and transforms, as torchvision's data sets do it."""

    def __init__(self, workload: Workload) -> None:
        from torchvision import transforms

        data, spec = workload.as_bytes(), workload.protocol.data
        shape = data.train_inputs.shape[1:]
        self.square = len(shape) == 3 or (len(shape) == 1 and round(shape[0] ** 0.5) ** 2 == shape[0])
        images = data.train_inputs
        if len(shape) == 1 and self.square:
            images = images.reshape(len(images), 1, round(shape[0] ** 0.5), -1)
        self.images: Any = images.permute(0, 2, 3, 1).numpy() if self.square else workload.dataset.train_inputs
        self.labels = data.train_labels.tolist()
        steps: list[Any] = []
        if spec.augmentation is not None:
            resized = spec.augmentation.resized
            if resized is None:
                steps.append(transforms.RandomCrop(shape[-1], spec.augmentation.crop_padding))
            else:
                steps.append(transforms.RandomResizedCrop(shape[-1], resized.area, resized.aspect))
            steps += [transforms.RandomHorizontalFlip()] if spec.augmentation.flip != "none" else []
        steps.append(transforms.ToTensor())
        if spec.mean is not None:
            steps.append(transforms.Normalize(spec.mean, spec.std))
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        if not self.square:
            return self.images[index], self.labels[index]
        return self.transform(Image.fromarray(self.images[index].squeeze())), self.labels[index]


def _loaded(workload: Workload) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches from a DataLoader with its defaults, shuffled."""
    loader = DataLoader(_ImageExamples(workload), batch_size=workload.recipe.batch_size, shuffle=True)
    while True:
        yield from loader
