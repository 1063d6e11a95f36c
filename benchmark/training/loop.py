"""The one training loop: a list of replicas goes in, trained weights and histories come out.

A training is a sequence of updates with stops in between, at which hooks act, networks are evaluated, weights are
stored for rewinding, and checkpoints are written, in this order. The same loop serves one network on a CPU, which is a
group of one, and groups that share a device (see `replicas`); between stops the group's updates run eagerly or as
captured CUDA graphs. A replica's result depends on nothing but itself, so a caller may group replicas as it likes.

The host waits for the device only where the protocol makes it: where the test set is evaluated at minima of the
validation loss, which the host has to know to decide, and where hooks act. Otherwise results stay there until the end.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from typing import Any, Literal

import torch
from torch import Tensor

from benchmark.datasets.dataset import Dataset
from benchmark.training.checkpoint import CheckpointFile, Checkpoints, updates_done
from benchmark.training.cuda_graphs import Replay
from benchmark.training.device import cuda_settings, many_queues, no_memory
from benchmark.training.evaluate import Looks, Observed, Quality
from benchmark.training.fused.decisions import WORDS as FUSED_WORDS
from benchmark.training.hooks import Hook, Hooks, Run, act
from benchmark.training.kernels.engine import portable
from benchmark.training.learner import Learner
from benchmark.training.learning import LearnedGroup
from benchmark.training.optim import named, under
from benchmark.training.replicas import (
    GROUPS,
    Outcome,
    Replica,
    ReplicaGroup,
    Strategy,
    Streams,
    TrainingSetup,
    restore_after,
)
from benchmark.training.step import Eager, Updates
from benchmark.utils.errors import EnvironmentProblem

Progress = Callable[[int, int, int, Mapping[str, float]], None]
"""Called after each evaluation with (replica number, updates done, updates in all, what was measured: see
`Observed.latest`; nothing where reading it would make a device wait)."""
MakeGroup = Callable[[Sequence[Replica], TrainingSetup, bool], ReplicaGroup]
MakeUpdates = Callable[[Sequence[Any]], Updates]
Learners = Callable[[int], Learner]
"""A new learner for the replica of that number, once for each attempt to train it."""
Elsewhere = Callable[[int, ReplicaGroup], Updates]
"""What has another process make the updates of the replica of that number, which is by itself in a group."""
Engine = tuple[MakeGroup, MakeUpdates]
"""What holds a group of replicas (given also whether hooks act on them), and what runs its updates."""


@dataclass(frozen=True)
class Placement:
    """Where replicas are trained side by side, and how they share the device."""

    device: Literal["cpu", "cuda"]
    strategy: Strategy
    fused: bool = False


@lru_cache(maxsize=2)
def on_device(dataset: Dataset, device: str) -> Dataset:
    """The data set with its four tensors on `device`; moved once per process."""
    names = ("train_inputs", "train_labels", "test_inputs", "test_labels")
    return replace(dataset, **{name: getattr(dataset, name).to(device) for name in names})


def train(
    replicas: Sequence[Replica],
    setup: TrainingSetup,
    progress: Progress | None = None,
    placement: Placement | None = None,
    checkpoints: Sequence[CheckpointFile] = (),
    hooks: Hooks | None = None,
    learners: Learners | None = None,
    elsewhere: Elsewhere | None = None,
) -> list[Outcome]:
    """Train every replica with the same recipe on the same data set.

    `placement`: the device and how it is shared; None is one replica after another on the CPU. `checkpoints`: where
    each training is saved and resumed from, one for each replica or none. `hooks`: those of a replica, by its number.
    `learners`: who learns a mask, by the same number; the weights then stay, and scores are trained instead, by torch.
    `elsewhere`: who makes updates instead, without a placement; networks are still measured here.
    Raises EnvironmentProblem if a device's memory does not hold even one replica.
    """
    if placement is not None:
        if placement.device == "cuda":
            many_queues()
        # A hook or a learner may put another network in place, whose batch norms are the usual ones.
        fused = placement.fused and hooks is None and learners is None and elsewhere is None
        setup = replace(setup, dataset=on_device(setup.dataset, placement.device), fused=fused)
    groups = _Groups(replicas, setup, placement, progress or (lambda *_: None), checkpoints, hooks, learners, elsewhere)
    engine = engine_for(setup, placement)
    if setup.device.type == "cpu":
        return groups.train(engine)
    with cuda_settings(setup.recipe.precision):
        return groups.train(engine)


def engine_for(setup: TrainingSetup, placement: Placement | None) -> Engine:
    """The protocol's arithmetic, on the device that the data lies on."""
    if portable(setup.recipe, setup.device.type):
        from benchmark.training.kernels.group import Compiled, KernelGroup

        return KernelGroup, Compiled
    group = GROUPS[placement.strategy] if placement else Streams
    return group, _by_torch(setup.device.type == "cpu")


