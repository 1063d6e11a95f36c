"""Recovery of planted networks: operator, solver and measures against dense matrices, autograd and brute force."""

from __future__ import annotations

import itertools
import math
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.analyses.recovery.isometry import certified, least_active, least_apart, sampled
from benchmark.analyses.recovery.measures import HIGHEST, psnr, support_overlap, weight_error
from benchmark.analyses.recovery.planted import Planted, labelled, opposite_weights, outputs, planted_weights
from benchmark.analyses.recovery.sensing import Sensing, fixed, refreshed
from benchmark.analyses.recovery.solver import TRIALS, Iterate, accelerated_iht, armijo, plain_iht, threshold
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import stream

UNITS, WIDTH, EXAMPLES = 3, 6, 400


def problem(sparsity: int = 7, seed: int = 0, examples: int = EXAMPLES) -> Planted:
    weights = planted_weights(UNITS, WIDTH, sparsity, stream(seed, "weights"))
    return labelled(weights, examples, stream(seed, "inputs"))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=stream(seed, "random"), dtype=torch.float64)


def matrix(inputs: Tensor, generators: Tensor) -> Tensor:
    """(n, m d): A, block by block, example by example."""
    rows = [torch.cat([x * float(h @ x > 0) for h in generators]) for x in inputs]
    return torch.stack(rows)


def steps(planted: Planted, start: Sensing, sparsity: int, refresh: int | None, count: int) -> list[Iterate]:
    patterns = fixed if refresh is None else refreshed(planted.inputs, refresh)
    return list(islice(accelerated_iht(planted.labels, start, sparsity, patterns), count))


def test_what_is_planted() -> None:
    planted = problem()
    assert int((planted.weights != 0).sum()) == 7
    by_hand = sum(torch.relu(planted.inputs @ w) for w in planted.weights)
    torch.testing.assert_close(outputs(planted.inputs, planted.weights), by_hand)
    assert torch.equal(planted.labels, by_hand.float().double())
    assert torch.equal(planted.inputs, planted.inputs.float().double())
    assert planted.peak == max(abs(label) for label in planted.labels.tolist())
    with pytest.raises(BadInput, match="18"):
        planted_weights(UNITS, WIDTH, 19, stream(0, "weights"))


def test_opposite_units_share_no_example() -> None:
    weights = opposite_weights(4, WIDTH, 8, stream(1, "weights"))
    assert int((weights != 0).sum()) == 8
    patterns = Sensing.of(random(200, WIDTH), weights[(weights != 0).any(1)]).patterns
    assert torch.equal(patterns[:, 0] + patterns[:, 1], torch.ones(200, dtype=torch.float64))
    with pytest.raises(BadInput, match="pairs"):
        opposite_weights(3, WIDTH, 8, stream(1, "weights"))


def test_the_map_is_the_matrix() -> None:
    inputs, generators, weights, residual = (
        random(40, WIDTH),
        random(UNITS, WIDTH, seed=1),
        random(UNITS, WIDTH, seed=2),
        random(40, seed=3),
    )
    dense, sensing = matrix(inputs, generators), Sensing.of(inputs, generators)
    torch.testing.assert_close(sensing.apply(weights), dense @ weights.flatten())
    torch.testing.assert_close(sensing.adjoint(residual).flatten(), dense.T @ residual)
    torch.testing.assert_close(sensing.gram(), dense.T @ dense)
    torch.testing.assert_close(sensing.column_norms().flatten(), dense.norm(dim=0))
    torch.testing.assert_close(Sensing.of(inputs, weights).apply(weights), outputs(inputs, weights))


def test_the_gradient_is_that_of_the_network() -> None:
    """Under its own patterns, A^T (A w - y) is what autograd finds for half the squared error of the ReLU network."""
    planted, weights = problem(), random(UNITS, WIDTH).requires_grad_()
    (0.5 * (outputs(planted.inputs, weights) - planted.labels) ** 2).sum().backward()
    sensing = Sensing.of(planted.inputs, weights.detach())
    found = sensing.adjoint(sensing.apply(weights.detach()) - planted.labels)
    assert weights.grad is not None
    torch.testing.assert_close(found, weights.grad)


