"""Two ways of having several replicas on one device: stacked into one network, or each on a stream of its own.

What goes into the replica engine and what comes out.

Networks of one architecture as one network: every parameter and buffer has an axis of replicas in front.

torch.func.vmap turns each layer into one kernel for all replicas: linear layers into batched matrix products,
convolutions into grouped convolutions, batch norm into batch norm over stacked channels.

Which way of training replicas side by side wins for which architecture, and what was measured.

Nothing has been measured on a GPU yet: `lotterybench speed` measures both ways on the device at hand, and its figures
belong here, with the device, before a way is called the faster one. Until then the choice follows from what the two
ways do. Small layers leave a GPU idle, so making each kernel larger must win: stack. Large convolutions fill it alone,
and grouped convolutions have fewer fast kernels than plain ones in channels_last: streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from benchmark.datasets.dataset import Dataset
from benchmark.datasets.splits import Split
from benchmark.networks.layers import dropouts, give_words
from benchmark.protocols.network import ConvSpec, LeNet5Spec, MlpSpec, NetworkSpec, ResNetSpec, VggSpec
from benchmark.protocols.recipe import Recipe
from benchmark.tasks import Task, load_task
from benchmark.training.batches import Source, Tables
from benchmark.training.evaluate import CHUNK, IMAGE_CHUNK, History, Quality, measure
from benchmark.training.optim import make_optimizer, parameters_of, rate_table, under
from benchmark.training.precision import arithmetic
from benchmark.training.step import Single, Step, Trained


@dataclass(frozen=True)
class Replica:
    """One network to train.

    `start`: every parameter and buffer, at update `first_step`; `masks`: boolean, per prunable tensor; `snapshots`:
    numbers of updates after which the weights are wanted too (for rewinding).
    """

    seed: int
    start: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    split: Split
    last_step: int
    first_step: int = 0
    snapshots: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What training one replica gave. `failure` says why it was given up, if it was.

    `seconds` is the replica's share where several were trained side by side; `company` says how they were, and is
    None for a replica trained by itself.
    """

    weights: dict[str, Tensor]
    history: History
    train: Quality | None
    steps: int
    examples: int
    seconds: float
    cpu_seconds: float
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    failure: str | None = None
    company: str | None = None


def masked_start(replica: Replica) -> dict[str, Tensor]:
    """A replica's first weights: pruned ones zero."""
    return {n: t * replica.masks[n] if n in replica.masks else t for n, t in replica.start.items()}


def diverged(updates: int) -> str:
    """The failure of a replica whose loss is not finite."""
    return f"diverged: the loss is not finite after {updates} updates"


Tensors = dict[str, Tensor]
TASK = load_task("classification")


class Stack:
    """See `Trained` in `step`. `module`: the architecture; its own values are never used."""

    def __init__(
        self, module: nn.Module, states: Sequence[Mapping[str, Tensor]], precision: str, device: str, task: Task
    ) -> None:
        self.module, self.precision, self.count, self.task = module, precision, len(states), task
        own = dict(module.named_parameters())
        stacked = {name: torch.stack([state[name] for state in states]).to(device) for name in states[0]}
        self.parameters = {name: stacked[name].requires_grad_() for name in own}
        self.buffers = {name: tensor for name, tensor in stacked.items() if name not in own}
        self._dropouts, self._device = dropouts(module), device

    def losses(self, inputs: Tensor, labels: Tensor, words: Tensor) -> Tensor:
        """(replicas,) mean losses on batches (replicas, n, ...), labels (replicas, n), in training mode.

        Running statistics of batch norm are updated in place, each replica's by its own batch.
        """
        self.module.train()
        found: Tensor = vmap(self._loss)(dict(self.parameters), self.buffers, inputs, labels, words)
        return found

    def outputs(self, inputs: Tensor, own: bool) -> Tensor:
        """(replicas, n, ...) in evaluation mode; `own`: inputs (replicas, n, ...), else (n, ...) for all."""
        self.module.eval()
        forward = vmap(self._forward, in_dims=(0, 0, 0 if own else None))
        found: Tensor = forward(dict(self.parameters), self.buffers, inputs)
        return found

    def state(self, number: int) -> Tensors:
        """Every parameter and buffer of one replica, copied."""
        return {name: t[number].detach().clone() for name, t in {**self.parameters, **self.buffers}.items()}

    def _forward(self, parameters: Tensors, buffers: Tensors, inputs: Tensor) -> Tensor:
        found: Tensor = functional_call(self.module, (parameters, buffers), (inputs,))
        return found

    def _loss(self, parameters: Tensors, buffers: Tensors, inputs: Tensor, labels: Tensor, words: Tensor) -> Tensor:
        give_words(self._dropouts, words)
        with arithmetic(self.precision, self._device):
            outputs = self._forward(parameters, buffers, inputs)
        give_words(self._dropouts, None)
        return self.task.loss(outputs, labels)


