"""The replica engine: a list of replicas goes in, trained weights and histories come out.

A replica's result depends on nothing but itself, so a caller may group replicas as it likes. On CPU they are
trained one after another on one thread, with data in memory and a fused optimizer; use one process per core. On CUDA
they are trained side by side (see `company`) by captured updates (see `graphs`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn

from benchmark.datasets import Dataset
from benchmark.networks.mlp import Mlp
from benchmark.protocol import EvaluationSpec, Recipe
from benchmark.training.batches import Source, Tables
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.compact import Columns, usable
from benchmark.training.company import Task, in_companies, on_device
from benchmark.training.evaluation import History, Looks, Quality, evaluate
from benchmark.training.graphs import Replay
from benchmark.training.optimizers import make_optimizer, rate_table
from benchmark.training.precision import cuda_settings
from benchmark.training.replica import Outcome, Replica, diverged, masked_start
from benchmark.training.step import Single, Step, eagerly
from benchmark.training.ways import Way

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
        trained = Single(module, recipe.precision)
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
        quality = evaluate(self.module, inputs, labels, self.dataset.prepare, self.recipe.precision)
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
