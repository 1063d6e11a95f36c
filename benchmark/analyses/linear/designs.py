"""Random regression problems: designs of features, and targets that follow them densely or sparsely, with noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from benchmark.analyses.linear.flow import Array
from benchmark.utils.errors import BadInput, did_you_mean

Design = Literal["orthogonal", "orthogonal-unequal", "gaussian"]


@dataclass(frozen=True)
class Problem:
    """`features`: (n, d). `target`: (n,). `support`: the features of the target's nonzero coefficients."""

    features: Array
    target: Array
    support: frozenset[int]


def drawn(
    rng: np.random.Generator,
    design: str,
    shape: tuple[int, int],
    *,
    correlation: float = 0.0,
    sparsity: int = 0,
    noise: float = 1.0,
) -> Problem:
    """A problem of `shape` (rows n, features d).

    orthogonal: d columns of a random orthogonal matrix, each of norm sqrt(n); orthogonal-unequal: of that times U(0.5,
    2). gaussian: rows are normal with variance 1 and the same `correlation` between any two features, columns scaled to
    norm sqrt(n). The target is the features times coefficients plus normal noise of standard deviation `noise`.
    Coefficients are standard normal; with `sparsity` s only s are not zero, and those have absolute values 1 + |N(0,
    1)|, for what noise hides says nothing about selection. Raises BadInput for what cannot be drawn.
    """
    check(design, shape, correlation, sparsity)
    rows, count = shape
    coefficients, chosen = np.zeros(count), rng.permutation(count)[: sparsity or count]
    coefficients[chosen] = rng.standard_normal(len(chosen))
    if sparsity:
        coefficients += np.sign(coefficients)
    features = _features(rng, design, shape, correlation)
    target = features @ coefficients + noise * rng.standard_normal(rows)
    return Problem(features, target, frozenset(int(j) for j in chosen))


def _features(rng: np.random.Generator, design: str, shape: tuple[int, int], correlation: float) -> Array:
    rows, count = shape
    if design == "gaussian":
        common = rng.standard_normal((rows, 1))
        columns = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * rng.standard_normal(shape)
        scaled: Array = columns * (np.sqrt(rows) / np.linalg.norm(columns, axis=0))
        return scaled
    columns = np.linalg.qr(rng.standard_normal(shape))[0] * np.sqrt(rows)
    unequal: Array = columns * (rng.uniform(0.5, 2.0, count) if design == "orthogonal-unequal" else 1.0)
    return unequal


def check(design: str, shape: tuple[int, int], correlation: float, sparsity: int) -> None:
    """Raises BadInput naming what cannot be drawn."""
    rows, count = shape
    if design not in get_args(Design):
        raise BadInput(f"design '{design}'", "there is none of this name", did_you_mean(design, list(get_args(Design))))
    if design != "gaussian" and count > rows:
        raise BadInput(f"design '{design}' of {count} features", f"{rows} rows hold no more", "Use as many rows")
    if not 0 <= correlation < 1 or (correlation and design != "gaussian"):
        raise BadInput(
            f"correlation {correlation} of design '{design}'",
            "gaussian takes one in [0, 1), others none",
            "Give one that is",
        )
    if not 0 <= sparsity <= count:
        raise BadInput(f"{sparsity} nonzero coefficients", f"there are {count} features", f"Give 0 to {count}")
