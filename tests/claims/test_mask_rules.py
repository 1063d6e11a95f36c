"""Rules on masks, decided from networks and masks small enough to work out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from builders import PROVENANCE
from mask_protocol import analysis
from pydantic import TypeAdapter, ValidationError

from benchmark.claims import papers as published
from benchmark.claims.check import check_targets
from benchmark.claims.observations import Observations, score_slope
from benchmark.claims.published import AnyRule, Claim
from benchmark.claims.rules.collapse import critical_compression
from benchmark.claims.rules.layer_density import published_layers
from benchmark.claims.verdicts import decide_paper
from benchmark.protocols import Protocol, load, parse
from benchmark.protocols.cells import Cell
from benchmark.pruning.schedule import ScoreWatch, unit_error
from benchmark.records.schema import (
    RECORD_SCHEMA,
    CellRef,
    LayerCount,
    LayerScores,
    MaskFacts,
    MethodRef,
    ProtocolRef,
    Record,
    ScoreFacts,
)
from benchmark.report.rankings import empty_table, mask_standings
from benchmark.utils.errors import BadInput

RULE: TypeAdapter[Any] = TypeAdapter(AnyRule)
VGG = load("synflow/vgg16-cifar100-masks")
SIZES = list(VGG.pruning.layer_sizes.values())


def rule(**fields: Any) -> Any:
    return RULE.validate_json(TypeAdapter(dict[str, Any]).dump_json(fields))


def mask_record(protocol: Protocol, cell: Cell, kept: Sequence[int], scores: ScoreFacts | None = None) -> Record:
    """A record of a mask with these counts by layer."""
    sizes = protocol.pruning.layer_sizes
    layers = {name: LayerCount(kept=k, size=size) for k, (name, size) in zip(kept, sizes.items(), strict=True)}
    total = sum(sizes.values())
    return Record(
        schema=RECORD_SCHEMA,
        protocol=ProtocolRef(id=protocol.id, version=protocol.version, digest=protocol.digest),
        method=MethodRef(name=cell.method, pruner="magnitude", pruner_digest=None, parameters={}),
        cell=CellRef(level=cell.level, density_asked=0.5, seed=cell.seed, draw=0),
        status="finished",
        reason=None,
        mask=MaskFacts(
            kept=sum(kept),
            prunable=total,
            density=sum(kept) / total,
            layers=layers,
            collapsed_layers=tuple(name for name, layer in layers.items() if not layer.kept),
            sha256="0" * 64,
        ),
        scores=scores,
        measured=None,
        cost=None,
        curves_sha256=None,
        provenance=PROVENANCE,
    )


def world(
    protocol: Protocol, method: str, levels: Sequence[int], seeds: int, kept: Callable[[int, int], Sequence[int]]
) -> Observations:
    """Records of one method whose masks keep `kept(level, seed)` weights by layer."""
    cells = [Cell(method, level, seed) for level in levels for seed in range(seeds)]
    return Observations(protocol, [mask_record(protocol, c, kept(c.level, c.seed)) for c in cells])


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


def verdict(found: Any) -> str:
    return str(found.verdict(0.05, found.p_reproduced, found.p_deviates))


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


# Collapse


def test_critical_compression_by_hand() -> None:
    assert critical_compression([0.5, 1.0, 1.5, 2.0], [False, False, True, True]) == 1.0
    assert (
        critical_compression([0.5, 1.0, 1.5, 2.0], [False, True, False, True]) == 1.5
    )  # the largest, as the authors count it
    assert critical_compression([0.5, 1.0], [True, True]) == 0.0
    assert critical_compression([0.5, 1.0], [False, False]) == 1.0


PUBLISHED = {"random": (2.75, 3.75, 3.5), "magnitude": (2.75,) * 3, "snip": (3.75, 3.5, 3.5), "grasp": (3.5, 3.75, 3.5),
             "synflow": (6.0, 6.0, 5.75)}  # fmt: skip


@pytest.mark.parametrize("pruner", PUBLISHED)
def test_published_masks_collapse_where_they_were_said_to(pruner: str) -> None:
    """The raw densities against the runs' exponents as collected by hand from the authors' pickles."""
    tables = [published_layers(VGG, "layers", pruner, level) for level in range(1, 25)]
    for run, exponent in enumerate(PUBLISHED[pruner]):
        empty = [any(layer[run] == 0 for layer in table) for table in tables]
        assert critical_compression([level / 4 for level in range(1, 25)], empty) == exponent


def collapsing(at: Sequence[int], layer: int = 8) -> Callable[[int, int], list[int]]:
    """Masks in which one layer is empty from a level on, by seed."""
    return lambda level, seed: [0 if i == layer and level >= at[seed] else 1 for i in range(14)]


@pytest.mark.parametrize(
    ("first_empty", "expected"),
    [
        ([12, 12, 12], "reproduced"),  # 10^2.75 is whole, 10^3 is not: the three published runs
        ([12, 12, 13, 12, 12], "reproduced"),
        ([16, 16, 16], "deviates"),  # a whole decade later
        ([9, 12, 15], "inconclusive"),
        ([12], "inconclusive"),
    ],
)
def test_collapse_is_decided(first_empty: Sequence[int], expected: str) -> None:
    seen = world(VGG, "magnitude", range(1, 25), len(first_empty), collapsing(first_empty))
    of = {"method": "magnitude", "levels": {"first": 1, "last": 24}}
    found = rule(rule="collapse", of=of, table="layers", published="magnitude").evaluate(seen)
    assert verdict(found) == expected


def test_a_seed_without_every_level_does_not_count() -> None:
    seen = world(VGG, "magnitude", range(1, 24), 3, collapsing([12] * 3))
    of = {"method": "magnitude", "levels": {"first": 1, "last": 24}}
    found = rule(rule="collapse", of=of, table="layers", published="magnitude").evaluate(seen)
    assert verdict(found) == "not measured"


@pytest.mark.parametrize(
    ("layer", "seeds", "expected"),
    [(8, 5, "reproduced"), (8, 4, "inconclusive"), (0, 5, "deviates"), (0, 4, "inconclusive")],
)
def test_which_layer_empties_first_is_decided(layer: int, seeds: int, expected: str) -> None:
    seen = world(VGG, "snip", range(1, 25), seeds, collapsing([15] * seeds, layer))
    of = {"method": "snip", "levels": {"first": 1, "last": 24}}
    assert verdict(rule(rule="first-empty", of=of, layers=["conv9", "conv10"]).evaluate(seen)) == expected


def test_first_empty_looks_at_the_first_and_at_all_that_are_empty_there() -> None:
    def kept(level: int, _seed: int) -> list[int]:
        return [0 if (i == 8 and level >= 15) or (i == 0 and level >= 16) else 1 for i in range(14)]

    of = {"method": "snip", "levels": {"first": 1, "last": 24}}
    asked = rule(rule="first-empty", of=of, layers=["conv9"])
    assert verdict(asked.evaluate(world(VGG, "snip", range(1, 25), 5, kept))) == "reproduced"
    both = collapsing([15] * 5)
    seen = world(VGG, "snip", range(1, 25), 5, lambda lv, s: [0 if lv >= 15 else 1, *both(lv, s)[1:]])
    assert verdict(asked.evaluate(seen)) == "deviates"  # conv1 goes with it
    never = world(VGG, "snip", range(1, 25), 5, lambda *_: [1] * 14)
    assert verdict(asked.evaluate(never)) == "deviates"


@pytest.mark.parametrize(
    ("expected", "verdicts"), [("whole", ("reproduced", "deviates")), ("empty", ("deviates", "reproduced"))]
)
def test_emptiness_is_decided(expected: str, verdicts: tuple[str, str]) -> None:
    for first, wanted in zip((25, 20), verdicts, strict=True):
        seen = world(VGG, "snip", [24], 5, collapsing([first] * 5))
        asked = rule(rule="emptied", of={"method": "snip", "levels": [24]}, expected=expected)
        assert verdict(asked.evaluate(seen)) == wanted


# Densities by layer


def published_like(method: str, factor: float = 1.0, layer: int = 3, noise: float = 0.0) -> Observations:
    """Our masks as the published means, one layer off by a factor, seeds spread by a relative noise."""

    def kept(level: int, seed: int) -> list[int]:
        means = [sum(runs) / len(runs) for runs in published_layers(VGG, "layers", method, level)]
        wobble = 1 + noise * (seed - 2) / 2
        return [
            round(mean * size * wobble * (factor if i == layer else 1.0))
            for i, (mean, size) in enumerate(zip(means, SIZES, strict=True))
        ]

    return world(VGG, method, [2, 4, 6, 8], 5, kept)


@pytest.mark.parametrize(
    ("factor", "noise", "expected"),
    [(1.0, 0.02, "reproduced"), (1.05, 0.02, "reproduced"), (1.5, 0.02, "deviates"), (0.6, 0.02, "deviates"),
     (1.19, 0.02, "inconclusive"), (1.0, 0.6, "inconclusive")],
)  # fmt: skip
def test_densities_by_layer_are_decided_by_the_worst_layer(factor: float, noise: float, expected: str) -> None:
    """Magnitude's published runs differ by less than 2 %, so the margin is 20 % relative."""
    asked = rule(
        rule="layer-density", of={"method": "magnitude", "levels": [2, 4, 6, 8]}, table="layers", published="magnitude"
    )
    found = asked.evaluate(published_like("magnitude", factor, noise=noise))
    assert verdict(found) == expected
    assert len(found.items) == 14 * 4
    if expected == "deviates":
        assert "conv4" in found.weakest.where


