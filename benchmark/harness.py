"""The harness: the only thing that trains. It turns a job into records.

Everything a cell needs is asked for recursively: a ticket needs its mask, the mask needs the weights trained one
level before, and so on down to the dense network. Whatever is on disk already ends the recursion, so a
killed run resumes at its last finished round, and a fresh clone that holds only committed records retrains
no more than the last round of a chain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from benchmark.api import Examples, Masks
from benchmark.data_root import data_root
from benchmark.datasets import Dataset, Split, load, scoring_examples, split
from benchmark.errors import BadPruner
from benchmark.networks import build, initial_state
from benchmark.networks.mlp import Mlp
from benchmark.plan import Job, is_chain, train_steps
from benchmark.protocol import ControlSpec, MethodSpec, Protocol
from benchmark.pruning.masks import full_masks, shuffled
from benchmark.pruning.schedule import PruneCost, Subject, layer_groups, prune
from benchmark.records import DENSE, Cell, Record
from benchmark.registry import FoundPruner, find
from benchmark.reporting import curves_of, failed_record, finished_record
from benchmark.store import Store
from benchmark.streams import stream
from benchmark.training import Outcome, Replica, train
from benchmark.weights import load_weights, save_weights

State = dict[str, Tensor]
FREE = PruneCost(0.0, 0, 0, 0)


class OutOfTime(Exception):
    """The budget does not hold another training; everything finished is on disk."""


class Unavailable(Exception):
    """Another process is making what this cell needs; come back later."""


@dataclass(frozen=True)
class Settings:
    """How to run. `may_start(seconds)` says whether a training of that length still fits the budget."""

    data_root: Path = field(default_factory=data_root)
    plugins: Mapping[str, Path] | None = None
    may_start: Callable[[float], bool] = lambda _seconds: True
    on_progress: Callable[[Cell, int, int], None] = lambda _cell, _done, _total: None
    on_record: Callable[[Cell, Record], None] = lambda _cell, _record: None


class Harness:
    """Runs cells of one protocol into one results folder."""

    def __init__(self, protocol: Protocol, store: Store, settings: Settings, seconds_per_step: float = 0.0) -> None:
        self.protocol, self.store, self.settings = protocol, store, settings
        self.seconds_per_step = seconds_per_step
        self._found: dict[str, FoundPruner] = {}

    @cached_property
    def dataset(self) -> Dataset:
        """The protocol's data, loaded once."""
        return load(self.protocol.data.name, self.settings.data_root)

    def run(self, job: Job) -> bool:
        """Run a job's unfinished cells; False if another process has the job or something it needs.

        Raises OutOfTime when the budget ends between two trainings.
        """
        with self.store.lock(self.protocol, job.name, wait=False) as mine:
            if not mine:
                return False
            for cell in job.cells:
                if self.store.read(self.protocol, cell) is None:
                    try:
                        self._measure(cell)
                    except Unavailable:
                        return False
                    except BadPruner as error:
                        self._record_failure(cell, str(error))
                        if is_chain(self.protocol, cell.method):
                            break
        return True

    # What a cell starts from ------------------------------------------------------------------------------

    def split(self, seed: int) -> Split:
        """Training and validation rows of a seed."""
        return split(self.dataset, self.protocol.data.validation, seed)

    def initial(self, seed: int, *purpose: str | int) -> State:
        """Initial weights of a seed, or other ones for another purpose."""
        return initial_state(self._module(None), self.protocol.network, stream(seed, *(purpose or ("init",))))

    def _module(self, inputs: int | None) -> Mlp:
        if inputs is None:
            return build(self.protocol)
        widths = (inputs, *self.protocol.network.widths[1:])
        return type(build(self.protocol))(widths)

    def start(self, cell: Cell) -> tuple[State, int]:
        """(weights before masking, update at which training starts) of a cell."""
        if cell.method == DENSE:
            return self.initial(cell.seed), 0
        spec = self.protocol.method(cell.method)
        if isinstance(spec, ControlSpec) and spec.control == "reinitialise":
            return self.initial(cell.seed, "reinit", cell.draw), 0
        restart = self.protocol.pruning_method(cell.method).schedule.restart
        if restart == 0:
            return self.initial(cell.seed), 0
        dense = Cell(DENSE, 0, cell.seed)
        if restart == "trained":
            return self._weights(dense, "final"), self.protocol.recipe.steps
        return self._weights(dense, f"step-{restart}"), restart

    # Masks ------------------------------------------------------------------------------------------------

    def masks(self, cell: Cell) -> tuple[Masks, PruneCost]:
        """The cell's mask and what pruning took. Raises Unavailable if another process is making it."""
        if cell.method == DENSE:
            return full_masks(self.protocol.pruning.prunable), FREE
        spec = self.protocol.method(cell.method)
        if isinstance(spec, ControlSpec):
            masks, cost = self._parent_masks(spec, cell)
            if spec.control == "shuffle":
                rng = stream(cell.seed, "shuffle", spec.of, cell.level, cell.draw)
                masks = shuffled(masks, layer_groups(self.protocol.pruning), rng)
            return masks, cost
        if is_chain(self.protocol, cell.method):
            return self._chain_masks(cell)
        scored = self.initial(cell.seed)
        if spec.schedule.scores == "trained":
            scored = self._weights(Cell(DENSE, 0, cell.seed), "final")
        return self._prune(spec, cell, scored, None)

    def _parent_masks(self, spec: ControlSpec, cell: Cell) -> tuple[Masks, PruneCost]:
        parent = Cell(spec.of, cell.level, cell.seed)
        if not is_chain(self.protocol, spec.of):
            return self.masks(parent)
        if self.store.read_survival(self.protocol, spec.of, cell.seed).last_level >= cell.level:
            return self._chain_masks(parent)
        chain = Job(self.protocol, (parent,))
        with self.store.lock(self.protocol, chain.name, wait=False) as mine:
            if not mine:
                raise Unavailable
            return self._chain_masks(parent)

    def _chain_masks(self, cell: Cell) -> tuple[Masks, PruneCost]:
        survival = self.store.read_survival(self.protocol, cell.method, cell.seed)
        while survival.last_level < cell.level:
            level = survival.last_level + 1
            before = Cell(cell.method, level - 1, cell.seed)
            trained = self._weights(before if level > 1 else Cell(DENSE, 0, cell.seed), "final")
            spec = self.protocol.pruning_method(cell.method)
            known = {name: torch.from_numpy(mask) for name, mask in survival.mask(level - 1).items()}
            masks, cost = self._prune(spec, Cell(cell.method, level, cell.seed), trained, known)
            arrays = {name: mask.numpy() for name, mask in masks.items()}
            numbers = (cost.seconds, cost.forward_passes, cost.backward_passes, cost.examples_seen)
            survival = survival.extended(arrays, numbers)
            self.store.write_survival(self.protocol, cell.method, cell.seed, survival)
        seconds, forward, backward, seen = survival.costs[cell.level]
        masks = {name: torch.from_numpy(mask) for name, mask in survival.mask(cell.level).items()}
        return masks, PruneCost(float(seconds), int(forward), int(backward), int(seen))

    def _prune(self, spec: MethodSpec, cell: Cell, scored: State, before: Masks | None) -> tuple[Masks, PruneCost]:
        plugin = self.found(spec.pruner).make(spec.parameters)
        examples = None
        if plugin.needs in ("inputs", "labels"):
            rng = stream(cell.seed, "scoring examples")
            per_class = self.protocol.pruning.scoring.examples_per_class
            examples = scoring_examples(self.dataset, self.split(cell.seed).training, per_class, rng)
        if examples is not None and plugin.needs == "inputs":
            examples = Examples(examples.inputs, torch.full_like(examples.labels, -1))
        subject = Subject(self._module(None), scored, self.dataset.input_shape, self.dataset.classes)
        subject.module.load_state_dict(scored)
        subject.module.train(self.protocol.pruning.scoring.batch_norm == "train")
        rng = stream(cell.seed, "prune", cell.method, cell.level)
        level = self.protocol.level_table[cell.level]
        return prune(plugin, spec, self.protocol.pruning, level, subject, examples, rng, before)

    def found(self, pruner: str) -> FoundPruner:
        """The pruner's class, looked up once."""
        if pruner not in self._found:
            self._found[pruner] = find(pruner, self.settings.plugins)
        return self._found[pruner]

    # Training ---------------------------------------------------------------------------------------------

    def _weights(self, cell: Cell, what: str) -> State:
        """Trained weights of a cell: from scratch space, else by training it (again)."""
        path = self.store.weights_path(self.protocol, cell, what)
        if (found := load_weights(path)) is not None:
            return found
        if cell.method != DENSE:
            self._measure(cell)
        else:
            with self.store.lock(self.protocol, Job(self.protocol, (cell,)).name, wait=True):
                if (found := load_weights(path)) is None:
                    self._measure(cell)
        found = load_weights(path)
        assert found is not None  # _measure has just written it
        return found

    def _measure(self, cell: Cell) -> None:
        """Train a cell; keep its weights if a later one needs them, and write its record if there is none."""
        started = time.perf_counter()
        masks, prune_cost = self.masks(cell)
        start, first_step = self.start(cell)
        steps = train_steps(self.protocol, cell)
        if not self.settings.may_start(steps * self.seconds_per_step):
            raise OutOfTime
        outcome = self._train(cell, masks, start, first_step, steps)
        if steps:
            self.seconds_per_step = (time.perf_counter() - started) / steps
        for what, state in self._kept(cell, outcome).items():
            save_weights(self.store.weights_path(self.protocol, cell, what), state, self.store.work)
        if self.store.read(self.protocol, cell) is None:
            record = finished_record(self, cell, masks, prune_cost, outcome)
            curves = None if outcome.failure else curves_of(outcome.history)
            self.store.write(self.protocol, cell, record, curves)
            self.settings.on_record(cell, record)
        if is_chain(self.protocol, cell.method) and cell.level > 1:
            before = Cell(cell.method, cell.level - 1, cell.seed)
            self.store.weights_path(self.protocol, before, "final").unlink(missing_ok=True)

    def _train(self, cell: Cell, masks: Masks, start: State, first_step: int, steps: int) -> Outcome:
        snapshots = self._rewind_points() if cell.method == DENSE else ()
        replica = Replica(cell.seed, start, masks, self.split(cell.seed), first_step + steps, first_step, snapshots)
        outcomes = train(
            [replica],
            self._module,
            self.protocol.recipe,
            self.protocol.evaluation,
            self.dataset,
            lambda _number, done, total: self.settings.on_progress(cell, done, total),
        )
        return outcomes[0]

    def _rewind_points(self) -> tuple[int, ...]:
        """Updates after which the dense network's weights are kept."""
        specs = [spec for spec in self.protocol.methods.values() if isinstance(spec, MethodSpec)]
        return tuple(sorted({s.schedule.restart for s in specs if isinstance(s.schedule.restart, int)} - {0}))

    def _kept(self, cell: Cell, outcome: Outcome) -> dict[str, State]:
        if outcome.failure or (cell.method != DENSE and not is_chain(self.protocol, cell.method)):
            return {}
        return {
            "final": outcome.weights,
            **{f"step-{step}": state for step, state in outcome.snapshots.items()},
        }

    def _record_failure(self, cell: Cell, reason: str) -> None:
        record = failed_record(self, cell, reason)
        self.store.write(self.protocol, cell, record, None)
        self.settings.on_record(cell, record)


__all__ = ["Harness", "OutOfTime", "Settings", "Unavailable"]
