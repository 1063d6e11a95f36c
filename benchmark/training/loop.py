"""Training replicas side by side on one device. The host only waits where the protocol makes it.

It waits for an evaluation where the test set is to be seen at minima of the validation loss, which the host has to
know to decide; otherwise results stay on the device until the end. Each replica's numbers come from its own tables,
weights and statistics, so company changes no more than the order in which a kernel may add.

The replica engine: a list of replicas goes in, trained weights and histories come out.

A replica's result depends on nothing but itself, so a caller may group replicas as it likes. On CPU they are
trained one after another on one thread, with data in memory and a fused optimizer; use one process per core. On CUDA
they are trained side by side (see `company`) by captured updates (see `graphs`).
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Literal

import torch
from torch import Tensor, nn

from benchmark.datasets.dataset import Dataset
from benchmark.networks.mlp import Mlp
from benchmark.protocols.recipe import EvaluationSpec, Recipe
from benchmark.training.batches import Source, Tables
from benchmark.training.checkpoint import (
    Checkpoints,
    CompanyCheckpoints,
    Kept,
    Looked,
    put_back,
    seconds_behind,
    updates_behind,
)
from benchmark.training.compact import Columns, usable
from benchmark.training.cuda_graphs import Replay
from benchmark.training.evaluate import History, Looks, Quality, evaluate
from benchmark.training.optim import make_optimizer, rate_table
from benchmark.training.precision import cuda_settings
from benchmark.training.replicas import (
    TASK,
    Forked,
    MakeModule,
    Outcome,
    Replica,
    Stacked,
    Team,
    Way,
    diverged,
    masked_start,
)
from benchmark.training.step import Single, Step, eagerly
from benchmark.utils.errors import EnvironmentProblem

Advance = Callable[[Sequence[Step], int, int], None]
Report = Callable[[int, int, int], None]
TEAMS: dict[Way, Callable[[Sequence[Replica], MakeModule, Recipe, Dataset], Team]] = {
    "stacked": Stacked,
    "forked": Forked,
}


@dataclass(frozen=True)
class Task:
    """What all replicas of one call have in common. `dataset` lies on the device that they are trained on."""

    make_module: MakeModule
    recipe: Recipe
    evaluation: EvaluationSpec
    dataset: Dataset
    way: Way


@lru_cache(maxsize=2)
def on_device(dataset: Dataset, device: str) -> Dataset:
    """The data set with its four tensors on `device`; moved once per process."""
    names = ("train_inputs", "train_labels", "test_inputs", "test_labels")
    return replace(dataset, **{name: getattr(dataset, name).to(device) for name in names})


def in_companies(
    replicas: Sequence[Replica],
    task: Task,
    advance: Callable[[Team], Advance],
    report: Report,
    checkpoints: Sequence[Checkpoints] = (),
) -> list[Outcome]:
    """Train all replicas, as many side by side as memory holds: out of memory, half as many are tried.

    Replicas that begin, or go on from a checkpoint, and end at the same updates are one company. `checkpoints`: one for
    each replica, or none. Raises EnvironmentProblem if even one is too much.
    """
    outcomes: dict[int, Outcome] = {}
    most, too_many = len(replicas), 0
    kept = {number: state for number, file in enumerate(checkpoints) if (state := file.load()) is not None}

    def span(number: int) -> tuple[int, int, int]:
        replica = replicas[number]
        done = updates_behind(kept[number]) if number in kept else -1
        return replica.first_step, done, replica.last_step

    while len(outcomes) < len(replicas):
        left = [number for number in range(len(replicas)) if number not in outcomes]
        numbers = [n for n in left if span(n) == span(left[0])][:most]
        behind = [kept[n] for n in numbers if n in kept]
        files = CompanyCheckpoints([checkpoints[n] for n in numbers] if checkpoints else [])
        own = partial(_told, report, numbers)
        found = _attempt(partial(_Company, [replicas[n] for n in numbers], task, advance, own, files, behind))
        if found is not None:
            words = f"{len(found)} side by side, {task.way}"
            words += f"; {too_many} did not fit into memory" if too_many else ""
            outcomes |= {n: replace(outcome, company=words) for n, outcome in zip(numbers, found, strict=True)}
            continue
        gc.collect()  # here, where no exception holds the frames that hold the tensors
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(numbers) == 1:
            raise EnvironmentProblem("the device", "has not enough memory to train one network", "Use a larger device")
        too_many, most = len(numbers), len(numbers) // 2
    return [outcomes[number] for number in range(len(replicas))]


def _told(report: Report, numbers: Sequence[int], place: int, done: int, total: int) -> None:
    report(numbers[place], done, total)


def _attempt(company: Callable[[], _Company]) -> list[Outcome] | None:
    """Outcomes, or None if memory did not suffice."""
    try:
        return company().outcomes()
    except torch.OutOfMemoryError:
        return None


class _Company:
    """One attempt: a team, what was seen of it, and when to look again."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        task: Task,
        advance: Callable[[Team], Advance],
        report: Report,
        files: CompanyCheckpoints,
        kept: Sequence[Kept],
    ) -> None:
        self.replicas, self.task, self.report, self.files = replicas, task, report, files
        self.started, self.cpu_started = time.perf_counter(), time.process_time()
        self.team = TEAMS[task.way](replicas, task.make_module, task.recipe, task.dataset)
        self.advance = advance(self.team)
        device = task.dataset.train_inputs.device
        self.first, self.last = replicas[0].first_step, replicas[0].last_step
        self.looks = Looks.of(task.evaluation, self.first, self.last)
        self.held_out = torch.stack([replica.split.validation for replica in replicas]).to(device)
        self.looked = Looked(tested=[set() for _ in replicas], least=[math.inf] * len(replicas))
        self.earlier = [seconds_behind(found) for found in kept] or [(0.0, 0.0)] * len(replicas)
        self.behind: int | None = None
        if kept:
            self.behind = updates_behind(kept[0])
            put_back(self.team, self.looked, kept, device)

    def outcomes(self) -> list[Outcome]:
        """Train to the last update and read what was seen."""
        stops = {step for replica in self.replicas for step in replica.snapshots} | self.looks.wanted | {self.last}
        done = self.first if self.behind is None else self.behind
        begun = self.behind is not None
        for stop in sorted(stop for stop in stops if done + begun <= stop <= self.last):
            self.advance(self.team.steps, done, stop)
            done = stop
            self._look(done)
            if done < self.last:
                self.files.offer(self.team, self.looked, done, self._seconds())
        rows = torch.stack([replica.split.training for replica in self.replicas])
        final = self.team.seen(rows.to(self.held_out.device)).tolist()
        states = [_to_host(self.team.state(number)) for number in range(len(self.replicas))]
        shares = self._seconds()
        validation = {step: found.tolist() for step, found in self.looked.validation.items()}
        test = {step: found.tolist() for step, found in self.looked.test.items()}
        return [
            self._outcome(n, states[n], Quality(*final[n]), validation, test, *shares[n])
            for n in range(len(self.replicas))
        ]

    def _seconds(self) -> list[tuple[float, float]]:
        """Each replica's share until now, of the clock and of the processor."""
        share = (time.perf_counter() - self.started) / len(self.replicas)
        cpu_share = (time.process_time() - self.cpu_started) / len(self.replicas)
        return [(seconds + share, cpu_seconds + cpu_share) for seconds, cpu_seconds in self.earlier]

    def _look(self, done: int) -> None:
        for number, replica in enumerate(self.replicas):
            if done in replica.snapshots:
                self.looked.snapshots[number, done] = self.team.state(number)
        if done not in self.looks.wanted:
            return
        wanted = [done in self.looks.always_tested] * len(self.replicas)
        if self.held_out.shape[1]:
            self.looked.validation[done] = self.team.seen(self.held_out)
            if self.looks.at_minima:
                losses = self.looked.validation[done][:, 0].tolist()
                wanted = [w or loss < least for w, loss, least in zip(wanted, losses, self.looked.least, strict=True)]
                self.looked.least = [min(pair) for pair in zip(self.looked.least, losses, strict=True)]
        if any(wanted):
            self.looked.test[done] = self.team.tested()
            for number, yes in enumerate(wanted):
                if yes:
                    self.looked.tested[number].add(done)
        for number in range(len(self.replicas)):
            self.report(number, done, self.last)

    def _outcome(
        self,
        number: int,
        state: dict[str, Tensor],
        final: Quality,
        validation: dict[int, list[list[float]]],
        test: dict[int, list[list[float]]],
        share: float,
        cpu_share: float,
    ) -> Outcome:
        """One replica's part. What came after the first loss that is not finite is not part of its history."""
        steps = sorted(self.looks.wanted & set(range(self.first, self.last + 1)))
        mine = {step: Quality(*test[step][number]) for step in sorted(self.looked.tested[number])}
        held = {step: Quality(*validation[step][number]) for step in steps if step in validation}
        bad = [s for s in steps if any(s in seen and not math.isfinite(seen[s].loss) for seen in (mine, held))]
        end, failure = (bad[0], diverged(bad[0])) if bad else (self.last, None)
        if failure is None and not math.isfinite(final.loss):
            failure = diverged(self.last)
        history = History(
            tuple(step for step in steps if step <= end),
            tuple(seen for step, seen in held.items() if step <= end),
            tuple(step for step in mine if step <= end),
            tuple(seen for step, seen in mine.items() if step <= end),
        )
        tables = self.team.steps[0].tables
        examples = sum(tables.size(step) for step in range(self.first, end))
        snapshots = {s: _to_host(kept) for (n, s), kept in self.looked.snapshots.items() if n == number and s <= end}
        trained = None if failure else final
        return Outcome(state, history, trained, end - self.first, examples, share, cpu_share, snapshots, failure)