MakeModule = Callable[[int | None], nn.Module]


class Team(Protocol):
    """Replicas that are trained side by side; all begin and end at the same update."""

    @property
    def steps(self) -> Sequence[Step]:
        """What one update runs, side by side."""
        ...

    def tested(self) -> Tensor:
        """(replicas, 2) loss and percent right on the test set, on the device."""
        ...

    def seen(self, rows: Tensor) -> Tensor:
        """The same on training examples, `rows` (replicas, n) of each replica."""
        ...

    def state(self, number: int) -> dict[str, Tensor]:
        """Every parameter and buffer of one replica, copied, on the device."""
        ...

    def kept(self, number: int) -> dict[str, Tensor]:
        """That as `module.<name>`, and its part of the optimizer as `optimizer.<parameter>.<name>`."""
        ...

    def restore(self, kept: Sequence[Mapping[str, Tensor]]) -> None:
        """Have every replica as `kept` says, one entry for each."""
        ...


def _step(
    trained: Trained,
    recipe: Recipe,
    dataset: Dataset,
    replica: Replica,
    source: Source | Sequence[Source],
    masks: Mapping[str, Tensor],
) -> Step:
    device = dataset.train_inputs.device
    tables = Tables(recipe, dataset, dataset.train_inputs, source, replica.first_step)
    rates = rate_table(recipe, tables.per_epoch, replica.last_step, device.type)
    on_device = {name: mask.to(device) for name, mask in masks.items()}
    return Step(trained, tables, make_optimizer(recipe, list(trained.parameters.values())), rates, on_device)


def _optimizer_state(step: Step) -> Iterator[tuple[int, str, Tensor, bool]]:
    """(parameter's place, name, tensor, whether it is shaped as the parameter) of all that an optimizer remembers."""
    for place, parameter in enumerate(parameters_of(step.optimizer)):
        for name, tensor in step.optimizer.state.get(parameter, {}).items():
            if isinstance(tensor, Tensor):
                yield place, name, tensor, tensor.shape == parameter.shape


def _chunk(dataset: Dataset) -> int:
    return IMAGE_CHUNK if dataset.train_inputs.dim() == 4 else CHUNK


