"""The curves beside the records of analyses, over seeds, for the pictures that show them. No torch.

What an analysis's curves mean is said here, in a table by its name, because reports may not load the analysis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.claims.observations import Observations
from benchmark.protocols.cells import Cell, density_text
from benchmark.records.store import Store
from benchmark.utils.npz import unpack

MOST_SERIES = 12
"""Of one picture: as many as look different. Further methods and levels are counted below the legend, and the table of
numbers has them."""


@dataclass(frozen=True)
class Drawn:
    """Which curves of an analysis are drawn: arrays `y` (name -> how its line is called) over the array `x`.

    `first`: the first place where places are counted, so that `x` is known for records without the array; None where
    they are shares from 0 to 1.
    """

    title: str
    x: str
    x_title: str
    y: Mapping[str, str]
    y_title: str
    first: int | None = None


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
        first=1,
    ),
    "feature-maps": Drawn(
        "Similarity to the dense network's feature maps, convolution by convolution",
        "layer",
        "convolution",
        {"svcca": "SVCCA"},
        "mean canonical correlation",
        first=1,
    ),
    "iht-fit": Drawn("Fit by iterative hard thresholding", "step", "steps", {"psnr": "network"}, "PSNR, dB", first=1),
    "imp-fit": Drawn(
        "Fit by iterative magnitude pruning", "round", "rounds of pruning", {"psnr": "network"}, "PSNR, dB", first=0
    ),
    "iht-classes": Drawn(
        "Digits told apart by iterative hard thresholding",
        "step",
        "steps",
        {"test_accuracy": "test images"},
        "accuracy, %",
        first=1,
    ),
    "imp-classes": Drawn(
        "Digits told apart by iterative magnitude pruning",
        "round",
        "rounds of pruning",
        {"test_accuracy": "test images"},
        "accuracy, %",
        first=0,
    ),
    "denoising": Drawn(
        "PSNR while a generator fits a noisy image",
        "step",
        "updates",
        {"psnr": "to the clean image"},
        "PSNR, dB",
        first=1,
    ),
    "iht": Drawn("Recovery by iterative hard thresholding", "step", "steps", {"psnr": "network"}, "PSNR, dB", first=1),
    "planted-imp": Drawn(
        "Recovery by iterative magnitude pruning",
        "round",
        "rounds of pruning",
        {"psnr": "network"},
        "PSNR, dB",
        first=0,
    ),
}
"""By the name of an analysis."""


@dataclass(frozen=True)
class Series:
    """One line of a picture: means over seeds, the lowest and the highest seed at every place.

    `colour`: counts methods and levels; `dashed`: not the first curve of its analysis.
    """

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
    """What one picture shows. `counted`: places are whole numbers. `left_out`: measured lines that it does not show."""

    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    counted: bool = False
    left_out: int = 0


def curve_pictures(store: Store, seen: Observations) -> list[CurvePicture]:
    """One picture for each analysis of a protocol whose curves are drawn and measured; of the records in `store`.

    Raises one of `benchmark.utils.npz`'s errors for curves that cannot be read.
    """
    pictures = []
    for name in dict.fromkeys(spec.analysis for spec in seen.protocol.analyses.values()):
        if name in DRAWN and (lines := _series(store, seen, name)):
            drawn, left_out = DRAWN[name], max(0, len(lines) - MOST_SERIES)
            shown, counted = tuple(lines[:MOST_SERIES]), drawn.first is not None
            pictures.append(CurvePicture(drawn.title, drawn.x_title, drawn.y_title, shown, counted, left_out))
    return pictures


def _series(store: Store, seen: Observations, analysis: str) -> list[Series]:
    """Every measured line, methods as the protocol has them, levels from dense to sparse."""
    drawn, protocol = DRAWN[analysis], seen.protocol
    lines: list[Series] = []
    methods = [method for method, spec in protocol.analyses.items() if spec.analysis == analysis]
    places = [(method, level) for method in methods for level in sorted(protocol.analyses[method].levels)]
    for method, level in places:
        runs = runs_of(store, seen, method, level)
        colour = len({line.colour for line in lines})
        for number, (array, words) in enumerate(drawn.y.items()):
            alike = _alike(runs, array)
            if not alike:
                continue
            values = np.stack([run[array] for run in alike]).astype(np.float64)
            name = f"{method}, {density_text(protocol, level)}, {words}"
            mean, low, high = (_numbers(found) for found in (values.mean(0), values.min(0), values.max(0)))
            x = _places(drawn, alike, values.shape[1])
            lines.append(Series(name, x, mean, low, high, len(alike), colour, number > 0))
    return lines


def runs_of(store: Store, seen: Observations, method: str, level: int) -> list[dict[str, NDArray[Any]]]:
    """The curves of every seed that finished."""
    protocol, runs = seen.protocol, list[dict[str, NDArray[Any]]]()
    for seed in protocol.seeds:
        records = seen.records.get((method, level, seed), [])
        path = store.curves_path(protocol, Cell(method, level, seed))
        if any(record.status == "finished" for record in records) and path.is_file():
            runs.append(unpack(path))
    return runs


def _alike(runs: Sequence[dict[str, NDArray[Any]]], array: str) -> list[dict[str, NDArray[Any]]]:
    """The runs that hold a curve, with as many places as most of them; of as many, the first. What else beside a record
    is measured, or missing from those of an earlier version, does not matter."""
    lengths = [len(run[array]) for run in runs if array in run]
    wanted = max(dict.fromkeys(lengths), key=lengths.count, default=0)
    return [run for run in runs if array in run and len(run[array]) == wanted]


def _places(drawn: Drawn, runs: Sequence[dict[str, NDArray[Any]]], length: int) -> tuple[float, ...]:
    """Where the curves are measured, from the first run that says it; else as the analysis counts."""
    for run in runs:
        if len(run.get(drawn.x, ())) == length:
            return _numbers(run[drawn.x])
    if drawn.first is None:
        return _numbers(np.linspace(0.0, 1.0, length))
    return _numbers(np.arange(drawn.first, drawn.first + length))


def _numbers(array: NDArray[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in array)
