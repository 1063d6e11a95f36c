"""What a task measures of a network, and the history of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from benchmark.protocols.recipe import EvaluationSpec
from benchmark.tasks import Task
from benchmark.training.device import arithmetic

CHUNK = 1000  # examples a forward pass; fastest of 500, 1000 and 5000 for LeNet-300-100 on one core
IMAGE_CHUNK = 250  # images a forward pass: 64 maps of 32x32 for each take 64 MB
CUDA_CHUNK, CUDA_IMAGE_CHUNK = 10_000, 4_000  # of all replicas: few kernels, and 64 maps for each take 1 GB


@dataclass(frozen=True)
class Quality:
    """A task's metrics over one set of examples: `values` in its order and units, the loss first."""

    task: Task
    values: tuple[float, ...]

    def __getitem__(self, metric: str) -> float:
        """The metric of this name. Raises KeyError if the task declares none such."""
        return dict(zip(self.task.metric, self.values, strict=True))[metric]

    @property
    def loss(self) -> float:
        """The task's loss."""
        return self.values[0]

    @property
    def criterion(self) -> float:
        """What early stopping watches, such that less is better."""
        return self.task.criterion(self[self.task.early_stop])


@dataclass(frozen=True)
class History:
    """What evaluations saw. `validation` has one entry per evaluation, or none without a validation set."""

    steps: tuple[int, ...]
    validation: tuple[Quality, ...]
    test_steps: tuple[int, ...]
    test: tuple[Quality, ...]

    def early_stop(self) -> tuple[int, Quality, Quality] | None:
        """(updates, validation, test) where the task's early-stop metric is best on the validation set, the first of
        equals; None without one.
        """
        if not self.validation:
            return None
        best = min(range(len(self.validation)), key=lambda i: self.validation[i].criterion)
        step = self.steps[best]
        return step, self.validation[best], self.test[self.test_steps.index(step)]


