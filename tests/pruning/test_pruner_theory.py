"""What theory says of the scores: conservation, invariance under rescaling, and when layers collapse."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.magnitude import Magnitude
from baselines.snip import Snip
from baselines.synflow import SynFlow
from benchmark.api import Examples, Network, Pruner, Scores
from benchmark.networks.mlp import Mlp
from benchmark.protocols import Protocol
from benchmark.protocols.levels import Level
from benchmark.protocols.methods import MethodSpec, PruningSpec
from benchmark.pruning.schedule import prune
from benchmark.pruning.scorer import ScoredNetwork

WIDTHS = (6, 7, 5, 4)
State = dict[str, Tensor]


def state_of(seed: int, widths: tuple[int, ...] = WIDTHS, dtype: torch.dtype = torch.float64) -> State:
    """Random weights and biases of an MLP."""
    rng = torch.Generator().manual_seed(seed)
    return {n: torch.randn(p.shape, generator=rng, dtype=dtype) for n, p in Mlp(widths).named_parameters()}


def scores_of(pruner: Pruner, state: State, examples: Examples | None = None) -> Scores:
    """Scores of every weight and bias."""
    module = Mlp(WIDTHS).double()
    module.load_state_dict(state)
    masks = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in state.items()}
    return pruner.score(Network(module, state, {}, masks, (WIDTHS[0],), WIDTHS[-1]), examples, torch.Generator())


def some_examples() -> Examples:
    """Ten points, four classes."""
    rng = torch.Generator().manual_seed(5)
    return Examples(torch.randn(10, 6, generator=rng, dtype=torch.float64), torch.arange(10) % 4)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_synflow_is_conserved_at_every_hidden_unit_and_in_every_layer(seed: int) -> None:
    """Tanaka et al., theorems 1 and 2: what enters a unit (bias included) leaves it; every cut carries all of R."""
    state = state_of(seed)
    scores = scores_of(SynFlow(), state)
    for i in (1, 2):
        entering = scores[f"fc{i}.weight"].sum(1) + scores[f"fc{i}.bias"]
        leaving = scores[f"fc{i + 1}.weight"].sum(0)
        assert torch.allclose(entering, leaving, rtol=1e-12, atol=0)
    flow = torch.ones(1, 6, dtype=torch.float64)
    for i in (1, 2, 3):
        flow = flow @ state[f"fc{i}.weight"].abs().T + state[f"fc{i}.bias"].abs()
    for i in (1, 2, 3):  # a cut: the weights of one layer and every bias from there on
        cut = scores[f"fc{i}.weight"].sum() + sum(scores[f"fc{later}.bias"].sum() for later in range(i, 4))
        assert float(cut) == pytest.approx(float(flow.sum()), rel=1e-12)


def rescaled(state: State, unit: int, factor: float) -> State:
    """The same function: unit `unit` of layer 1 is `factor` times larger, what reads it as much smaller."""
    changed = {n: v.clone() for n, v in state.items()}
    changed["fc1.weight"][unit] *= factor
    changed["fc1.bias"][unit] *= factor
    changed["fc2.weight"][:, unit] /= factor
    return changed


@given(seed=st.integers(0, 10**6), unit=st.integers(0, 6), exponent=st.integers(-6, 6))
@settings(max_examples=25, deadline=None)
def test_saliencies_do_not_see_a_rescaled_hidden_unit(seed: int, unit: int, exponent: int) -> None:
    """w dR/dw is invariant under the symmetry of ReLU for any R of the output: SynFlow's and SNIP's."""
    state = state_of(seed)
    other = rescaled(state, unit, 1.5**exponent)
    for pruner, examples in ((SynFlow(), None), (Snip(), some_examples())):
        before, after = scores_of(pruner, state, examples), scores_of(pruner, other, examples)
        assert all(torch.allclose(before[n], after[n], rtol=1e-9, atol=1e-13) for n in before)


def test_magnitude_does_see_it() -> None:
    state = state_of(0)
    before, after = scores_of(Magnitude(), state), scores_of(Magnitude(), rescaled(state, 2, 3.0))
    assert torch.allclose(after["fc1.weight"][2], 3 * before["fc1.weight"][2])
    assert torch.allclose(after["fc2.weight"][:, 2], before["fc2.weight"][:, 2] / 3)


class Spy(Pruner):
    """Hands on another pruner's scores and remembers the masks it was shown."""

    def __init__(self, pruner: Pruner) -> None:
        self.pruner, self.masks = pruner, list[Scores]()

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:
        self.masks.append({name: mask.clone() for name, mask in network.masks.items()})
        assert all(not network.weights[name][~mask].any() for name, mask in network.masks.items())
        return self.pruner.score(network, examples, rng)


def pruned_by_synflow(tiny: Protocol, rounds: int, kept: int, seed: int) -> tuple[Spy, Scores]:
    """SynFlow over `rounds` global rounds on a network with one wide layer, which a single threshold empties."""
    widths = (12, 40, 40, 4)
    shapes = {n: tuple(p.shape) for n, p in Mlp(widths).named_parameters() if n.endswith("weight")}
    pruning = PruningSpec.model_validate({**tiny.pruning.model_dump(), "prunable": shapes, "layer_rates": {}})
    spec = MethodSpec.model_validate(
        {
            "pruner": "synflow",
            "allocation": "global",
            "schedule": {"rounds": rounds, "scores": "initial", "restart": 0},
            "levels": (1,),
        }
    )
    state = {n: v if n.endswith("weight") else 0 * v for n, v in state_of(seed, widths, torch.float32).items()}
    size = sum(pruning.tensor_sizes.values())
    spy = Spy(SynFlow())
    level = Level(1, kept, size, {}, {})
    masks, _ = prune(spy, spec, pruning, level, ScoredNetwork(Mlp(widths), state, (12,), 4), None, torch.Generator())
    assert sum(int(mask.sum()) for mask in masks.values()) == kept
    return spy, masks


@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_rounds_keep_every_layer_where_one_round_empties_one(tiny_protocol: Protocol, seed: int) -> None:
    """12 of 2,240 weights. Mean scores go as 1 / layer size (corollary of theorem 2), so 40 x 40 goes first."""
    _, once = pruned_by_synflow(tiny_protocol, 1, 12, seed)
    _, often = pruned_by_synflow(tiny_protocol, 100, 12, seed)
    assert not once["fc2.weight"].any()
    assert all(mask.any() for mask in often.values())


def test_rounds_are_exact_exponential_and_nested(tiny_protocol: Protocol) -> None:
    spy, masks = pruned_by_synflow(tiny_protocol, 100, 100, 0)
    shown = [*spy.masks, masks]
    counts = [sum(int(mask.sum()) for mask in each.values()) for each in shown]
    assert counts == [round(2240 * (100 / 2240) ** (r / 100)) for r in range(101)]
    for before, after in pairwise(shown):
        assert all(not (after[name] & ~before[name]).any() for name in after)
