"""The replica engine: a list of replicas goes in, trained weights and histories come out.

A replica's result depends on nothing but itself, so a caller may group replicas as it likes. On CPU they are
trained one after another on one thread, with data in memory and a fused optimizer; use one process per core.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark.datasets import Dataset, Split
from benchmark.networks.layers import dropouts, give_stream
from benchmark.networks.mlp import Mlp
from benchmark.protocol import EvaluationSpec, Recipe
from benchmark.streams import stream
from benchmark.training.batches import Feed, batches_per_epoch
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.compact import Columns, usable
from benchmark.training.evaluation import History, Quality, evaluate
from benchmark.training.optimizers import learning_rates, make_optimizer
from benchmark.training.precision import arithmetic

Progress = Callable[[int, int, int], None]
"""Called after each evaluation with (replica number, updates done, updates in all)."""


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
    """What training one replica gave. `failure` says why it was given up, if it was."""

    weights: dict[str, Tensor]
    history: History
    train: Quality | None
    steps: int
    examples: int
    seconds: float
    cpu_seconds: float
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    failure: str | None = None


def train(
    replicas: Sequence[Replica],
    make_module: Callable[[int | None], nn.Module],
    recipe: Recipe,
    evaluation: EvaluationSpec,
    dataset: Dataset,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> list[Outcome]:
    """Train every replica with the same recipe on the same data set.

    `make_module(inputs)` gives an untrained network of the protocol, reading `inputs` features (None: all).
    `checkpoints`: where the training of a single replica is kept and resumed from.
    """
    assert checkpoints is None or len(replicas) == 1
    outcomes = []
    for number, replica in enumerate(replicas):
        report = None if progress is None else (lambda done, total, n=number: progress(n, done, total))
        outcomes.append(_train_one(replica, make_module, recipe, evaluation, dataset, report, checkpoints))
    return outcomes


def _train_one(
    replica: Replica,
    make_module: Callable[[int | None], nn.Module],
    recipe: Recipe,
    evaluation: EvaluationSpec,
    dataset: Dataset,
    report: Callable[[int, int], None] | None,
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
        failure = _diverged(replica.last_step)
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


def _diverged(updates: int) -> str:
    return f"diverged: the loss is not finite after {updates} updates"


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
        masked = {n: t * replica.masks[n] if n in replica.masks else t for n, t in replica.start.items()}
        module.load_state_dict(columns.shrink(masked) if columns else masked)
        masks = columns.shrink(replica.masks) if columns else replica.masks
        parameters = dict(module.named_parameters())
        # A mask of ones changes nothing: skip the multiplication.
        self.masked = [(parameters[n], m.to(torch.float32)) for n, m in masks.items() if not bool(m.all())]
        self.optimizer = make_optimizer(recipe, list(parameters.values()))
        per_epoch = batches_per_epoch(recipe, len(replica.split.training))
        self.rates, self.rate = learning_rates(recipe, per_epoch, replica.last_step), recipe.learning_rate
        self.dropouts = dropouts(module)
        self.train_inputs = columns.inputs(dataset.train_inputs) if columns else dataset.train_inputs
        self.test_inputs = columns.inputs(dataset.test_inputs) if columns else dataset.test_inputs
        held_out = replica.split.validation
        self.validation_inputs, self.validation_labels = (
            self.train_inputs[held_out],
            dataset.train_labels[held_out],
        )
        self.wanted = set(evaluation.steps(replica.last_step))
        self.always_tested = set(evaluation.test_steps(replica.last_step))
        if max(self.wanted) < replica.first_step:  # a fine-tuning too short for an evaluation of its own
            self.wanted = self.always_tested = {replica.last_step}
        self.test_at_minima = evaluation.test_at_validation_minima
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

    def go(self, report: Callable[[int, int], None] | None, checkpoints: Checkpoints | None) -> str | None:
        """Train to the last step; returns the reason if it diverged."""
        replica = self.replica
        first = checkpoints.resume(self) if checkpoints else None
        failure = self._look(replica.first_step, report) if first is None else None
        first = replica.first_step if first is None else first
        feed = Feed(self.recipe, self.dataset, self.train_inputs, replica.split.training, replica.seed)
        batches = feed.batches(first, replica.last_step)
        for step, (inputs, labels) in enumerate(batches, start=first):
            if failure:
                break
            self._update(step, inputs, labels)
            failure = self._look(step + 1, report)
            if checkpoints and not failure:
                checkpoints.offer(self, step + 1)
        return failure

    def _update(self, step: int, inputs: Tensor, labels: Tensor) -> None:
        if self.rates[step] != self.rate:
            self.rate = self.rates[step]
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate
        if self.dropouts:
            give_stream(self.dropouts, stream(self.replica.seed, "dropout", step))
        with arithmetic(self.recipe.precision):
            logits = self.module(inputs)
        give_stream(self.dropouts, None)
        loss = cross_entropy(logits.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        # Zero gradients keep pruned weights and their optimizer state exactly zero, weight decay included.
        for parameter, mask in self.masked:
            assert parameter.grad is not None
            parameter.grad.mul_(mask)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        self.examples += len(labels)

    def _look(self, done: int, report: Callable[[int, int], None] | None) -> str | None:
        """Evaluate and take snapshots where asked for; returns a reason if the loss is not finite."""
        if done in self.replica.snapshots:
            self.snapshots[done] = self.state()
        if done not in self.wanted:
            return None
        wanted = done in self.always_tested
        losses = []
        self.steps.append(done)
        if len(self.validation_labels):
            self.validation.append(self.quality(self.validation_inputs, self.validation_labels))
            losses.append(self.validation[-1].loss)
            wanted |= self.test_at_minima and losses[0] < self.least_loss
            self.least_loss = min(self.least_loss, losses[0])
        if wanted:
            self.test_steps.append(done)
            self.test.append(self.quality(self.test_inputs, self.dataset.test_labels))
            losses.append(self.test[-1].loss)
        if not all(math.isfinite(loss) for loss in losses):
            return _diverged(done)
        if report is not None:
            report(done, self.replica.last_step)
        return None
