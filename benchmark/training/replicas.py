"""Replicas that are trained side by side on one device: what goes in, what comes out, and two ways to share the device.

`Stacked` makes one network of all, so that each kernel does the work of all replicas; `Streams` leaves each a network
and an update of its own, which CUDA graphs run on streams side by side and a CPU one after another.

A replica's numbers come from its own tables, weights and statistics: on streams its bits are those it has alone, in a
stack only the order may differ in which a kernel adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from benchmark.datasets.dataset import Dataset, Split
from benchmark.networks.mlp import Mlp
from benchmark.protocols.network import NetworkSpec
from benchmark.protocols.recipe import EvaluationSpec, Recipe
from benchmark.tasks import Task, load_task
from benchmark.training.batches import ReplicaExamples, Tables
from benchmark.training.device import channels_last
from benchmark.training.evaluate import History, Quality, chunk_of, measure
from benchmark.training.fused.layers import fuse
from benchmark.training.hooks import Run
from benchmark.training.optim import make_optimizer, rate_table, under
from benchmark.training.separate import Columns, SeparateReplicas, usable
from benchmark.training.step import Single, Stack, Step, Stepped, Tensors, Trained
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import stream


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

    `seconds` is the replica's share where several were trained side by side; `replica_group` says how they were, and is
    None for a replica trained by itself. `evaluation_cpu_seconds`: of `cpu_seconds`, what looking at the network took.
    `masks`: as they are at the end, where hooks may have moved them or a learner has made them; `ranking`: what a
    learner's masks were cut from.
    """

    weights: dict[str, Tensor]
    history: History
    train: Quality | None
    steps: int
    examples: int
    seconds: float
    cpu_seconds: float
    evaluation_cpu_seconds: float
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    failure: str | None = None
    replica_group: str | None = None
    masks: dict[str, Tensor] | None = None
    hook_facts: dict[str, float] | None = None
    ranking: dict[str, Tensor] | None = None


MakeModule = Callable[[int | None], nn.Module]
CLASSIFICATION = load_task("classification")


@dataclass(frozen=True)
class TrainingSetup:
    """What all replicas of one call have in common.

    `make_module(inputs)`: an untrained network of the protocol, reading `inputs` features (None: all). `dataset`: on
    the device that the replicas are trained on. `fused`: batch norm and ReLU are one operation (`fused.layers`).
    """

    make_module: MakeModule
    recipe: Recipe
    evaluation: EvaluationSpec
    dataset: Dataset
    task: Task = CLASSIFICATION
    fused: bool = False

    @property
    def device(self) -> torch.device:
        """Where replicas are trained."""
        return self.dataset.train_inputs.device


def masked_start(replica: Replica) -> dict[str, Tensor]:
    """A replica's first weights: pruned ones zero."""
    return {n: t * replica.masks[n] if n in replica.masks else t for n, t in replica.start.items()}


class ReplicaGroup(Protocol):
    """Replicas that are trained side by side; all begin and end at the same update."""

    @property
    def steps(self) -> Sequence[Stepped]:
        """What one update runs, side by side."""
        ...

    def test_metrics(self) -> Tensor:
        """(replicas, metrics) on the test set, on the device."""
        ...

    def validation_metrics(self) -> Tensor:
        """The same on each replica's validation examples."""
        ...

    def train_metrics(self) -> Tensor:
        """The same on each replica's training examples."""
        ...

    def state(self, number: int) -> Tensors:
        """Every parameter and buffer of one replica, copied, on the device."""
        ...

    def saved(self, number: int) -> Tensors:
        """That as `module.<name>`, and its part of the optimizer as `optimizer.<parameter>.<name>`: of the whole
        network, whatever the group."""
        ...

    def restore(self, saved: Sequence[Mapping[str, Tensor]]) -> None:
        """Have every replica as `saved` says, one entry for each."""
        ...

    def runs(self, done: int) -> list[Run]:
        """Every replica after `done` updates, for its hooks."""
        ...

    def apply(self, runs: Sequence[Run]) -> bool:
        """Go on as hooks have left their runs; whether an update is another function now."""
        ...