def _by_torch(on_cpu: bool) -> MakeUpdates:
    return Eager if on_cpu else Replay.of


@dataclass(frozen=True)
class _Groups:
    """All replicas of a call, to be trained in groups. See `train` for the fields."""

    replicas: Sequence[Replica]
    setup: TrainingSetup
    placement: Placement | None
    progress: Progress
    checkpoints: Sequence[CheckpointFile]
    hooks: Hooks | None
    learners: Learners | None = None
    elsewhere: Elsewhere | None = None

    def train(self, engine: Engine) -> list[Outcome]:
        """As many side by side as memory holds: out of memory, half as many are tried.

        Replicas that begin, or go on from a checkpoint, and end at the same updates are one group; without a placement
        each is one by itself.
        """
        outcomes: dict[int, Outcome] = {}
        most, too_many = 1 if self.placement is None else len(self.replicas), 0
        saved = {number: state for number, file in enumerate(self.checkpoints) if (state := file.load()) is not None}

        def span(number: int) -> tuple[int, int, int]:
            replica = self.replicas[number]
            done = updates_done(saved[number]) if number in saved else -1
            return replica.first_step, done, replica.last_step

        while len(outcomes) < len(self.replicas):
            left = [number for number in range(len(self.replicas)) if number not in outcomes]
            numbers = [n for n in left if span(n) == span(left[0])][:most]
            found = self._attempt(numbers, engine, [saved[n] for n in numbers if n in saved])
            if not isinstance(found, str):
                words = self._described(len(found), too_many)
                outcomes |= {
                    n: replace(outcome, replica_group=words) for n, outcome in zip(numbers, found, strict=True)
                }
                continue
            gc.collect()  # here, where no exception holds the frames that hold the tensors
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if len(numbers) == 1:
                raise EnvironmentProblem(
                    "the device", f"has not enough memory to train one network: {found}", "Use a larger device"
                )
            too_many, most = len(numbers), len(numbers) // 2
        return [outcomes[number] for number in range(len(self.replicas))]

    def _described(self, count: int, too_many: int) -> str | None:
        """How a group was trained, for the records of its replicas."""
        if self.placement is None:
            return None
        words = f"{count} side by side, {self.placement.strategy}"
        words = f"{words}; {too_many} did not fit into memory" if too_many else words
        return f"{words}; {FUSED_WORDS}" if self.setup.fused else words

    def _attempt(
        self, numbers: Sequence[int], engine: Engine, saved: Sequence[Mapping[str, Tensor]]
    ) -> list[Outcome] | str:
        """Outcomes, or the words in which it was said that memory did not suffice."""
        try:
            return _Training(self, numbers, engine, saved).outcomes()
        except RuntimeError as error:
            if not no_memory(error):
                raise
            return str(error).partition("\n")[0]


