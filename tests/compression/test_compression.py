"""What stored bits are, which entries a budget pays for, the contract of compressors, and the model of cycles."""

from __future__ import annotations

from itertools import product
from math import comb, log2

import pytest
import torch
from compressible import Small, network
from hypothesis import given
from hypothesis import strategies as st

from baselines.escalate import Escalate
from baselines.magnitude_code import MagnitudeCode
from benchmark.api import Compressed, Compressor, Network
from benchmark.compression.coding import Code, binary_entropy, filled
from benchmark.compression.cycles import Machine
from benchmark.compression.interface import LayerCost, Work, budget_for, compressed, copied, dense_bits
from benchmark.plugins.load import make_compressor
from benchmark.plugins.registry import locate, names
from benchmark.utils.errors import BadInput, BadPruner


def test_entropy_bounds_the_number_of_patterns() -> None:
    """n H(k / n) is at least log2 of n over k, and no more than log2(n + 1) above it."""
    for n, k in ((10, 3), (100, 2), (1000, 20)):
        exact = log2(comb(n, k))
        assert exact <= n * binary_entropy(k / n) <= exact + log2(n + 1)
    assert Code("bitmap", 8).bits(100, 3) == {"positions": 100, "values": 24}
    assert Code("entropy", 1).bits(100, 0) == {"positions": 0, "values": 0}


def test_zero_share_inverts_the_bits_of_a_place() -> None:
    code = Code("entropy", 1)
    share = code.zero_share(0.5)
    assert binary_entropy(share) + (1 - share) == pytest.approx(0.5, abs=1e-9)
    assert Code("bitmap", 1).zero_share(1.25) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="bitmap takes"):
        Code("bitmap", 1).zero_share(0.9)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=7), st.integers(1, 6), st.integers(0, 60))
def test_a_budget_pays_for_the_longest_run_of_highest_scores(values: list[int], cut: int, budget: int) -> None:
    """Against trying every number of scores, highest first, each tensor with one at least and `most` at most."""
    cut = min(cut, len(values) - 1)
    scores = {"a": torch.tensor(values[:cut]), "b": torch.tensor(values[cut:])}
    code, sizes = Code("entropy", 3), {"a": cut, "b": len(values) - cut}

    def cost(kept: dict[str, int]) -> int:
        return sum(sum(code.bits(sizes[name], kept[name]).values()) for name in kept)

    order = sorted(range(len(values)), key=lambda place: (-values[place], place))
    best = None
    for count in range(len(values) + 1):
        inside = sum(place < cut for place in order[:count])
        asked = {"a": inside, "b": count - inside}
        kept = {name: min(max(asked[name], 1), code.most(sizes[name])) for name in sizes}
        if cost(kept) <= budget:
            best = kept
    assert filled(scores, code, cost, budget) == best


def test_most_is_where_the_cost_turns() -> None:
    for positions, bits, size in product(("entropy", "bitmap"), (1, 3), (9, 30)):
        code = Code(positions, bits)
        costs = [
            (size if positions == "bitmap" else size * binary_entropy(k / size)) + bits * k for k in range(size + 1)
        ]
        assert costs[: code.most(size) + 1] == sorted(costs[: code.most(size) + 1])


@pytest.mark.parametrize("precision", [32, 8])
def test_magnitude_keeps_the_largest_weights(precision: int) -> None:
    whole = network()
    found = compressed("magnitude-code", MagnitudeCode(precision=precision), whole, budget_for(whole, 3))
    kept = {name: layer.bits["values"] // precision for name, layer in found.layers().items()}
    everything = torch.cat([weight.abs().flatten() for weight in whole.weights.values()])
    highest = everything.sort(descending=True).values[: sum(kept.values())]
    left = torch.cat([layer.stored().detach().flatten() for layer in found.module.children()])
    magnitudes = left.abs().sort(descending=True).values[: sum(kept.values())]
    assert torch.allclose(magnitudes, highest, atol=0 if precision == 32 else float(highest[0]) / 200)
    step = 0 if precision == 32 else 3 * 32
    assert found.bits() == everything.numel() + precision * sum(kept.values()) + step
    module = found.module.train()
    module(torch.randn(3, 2, 6, 6)).square().sum().backward()
    for name, layer in module.named_children():
        assert torch.equal(layer.weight.grad[~layer.mask], torch.zeros(layer.mask.numel() - kept[name]))
    with pytest.raises(BadInput, match="bitmap of the weights alone needs"):
        MagnitudeCode().compress(whole, budget_for(whole, 33))


def test_the_contract_is_held() -> None:
    """What breaks it is refused by name: too many bits, a changed network, another function."""
    whole = network()

    class TooLarge(Compressor):
        def compress(self, network: Network, budget: int) -> Compressed:  # noqa: ARG002
            return Compressed(copied(network), network.input_shape)

    class Changing(Compressor):
        def compress(self, network: Network, budget: int) -> Compressed:
            next(iter(network.weights.values())).zero_()
            return MagnitudeCode().compress(network, budget)

    class Another(Compressor):
        def compress(self, network: Network, budget: int) -> Compressed:
            found = MagnitudeCode().compress(network, budget)
            return Compressed(torch.nn.Sequential(found.module, torch.nn.Flatten(0)), found.input_shape)

    budget = budget_for(whole, 2)
    with pytest.raises(BadPruner, match=f"compressor 'mine': took {dense_bits(whole)} bits of {budget}"):
        compressed("mine", TooLarge(), whole, budget)
    with pytest.raises(BadPruner, match="changed the network"):
        compressed("mine", Changing(), whole, budget)
    with pytest.raises(BadPruner, match=r"gave outputs of \(8,\)"):
        compressed("mine", Another(), network(), budget)
    with pytest.raises(BadInput, match="the weights take"):
        compressed("mine", TooLarge(), whole, dense_bits(whole))
    with pytest.raises(BadInput, match="is no compression"):
        budget_for(whole, 1.0)


def test_layers_left_as_they_are_count_whole() -> None:
    found = Compressed(Small(), (2, 6, 6))
    assert found.bits() == 32 * (5 * 2 * 9 + 3 * 5 * 9 + 48)
    assert found.multiply_adds() == 36 * 90 + 4 * 135 + 48


def test_cycles_of_two_layers_by_hand() -> None:
    """Ten pixels; stage one 18 multiplications and 3 scales on 5 multipliers; two lanes: channels (4, 1) and (2)."""
    machine = Machine(multipliers=5, lanes=2)
    layer = LayerCost({}, Work(18, (4, 1, 2), 3), 10)
    assert machine.stages(layer) == (42, 10 * (4 + 2))
    linear = LayerCost({}, Work(0, (1, 0, 0), 3), 1)
    assert machine.cycles([layer, linear]) == 60 + 1
    assert machine.dense_cycles(71) == 11
    with pytest.raises(ValueError, match="above 0"):
        Machine(0, 2)


def test_registered_by_name() -> None:
    assert names("compressor") == ["escalate", "magnitude-code"]
    assert isinstance(make_compressor(locate("escalate", kind="compressor"), {"basis": 4}), Escalate)
    with pytest.raises(BadInput, match="compressor 'escalat'"):
        locate("escalat", kind="compressor")
    with pytest.raises(BadPruner, match="cannot be made with"):
        make_compressor(locate("escalate", kind="compressor"), {"basis": 0})
