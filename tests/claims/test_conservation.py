"""Conservation of saliency: its error and slope by hand, and the rules that decide on them."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression

import pytest
import torch
from claim_rules import rule
from mask_worlds import SIZES, VGG, mask_record, verdict
from pydantic import ValidationError

from benchmark.claims import papers
from benchmark.claims.observations import Observations, score_slope
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.pruning.schedule import ScoreWatch, unit_error
from benchmark.records.schema import (
    LayerScores,
    ScoreFacts,
)


def facts(
    sums: Sequence[float],
    protocol: Protocol = VGG,
    error: float | None = None,
    ratio: float | None = None,
) -> ScoreFacts:
    """Scores with these sums by layer, of the whole network."""
    sizes = protocol.pruning.layer_sizes
    layers = {name: LayerScores(sum=s, scored=size) for s, (name, size) in zip(sums, sizes.items(), strict=True)}
    return ScoreFacts(rounds=1, layers=layers, unit_error_largest=error, prune_to_cut_largest=ratio)


# Conservation


def test_unit_error_of_a_network_by_hand() -> None:
    """Two layers, 2 -> 2 -> 1: units get 3 and 7 and give 3 and 5: the second is off by 2 of 7."""
    first = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert unit_error({"a": first, "b": torch.tensor([[3.0, 5.0]])}) == pytest.approx(2 / 7)
    assert unit_error({"a": first, "b": torch.tensor([[3.0, 7.0]])}) == 0
    assert unit_error({"a": -first, "b": torch.tensor([[-3.0, 7.0]])}) == 2  # as far apart as numbers can be: 7 and -7


def test_unit_error_of_a_convolution_whose_channel_feeds_several_inputs() -> None:
    """One filter of four weights scoring 10 in all, flattened to two pixels that score 4 and 6 towards two classes."""
    convolution = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    linear = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert unit_error({"c": convolution, "l": linear}) == 0
    assert unit_error({"c": convolution, "l": 2 * linear}) == pytest.approx(0.5)


def test_unit_error_of_what_is_no_chain() -> None:
    assert unit_error({"w": torch.ones(2, 2), "b": torch.ones(2)}) is None  # a bias between
    assert unit_error({"w": torch.ones(3, 2), "v": torch.ones(1, 2)}) is None  # 3 units cannot feed 2 inputs
    assert unit_error({"w": torch.zeros(2, 2), "v": torch.zeros(1, 2)}) == 0  # nothing in, nothing out


def test_saliencies_of_a_homogeneous_network_are_conserved_and_their_sizes_are_not() -> None:
    """Theorem 1 on a 3-4-5-2 ReLU network: w * dR/dw is conserved at every unit, its absolute value is not."""
    rng = torch.Generator().manual_seed(0)
    shapes = {"a": (4, 3), "b": (5, 4), "c": (2, 5)}
    weights = {n: torch.randn(s, generator=rng, dtype=torch.float64).requires_grad_() for n, s in shapes.items()}
    x = torch.randn(7, 3, generator=rng, dtype=torch.float64)
    hidden = torch.relu(torch.relu(x @ weights["a"].T) @ weights["b"].T)
    gradients = torch.autograd.grad((hidden @ weights["c"].T).sin().sum(), list(weights.values()))
    saliency = {name: (w * g).detach() for (name, w), g in zip(weights.items(), gradients, strict=True)}
    conserved, absolute = unit_error(saliency), unit_error({name: s.abs() for name, s in saliency.items()})
    assert conserved is not None
    assert absolute is not None
    assert conserved < 1e-12
    assert absolute > 0.1


def test_the_watch_by_hand(tiny_protocol: Protocol) -> None:
    """Three layers of two weights with sums 3, 7 and 11. The first round loses 1 + 2 + 3 over a cut of 3: 2. In the
    second the first layer is empty, so it counts no more, but its scores are those that are kept."""
    names = ["fc1.weight", "fc2.weight", "fc3.weight"]
    pruning = tiny_protocol.pruning.model_copy(update={"prunable": dict.fromkeys(names, (2, 1)), "layer_rates": {}})
    scores = dict(zip(names, torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).reshape(3, 2, 1), strict=True))
    full = {name: torch.ones(2, 1, dtype=torch.bool) for name in names}
    half = {name: torch.tensor([[name == "fc3.weight"], [name != "fc1.weight"]]) for name in names}
    watch = ScoreWatch(pruning)
    assert watch.facts is None
    watch(scores, full, half)
    assert watch.facts is not None
    assert watch.facts.prune_to_cut_largest == (1 + 2 + 3) / 3
    watch({name: 10 * score for name, score in scores.items()}, half, half)
    again = watch.facts
    assert again is not None
    assert again.rounds == 2
    assert again.prune_to_cut_largest == 2
    assert [(layer.sum, layer.scored) for layer in again.layers.values()] == [(0, 0), (40, 1), (110, 2)]
    watch.restart()
    assert watch.facts is None


def test_the_slope_of_mean_scores_by_hand() -> None:
    """Equal sums: means go as 1 / size. Sums that grow as the size: equal means, slope 0."""

    def slope(sums: Sequence[float]) -> float | None:
        return score_slope(mask_record(VGG, Cell("snip", 1, 0), SIZES, facts(sums)))

    assert slope([5.0] * 14) == pytest.approx(-1)
    assert slope([-5.0] * 14) == pytest.approx(-1)  # a saliency may be negative in every layer
    assert slope([3.0 * size for size in SIZES]) == pytest.approx(0)
    assert slope([math.sqrt(size) for size in SIZES]) == pytest.approx(-0.5)
    assert slope([0.0, *[1.0] * 13]) is None


@pytest.mark.parametrize(
    ("metric", "within", "values", "expected"),
    [
        ("unit-error", "exact", [1e-15, 3e-15, 2e-14], "reproduced"),
        ("unit-error", "exact", [0.0, 0.0, 0.0], "reproduced"),
        ("unit-error", "exact", [0.5, 0.6, 0.7], "deviates"),
        ("unit-error", "exact", [1e-10, 1e-8, 1e-9], "inconclusive"),
        ("unit-error", "exact", [1e-15], "inconclusive"),
        ("prune-to-cut", "below-1", [0.70, 0.71, 0.72], "reproduced"),
        ("prune-to-cut", "below-1", [14.0, 14.4, 15.0], "deviates"),
        ("prune-to-cut", "above-1", [14.0, 14.4, 15.0], "reproduced"),
        ("prune-to-cut", "above-1", [0.70, 0.71, 0.72], "deviates"),
        ("prune-to-cut", "above-1", [0.5, 2.0, 1.1], "inconclusive"),
    ],
)
def test_properties_are_decided(metric: str, within: str, values: Sequence[float], expected: str) -> None:
    field = {"unit-error": "error", "prune-to-cut": "ratio"}[metric]
    records = [
        mask_record(VGG, Cell("synflow", 8, seed), SIZES, facts([1.0] * 14, **{field: value}))  # type: ignore[arg-type]
        for seed, value in enumerate(values)
    ]
    of = {"method": "synflow", "levels": [8]}
    found = rule(rule="score-property", of=of, metric=metric, within=within).evaluate(Observations(VGG, records))
    assert verdict(found) == expected


@pytest.mark.parametrize(("power", "expected"), [(0.0, "reproduced"), (0.15, "reproduced"), (0.5, "deviates")])
def test_inverse_proportion_is_decided(power: float, expected: str) -> None:
    """Sums that go as size^power have slope power - 1; within 0.2 of -1 is the ratio margin."""
    noise = [0.99, 1.0, 1.01]
    sums = [[size ** (power * n) for size in SIZES] for n in noise]
    records = [mask_record(VGG, Cell("snip", 1, seed), SIZES, facts(s)) for seed, s in enumerate(sums)]
    of = {"method": "snip", "levels": [1]}
    found = rule(rule="score-property", of=of, metric="score-slope", within="inverse").evaluate(
        Observations(VGG, records)
    )
    assert verdict(found) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([11.4, 11.5, 11.45], "reproduced"),
        ([13.9, 14.0, 14.1], "deviates"),  # 20 % of 11.44 is 13.72
        ([9.0, 13.0, 11.0], "inconclusive"),
    ],
)
def test_a_published_ratio_is_compared(values: Sequence[float], expected: str) -> None:
    records = [
        mask_record(VGG, Cell("synflow", 8, seed), SIZES, facts([1.0] * 14, ratio=value))
        for seed, value in enumerate(values)
    ]
    of = {"method": "synflow", "levels": [8]}
    check = rule(rule="score-property", of=of, metric="prune-to-cut", within="published", published={8: 11.44})
    assert verdict(check.evaluate(Observations(VGG, records))) == expected


@pytest.mark.parametrize(("power", "expected"), [(0.0, "deviates"), (0.8, "reproduced"), (0.6, "inconclusive")])
def test_a_published_slope_is_compared(power: float, expected: str) -> None:
    """Sums that go as size^power have slope power - 1; 0.2 about the published -0.2 is the ratio margin."""
    sums = [[size ** (power * n) for size in SIZES] for n in (0.99, 1.0, 1.01)]
    records = [mask_record(VGG, Cell("snip", 1, seed), SIZES, facts(s)) for seed, s in enumerate(sums)]
    of = {"method": "snip", "levels": [1]}
    check = rule(rule="score-property", of=of, metric="score-slope", within="published", published={1: -0.2})
    assert verdict(check.evaluate(Observations(VGG, records))) == expected


@pytest.mark.parametrize(
    ("within", "numbers"), [("published", {}), ("published", {2: -0.2}), ("inverse", {1: -0.2})], ids=str
)
def test_published_numbers_are_those_of_the_levels(within: str, numbers: dict[int, float]) -> None:
    of = {"method": "snip", "levels": [1]}
    with pytest.raises(ValidationError, match="one number for each level"):
        rule(rule="score-property", of=of, metric="score-slope", within=within, published=numbers)


def test_vgg19s_published_numbers_are_those_of_the_released_arrays() -> None:
    """Of the arrays as collected, where they are: six digits, and slopes by least squares over 19 layers."""
    folder = Path(__file__).parents[3] / "shared/published/synflow"
    if not folder.exists():
        pytest.skip("NOT CHECKED: ../shared/published is not here")
    checks = {c.id: c.checks[0] for c in papers.load("synflow").claims if c.protocol == "synflow/vgg19-imagenet-masks"}
    with (folder / "fig7_vgg19_imagenet_removed_over_maxflow.csv").open() as file:
        one_round = [row for row in csv.DictReader(file) if (row["schedule"], row["column"]) == ("exponential", "0")]
    ratios = [float(row["largest_cut_over_flow"]) for row in one_round if float(row["log10_compression"]) > 0]
    assert list(checks["synflow-fig7-one-round"].published.values()) == ratios  # type: ignore[attr-defined]
    with (folder / "fig4_vgg19_imagenet_layer_scores.csv").open() as file:
        layers = list(csv.DictReader(file))
    sizes = [-math.log(float(row["inverse_size"])) for row in layers]
    for method in ("random", "magnitude", "synflow"):
        slope = linear_regression(sizes, [math.log(float(row[method])) for row in layers]).slope
        (published,) = checks[f"synflow-fig4-{method}"].published.values()  # type: ignore[attr-defined]
        assert published == pytest.approx(slope, abs=1e-4)