def _to_host(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in state.items()}


Progress = Callable[[int, int, int], None]
"""Called after each evaluation with (replica number, updates done, updates in all)."""


@dataclass(frozen=True)
class Place:
    """Where replicas are trained side by side, and how they share the device."""

    device: Literal["cpu", "cuda"]
    way: Way


def train(
    replicas: Sequence[Replica],
    make_module: Callable[[int | None], nn.Module],
    recipe: Recipe,
    evaluation: EvaluationSpec,
    dataset: Dataset,
    progress: Progress | None = None,
    place: Place | None = None,
    checkpoints: Sequence[Checkpoints] = (),
) -> list[Outcome]:
    """Train every replica with the same recipe on the same data set.

    `make_module(inputs)` gives an untrained network of the protocol, reading `inputs` features (None: all). `place`:
    the device and the way of sharing it; None is one after another on the CPU. `checkpoints`: where each training
    is kept and resumed from. Raises EnvironmentProblem if a device's memory does not hold
    even one.
    """
    report = progress or (lambda *_: None)
    if place is not None:
        moved = on_device(dataset, place.device)
        task = Task(make_module, recipe, evaluation, moved, place.way)
        if place.device == "cpu":
            return in_companies(replicas, task, lambda _team: eagerly, report, checkpoints)
        with cuda_settings(recipe.precision):
            return in_companies(replicas, task, lambda team: Replay.of(team.steps), report, checkpoints)
    outcomes = []
    for number, replica in enumerate(replicas):
        own = partial(report, number)
        file = checkpoints[number] if checkpoints else None
        outcomes.append(_train_one(replica, make_module, recipe, evaluation, dataset, own, file))
    return outcomes


