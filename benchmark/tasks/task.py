"""The interface of a task, and the registry that finds one by name.

A task lives in `benchmark/tasks/<name>.py`, decorated with `@TASKS.register("<name>")`; nothing else names it. The file
is imported when the task is first asked for, and imports torch inside its methods only: verbs that read records need
names, units and directions of metrics, and must not wait for torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

from benchmark.utils.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MetricSpec:
    """One number that a task measures on a set of examples: the mean over them.

    `column`: what its values are called in curve files, behind `test_` or `validation_`, with the unit where the file
    has always spelled it.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]
    column: str

    def best(self, values: list[float]) -> float:
        """The best of some values."""
        return max(values) if self.better == "higher" else min(values)


class Task(ABC):
    """What a network learns and how it is judged. Without state: one instance serves every training.

    `declared`: every metric, in the order in which evaluation lays them out; the first one is the loss. `early_stop`:
    the metric whose best value on the validation set, the first of equals, marks the early stop.
    """

    declared: ClassVar[tuple[MetricSpec, ...]]
    early_stop: ClassVar[str]

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """() mean loss of a batch, to be differentiated. `outputs`: (n, ...), of the network; `labels`: (n, ...).

        In float32 or wider whatever the precision of the outputs. Called under vmap and under graph capture: no host
        value may depend on a tensor's content.
        """

    @abstractmethod
    def metrics(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Every declared metric by name, () each: the *sum* over the n examples, in the metric's unit.

        Sums, because a set is evaluated in chunks: the harness adds them in float64 and divides once. Called under
        vmap for stacked replicas.
        """

    def criterion(self, value: float) -> float:
        """A value of the early-stop metric such that less is better."""
        return value if self.metric[self.early_stop].better == "lower" else -value

    @property
    def metric(self) -> Mapping[str, MetricSpec]:
        """The declared metrics by name."""
        return {spec.name: spec for spec in self.declared}


TASKS: Registry[type[Task]] = Registry("task", "benchmark.tasks", besides=("task",))


@cache
def load_task(name: str) -> Task:
    """The task of that name. Raises BadInput, with the nearest name, if there is none."""
    return TASKS.get(name)()
