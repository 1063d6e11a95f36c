"""Replicas that the kernels train, as the training loop sees them: a `ReplicaGroup`, and how its updates run.

Each replica has arrays of its own and nothing is shared between them, so its bits are those it has alone. The batch
order comes from the same tables as torch's, and a checkpoint has the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial, singledispatch
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.datasets.augment import Preparation
from benchmark.datasets.dataset import Dataset
from benchmark.networks.lenet5 import LeNet5
from benchmark.networks.mlp import Mlp, ResidualMlp
from benchmark.protocols.recipe import Recipe
from benchmark.training.batches import ReplicaExamples, Tables
from benchmark.training.hooks import Run
from benchmark.training.kernels import optimizers, program
from benchmark.training.kernels.image_layout import Convolution
from benchmark.training.kernels.layout import Bools, Floats, Layout, Shape
from benchmark.training.optim import learning_rates, under
from benchmark.training.replicas import Replica, TrainingSetup, generators, masked_start
from benchmark.training.separate import SeparateReplicas
from benchmark.training.step import Tensors
from benchmark.utils.errors import BadInput

STRIDE = 50  # updates between two safe points: at most about 0.2 s
STRIDE_ON_IMAGES = 10  # as long with convolutions
LOSSES = {"classification": 0}
MOMENTS: dict[int, tuple[str, ...]] = {
    optimizers.ADAM: ("exp_avg", "exp_avg_sq"),
    optimizers.SGD: (),
    optimizers.MOMENTUM: ("momentum_buffer",),
    optimizers.NESTEROV: ("momentum_buffer",),
}
NO_TARGETS = np.zeros(1, np.float32)


@singledispatch
def shape_of(module: nn.Module) -> Shape:
    """What a module is to the kernels. Raises BadInput for families that they do not train; protocols with portable
    arithmetic have none of these."""
    raise BadInput(type(module).__name__, "is no network that the portable kernels train", "Use arithmetic: torch")


@shape_of.register
def _(module: Mlp) -> Shape:
    return Shape(_widths(module), isinstance(module, ResidualMlp))


@shape_of.register
def _(module: LeNet5) -> Shape:
    size, convolutions = module.shape, list[Convolution]()
    for name in ("conv1", "conv2"):
        filters, channels, side, _ = module.get_parameter(f"{name}.weight").shape
        convolutions.append(Convolution(name, channels, filters, side, size[1], size[2], module.relu))
        size = (filters, (size[1] - side + 1) // 2, (size[2] - side + 1) // 2)
    return Shape(_widths(module.head), convolutions=tuple(convolutions))


def _widths(module: nn.Module) -> tuple[int, ...]:
    """Of its linear layers, inputs first."""
    weights = [t for name, t in module.named_parameters() if name.endswith("weight")]
    return (weights[0].shape[1], *(weight.shape[0] for weight in weights))


@dataclass(frozen=True)
class Examples:
    """Inputs of examples, one after another, and their labels.

    `data`: float32; or, where every one of these is a byte over 255, or that standardised by `scale` (mean,
    deviation), `codes`: the bytes. The other one is empty. What is read for a batch lies anywhere in a data set larger
    than the caches, so a quarter of the memory is up to a quarter of the time.
    """

    data: Floats
    codes: NDArray[np.uint8]
    scale: Floats
    labels: NDArray[np.int64]

    @property
    def given(self) -> tuple[Floats, NDArray[np.uint8], Floats]:
        """As the kernels take them."""
        return self.data, self.codes, self.scale


@lru_cache(maxsize=2)
def _flat(dataset: Dataset) -> tuple[Examples, Examples]:
    """The training and the test set, ready for a network."""

    def examples(stored: Tensor, labels: Tensor) -> Examples:
        floats = dataset.prepare(stored).flatten().numpy().astype(np.float32, copy=False)
        found = as_bytes(stored.flatten().numpy(), floats, dataset.prepare)
        data = floats if found is None else np.zeros(0, np.float32)
        codes, scale = (np.zeros(0, np.uint8), np.array([0, 1], np.float32)) if found is None else found
        return Examples(data, codes, scale, np.ascontiguousarray(labels.numpy(), np.int64))

    return (
        examples(dataset.train_inputs, dataset.train_labels),
        examples(dataset.test_inputs, dataset.test_labels),
    )


def as_bytes(stored: NDArray[Any], floats: Floats, prepare: Preparation) -> tuple[NDArray[np.uint8], Floats] | None:
    """The bytes and the scale that give exactly `floats`; None if there are none.

    `stored`: bytes, or bytes over 255; `prepare` made the floats of them.
    """
    mean, std = prepare.mean or (0.0,), prepare.std or (1.0,)
    if prepare.per_image or len(mean) != 1 or len(std) != 1:
        return None
    scale = np.array([mean[0], std[0]], np.float32)
    with np.errstate(invalid="ignore"):
        codes = stored if stored.dtype == np.uint8 else np.rint(np.clip(stored, 0, 1) * 255).astype(np.uint8)
    made = codes.astype(np.float32) / np.float32(255)
    if (scale != (0, 1)).any():
        made = (made - scale[0]) / scale[1]
    return (codes, scale) if np.array_equal(made, floats) else None


def settings(recipe: Recipe) -> tuple[int, NDArray[np.float64]]:
    """The optimizer's number and its settings; see `optimizers`."""
    if recipe.optimizer == "adam":
        first, second = recipe.adam_betas
        return optimizers.ADAM, np.array([0.0, recipe.weight_decay, first, second, recipe.adam_epsilon, 1.0, 1.0])
    kind = optimizers.SGD if recipe.momentum == 0 else optimizers.MOMENTUM
    kind = optimizers.NESTEROV if recipe.nesterov else kind
    return kind, np.array([0.0, recipe.weight_decay, recipe.momentum, 0.0, 0.0, 1.0, 1.0])


