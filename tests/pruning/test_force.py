"""FORCE: its score by finite differences, pruned weights that return, and Iterative SNIP as the same rounds without."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from mlp_values import WIDTHS, Values, drawn, entries, loss, network, points

from baselines.force import Force
from baselines.snip import Snip
from benchmark.api import Examples, Masks, Network, Pruner, Scores
from benchmark.networks.mlp import Mlp
from benchmark.protocols import Protocol
from benchmark.protocols.levels import Level, exponential_totals
from benchmark.protocols.methods import MethodSpec, PruningSpec
from benchmark.pruning.schedule import cut
from benchmark.pruning.scorer import DirectScorer, ScoredNetwork
from benchmark.utils.errors import BadPruner

SIZE = sum(a * b for a, b in pairwise(WIDTHS))  # 41 weights
ROUNDS = 6


def spec(returns: str, rounds: int = ROUNDS) -> MethodSpec:
    """Global cuts of initial weights in some rounds."""
    schedule = {"rounds": rounds, "scores": "initial", "restart": 0, "pruned_weights": returns}
    return MethodSpec.model_validate({"pruner": "mine", "allocation": "global", "schedule": schedule, "levels": "all"})


def path_of_masks(pruner: Pruner, tiny: Protocol, returns: str, kept: int, rounds: int = ROUNDS) -> list[Masks]:
    """The masks that each round was scored under, and the last."""
    values = drawn(seed=5)
    shapes = {n: tuple(v.shape) for n, v in values.items() if n.endswith("weight")}
    pruning = PruningSpec.model_validate({**tiny.pruning.model_dump(), "prunable": shapes, "layer_rates": {}})
    module = Mlp(WIDTHS).double()
    module.load_state_dict(values)
    subject = ScoredNetwork(module, values, (WIDTHS[0],), WIDTHS[-1])
    shown: list[Masks] = []

    class Watched(Pruner):
        needs = "labels"

        def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:
            shown.append({n: m.clone() for n, m in network.masks.items()})
            return pruner.score(network, examples, rng)

    scorer = DirectScorer(Watched(), "mine", tuple(shapes), subject, points(), torch.Generator())
    last, _ = cut(scorer, spec(returns, rounds), pruning, Level(1, kept, SIZE, {}, None))
    return [*shown, last]


def flat(masks: Masks) -> np.ndarray:
    return np.concatenate([mask.numpy().ravel() for mask in masks.values()])


def half_masks(values: Values) -> Masks:
    """Every other weight."""
    return {n: (torch.arange(v.numel()) % 2 == 0).reshape(v.shape) for n, v in values.items() if n.endswith("weight")}


def test_the_score_is_the_unmasked_weight_times_the_gradient_of_the_masked_network() -> None:
    """Central differences of a numpy loss at theta * mask, for weights that are left and for those that are not."""
    values, examples = drawn(seed=4), points()
    masks = half_masks(values)
    masked = {n: v * masks[n] if n in masks else v for n, v in values.items()}
    scores = Force().score(network(values, masks=masks), examples, torch.Generator())
    returning = 0.0
    for name, index in entries(scores):
        up, down = ({n: v.clone() for n, v in masked.items()} for _ in range(2))
        up[name][index] += 1e-6
        down[name][index] -= 1e-6
        gradient = (loss(up, examples) - loss(down, examples)) / 2e-6
        expected = abs(float(values[name][index]) * gradient)
        assert float(scores[name][index]) == pytest.approx(expected, rel=1e-6, abs=1e-9)
        returning = max(returning, 0.0 if masks[name][index] else expected)
    assert returning > 0  # pruned weights have scores


def test_force_is_snip_where_nothing_is_pruned_and_snip_gives_pruned_weights_nothing() -> None:
    values, examples = drawn(seed=4), points()
    force, snip = (p.score(network(values), examples, torch.Generator()) for p in (Force(), Snip()))
    assert all(torch.equal(force[name], snip[name]) for name in force)
    masks = half_masks(values)
    force, snip = (p.score(network(values, masks=masks), examples, torch.Generator()) for p in (Force(), Snip()))
    assert all(torch.equal(force[n] * masks[n], snip[n]) for n in force)


def slow_path(returns: bool, kept: int) -> list[np.ndarray]:
    """The masks of all rounds by numpy: gradients by differences, a sort of all scores."""
    values, examples = drawn(seed=5), points()
    names = [n for n in values if n.endswith("weight")]
    theta = np.concatenate([values[n].numpy().ravel() for n in names])

    def at(w: np.ndarray) -> float:
        parts = np.split(w, np.cumsum([values[n].numel() for n in names])[:-1])
        shaped = {n: torch.from_numpy(p.reshape(values[n].shape).copy()) for n, p in zip(names, parts, strict=True)}
        return loss({n: shaped.get(n, v) for n, v in values.items()}, examples)

    mask, path = np.ones(len(theta), bool), [np.ones(len(theta), bool)]
    for total in exponential_totals(SIZE, kept, ROUNDS):
        step = 1e-6 * np.eye(len(theta))
        gradient = np.array([(at(theta * mask + e) - at(theta * mask - e)) / 2e-6 for e in step])
        score = np.abs(theta * gradient)
        if not returns:
            score[~mask] = -1
        mask = np.zeros(len(theta), bool)
        mask[np.argsort(-score, kind="stable")[:total]] = True
        path.append(mask)
    return path


@pytest.mark.parametrize("returns", ["may-return", "never-return"])
@pytest.mark.parametrize("kept", [4, 9])
def test_every_round_by_a_slow_computation(returns: str, kept: int, tiny_protocol: Protocol) -> None:
    path = path_of_masks(Force(), tiny_protocol, returns, kept)
    assert [int(flat(m).sum()) for m in path] == [SIZE, *exponential_totals(SIZE, kept, ROUNDS)]  # counts are exact
    for mine, slow in zip(path, slow_path(returns == "may-return", kept), strict=True):
        assert (flat(mine) == slow).all()


def test_pruned_weights_return_in_force_and_never_in_iterative_snip(tiny_protocol: Protocol) -> None:
    force = [flat(m) for m in path_of_masks(Force(), tiny_protocol, "may-return", 4)]
    assert any((later & ~earlier).any() for earlier, later in pairwise(force))
    snip = [flat(m) for m in path_of_masks(Snip(), tiny_protocol, "never-return", 4)]
    assert not any((later & ~earlier).any() for earlier, later in pairwise(snip))
    same = [flat(m) for m in path_of_masks(Force(), tiny_protocol, "never-return", 4)]
    assert all((one == other).all() for one, other in zip(snip, same, strict=True))
    assert (force[-1] != snip[-1]).any()


def test_where_weights_may_return_all_are_scored(tiny_protocol: Protocol) -> None:
    class OnlyWhatIsLeft(Pruner):
        def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
            return {n: w.abs() for n, w in network.kept().items()}

    path_of_masks(OnlyWhatIsLeft(), tiny_protocol, "never-return", 4)
    with pytest.raises(BadPruner, match="scores only what is left"):
        path_of_masks(OnlyWhatIsLeft(), tiny_protocol, "may-return", 4)
