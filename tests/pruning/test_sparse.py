"""Networks that compute with what a mask keeps, against the same networks with the zeros written out."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_networks import network, prunable
from torch import Tensor, nn
from torch.nn import functional

from benchmark.api import Examples, Network, Pruner, Scores
from benchmark.plugins.load import find
from benchmark.protocols import load
from benchmark.pruning import sparse as layers
from benchmark.pruning.masks import SAMPLED, check_scores, full_masks, keep_highest, left, masks_from_scores, whole
from benchmark.pruning.schedule import ScoreWatch
from benchmark.pruning.scorer import DirectScorer, ScoredNetwork
from benchmark.pruning.sparse import Lazy, Pattern, SparseWeight
from benchmark.utils.errors import BadPruner

DENSITIES = (1.0, 0.6, 0.3, 0.1, 0.02, 0.0)  # each on another side of a threshold of `benchmark.pruning.sparse`


def drawn(shape: tuple[int, ...], density: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(float64 weights, a mask of about that density)."""
    rng = torch.Generator().manual_seed(seed)
    return (
        torch.randn(shape, generator=rng, dtype=torch.float64),
        torch.rand(shape, generator=rng) < density,
    )


def with_gradients(layer: Callable[[Tensor, Any], Tensor], inputs: Tensor, weight: Any, leaf: Tensor) -> list[Tensor]:
    """Outputs, and gradients of a weighted sum of them by the inputs and by `leaf`, which `weight` is made of."""
    outputs = layer(inputs, weight)
    factors = torch.linspace(-1, 2, outputs.numel(), dtype=torch.float64).reshape(outputs.shape)
    return [outputs, *torch.autograd.grad((outputs * factors).sum(), [inputs, leaf])]