class Member:
    """One replica: its parameters and what the optimizer remembers, in the places of its mask's layout."""

    def __init__(self, replica: Replica, setup: TrainingSetup) -> None:
        self.replica, self.setup = replica, setup
        self.module = setup.make_module(None)
        self.shape, recipe = shape_of(self.module), setup.recipe
        source = ReplicaExamples(replica.split.training, replica.seed)
        self.tables = Tables(recipe, setup.dataset, setup.dataset.train_inputs, source, replica.first_step)
        self.rates = np.array(learning_rates(recipe, self.tables.per_epoch, replica.last_step))
        self.kind, self.numbers = settings(recipe)
        self.moments = MOMENTS[self.kind]
        self.masks, self.frozen = dict(replica.masks), dict[str, Tensor]()
        self._arrange()
        self._load(masked_start(replica), {})

    def updates(self, first: int, last: int) -> None:
        """Updates `first` to `last` - 1."""
        done = first
        while done < last:
            self.tables.open(done)
            within = done % self.tables.per_epoch
            count = min(last - done, self.tables.per_epoch - within)
            if self.frozen:
                count = 1
                before = self._values()
            self._run(done, within, count)
            if self.frozen:
                self._thaw(before)
            done += count
        self.tables.counter.fill_(last)

    @property
    def step(self) -> Member:
        """See `Separate`: its updates are its own."""
        return self

    def test_metrics(self) -> Tensor:
        """See `Separate`."""
        test = _flat(self.setup.dataset)[1]
        return self._metrics(test, np.arange(len(test.labels)))

    def validation_metrics(self) -> Tensor:
        """See `Separate`."""
        return self._of_training_set(self.replica.split.validation)

    def train_metrics(self) -> Tensor:
        """See `Separate`."""
        return self._of_training_set(self.replica.split.training)

    def _of_training_set(self, rows: Tensor) -> Tensor:
        return self._metrics(_flat(self.setup.dataset)[0], np.ascontiguousarray(rows.numpy(), np.int64))

    def _metrics(self, examples: Examples, order: NDArray[np.int64]) -> Tensor:
        """(metrics,) means over the examples of `order`: loss in nats, accuracy in percent."""
        room, layout, p = self.layout.evaluation, self.layout, self.values["p"]
        given = *examples.given, self.shape.inputs, layout.used, layout.features, examples.labels
        if self.shape.convolutions:
            from benchmark.training.kernels import image_program

            loss, right = image_program.evaluate(
                room.front, room.table, p, layout.index, room.work, *given, order, room.lanes
            )
        else:
            loss, right = program.evaluate(
                room.table, LOSSES["classification"], p, layout.index, room.work, *given, NO_TARGETS, order, room.lanes
            )
        return torch.tensor([loss / len(order), 100.0 * right / len(order)], dtype=torch.float64)

    def state(self) -> Tensors:
        """Every parameter."""
        return {name: self._read("p", name) for name in self._shapes()}

    def saved(self) -> Tensors:
        """See `Separate`. Adam's beta powers are state, with all their bits."""
        found = {f"module.{name}": tensor for name, tensor in self.state().items()}
        for place, name in enumerate(self._shapes()):
            for key, moment in zip(("m", "v"), self.moments, strict=False):
                found[f"optimizer.{place}.{moment}"] = self._read(key, name)
        return {**found, "optimizer.powers": torch.from_numpy(self.numbers[optimizers.POWER_1 :].copy())}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """See `Separate`."""
        memory = {name: under(f"optimizer.{place}.", saved) for place, name in enumerate(self._shapes())}
        if masks := under("mask.", saved):  # of a training whose hooks move them
            self.masks |= masks
            self._arrange()
        self._load(under("module.", saved), memory)
        self.numbers[optimizers.POWER_1 :] = saved["optimizer.powers"].numpy()

    def run(self, done: int) -> Run:
        """The replica for its hooks, with a module that holds its weights."""
        self.module = self.setup.make_module(None)
        self.module.load_state_dict(self.state())
        coming, rng = partial(self.tables.coming, done), generators(self.replica.seed, done)
        held_out = partial(self.tables.held_out, self.replica.split.validation)
        masks, frozen, loss = dict(self.masks), dict(self.frozen), self.setup.task.loss
        return Run(self.module, masks, frozen, loss, coming, rng, coming=coming, held_out=held_out)

    def apply(self, run: Run) -> bool:
        """Go on as a hook has left the run. Raises BadInput if it has replaced the network or the loss, or brings
        parameters.

        Nothing was captured, so nothing has to be captured again.
        """
        if run.network is not self.module or run.loss != self.setup.task.loss or run.extra_parameters:
            raise BadInput("a hook", "replaces the network or the loss", "Portable arithmetic has its own: use torch's")
        weights = {name: t.detach().clone() for name, t in run.network.state_dict().items()}
        memory: dict[str, dict[str, Tensor]] = {
            name: {moment: self._read(key, name) for key, moment in zip(("m", "v"), self.moments, strict=False)}
            for name in weights
        }
        moved = any(not torch.equal(mask, self.masks[name]) for name, mask in run.masks.items())
        self.masks, self.frozen = run.masks, {n: where for n, where in run.frozen.items() if bool(where.any())}
        for name, mask in self.masks.items():
            for tensor in (weights[name], *memory[name].values()):
                tensor.masked_fill_(~mask, 0.0)
        if moved:
            self._arrange()
        self._load(weights, memory)
        return False

    def _run(self, done: int, within: int, count: int) -> None:
        room, layout, values = self.layout.training, self.layout, self.values
        examples = _flat(self.setup.dataset)[0]
        rates = self.rates[done : done + count]
        state = values["p"], values["m"], values["v"], layout.mask, layout.gradients
        given = *examples.given, self.shape.inputs, layout.used, layout.features, examples.labels
        batches = np.ascontiguousarray(self.tables.order.numpy()), within * layout.batch, layout.batch, room.lanes
        if self.shape.convolutions:
            from benchmark.training.kernels import image_program

            image_program.train(
                room.front, room.table, self.kind, self.numbers, rates, *state, layout.sums, layout.index, room.work,
                *given, *batches,
            )  # fmt: skip
        else:
            program.train(
                room.table, self.kind, LOSSES["classification"], self.numbers, rates, *state, layout.index, room.work,
                *given, NO_TARGETS, *batches,
            )  # fmt: skip

    def _arrange(self) -> None:
        masks: dict[str, Bools] = {name: mask.numpy() for name, mask in self.masks.items()}
        self.layout = Layout(self.shape, masks, self.setup.recipe.batch_size)

    def _load(self, weights: Mapping[str, Tensor], memory: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over parameters and, where given, what the optimizer remembers of them."""
        self.values = {key: self.layout.empty() for key in ("p", "m", "v")}
        for name, tensor in weights.items():
            self.layout.write(self.values["p"], name, tensor.detach().numpy())
            for key, moment in zip(("m", "v"), self.moments, strict=False):
                if moment in memory.get(name, {}):
                    self.layout.write(self.values[key], name, memory[name][moment].numpy())

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(parameter.shape) for name, parameter in self.module.named_parameters()}

    def _read(self, key: str, name: str) -> Tensor:
        return torch.from_numpy(self.layout.read(self.values[key], name, self._shapes()[name]))

    def _values(self) -> dict[str, Floats]:
        return {key: values.copy() for key, values in self.values.items()}

    def _thaw(self, before: Mapping[str, Floats]) -> None:
        """Give frozen entries back what they, and the optimizer's memory of them, were."""
        held = self.layout.empty()
        for name, where in self.frozen.items():
            self.layout.write(held, name, where.numpy().astype(np.float32))
        for key, values in self.values.items():
            values[held > 0] = before[key][held > 0]


class KernelGroup(SeparateReplicas[Member]):
    """Replicas one after another, each by the kernels. See `ReplicaGroup`."""

    def __init__(self, replicas: Sequence[Replica], setup: TrainingSetup, hooked: bool = False) -> None:  # noqa: ARG002
        super().__init__([Member(replica, setup) for replica in replicas])


class Compiled:
    """Updates in compiled runs of up to `stride`, one replica after another. See `Updates`."""

    def __init__(self, steps: Sequence[Member]) -> None:
        self._steps = steps
        self.stride = STRIDE_ON_IMAGES if any(step.shape.convolutions for step in steps) else STRIDE

    def __call__(self, first: int, last: int) -> None:
        """See `Updates`."""
        for step in self._steps:
            step.updates(first, last)

    def changed(self) -> None:
        """Nothing was captured."""