def restore_after(done: int, group: ReplicaGroup, saved: Sequence[Mapping[str, Tensor]]) -> None:
    """Have a group as it was saved after `done` updates, and the next batch pointed at."""
    group.restore(saved)
    for step in group.steps:
        step.tables.counter.fill_(done)


def _step(
    trained: Trained,
    setup: TrainingSetup,
    replica: Replica,
    stored: Tensor,
    source: ReplicaExamples | Sequence[ReplicaExamples],
    masks: Mapping[str, Tensor],
    hooked: bool,
) -> Step:
    recipe, device = setup.recipe, setup.device
    tables = Tables(recipe, setup.dataset, stored, source, replica.first_step, replica.last_step)
    rates = rate_table(recipe, tables.per_epoch, replica.last_step, device.type)
    optimizer = make_optimizer(recipe, list(trained.parameters.values()))
    on_device = {name: mask.to(device) for name, mask in masks.items()}
    return Step(trained, tables, optimizer, rates, on_device, hooked)


def generators(seed: int, done: int) -> Callable[[str], torch.Generator]:
    """By purpose: the random generators of a replica's hooks after `done` updates."""
    return lambda purpose: stream(seed, "hook", purpose, done)


class Stacked:
    """All replicas in one stack; one update updates them all. See `ReplicaGroup`."""

    def __init__(self, replicas: Sequence[Replica], setup: TrainingSetup, hooked: bool = False) -> None:
        self.replicas, self.setup, self._dataset = replicas, setup, setup.dataset
        recipe, device = setup.recipe, setup.device
        module, states = setup.make_module(None).to(device), [masked_start(replica) for replica in replicas]
        self.stack = Stack(module, states, recipe.precision, device.type, setup.task.loss, setup.fused)
        sources = [ReplicaExamples(replica.split.training, replica.seed) for replica in replicas]
        masks = _together([replica.masks for replica in replicas])
        self.steps = [_step(self.stack, setup, replicas[0], self._dataset.train_inputs, sources, masks, hooked)]
        self._masks = [{name: mask.to(device) for name, mask in replica.masks.items()} for replica in replicas]
        self._frozen = [dict[str, Tensor]() for _ in replicas]
        self._networks = list[nn.Module]()

    def test_metrics(self) -> Tensor:
        """See `ReplicaGroup`."""
        inputs, labels, prepare = self._dataset.test_inputs, self._dataset.test_labels, self._dataset.prepare
        task, precision = self.setup.task, self.setup.recipe.precision
        chunk = chunk_of(inputs.dim() == 4, self.setup.device.type, len(self.replicas))

        def forward(part: Tensor) -> Tensor:
            return self.stack.outputs(part, own=False)

        return measure(forward, inputs, labels, task, prepare, precision, chunk, stacked=True)

    def validation_metrics(self) -> Tensor:
        """See `ReplicaGroup`."""
        return self._metrics(torch.stack([replica.split.validation for replica in self.replicas]))

    def train_metrics(self) -> Tensor:
        """See `ReplicaGroup`."""
        return self._metrics(torch.stack([replica.split.training for replica in self.replicas]))

    def _metrics(self, rows: Tensor) -> Tensor:
        """On training examples, `rows` (replicas, n), chunk by chunk: together they may not fit into memory."""
        dataset, rows = self._dataset, rows.to(self.setup.device)

        def forward(part: Tensor) -> Tensor:
            inputs = dataset.prepare(dataset.train_inputs[part.flatten()])
            return self.stack.outputs(inputs.reshape(*part.shape, *inputs.shape[1:]), own=True)

        chunk = chunk_of(dataset.train_inputs.dim() == 4, self.setup.device.type, len(self.replicas))
        task, precision = self.setup.task, self.setup.recipe.precision
        return measure(forward, rows, dataset.train_labels[rows], task, precision=precision, chunk=chunk, stacked=True)

    def state(self, number: int) -> Tensors:
        """See `ReplicaGroup`."""
        return self.stack.state(number)

    def saved(self, number: int) -> Tensors:
        """See `ReplicaGroup`. Adam's count of updates has no axis of replicas: all have as many."""
        found = {f"module.{name}": tensor for name, tensor in self.state(number).items()}
        for place in range(len(self.stack.parameters)):
            for name, (tensor, shaped) in self.steps[0].optimizer_state(place).items():
                found[f"optimizer.{place}.{name}"] = tensor[number].clone() if shaped else tensor.clone()
        return found

    def restore(self, saved: Sequence[Mapping[str, Tensor]]) -> None:
        """See `ReplicaGroup`."""
        self.stack.load([under("module.", state) for state in saved])
        for place, parameter in enumerate(self.stack.parameters.values()):
            together = _together([under(f"optimizer.{place}.", state) for state in saved])
            self.steps[0].optimizer.state[parameter] = {
                name: (tensor if tensor.shape == parameter.shape else tensor[0]).to(parameter.device)
                for name, tensor in together.items()
            }

    def runs(self, done: int) -> list[Run]:
        """See `ReplicaGroup`. Networks are copies, which `apply` copies back."""
        self._networks = [self.setup.make_module(None).to(self.setup.device) for _ in self.replicas]
        runs, tables = list[Run](), self.steps[0].tables
        for number, replica in enumerate(self.replicas):
            self._networks[number].load_state_dict(self.state(number))

            def coming(ahead: int = 0, number: int = number) -> tuple[Tensor, Tensor]:
                inputs, labels = tables.coming(done, ahead)
                return inputs[number], labels[number]

            network, loss, rng = self._networks[number], self.stack.loss, generators(replica.seed, done)
            masks, frozen = dict(self._masks[number]), dict(self._frozen[number])
            held_out = partial(tables.held_out, replica.split.validation)
            runs.append(Run(network, masks, frozen, loss, coming, rng, coming=coming, held_out=held_out))
        return runs

    def apply(self, runs: Sequence[Run]) -> bool:
        """See `ReplicaGroup`. Raises BadInput if a hook has replaced a network, or the loss of one replica only, or
        brings parameters."""
        other = any(run.network is not network for run, network in zip(runs, self._networks, strict=True))
        other = other or any(run.extra_parameters for run in runs)
        if other or any(run.loss is not runs[0].loss for run in runs):
            raise BadInput("a hook", "changed one network or loss of a stack, which has one of each", "Use streams")
        changed = self.stack.loss is not runs[0].loss or any(run.frozen for run in runs) or any(self._frozen)
        self.stack.loss = runs[0].loss
        self.stack.load([run.network.state_dict() for run in runs])
        self._masks, self._frozen = [run.masks for run in runs], [run.frozen for run in runs]
        self.steps[0].move_masks(_together(self._masks))
        names = sorted({name for frozen in self._frozen for name in frozen})
        nothing = {name: torch.zeros_like(self.stack.parameters[name][0], dtype=torch.bool) for name in names}
        self.steps[0].freeze(_together([{**nothing, **frozen} for frozen in self._frozen]))
        return changed


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """On the parameter's device; in its memory format too if shaped as it is, because fused optimizers read them side
    by side."""
    if tensor.shape != parameter.shape:
        return tensor.to(parameter.device)
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _together(states: Sequence[Mapping[str, Tensor]]) -> Tensors:
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