def test_layers_of_other_sizes_are_refused(tiny_protocol: Protocol) -> None:
    other = parse(
        {**analysis(tiny_protocol), "paper": VGG.document["paper"], "reports_density_as": "log10-compression"}, "f.yaml"
    )
    with pytest.raises(BadInput, match=r"its layers have not the sizes of tests/masks's"):
        published_layers(other, "layers", "magnitude", 1)


# Claims


def claim_of(**fields: Any) -> published.Published:
    paper = published.load("synflow")
    claim = {**paper.claims[0].model_dump(mode="json", exclude_none=True), "checks": [fields]}
    made = TypeAdapter(Claim).validate_json(TypeAdapter(dict[str, Any]).dump_json(claim))
    return paper.model_copy(update={"claims": (made,)})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"table": "layer", "published": "snip"}, "there is no table 'layer'"),
        ({"table": "layers", "published": "snap"}, "no runs of densities by layer of 'snap'"),
        ({"table": "figure-1", "published": "snip"}, "no runs of densities by layer of 'snip'"),
        ({"table": "figure-5a", "published": "snip"}, "not-a-target"),
    ],
)
def test_claims_name_tables_that_hold_layers(fields: dict[str, str], says: str) -> None:
    paper = claim_of(rule="layer-density", of={"method": "snip", "levels": [2]}, **fields)
    record = published.load_record("synflow")
    with pytest.raises(BadInput) as caught:
        check_targets(paper, record, "f.yaml", lambda table: published.results("synflow", table))
    assert says in str(caught.value)
    assert "synflow-c1" in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"rule": "score-property", "metric": "unit-error", "within": "inverse"},
        {"rule": "score-property", "metric": "score-slope", "within": "below-1"},
        {"rule": "emptied", "expected": "full"},
        {"rule": "first-empty", "layers": []},
        {"rule": "collapse", "table": "layers"},
        {"rule": "collapse", "table": "layers", "published": "snip", "margin": 3},  # margins stand in the protocol
        {"rule": "value", "metric": "unit-error", "published": {"mean": 1.0}},  # rules of trainings know no masks
    ],
)
def test_impossible_rules_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rule(of={"method": "snip", "levels": [1]}, **fields)


