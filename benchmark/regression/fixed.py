"""Which committed cells are made again: fast ones, fixed, that between them use most of the code. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.records import DENSE, Cell


@dataclass(frozen=True)
class FixedCells:
    """Of one protocol: `masks`, made again without training, by pruners that need no data; and `trained`, in order."""

    protocol: str
    masks: tuple[Cell, ...]
    trained: tuple[Cell, ...] = ()


FIXED = (
    FixedCells(
        "lth/lenet-mnist",
        masks=tuple(Cell(method, level, 0) for method in ("random", "magnitude", "synflow") for level in (7, 12, 18)),
    ),
    FixedCells(
        "mnist1d/mlp",
        masks=tuple(Cell("random", level, seed) for level in (50, 90) for seed in (0, 1, 2)),
        trained=(Cell(DENSE, 0, 0), *(Cell("imp", level, 0) for level in (1, 2, 3))),
    ),
)
"""Data-free masks of LeNet (one round layerwise, one round, 100 rounds global) and of MNIST-1D's network; the first
levels of one MNIST-1D chain: train, prune, rewind, train."""