class _Member:
    """One replica on a stream. On a CPU its network leaves out the inputs that no weight reads, unless hooks may let
    weights grow there, and its validation examples are gathered once."""

    def __init__(self, replica: Replica, setup: TrainingSetup, hooked: bool) -> None:
        self.replica, self.setup, dataset = replica, setup, setup.dataset
        self._cpu, self.columns = setup.device.type == "cpu", None
        if self._cpu and not hooked and usable(replica.masks, Mlp.input_weight, dataset):
            self.columns = Columns.of(Mlp.input_weight, replica.masks)
        module = setup.make_module(self.columns.count if self.columns else None)
        module.load_state_dict(self._narrow(masked_start(replica)))
        module = fuse(module) if setup.fused else module
        module.to(setup.device)
        if not hooked and channels_last(setup.recipe.precision, setup.device.type):
            module.to(memory_format=torch.channels_last)
        self.inputs = self.columns.inputs(dataset.train_inputs) if self.columns else dataset.train_inputs
        self._test_inputs = self.columns.inputs(dataset.test_inputs) if self.columns else dataset.test_inputs
        self.network = Single(module, setup.recipe.precision, setup.task.loss)
        source = ReplicaExamples(replica.split.training, replica.seed)
        masks = self._narrow(replica.masks)
        self.step = _step(self.network, setup, replica, self.inputs, source, masks, hooked)
        self.masks = {name: mask.to(setup.device) for name, mask in replica.masks.items()}
        self.frozen = dict[str, Tensor]()
        self._held_out = self._examples(replica.split.validation) if self._cpu else None

    def test_metrics(self) -> Tensor:
        return self._metrics(self._test_inputs, self.setup.dataset.test_labels)

    def validation_metrics(self) -> Tensor:
        return self._metrics(*(self._held_out or self._examples(self.replica.split.validation)))

    def train_metrics(self) -> Tensor:
        return self._metrics(*self._examples(self.replica.split.training))

    def state(self) -> Tensors:
        held = self.network.module.state_dict()
        own = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in held.items()}
        return self.columns.restore(own) if self.columns else own

    def saved(self) -> Tensors:
        found = {f"module.{name}": tensor for name, tensor in self.state().items()}
        for place, parameter in enumerate(self.network.parameters):
            for name, (tensor, shaped) in self.step.optimizer_state(place).items():
                wide = self.columns.restore({parameter: tensor})[parameter] if self.columns and shaped else tensor
                found[f"optimizer.{place}.{name}"] = wide.clone()
        return found | self.step.extra.saved()

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        self.network.module.load_state_dict(self._narrow(under("module.", saved)))
        for place, (name, parameter) in enumerate(self.network.parameters.items()):
            whole = under(f"optimizer.{place}.", saved)
            own = {key: self._narrow({name: t})[name] if t.dim() == parameter.dim() else t for key, t in whole.items()}
            self.step.optimizer.state[parameter] = {key: _laid_out_as(parameter, t) for key, t in own.items()}
        self.step.extra.restore(saved)

    def run(self, done: int) -> Run:
        tables, network, rng = self.step.tables, self.network, generators(self.replica.seed, done)
        coming, held_out = partial(tables.coming, done), partial(tables.held_out, self.replica.split.validation)
        masks, frozen = dict(self.masks), dict(self.frozen)
        run = Run(network.module, masks, frozen, network.loss, coming, rng, coming=coming, held_out=held_out)
        run.extra_parameters = dict(self.step.extra.held)
        return run

    def apply(self, run: Run) -> bool:
        other = run.network is not self.network.module
        if other:
            self.network.adopt(run.network)
        changed = other or self.network.loss is not run.loss or bool(run.frozen) or bool(self.frozen)
        changed = self.step.extra.train(run.extra_parameters) or changed
        self.network.loss, self.masks, self.frozen = run.loss, run.masks, run.frozen
        self.step.move_masks(run.masks)
        self.step.freeze(run.frozen)
        return changed

    def _narrow(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return self.columns.shrink(state) if self.columns else state

    def _examples(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.inputs[rows], self.setup.dataset.train_labels[rows]

    def _metrics(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Batch norm by its running statistics, no dropout, no augmentation."""
        module, setup = self.network.module, self.setup
        module.eval()
        found = measure(module, inputs, labels, setup.task, setup.dataset.prepare, setup.recipe.precision)
        module.train()
        return found


class Streams(SeparateReplicas[_Member]):
    """Networks trained as they are, weights and all."""

    def __init__(self, replicas: Sequence[Replica], setup: TrainingSetup, hooked: bool = False) -> None:
        super().__init__([_Member(replica, setup, hooked) for replica in replicas])


Strategy = Literal["stacked", "streams"]


GROUPS: dict[Strategy, Callable[[Sequence[Replica], TrainingSetup, bool], ReplicaGroup]] = {
    "stacked": Stacked,
    "streams": Streams,
}


def strategy_for(network: NetworkSpec) -> Strategy:
    """How replicas of a network are trained side by side on CUDA."""
    return network.cuda_strategy