def _train_one(
    replica: Replica,
    make_module: Callable[[int | None], nn.Module],
    recipe: Recipe,
    evaluation: EvaluationSpec,
    dataset: Dataset,
    report: Callable[[int, int], None],
    checkpoints: Checkpoints | None,
) -> Outcome:
    started, cpu_started = time.perf_counter(), time.process_time()
    columns = None
    if usable(replica.masks, Mlp.input_weight, dataset):
        columns = Columns.of(Mlp.input_weight, replica.masks)
    module = make_module(columns.count if columns else None)
    run = _Run(replica, module, recipe, evaluation, dataset, columns)
    failure = run.go(report, checkpoints)
    train_quality = run.quality(run.train_inputs[replica.split.training], dataset.train_labels[replica.split.training])
    if failure is None and not math.isfinite(train_quality.loss):  # after the last evaluation
        failure = diverged(replica.last_step)
    return Outcome(
        run.state(),
        History(tuple(run.steps), tuple(run.validation), tuple(run.test_steps), tuple(run.test)),
        None if failure else train_quality,
        run.updates,
        run.examples,
        run.earlier[0] + time.perf_counter() - started,
        run.earlier[1] + time.process_time() - cpu_started,
        run.snapshots,
        failure,
    )


class _Run:
    """The state of one replica while it trains."""

    def __init__(
        self,
        replica: Replica,
        module: nn.Module,
        recipe: Recipe,
        evaluation: EvaluationSpec,
        dataset: Dataset,
        columns: Columns | None,
    ) -> None:
        self.replica, self.module, self.recipe, self.columns, self.dataset = (
            replica,
            module,
            recipe,
            columns,
            dataset,
        )
        masked = masked_start(replica)
        module.load_state_dict(columns.shrink(masked) if columns else masked)
        masks = columns.shrink(replica.masks) if columns else replica.masks
        self.train_inputs = columns.inputs(dataset.train_inputs) if columns else dataset.train_inputs
        self.test_inputs = columns.inputs(dataset.test_inputs) if columns else dataset.test_inputs
        held_out = replica.split.validation
        self.validation_inputs, self.validation_labels = (
            self.train_inputs[held_out],
            dataset.train_labels[held_out],
        )
        self.looks = Looks.of(evaluation, replica.first_step, replica.last_step)
        trained = Single(module, recipe.precision, TASK)
        source = Source(replica.split.training, replica.seed)
        tables = Tables(recipe, dataset, self.train_inputs, source, replica.first_step)
        self.optimizer = make_optimizer(recipe, list(trained.parameters.values()))
        rates = rate_table(recipe, tables.per_epoch, replica.last_step, "cpu")
        self.step = Step(trained, tables, self.optimizer, rates, masks)
        self.least_loss = math.inf
        self.steps: list[int] = []
        self.validation: list[Quality] = []
        self.test_steps: list[int] = []
        self.test: list[Quality] = []
        self.snapshots: dict[int, dict[str, Tensor]] = {}
        self.updates = 0
        self.examples = 0
        self.earlier = (0.0, 0.0)

    def state(self) -> dict[str, Tensor]:
        """Every parameter and buffer of the full network."""
        own = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        return self.columns.restore(own) if self.columns else own

    def quality(self, inputs: Tensor, labels: Tensor) -> Quality:
        """Loss and accuracy on stored examples: batch norm by its running statistics, no dropout, no augmentation."""
        self.module.eval()
        quality = evaluate(self.module, inputs, labels, TASK, self.dataset.prepare, self.recipe.precision)
        self.module.train()
        return quality

    def go(self, report: Callable[[int, int], None], checkpoints: Checkpoints | None) -> str | None:
        """Train to the last step; returns the reason if it diverged."""
        replica = self.replica
        first = checkpoints.resume(self) if checkpoints else None
        failure = self._look(replica.first_step, report) if first is None else None
        first = replica.first_step if first is None else first
        self.step.tables.counter.fill_(first)
        for step in range(first, replica.last_step):
            if failure:
                break
            eagerly([self.step], step, step + 1)
            self.updates += 1
            self.examples += self.step.tables.size(step)
            failure = self._look(step + 1, report)
            if checkpoints and not failure:
                checkpoints.offer(self, step + 1)
        return failure

    def _look(self, done: int, report: Callable[[int, int], None]) -> str | None:
        """Evaluate and take snapshots where asked for; returns a reason if the loss is not finite."""
        if done in self.replica.snapshots:
            self.snapshots[done] = self.state()
        if done not in self.looks.wanted:
            return None
        wanted = done in self.looks.always_tested
        losses = []
        self.steps.append(done)
        if len(self.validation_labels):
            self.validation.append(self.quality(self.validation_inputs, self.validation_labels))
            losses.append(self.validation[-1].loss)
            wanted |= self.looks.at_minima and losses[0] < self.least_loss
            self.least_loss = min(self.least_loss, losses[0])
        if wanted:
            self.test_steps.append(done)
            self.test.append(self.quality(self.test_inputs, self.dataset.test_labels))
            losses.append(self.test[-1].loss)
        if not all(math.isfinite(loss) for loss in losses):
            return diverged(done)
        report(done, self.replica.last_step)
        return None