def test_the_papers_own_masks_reproduce_the_papers_claims() -> None:
    """The released densities, given to the rules as if they were ours, must not deviate from themselves."""
    paper = published.load("synflow")
    records = []
    for method in ("random", "magnitude", "snip", "grasp-as-logged", "synflow"):
        name = method.removesuffix("-as-logged")
        for level in range(1, 25):
            layers = published_layers(VGG, "layers", name, level)
            for run in range(3):
                kept = [round(layer[run] * size) for layer, size in zip(layers, SIZES, strict=True)]
                records.append(mask_record(VGG, Cell(method, level, run), kept))
    found = {d.claim: d for d in decide_paper(paper, {VGG.id: Observations(VGG, records)})}
    verdicts = {claim: [check.verdict for check in d.checks] for claim, d in found.items()}
    assert "deviates" not in {v for checks in verdicts.values() for v in checks}
    assert verdicts["synflow-c10"] == ["inconclusive"] * 4  # three throws of a coin agree in one world of eight
    assert verdicts["synflow-layers-magnitude"] == verdicts["synflow-layers-synflow"] == ["reproduced"]
    assert verdicts["synflow-c8"] == ["not measured"] * 2  # densities hold no scores


def test_the_board_counts_only_seeds_with_every_level() -> None:
    full = world(VGG, "magnitude", range(1, 25), 2, collapsing([12, 13]))
    part = world(VGG, "magnitude", range(1, 5), 3, collapsing([12] * 3))
    seen = Observations(VGG, [r for o in (full, part) for group in o.records.values() for r in group][: 24 * 2 + 3])
    (found,) = mask_standings(seen)
    assert found.whole == {0: 11, 1: 12}
    assert found.first_empty == {"conv9": 2}
    _, rows = empty_table(full, (11, 12, 13))
    assert rows[1] == ["magnitude", "0.0 (2)", "0.5 (2)", "1.0 (2)"]
    assert rows[0] == ["random", "...", "...", "..."]
