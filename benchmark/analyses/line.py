"""The straight line between two networks: metrics at points of it, and the height of a barrier.

No analysis itself: `mode_connectivity` and `instability` share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.datasets.dataset import Dataset
from benchmark.tasks import Task
from benchmark.training.evaluate import measure

Curves = dict[str, NDArray[np.float64]]


def shares(points: int) -> NDArray[np.float64]:
    """Evenly spaced places of a line, 0 and 1 included."""
    return np.linspace(0.0, 1.0, points)


def networks_between(one: nn.Module, other: nn.Module, places: Sequence[float]) -> Iterator[nn.Module]:
    """One module, moved from place to place: (1 - place) * `one` + place * `other`, buffers of real numbers too.

    `one` and `other` stay as they are, and must be of one architecture. The module is in eval mode.
    """
    first, last = one.state_dict(), other.state_dict()
    moving = deepcopy(one).eval()
    for place in places:
        moving.load_state_dict({name: _between(first[name], last[name], place) for name in first})
        yield moving


def _between(first: Tensor, last: Tensor, place: float) -> Tensor:
    return torch.lerp(first, last, place) if first.is_floating_point() else first


def metrics_along(
    one: nn.Module,
    other: nn.Module,
    places: Sequence[float],
    data: Dataset,
    task: Task,
    examples: Mapping[str, tuple[Tensor, Tensor]],
) -> Curves:
    """`<set>_<metric>` -> its mean over each set of stored `examples` (inputs, labels) at every place (places,)."""
    found: dict[str, list[float]] = {f"{part}_{spec.name}": [] for part in examples for spec in task.declared}
    for network in networks_between(one, other, places):
        for part, (inputs, labels) in examples.items():
            values = measure(network, inputs, labels, task, data.prepare).tolist()
            for spec, value in zip(task.declared, values, strict=True):
                found[f"{part}_{spec.name}"].append(value)
    return {name: np.asarray(values) for name, values in found.items()}


def barrier(values: NDArray[np.float64], better: str = "lower") -> float:
    """Highest value of a line minus the mean of its ends (Frankle et al. 2020, Section 2); where higher is `better`,
    by how much the lowest falls below that mean."""
    line = values if better == "lower" else -values
    return float(line.max() - (line[0] + line[-1]) / 2)