def chunk_of(images: bool, device: str, replicas: int = 1) -> int:
    """Examples of each of some stacked replicas in a forward pass. It decides in what order metrics are added up."""
    least = IMAGE_CHUNK if images else CHUNK
    if device == "cpu":
        return least
    return max(least, (CUDA_IMAGE_CHUNK if images else CUDA_CHUNK) // replicas)


@torch.no_grad()
def measure(
    forward: Callable[[Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
    task: Task,
    prepare: Callable[[Tensor], Tensor] = lambda stored: stored,
    precision: str = "fp32",
    chunk: int | None = None,
    stacked: bool = False,
) -> Tensor:
    """The task's metrics, as declared, over stored `inputs` (n, ...) and `labels` (n, ...), in chunks of fixed size.

    `prepare` turns stored examples into what the network reads. Gives (metrics,) means in float64, left on the device:
    reading them there would make the host wait. `stacked`: outputs have an axis of replicas in front, which gives
    (replicas, metrics); each replica may have examples of its own, `inputs` (replicas, n, ...) with `labels`
    (replicas, n).
    """
    totals = torch.zeros(len(task.declared), dtype=torch.float64, device=labels.device)
    own = stacked and labels.dim() == 2
    count = labels.shape[1] if own else len(labels)
    sums = vmap(task.metrics, in_dims=(0, 0 if own else None)) if stacked else task.metrics
    chunk = chunk or chunk_of(inputs.dim() == 4, labels.device.type)
    for start in range(0, count, chunk):
        part = slice(start, start + chunk)
        with arithmetic(precision, labels.device.type):
            outputs = forward(prepare(inputs[:, part] if own else inputs[part])).float()
        found = sums(outputs, labels[:, part] if own else labels[part])
        totals = totals + torch.stack([found[spec.name].double() for spec in task.declared], -1)
    return totals / count


def evaluate(
    forward: Callable[[Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
    task: Task,
    prepare: Callable[[Tensor], Tensor] = lambda stored: stored,
    precision: str = "fp32",
) -> Quality:
    """`measure` for one network, as numbers of the host."""
    return Quality(task, tuple(measure(forward, inputs, labels, task, prepare, precision).tolist()))


@dataclass(frozen=True)
class Looks:
    """When a training looks at its networks: numbers of updates done."""

    wanted: frozenset[int]
    always_tested: frozenset[int]
    at_minima: bool

    @staticmethod
    def of(evaluation: EvaluationSpec, first_step: int, last_step: int) -> Looks:
        """A protocol's evaluations; a fine-tuning too short for one of its own is looked at once, at its end."""
        wanted = frozenset(evaluation.steps(last_step))
        tested = frozenset(evaluation.test_steps(last_step))
        if max(wanted) < first_step:
            wanted = tested = frozenset({last_step})
        return Looks(wanted, tested, evaluation.test_at_validation_minima)


@dataclass
class Observed:
    """What evaluations measured of a group, on its device: (replicas, metrics) by update.

    `test_steps`: at which updates each replica was tested; `least`: the best of its validation until now, as the task's
    early-stop criterion.
    """

    task: Task
    validation: dict[int, Tensor]
    test: dict[int, Tensor]
    test_steps: list[set[int]]
    least: list[float]

    @staticmethod
    def of(replicas: int, task: Task) -> Observed:
        """Nothing yet."""
        return Observed(task, {}, {}, [set() for _ in range(replicas)], [math.inf] * replicas)

    def validated(self, done: int, metrics: Tensor) -> Tensor:
        """Take in an evaluation on the validation sets; (replicas,) losses."""
        self.validation[done] = metrics
        return metrics[:, 0]

    def improved(self, done: int) -> list[bool]:
        """Whether each replica's early-stop criterion, of the evaluation after `done` updates, is a new minimum."""
        place = list(self.task.metric).index(self.task.early_stop)
        now = [self.task.criterion(value) for value in self.validation[done][:, place].tolist()]
        improved = [value < least for value, least in zip(now, self.least, strict=True)]
        self.least = [min(pair) for pair in zip(self.least, now, strict=True)]
        return improved

    def tested(self, done: int, metrics: Tensor, wanted: Sequence[bool]) -> Tensor:
        """Take in an evaluation on the test set; the losses (replicas,) of those that want it, 0 for the others."""
        self.test[done] = metrics
        for steps, now in zip(self.test_steps, wanted, strict=True):
            if now:
                steps.add(done)
        return metrics[:, 0].where(torch.tensor(wanted, device=metrics.device), torch.zeros_like(metrics[:, 0]))

    def latest(self, number: int, done: int) -> dict[str, float]:
        """What the evaluation after `done` updates saw of one replica: `<set>_<metric>` -> value, in its unit."""
        seen = {"validation": self.validation.get(done)}
        seen["test"] = self.test[done] if done in self.test_steps[number] else None
        return {
            f"{examples}_{name}": value
            for examples, metrics in seen.items()
            if metrics is not None
            for name, value in zip(self.task.metric, metrics[number].tolist(), strict=True)
        }

    def to_host(self) -> None:
        """Read from the device what is still there: one copy for all replicas and evaluations since the last time."""
        for seen in (self.validation, self.test):
            there = [step for step, metrics in seen.items() if metrics.device.type != "cpu"]
            if there:
                seen.update(zip(there, torch.stack([seen[step] for step in there]).cpu(), strict=True))

    def history(self, number: int, steps: Sequence[int]) -> tuple[History, int | None]:
        """One replica's history, and the update of its first loss that is not finite, where the history ends."""
        test = {step: self._quality(self.test[step][number]) for step in sorted(self.test_steps[number])}
        held_out = {s: self._quality(self.validation[s][number]) for s in steps if s in self.validation}
        bad = [s for s in steps if any(s in each and not math.isfinite(each[s].loss) for each in (test, held_out))]
        end = bad[0] if bad else math.inf
        history = History(
            tuple(step for step in steps if step <= end),
            tuple(quality for step, quality in held_out.items() if step <= end),
            tuple(step for step in test if step <= end),
            tuple(quality for step, quality in test.items() if step <= end),
        )
        return history, bad[0] if bad else None

    def _quality(self, metrics: Tensor) -> Quality:
        return Quality(self.task, tuple(metrics.tolist()))

    def saved(self, number: int) -> dict[str, Tensor]:
        """One replica's part, for its checkpoint."""
        self.to_host()
        state = {"least": torch.tensor([self.least[number]], dtype=torch.float64)}
        for name, seen, steps in (
            ("validation", self.validation, sorted(self.validation)),
            ("test", self.test, sorted(self.test_steps[number])),
        ):
            rows = [seen[step][number] for step in steps]
            state[f"{name}_steps"] = torch.tensor(steps, dtype=torch.int64)
            state[name] = torch.stack(rows) if rows else torch.zeros((0, 0), dtype=torch.float64)
        return state

    @staticmethod
    def restored(saved: Sequence[Mapping[str, Tensor]], device: torch.device, task: Task) -> Observed:
        """A group's from checkpoints of its replicas; what one of them was not tested at is nan for it."""
        observed = Observed.of(len(saved), task)
        observed.least = [float(state["least"][0]) for state in saved]
        observed.test_steps = [set(state["test_steps"].tolist()) for state in saved]
        for name, seen in (("validation", observed.validation), ("test", observed.test)):
            tables = [dict(zip(state[f"{name}_steps"].tolist(), state[name], strict=True)) for state in saved]
            for step in sorted({step for table in tables for step in table}):
                some = next(table[step] for table in tables if step in table)
                seen[step] = torch.stack([table.get(step, torch.full_like(some, torch.nan)) for table in tables])
                seen[step] = seen[step].to(device)
        return observed
