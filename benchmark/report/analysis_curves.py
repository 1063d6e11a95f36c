"""The curves beside the records of analyses, over seeds, for the pictures that show them. No torch.

What an analysis's curves mean is said here, in a table by its name, because reports may not load the analysis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.claims.observations import Observations
from benchmark.protocols.cells import Cell, density_text
from benchmark.records.store import Store
from benchmark.utils.npz import unpack

MOST_SERIES = 8
"""Of one picture; further methods and levels are left out, and the table of numbers has them."""


@dataclass(frozen=True)
class Drawn:
    """Which curves of an analysis are drawn: arrays `y` (name -> how its line is called) over the array `x`."""

    title: str
    x: str
    x_title: str
    y: Mapping[str, str]
    y_title: str


DRAWN: Mapping[str, Drawn] = {
    "instability": Drawn(
        "Error along the line between two copies",
        "place",
        "place on the line, from one copy to the other",
        {"test_error": "test", "train_error": "training"},
        "error, %",
    ),
    "mode-connectivity": Drawn(
        "Accuracy along the line between successive levels",
        "place",
        "place on the line, from the level before to the level",
        {"test_accuracy": "test"},
        "accuracy, %",
    ),
    "representations": Drawn(
        "Similarity to the dense network, layer by layer",
        "layer",
        "layer, the output last",
        {"svcca": "SVCCA"},
        "mean canonical correlation",
    ),
    "iht": Drawn("Recovery by iterative hard thresholding", "step", "steps", {"psnr": "network"}, "PSNR, dB"),
    "planted-imp": Drawn(
        "Recovery by iterative magnitude pruning", "round", "rounds of pruning", {"psnr": "network"}, "PSNR, dB"
    ),
}
"""By the name of an analysis."""


@dataclass(frozen=True)
class Series:
    """One line of a picture: means over seeds, the lowest and the highest seed at every place. `dashed`: not the first
    curve of its analysis."""

    name: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: int
    colour: int
    dashed: bool


@dataclass(frozen=True)
class CurvePicture:
    """What one picture shows."""

    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]


def curve_pictures(store: Store, seen: Observations) -> list[CurvePicture]:
    """One picture for each analysis of a protocol whose curves are drawn and measured; of the records in `store`.

    Raises one of `benchmark.utils.npz`'s errors for curves that cannot be read.
    """
    names = dict.fromkeys(spec.analysis for spec in seen.protocol.analyses.values())
    found = [(DRAWN[name], _series(store, seen, name)) for name in names if name in DRAWN]
    return [CurvePicture(drawn.title, drawn.x_title, drawn.y_title, series) for drawn, series in found if series]


def _series(store: Store, seen: Observations, analysis: str) -> tuple[Series, ...]:
    drawn, protocol = DRAWN[analysis], seen.protocol
    lines: list[Series] = []
    places = [(m, level) for m, spec in protocol.analyses.items() if spec.analysis == analysis for level in spec.levels]
    for method, level in places:
        runs = _runs(store, seen, method, level)
        if not runs or len(lines) >= MOST_SERIES:
            continue
        colour = len({line.colour for line in lines})
        for number, (array, words) in enumerate(drawn.y.items()):
            if not all(array in run for run in runs):
                continue
            values = np.stack([run[array] for run in runs]).astype(np.float64)
            x = runs[0].get(drawn.x, np.linspace(0.0, 1.0, values.shape[1]))
            name = f"{method}, {density_text(protocol, level)}, {words}"
            mean, low, high = (_numbers(found) for found in (values.mean(0), values.min(0), values.max(0)))
            lines.append(Series(name, _numbers(x), mean, low, high, len(runs), colour, number > 0))
    return tuple(lines)


def _runs(store: Store, seen: Observations, method: str, level: int) -> list[dict[str, NDArray[Any]]]:
    """The curves of every seed that finished and has as many places as the first."""
    protocol, runs = seen.protocol, list[dict[str, NDArray[Any]]]()
    for seed in protocol.seeds:
        records = seen.records.get((method, level, seed), [])
        path = store.curves_path(protocol, Cell(method, level, seed))
        if any(record.status == "finished" for record in records) and path.is_file():
            runs.append(unpack(path))
    return [run for run in runs if {k: v.shape for k, v in run.items()} == {k: v.shape for k, v in runs[0].items()}]


def _numbers(array: NDArray[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in array)