def compare(layer: Callable[[Tensor, Any], Tensor], inputs: Tensor, shape: tuple[int, ...], density: float) -> None:
    values, mask = drawn(shape, density)
    dense = (values * mask).requires_grad_()
    pattern = Pattern(mask)
    own = values[mask].requires_grad_()
    inputs.requires_grad_()
    expected = with_gradients(layer, inputs, dense, dense)
    expected[2] = expected[2][mask]
    for seen, wanted in zip(with_gradients(layer, inputs, SparseWeight(own, pattern), own), expected, strict=True):
        torch.testing.assert_close(seen, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("large", [0, 10**12])
@pytest.mark.parametrize(
    ("shape", "options", "size"),
    [
        ((6, 5, 3, 3), {"padding": 1}, (1, 5, 4, 4)),  # 16 places: few columns
        ((6, 5, 3, 3), {"padding": 1}, (3, 5, 7, 6)),  # several examples, not square
        ((4, 5, 1, 1), {"stride": 2}, (2, 5, 9, 9)),
        ((4, 5, 3, 2), {"stride": (2, 1), "padding": (2, 0), "dilation": (1, 2)}, (2, 5, 9, 8)),
        ((4, 5, 3, 3), {"padding": "same"}, (2, 5, 4, 4)),  # by its name: the whole tensor is used
        ((6, 2, 3, 3), {"groups": 3}, (2, 6, 5, 5)),
    ],
)
def test_convolutions(
    shape: tuple[int, ...], options: dict[str, Any], size: tuple[int, ...], density: float, large: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(layers, "LARGE", large)
    bias = torch.linspace(0, 1, shape[0], dtype=torch.float64)
    inputs, _ = drawn(size, 1.0, seed=1)
    compare(lambda x, w: functional.conv2d(x, w, bias, **options), inputs, shape, density)
    compare(lambda x, w: functional.conv2d(x, w, **options), inputs.detach(), shape, density)


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("size", [(1, 7), (20, 7), (2, 3, 7)])
def test_linear_layers(size: tuple[int, ...], density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LARGE", 0)
    bias = torch.linspace(0, 1, 5, dtype=torch.float64)
    compare(lambda x, w: functional.linear(x, w, bias), drawn(size, 1.0, seed=1)[0], (5, 7), density)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions_stay_what_they_are(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LARGE", 0)
    values, mask = drawn((6, 20), 0.1)
    inputs = drawn((3, 20), 1.0, seed=1)[0].to(dtype)
    own = values[mask].to(dtype).requires_grad_()
    seen = functional.linear(inputs, SparseWeight(own, Pattern(mask)))
    assert seen.dtype == dtype
    torch.testing.assert_close(seen, functional.linear(inputs, (values * mask).to(dtype)))
    assert torch.autograd.grad(seen.sum(), own)[0].dtype == dtype


def test_only_large_layers_leave_their_zeros_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Tensor] = []
    times = SparseWeight.times
    monkeypatch.setattr(SparseWeight, "times", lambda self, columns: calls.append(columns) or times(self, columns))
    values, mask = drawn((8, 4, 3, 3), 0.1)
    weight = SparseWeight(values[mask], Pattern(mask))
    inputs = drawn((1, 4, 6, 6), 1.0)[0]
    expected = functional.conv2d(inputs, values * mask)
    for large, products in ((8 * 4 * 9 * 36, 1), (8 * 4 * 9 * 36 + 1, 0)):  # weights times places
        calls.clear()
        monkeypatch.setattr(layers, "LARGE", large)
        torch.testing.assert_close(functional.conv2d(inputs, weight), expected)
        assert len(calls) == products


def test_any_other_operation_sees_the_whole_tensor() -> None:
    values, mask = drawn((3, 4), 0.5)
    own = values[mask].requires_grad_()
    weight, dense = SparseWeight(own, Pattern(mask)), values * mask
    assert weight.shape == (3, 4)
    assert weight.dtype == torch.float64
    assert weight.numel() == 12
    assert torch.equal(weight + 1, dense + 1)
    assert torch.equal(torch.cat([dense, weight]), torch.cat([dense, dense]))  # type: ignore[list-item]
    assert torch.equal(functional.linear(dense, weight=weight), dense @ dense.t())
    assert torch.equal(functional.linear(dense, weight), dense @ dense.t())
    (gradient,) = torch.autograd.grad((weight**2).sum(), own)
    assert torch.equal(gradient, 2 * own.detach())


@pytest.mark.parametrize("density", DENSITIES[:-1])
@pytest.mark.parametrize("examples", [2, 20])
def test_derivatives_of_derivatives(density: float, examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a Hessian of two layers says, as GraSP asks it, and one order more: those of whole tensors, kept."""
    monkeypatch.setattr(layers, "LARGE", 0)
    values, mask = drawn((5, 5), density)
    inputs = drawn((examples, 5), 1.0, seed=1)[0].requires_grad_()

    def derivatives(own: Tensor, weight: Any) -> list[Tensor]:
        out = functional.linear(functional.linear(inputs, weight).tanh(), weight).tanh()
        (first,) = torch.autograd.grad((out * own.sum()).pow(2).sum(), own, create_graph=True)
        second, of_inputs = torch.autograd.grad(first.pow(2).sum(), [own, inputs], create_graph=True)
        (third,) = torch.autograd.grad((second * first).sum() + of_inputs.pow(2).sum(), own)
        return [first, second, third, of_inputs]

    own = values[mask].requires_grad_()
    flat = Pattern(mask)
    expected = derivatives(own, flat.whole(own))
    for seen, wanted in zip(derivatives(own, SparseWeight(own, flat)), expected, strict=True):
        torch.testing.assert_close(seen, wanted, rtol=1e-9, atol=1e-9 * float(wanted.detach().abs().max()))


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\) for one of shape \(3, 4\) of which 5 are kept"):
        SparseWeight(torch.zeros(2), Pattern(torch.arange(12).reshape(3, 4) < 5))


def test_lazy_tensors_are_made_once_and_only_for_known_names() -> None:
    made: list[str] = []
    lazy = Lazy(("a", "b"), lambda name: made.append(name) or torch.ones(1))  # type: ignore[func-returns-value]
    assert list(lazy) == ["a", "b"]
    assert len(lazy) == 2
    assert lazy["b"] is lazy["b"]
    assert made == ["b"]
    assert list(lazy.made) == ["b"]
    with pytest.raises(KeyError):
        lazy["c"]


class OfKept(Pruner):
    """Gradients by the kept weights, with batch statistics of its examples."""

    needs = "labels"

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        assert examples is not None
        weights = {name: w.double() for name, w in self.of(network).items()}
        others = {n: t.double() if t.is_floating_point() else t for n, t in network.others.items()}

        def loss(given: Scores) -> Tensor:
            return functional.cross_entropy(network.logits(examples.inputs.double(), given, others), examples.labels)

        return network.gradients(loss, weights)

    def of(self, network: Network) -> Scores:
        return network.kept()


class OfWhole(OfKept):
    """The same by all weights."""

    def of(self, network: Network) -> Scores:
        return dict(network.weights)


@pytest.mark.parametrize("density", [0.7, 0.3, 0.05])
def test_a_network_of_convolutions_batch_norm_and_pools(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prunable layer of a small VGG, three examples, batch statistics: the gradients of whole tensors, kept."""
    monkeypatch.setattr(layers, "LARGE", 0)
    module, state = network("vgg-11")
    module.train()
    names = tuple(prunable(module))
    masks = {name: drawn(tuple(state[name].shape), density, seed)[1] for seed, name in enumerate(names)}
    rng = torch.Generator().manual_seed(7)
    examples = Examples(torch.randn(3, 3, 32, 32, generator=rng), torch.tensor([0, 1, 2]))
    subject = ScoredNetwork(module, state, (3, 32, 32), 10)

    def scores(pruner: Pruner) -> Scores:
        return DirectScorer(pruner, "p", names, subject, examples, torch.Generator()).scores(masks)

    some, every = scores(OfKept()), scores(OfWhole())
    for name, mask in masks.items():
        assert some[name].shape == (int(mask.sum()),)
        torch.testing.assert_close(
            some[name], every[name][mask], rtol=1e-9, atol=1e-12 * float(every[name].abs().max())
        )


def test_what_kept_gives_is_new_each_time_and_may_be_changed() -> None:
    state = {"l.weight": torch.arange(6.0).reshape(2, 3), "l.bias": torch.ones(2)}
    module = nn.Module()
    module.l = nn.Linear(3, 2)
    module.load_state_dict(state)

    class Changes(Pruner):
        def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
            for vector in network.kept().values():
                vector.mul_(-1)
            assert not isinstance(network.weights, dict)
            return network.kept()

    full = full_masks({"l.weight": (2, 3)})
    scorer = DirectScorer(Changes(), "p", ("l.weight",), ScoredNetwork(module, state, (3,), 2), None, torch.Generator())
    assert torch.equal(scorer.scores(full)["l.weight"], state["l.weight"])  # nothing is pruned: in its shape
    half = {"l.weight": torch.tensor([[False, True, False], [True, False, True]])}
    assert torch.equal(scorer.scores(half)["l.weight"], torch.tensor([1.0, 3.0, 5.0]))
    plain = Network(module, MappingProxyType({"l.weight": state["l.weight"] * half["l.weight"]}), {}, half, (3,), 2)
    assert torch.equal(plain.kept()["l.weight"], torch.tensor([1.0, 3.0, 5.0]))


@given(data=st.data(), size=st.integers(1, 40))
def test_scores_of_what_is_kept_are_cut_like_scores_of_everything(data: st.DataObject, size: int) -> None:
    def mask() -> Tensor:
        return torch.tensor(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))

    def scores() -> Tensor:
        return torch.tensor(data.draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size)))

    before = {"a": mask(), "b": mask().reshape(1, -1)}
    every = {name: scores().reshape(m.shape) for name, m in before.items()}
    some = {name: every[name][m] for name, m in before.items()}
    check_scores(some, before, "p")
    total = sum(int(m.sum()) for m in before.values())
    counts = {"all": data.draw(st.integers(0, total))}
    after = masks_from_scores(every, before, {"all": ["a", "b"]}, counts)
    also = masks_from_scores(some, before, {"all": ["a", "b"]}, counts)
    for name, m in before.items():
        assert torch.equal(after[name], also[name])
        assert left(some[name], m, after[name]).tolist() == every[name][after[name]].tolist()
        assert left(every[name], m, after[name]).tolist() == every[name][after[name]].tolist()
        assert torch.equal(whole(some[name], m)[m], every[name][m])


def test_scores_of_another_number_of_weights_are_refused() -> None:
    masks = {"w": torch.tensor([[True, False], [True, True]])}
    check_scores({"w": torch.zeros(3)}, masks, "p")
    for shape in ((2,), (4,), (3, 1)):
        with pytest.raises(BadPruner, match=r"scores for 'w' have shape"):
            check_scores({"w": torch.zeros(shape)}, masks, "p")


def test_what_is_told_of_scores_is_the_same_for_vectors() -> None:
    """Sums by layer, the flow through hidden units, and prune against cut sizes, over rounds of SynFlow."""
    module, state = network("vgg-11")
    names = tuple(prunable(module))
    subject = ScoredNetwork(module.eval(), state, (3, 32, 32), 10)
    scorer = DirectScorer(
        find("synflow").make({}),
        "p",
        names,
        subject,
        None,
        torch.Generator(),
    )
    pruning = load("synflow/vgg16-cifar100-masks").pruning.model_copy(
        update={"prunable": {name: tuple(state[name].shape) for name in names}}
    )
    before, of_vectors, of_tensors = full_masks(pruning.prunable), ScoreWatch(pruning), ScoreWatch(pruning)
    for count in (2_000_000, 500_000, 50_000):
        scores = scorer.scores(before)
        after = masks_from_scores(scores, before, {"all": list(names)}, {"all": count})
        of_vectors(scores, before, after)
        of_tensors({name: whole(score, before[name]) for name, score in scores.items()}, before, after)
        before = after
    assert all(scores[name].dim() == 1 for name in names)
    assert of_vectors.facts == of_tensors.facts
    assert of_vectors.facts is not None
    assert of_vectors.facts.unit_error_largest is not None
    assert of_vectors.facts.unit_error_largest < 1e-9  # arXiv 2006.05467, theorem 1


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_selection_agrees_with_a_sort_whatever_the_sample_says(data: st.DataObject) -> None:
    """More scores than are sampled, in orders that a sample of every so manieth misjudges, ties among them."""
    size = data.draw(st.sampled_from([1, 2, SAMPLED, 2 * SAMPLED, 2 * SAMPLED + 1, 5 * SAMPLED + 17]))
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    scores = {
        "drawn": rng.lognormal(0, 3, size),
        "rising": np.arange(size, dtype=float),
        "ties": rng.integers(0, 3, size).astype(float),
        "sampled are high": np.where(np.arange(size) % max(1, size // SAMPLED) == 0, 1e9, rng.random(size)),
        "sampled are low": np.where(np.arange(size) % max(1, size // SAMPLED) == 0, -1e9, rng.random(size)),
        "alike": np.zeros(size),
    }[data.draw(st.sampled_from(["drawn", "rising", "ties", "sampled are high", "sampled are low", "alike"]))]
    count = data.draw(st.one_of(st.integers(0, size), st.sampled_from([1, size - 1, size])))
    alive = torch.from_numpy(rng.random(size) < 0.9) if data.draw(st.booleans()) else torch.ones(size, dtype=torch.bool)
    count = min(count, int(alive.sum()))
    kept_ones = torch.zeros(size, dtype=torch.bool)
    ranked = torch.from_numpy(scores).masked_fill(~alive, -torch.inf)
    kept_ones[torch.sort(ranked, descending=True, stable=True).indices[:count]] = True
    assert torch.equal(keep_highest(torch.from_numpy(scores), alive, count), kept_ones)


@pytest.mark.parametrize("high", [True, False])
def test_a_sample_that_misleads_is_noticed(high: bool) -> None:
    """All that is sampled lies at one end, and twice as many are wanted from there: the rest is looked at after all."""
    size, step = 5 * SAMPLED, 5
    rest = np.random.default_rng(0).permutation(size).astype(float)
    scores = np.where(np.arange(size) % step == 0, 1e9 if high else -1e9, rest)
    count = 2 * SAMPLED if high else size - 2 * SAMPLED
    expected = torch.zeros(size, dtype=torch.bool)
    expected[torch.sort(torch.from_numpy(scores), descending=True, stable=True).indices[:count]] = True
    assert torch.equal(keep_highest(torch.from_numpy(scores), torch.ones(size, dtype=torch.bool), count), expected)