class Stacked:
    """All replicas in one stack; one update updates them all. See `Team`."""

    def __init__(self, replicas: Sequence[Replica], make_module: MakeModule, recipe: Recipe, dataset: Dataset) -> None:
        self._dataset, self._recipe, device = dataset, recipe, dataset.train_inputs.device.type
        module = make_module(None).to(device)
        self.stack = Stack(module, [masked_start(replica) for replica in replicas], recipe.precision, device, TASK)
        sources = [Source(replica.split.training, replica.seed) for replica in replicas]
        masks = {name: torch.stack([replica.masks[name] for replica in replicas]) for name in replicas[0].masks}
        self.steps = [_step(self.stack, recipe, dataset, replicas[0], sources, masks)]

    def tested(self) -> Tensor:
        """See `Team`."""
        inputs, labels, prepare = self._dataset.test_inputs, self._dataset.test_labels, self._dataset.prepare

        def forward(examples: Tensor) -> Tensor:
            return self.stack.outputs(examples, own=False)

        return measure(forward, inputs, labels, TASK, prepare, self._recipe.precision, stacked=True)

    def seen(self, rows: Tensor) -> Tensor:
        """See `Team`. Examples are gathered chunk by chunk: together they may not fit into memory."""
        dataset = self._dataset

        def forward(part: Tensor) -> Tensor:
            inputs = dataset.prepare(dataset.train_inputs[part.flatten()])
            return self.stack.outputs(inputs.reshape(*part.shape, *inputs.shape[1:]), own=True)

        labels = dataset.train_labels[rows]
        return measure(
            forward, rows, labels, TASK, precision=self._recipe.precision, chunk=_chunk(dataset), stacked=True
        )

    def state(self, number: int) -> dict[str, Tensor]:
        """See `Team`."""
        return self.stack.state(number)

    def kept(self, number: int) -> dict[str, Tensor]:
        """See `Team`. Adam's count of updates has no axis of replicas: all have as many."""
        found = {f"module.{name}": tensor for name, tensor in self.state(number).items()}
        for place, name, tensor, axis in _optimizer_state(self.steps[0]):
            found[f"optimizer.{place}.{name}"] = tensor[number].clone() if axis else tensor.clone()
        return found

    def restore(self, kept: Sequence[Mapping[str, Tensor]]) -> None:
        """See `Team`."""
        with torch.no_grad():
            for name, tensor in {**self.stack.parameters, **self.stack.buffers}.items():
                tensor.copy_(torch.stack([found[f"module.{name}"] for found in kept]))
        optimizer = self.steps[0].optimizer
        for place, parameter in enumerate(parameters_of(optimizer)):
            parts = [under(f"optimizer.{place}.", found) for found in kept]
            together = {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
            optimizer.state[parameter] = {
                name: (tensor if tensor.shape == parameter.shape else tensor[0]).to(parameter.device)
                for name, tensor in together.items()
            }


class Forked:
    """Each replica a network with an update of its own; a graph runs them on streams. See `Team`."""

    def __init__(self, replicas: Sequence[Replica], make_module: MakeModule, recipe: Recipe, dataset: Dataset) -> None:
        self._dataset, self._recipe = dataset, recipe
        self.networks, self.steps = list[Single](), list[Step]()
        for replica in replicas:
            module = make_module(None)
            module.load_state_dict(masked_start(replica))
            module.to(dataset.train_inputs.device)
            self.networks.append(Single(module, recipe.precision, TASK))
            source = Source(replica.split.training, replica.seed)
            self.steps.append(_step(self.networks[-1], recipe, dataset, replica, source, replica.masks))

    def tested(self) -> Tensor:
        """See `Team`."""
        inputs, labels = self._dataset.test_inputs, self._dataset.test_labels
        return torch.stack([self._measured(each, inputs, labels) for each in self.networks])

    def seen(self, rows: Tensor) -> Tensor:
        """See `Team`."""
        inputs, labels = self._dataset.train_inputs, self._dataset.train_labels
        pairs = zip(self.networks, rows, strict=True)
        return torch.stack([self._measured(each, inputs[own], labels[own]) for each, own in pairs])

    def state(self, number: int) -> dict[str, Tensor]:
        """See `Team`."""
        return {name: t.detach().clone() for name, t in self.networks[number].module.state_dict().items()}

    def kept(self, number: int) -> dict[str, Tensor]:
        """See `Team`."""
        found = {f"module.{name}": tensor for name, tensor in self.state(number).items()}
        for place, name, tensor, _ in _optimizer_state(self.steps[number]):
            found[f"optimizer.{place}.{name}"] = tensor.clone()
        return found

    def restore(self, kept: Sequence[Mapping[str, Tensor]]) -> None:
        """See `Team`."""
        for network, step, found in zip(self.networks, self.steps, kept, strict=True):
            network.module.load_state_dict(under("module.", found))
            for place, parameter in enumerate(parameters_of(step.optimizer)):
                own = under(f"optimizer.{place}.", found)
                step.optimizer.state[parameter] = {n: t.to(parameter.device) for n, t in own.items()}

    def _measured(self, network: Single, inputs: Tensor, labels: Tensor) -> Tensor:
        network.module.eval()
        found = measure(network.module, inputs, labels, TASK, self._dataset.prepare, self._recipe.precision)
        network.module.train()
        return found


Way = Literal["stacked", "forked"]

_EXPECTED: dict[type, Way] = {
    MlpSpec: "stacked",
    LeNet5Spec: "stacked",
    ConvSpec: "forked",
    ResNetSpec: "forked",
    VggSpec: "forked",
}


def way_for(network: NetworkSpec) -> Way:
    """How replicas of a network are trained side by side on CUDA."""
    return _EXPECTED[type(network)]