class _Training:
    """One attempt to train a group: its updates, and what happens at the stops between them."""

    def __init__(
        self,
        groups: _Groups,
        numbers: Sequence[int],
        engine: Engine,
        saved: Sequence[Mapping[str, Tensor]],
    ) -> None:
        self.started, self.cpu_started = time.perf_counter(), time.process_time()
        self.numbers, self.progress = numbers, groups.progress
        self.replicas = [groups.replicas[number] for number in numbers]
        self.first, self.last = self.replicas[0].first_step, self.replicas[0].last_step
        self.checkpoints = Checkpoints([groups.checkpoints[n] for n in numbers] if groups.checkpoints else [])
        make_group, make_updates = engine
        learners = [groups.learners(number) for number in numbers] if groups.learners else []
        self.on_cpu = groups.setup.device.type == "cpu"
        self.learned = LearnedGroup(self.replicas, groups.setup, learners) if learners else None
        self.group = self.learned or make_group(self.replicas, groups.setup, groups.hooks is not None)
        self.updates: Updates = (
            groups.elsewhere(numbers[0], self.group)
            if groups.elsewhere
            else (_by_torch(self.on_cpu) if learners else make_updates)(self.group.steps)
        )
        self.looks = Looks.of(groups.setup.evaluation, self.first, self.last)
        self.observed = Observed.of(len(numbers), groups.setup.task)
        self.snapshots: dict[tuple[int, int], dict[str, Tensor]] = {}
        self.lost = [False] * len(numbers)
        self.earlier = [(0.0, 0.0, 0.0)] * len(numbers)
        self.looking = 0.0  # seconds of the processor since this process has begun, of all replicas
        self.hooks: list[list[Hook]] = [list(groups.hooks(number)) if groups.hooks else [] for number in numbers]
        if learners:
            self.hooks = [[learner, *own] for learner, own in zip(learners, self.hooks, strict=True)]
        per_epoch = self.group.steps[0].tables.per_epoch
        self.acting = [[(hook, set(hook.when(groups.setup.recipe, per_epoch))) for hook in own] for own in self.hooks]
        self.resumed_at: int | None = None
        if saved:
            self._resume(saved)

    def outcomes(self) -> list[Outcome]:
        """Train to the last update, or until all have diverged, and read what was measured."""
        done = self.first if self.resumed_at is None else self.resumed_at
        if self.resumed_at is None:
            self._stop(done)
        for stop in self._stops(done):
            if all(self.lost):
                break
            while done < stop:
                upto = min(stop, done + self.updates.stride)
                self.updates(done, upto)
                done = upto
                if done < stop:
                    self.checkpoints.offer(self._saving(done))
            self._stop(done)
            if done < self.last and not all(self.lost):
                self.checkpoints.offer(self._saving(done))
        with self._looks_at_networks():
            final = [None] * len(self.replicas) if all(self.lost) else self.group.train_metrics().tolist()
        states = [_to_host(self.group.state(n)) for n in range(len(self.replicas))]
        seconds = self._seconds()
        self.observed.to_host()
        runs = self.group.runs(self.last) if any(self.hooks) else []
        masks = [runs[number].masks if own else None for number, own in enumerate(self.hooks)]
        return [self._outcome(n, states[n], final[n], seconds[n], masks[n]) for n in range(len(self.replicas))]

    def _stops(self, done: int) -> list[int]:
        """Steps after `done` at which something is due."""
        stops = {step for replica in self.replicas for step in replica.snapshots} | self.looks.wanted | {self.last}
        stops |= {step for own in self.acting for _, steps in own for step in steps}
        return sorted(step for step in stops if done < step <= self.last)

    def _stop(self, done: int) -> None:
        """All that is due after `done` updates."""
        self._act(done)
        for number, replica in enumerate(self.replicas):
            if done in replica.snapshots:
                self.snapshots[number, done] = self.group.state(number)
        if done in self.looks.wanted:
            with self._looks_at_networks():
                self._evaluate(done)

    def _act(self, done: int) -> None:
        """Let the hooks act that are due."""
        due = [[hook for hook, steps in own if done in steps] for own in self.acting]

        def act_on(number: int, run: Run) -> None:
            for hook in due[number]:
                act(hook, done, run)

        if any(due):
            self._with_runs(done, act_on)

    def _with_runs(self, done: int, work: Callable[[int, Run], object]) -> None:
        runs = self.group.runs(done)
        for number, run in enumerate(runs):
            work(number, run)
        if self.group.apply(runs):
            self.updates.changed()

    def _evaluate(self, done: int) -> None:
        wanted = [done in self.looks.always_tested] * len(self.replicas)
        if len(self.replicas[0].split.validation):
            losses = self.observed.validated(done, self.group.validation_metrics())
            if self.looks.at_minima:
                wanted = [now or better for now, better in zip(wanted, self.observed.improved(done), strict=True)]
            self._look_for_lost(losses)
        if any(wanted):
            self._look_for_lost(self.observed.tested(done, self.group.test_metrics(), wanted))
        for place, (number, lost) in enumerate(zip(self.numbers, self.lost, strict=True)):
            if not lost:
                latest = self.observed.latest(place, done) if self.on_cpu else {}
                self.progress(number, done, self.last, latest)

    def _look_for_lost(self, losses: Tensor) -> None:
        """Note which replicas have diverged, where reading a loss does not make the device wait."""
        if self.on_cpu or self.looks.at_minima:
            self.lost = [lost or not finite for lost, finite in zip(self.lost, losses.isfinite().tolist(), strict=True)]

    @contextmanager
    def _looks_at_networks(self) -> Iterator[None]:
        """Count what is done inside as evaluation."""
        since = time.process_time()
        try:
            yield
        finally:
            self.looking += time.process_time() - since

    def _seconds(self) -> list[tuple[float, float, float]]:
        """Each replica's share until now: of the clock, of the processor, and of that for evaluations."""
        spent = (time.perf_counter() - self.started, time.process_time() - self.cpu_started, self.looking)
        clock, processor, looking = (seconds / len(self.replicas) for seconds in spent)
        return [(a + clock, b + processor, c + looking) for a, b, c in self.earlier]

    def _saving(self, done: int) -> Callable[[int], dict[str, Tensor]]:
        """What gives all that a replica goes on from. For hooks, networks are built once, not once a replica."""
        runs = cache(partial(self.group.runs, done))
        return lambda number: self._saved(done, number, runs)

    def _saved(self, done: int, number: int, runs: Callable[[], Sequence[Run]]) -> dict[str, Tensor]:
        snapshots = {step: state for (owner, step), state in self.snapshots.items() if owner == number}
        state = {
            "done": torch.tensor([done]),
            "seconds": torch.tensor(self._seconds()[number], dtype=torch.float64),
            "snapshot_steps": torch.tensor(sorted(snapshots), dtype=torch.int64),
            **self.observed.saved(number),
            **self.group.saved(number),
        }
        for step, snapshot in snapshots.items():
            state |= named(f"snapshot.{step}.", snapshot)
        if self.hooks[number]:
            run = runs()[number]
            state |= named("mask.", run.masks) | named("frozen.", run.frozen)
            for place, hook in enumerate(self.hooks[number]):
                state |= named(f"hook.{place}.", hook.state())
        return state

    def _resume(self, saved: Sequence[Mapping[str, Tensor]]) -> None:
        """Have the group, and what was measured of it, as they were; all were saved after the same update."""
        self.resumed_at = done = updates_done(saved[0])
        restore_after(done, self.group, saved)
        device, task = self.group.steps[0].tables.counter.device, self.observed.task
        self.observed = Observed.restored(saved, device, task)
        for number, state in enumerate(saved):
            clock, processor, *looking = state["seconds"].tolist()  # of evaluations: not in checkpoints of old
            self.earlier[number] = (clock, processor, sum(looking))
            for step in state["snapshot_steps"].tolist():
                self.snapshots[number, step] = under(f"snapshot.{step}.", state)
        if any(self.hooks):
            self._with_runs(done, lambda number, run: _resume_hooks(self.hooks[number], saved[number], run))

    def _outcome(
        self,
        number: int,
        state: dict[str, Tensor],
        final: list[float] | None,
        seconds: tuple[float, float, float],
        masks: Mapping[str, Tensor] | None,
    ) -> Outcome:
        """One replica's part. What came after the first loss that is not finite is not part of its history."""
        steps = sorted(step for step in self.looks.wanted if self.first <= step <= self.last)
        history, bad = self.observed.history(number, steps)
        trained = None if final is None else Quality(self.observed.task, tuple(final))
        if bad is None and trained is not None and not math.isfinite(trained.loss):  # after the last evaluation
            bad = self.last
        end = self.last if bad is None else bad
        tables = self.group.steps[0].tables
        masks, ranking = self.learned.learned(number) if self.learned else (masks, None)
        snapshots = {s: _to_host(each) for (n, s), each in self.snapshots.items() if n == number and s <= end}
        return Outcome(
            state,
            history,
            trained if bad is None else None,
            end - self.first,
            sum(tables.size(step) for step in range(self.first, end)),
            *seconds,
            snapshots,
            None if bad is None else f"diverged: the loss is not finite after {bad} updates",
            masks=None if masks is None else _to_host(masks),
            hook_facts={k: v for hook in self.hooks[number] for k, v in hook.facts().items()} or None,
            ranking=None if ranking is None else _to_host(ranking),
        )


def _resume_hooks(hooks: Sequence[Hook], saved: Mapping[str, Tensor], run: Run) -> None:
    for name, held in (("mask", run.masks), ("frozen", run.frozen)):
        device = next(iter(run.masks.values())).device
        held.update({key: tensor.to(device) for key, tensor in under(f"{name}.", saved).items()})
    for place, hook in enumerate(hooks):
        hook.resume(under(f"hook.{place}.", saved), run)


def _to_host(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in state.items()}