def test_thresholding_keeps_the_largest() -> None:
    weights = torch.tensor([[1.0, -3.0, 2.0], [2.0, 0.5, -2.0]])
    assert threshold(weights, 3).tolist() == [[0.0, -3.0, 2.0], [2.0, 0.0, 0.0]]  # of equal ones the first
    drawn = random(5, 9)
    order = sorted(range(45), key=lambda i: -abs(float(drawn.flatten()[i])))
    assert set(threshold(drawn, 11).flatten().nonzero().flatten().tolist()) == set(order[:11])


def literal_step(dense: np.ndarray, y: np.ndarray, w: np.ndarray, s: int) -> np.ndarray:
    """One step as the released loop is written: every trial of the line search evaluates the objective anew."""
    g = dense.T @ (dense @ w - y)
    on = np.flatnonzero(w)
    mu = 1e-14
    if len(on):
        mu = (g[on] @ g[on]) / (np.sum((dense[:, on] @ g[on]) ** 2) + 1e-8)
    moved = w - mu * g
    on = np.sort(np.argsort(-np.abs(moved), kind="stable")[:s])
    part, x = dense[:, on], moved[on]
    first, first_value = x, np.sum((part @ x - y) ** 2)
    value = first_value
    for _ in range(10):
        g = part.T @ (part @ x - y)
        for trial in itertools.count(1):
            ahead = x - mu * g
            if np.sum((part @ ahead - y) ** 2) <= value - 0.9 * mu * (g @ g):
                x, value = ahead, np.sum((part @ ahead - y) ** 2)
                break
            mu /= 2
            if trial > 10:
                x, value = first, first_value
                break
    result = np.zeros_like(w)
    result[on] = x
    return result


@pytest.mark.parametrize("refresh", [1, 2])
def test_steps_are_those_of_the_released_loop(refresh: int) -> None:
    planted, generators = problem(), random(UNITS, WIDTH, seed=5)
    found = steps(planted, Sensing.of(planted.inputs, generators), 7, refresh, 5)
    dense, w = matrix(planted.inputs, generators).numpy(), np.zeros(UNITS * WIDTH)
    for number, iterate in enumerate(found):
        w = literal_step(dense, planted.labels.numpy(), w, 7)
        np.testing.assert_allclose(iterate.weights.flatten().numpy(), w, rtol=1e-6, atol=1e-9)
        if number > 0 and number % refresh == 0:
            dense = matrix(planted.inputs, torch.from_numpy(w.reshape(UNITS, WIDTH))).numpy()


@pytest.mark.parametrize("seed", range(3))
def test_armijos_rule_is_the_fall_of_the_objective(seed: int) -> None:
    dense, residual = random(30, 8, seed=seed), random(30, seed=seed + 10)
    gradient = dense.T @ residual
    slope, curvature = float(gradient @ gradient), float((dense @ gradient) @ (dense @ gradient))
    for size in (1.0, 0.3, 0.05, 1e-3):
        wanted = size
        while (
            float(((residual - wanted * dense @ gradient) ** 2).sum())
            > float(residual @ residual) - 0.9 * wanted * slope
        ):
            wanted /= 2
        assert armijo(size, slope, curvature) == (wanted, True)
    assert armijo(1.0, 1.0, 1e9) == (2.0**-TRIALS, False)


def test_properties_of_the_iteration() -> None:
    """Exactly s weights; the objective never rises on the support; with oracle patterns the planted ones are found."""
    planted = problem(sparsity=6, seed=3)
    for start, refresh in ((planted.weights, None), (random(UNITS, WIDTH, seed=4), 1)):
        for iterate in steps(planted, Sensing.of(planted.inputs, start), 6, refresh, 40):
            assert int((iterate.weights != 0).sum()) == 6
            falls = itertools.pairwise(iterate.objective)
            assert iterate.gave_up == 0
            assert all(after <= before * (1 + 1e-12) for before, after in falls)
        if refresh is None:
            assert weight_error(iterate.weights, planted.weights) < 1e-6


