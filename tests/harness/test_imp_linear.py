"""IMP on a linear model trained to convergence is backward elimination by |coefficient| (Elesedy et al. 2020)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmark.networks.mlp import Mlp
from benchmark.plugins.load import find
from benchmark.protocols import Protocol
from benchmark.protocols.levels import ListedDensities, materialise
from benchmark.protocols.methods import MethodSpec, PruningSpec
from benchmark.pruning.schedule import prune
from benchmark.pruning.scorer import ScoredNetwork

Array = NDArray[np.float64]


def imp_order(tiny: Protocol, features: Array, target: Array, per_round: int) -> list[set[int]]:
    """Features that the engine's iterative magnitude pruning drops, round by round.

    "Training" is gradient descent on the squared loss with pruned weights held at zero, from a non-zero start,
    long enough to converge: what any rewinding would give.
    """
    rows, d = features.shape
    pruning = PruningSpec.model_validate(
        {**tiny.pruning.model_dump(), "prunable": {"fc1.weight": (1, d)}, "layer_rates": {}}
    )
    schedule = {"rounds": "levels", "scores": "trained", "restart": 0}
    spec = MethodSpec.model_validate(
        {"pruner": "magnitude", "allocation": "layerwise", "schedule": schedule, "levels": "all"}
    )
    densities = [left / d for left in range(d - per_round, 0, -per_round)]
    levels = materialise(ListedDensities(rule="listed", densities=densities), {"fc1": d}, {})
    gram, along, masks, dropped = features.T @ features / rows, features.T @ target / rows, None, []
    step = 1 / np.linalg.eigvalsh(gram)[-1]
    alive = torch.ones(d, dtype=torch.bool)
    for level in levels[1:]:
        w = np.full(d, 0.3) * alive.numpy()
        for _ in range(4000):
            w = (w - step * (gram @ w - along)) * alive.numpy()
        state = {"fc1.weight": torch.tensor(w[None]).float(), "fc1.bias": torch.zeros(1)}
        subject = ScoredNetwork(Mlp((d, 1)), state, (d,), 1)
        plugin = find("magnitude").make({})
        masks, _ = prune(plugin, spec, pruning, level, subject, None, torch.Generator(), masks)
        after = masks["fc1.weight"][0]
        dropped.append(set((alive & ~after).nonzero().flatten().tolist()))
        assert not (after & ~alive).any()
        alive = after
    return dropped


def backward_elimination(features: Array, target: Array, per_round: int) -> list[set[int]]:
    """Drop the smallest least-squares coefficients, refit, repeat: numpy's lstsq and nothing else."""
    left, dropped = list(range(features.shape[1])), []
    while len(left) > per_round:
        coefficients = np.linalg.lstsq(features[:, left], target, rcond=None)[0]
        smallest = sorted(range(len(left)), key=lambda i: abs(coefficients[i]))[:per_round]
        dropped.append({left[i] for i in smallest})
        left = [j for i, j in enumerate(left) if i not in smallest]
    return dropped


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("per_round", [1, 3])
def test_correlated_features_leave_by_backward_elimination(tiny_protocol: Protocol, seed: int, per_round: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((60, 10)) + 0.7 * rng.standard_normal((60, 1))
    target = features @ rng.standard_normal(10) + rng.standard_normal(60)
    expected = backward_elimination(features, target, per_round)
    assert imp_order(tiny_protocol, features, target, per_round) == expected


@pytest.mark.parametrize("seed", range(5))
def test_orthogonal_features_leave_by_projection(tiny_protocol: Protocol, seed: int) -> None:
    """In increasing |<phi, y>| / ||phi||^2, known before any training."""
    rng = np.random.default_rng(100 + seed)
    features = np.linalg.qr(rng.standard_normal((30, 8)))[0] * rng.uniform(0.7, 1.4, 8)
    target = rng.standard_normal(30)
    order = np.argsort(np.abs(features.T @ target) / (features**2).sum(0))
    assert imp_order(tiny_protocol, features, target, 1) == [{int(j)} for j in order[:-1]]
