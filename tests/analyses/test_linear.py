"""Linear models: exact gradient flow against small steps, and the order in which pruning removes features."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.analyses.linear.designs import drawn
from benchmark.analyses.linear.flow import (
    flow,
    order_of_elimination,
    order_of_imp,
    order_of_one_shot,
    order_of_projection,
)
from benchmark.utils.errors import BadInput

RNG = np.random.default_rng


@pytest.mark.parametrize(("rows", "count"), [(20, 4), (3, 6)])
def test_the_flow_is_many_small_steps(rows: int, count: int) -> None:
    rng = RNG(0)
    features, target, weights = (
        rng.standard_normal((rows, count)),
        rng.standard_normal(rows),
        rng.standard_normal(count),
    )
    start, step = weights.copy(), 1e-4
    for _ in range(10_000):
        weights = weights - step * features.T @ (features @ weights - target) / rows
    np.testing.assert_allclose(flow(features, target, start, 1.0), weights, atol=2e-3)


def test_in_infinite_time_it_is_least_squares_and_keeps_the_null_space() -> None:
    rng = RNG(1)
    features, target, start = rng.standard_normal((20, 4)), rng.standard_normal(20), rng.standard_normal(4)
    np.testing.assert_allclose(flow(features, target, start, math.inf), np.linalg.lstsq(features, target)[0])
    wide, start = features.T, rng.standard_normal(20)
    pseudo = np.linalg.pinv(wide)
    wanted = pseudo @ target[:4] + start - pseudo @ wide @ start
    np.testing.assert_allclose(flow(wide, target[:4], start, math.inf), wanted)
    np.testing.assert_allclose(flow(wide, target[:4], start, 1e9), wanted, atol=1e-6)


def test_orders_by_hand() -> None:
    """Orthogonal features of lengths 2, 1 and 1: projections 4, 3 and 2, coefficients 1, 3 and 2."""
    features, target, start = np.diag([2.0, 1.0, 1.0]), np.array([2.0, 3.0, 2.0]), np.zeros(3)
    assert order_of_projection(features, target) == [2, 1]
    for order in (order_of_imp, order_of_one_shot):
        assert order(features, target, start, math.inf) == [0, 2]
        assert order(features, target, start, math.inf, 2) == [0]
    assert order_of_elimination(features, target) == [0, 2]
    ties = np.array([1.0, -1.0, 1.0])
    assert order_of_imp(np.eye(3), ties, start, math.inf, 0) == [2, 1, 0]  # of equal ones the last goes first
    assert order_of_one_shot(np.eye(3), ties, start, math.inf, 0) == [2, 1, 0]
    with pytest.raises(ValueError, match="independent"):
        order_of_elimination(np.ones((3, 2)), target)
    with pytest.raises(ValueError, match="4 of 3"):
        order_of_imp(features, target, start, math.inf, 4)


@pytest.mark.parametrize("design", ["orthogonal", "orthogonal-unequal", "gaussian"])
def test_imp_is_backward_elimination(design: str) -> None:
    """S1, from any start; S2 for orthogonal features, by their coefficient in closed form."""
    rng = RNG(2)
    for _ in range(20):
        problem = drawn(rng, design, (15, 6))
        order = order_of_imp(problem.features, problem.target, rng.standard_normal(6), math.inf)
        assert order == order_of_elimination(problem.features, problem.target)
        if design != "gaussian":
            lengths = (problem.features**2).sum(0)
            np.testing.assert_allclose(problem.features.T @ problem.features, np.diag(lengths), atol=1e-9)
            coefficients = np.abs(problem.features.T @ problem.target) / lengths
            assert order == list(np.argsort(coefficients)[:5])
        if design == "orthogonal":
            assert order == order_of_projection(problem.features, problem.target)


def test_designs_are_as_stated() -> None:
    problem = drawn(RNG(3), "gaussian", (4000, 5), correlation=0.5, sparsity=2)
    np.testing.assert_allclose((problem.features**2).sum(0), 4000)
    np.testing.assert_allclose(np.corrcoef(problem.features.T)[np.triu_indices(5, 1)], 0.5, atol=0.06)
    found = np.linalg.lstsq(problem.features, problem.target)[0]
    assert {int(j) for j in np.flatnonzero(np.abs(found) > 0.9)} == problem.support


@pytest.mark.parametrize(
    ("design", "shape", "other", "says"),
    [
        ("orthogonl", (9, 3), {}, "orthogonal"),
        ("orthogonal", (3, 9), {}, "3 rows hold no more"),
        ("orthogonal", (9, 3), {"correlation": 0.5}, "correlation"),
        ("gaussian", (9, 3), {"correlation": 1.0}, "correlation"),
        ("gaussian", (9, 3), {"sparsity": 4}, "4 nonzero"),
    ],
)
def test_what_cannot_be_drawn_is_said(design: str, shape: tuple[int, int], other: dict[str, float], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        drawn(RNG(0), design, shape, **other)  # type: ignore[arg-type]