def test_a_unit_without_weights_stays_dead() -> None:
    planted, weights = problem(), random(UNITS, WIDTH)
    weights[1] = 0
    sensing = refreshed(planted.inputs, 1)(weights, 1)
    assert sensing is not None
    assert not sensing.patterns[:, 1].any()
    assert not sensing.adjoint(planted.labels)[1].any()


def test_patterns_are_refreshed_after_multiples_but_not_after_the_first_step() -> None:
    planted = problem()
    patterns = refreshed(planted.inputs, 5)
    assert [step for step in range(16) if patterns(planted.weights, step) is not None] == [5, 10, 15]


def test_plain_iht_without_thresholding_is_gradient_descent() -> None:
    dense, y = random(50, 6), random(50, seed=1)
    wanted = torch.zeros(6, dtype=torch.float64)
    for weights in islice(plain_iht(lambda w: dense @ w, lambda r: dense.T @ r, y, 6, 0.01, wanted.clone()), 20):
        wanted = wanted - 0.01 * dense.T @ (dense @ wanted - y)
        torch.testing.assert_close(weights, wanted)


def test_psnr_by_hand() -> None:
    assert psnr(0.01, 10.0) == pytest.approx(40.0)
    assert psnr(0.0, 1.0) == HIGHEST


def test_units_are_matched_as_well_as_they_can_be() -> None:
    rng = stream(0, "matched")
    planted, found = planted_weights(4, 5, 9, rng), planted_weights(4, 5, 9, rng)
    orders = list(itertools.permutations(range(4)))
    common = max(int(((planted != 0) & (found[list(order)] != 0)).sum()) for order in orders)
    assert support_overlap(found, planted) == pytest.approx(100 * common / 9)
    least = min(float((planted - found[list(order)]).norm()) for order in orders)
    assert weight_error(found, planted) == pytest.approx(least / float(planted.norm()))
    for order in orders:
        assert support_overlap(planted[list(order)], planted) == 100
        assert weight_error(planted[list(order)], planted) == 0


def test_isometry_holds_for_every_support() -> None:
    dense = random(30, 7)
    gram = dense.T @ dense
    bounds = certified(gram)
    every = [c for size in range(1, 8) for c in itertools.combinations(range(7), size)]
    spectra = [torch.linalg.eigvalsh(gram[list(c)][:, list(c)]) for c in every]
    assert bounds.alpha == pytest.approx(min(float(values[0]) for values in spectra))
    assert bounds.beta == pytest.approx(max(float(values[-1]) for values in spectra))
    some = sampled(gram, 3, 20, stream(0, "supports"))
    assert bounds.alpha <= some.alpha <= some.beta <= bounds.beta
    whole = sampled(gram, 7, 1, stream(0, "supports"))
    assert (whole.alpha, whole.beta) == pytest.approx((bounds.alpha, bounds.beta))
    assert bounds.step_size == 2 / (3 * bounds.beta)
    assert bounds.needed(5) == math.ceil(32 * (bounds.beta / bounds.alpha) ** 2 * 5)
    twice = torch.cat([dense, dense[:, :1]], 1)
    assert certified(twice.T @ twice).needed(1) == math.inf
    small = [certified(torch.diag(torch.tensor([1.0, least], dtype=torch.float64))) for least in (1e-15, 1e-16)]
    assert [bounds.alpha for bounds in small] == [1e-15, 0.0]
    with pytest.raises(ValueError, match="8 of 7"):
        sampled(gram, 8, 1, stream(0, "supports"))


def test_patterns_are_counted() -> None:
    patterns = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 1, 1], [1, 1, 0]])
    assert least_active(patterns) == 25
    assert least_apart(patterns) == 50  # the first two, on two of four
    assert least_apart(patterns[:, :1]) == 100
