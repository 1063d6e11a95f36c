"""Rules on masks, decided from networks and masks small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from claim_rules import rule
from mask_protocol import analysis
from mask_worlds import SIZES, VGG, mask_record, verdict
from pydantic import TypeAdapter, ValidationError

from benchmark.claims import papers as published
from benchmark.claims.check import check_targets
from benchmark.claims.observations import Observations
from benchmark.claims.published import Claim
from benchmark.claims.rules.collapse import critical_compression
from benchmark.claims.rules.layer_density import published_layers
from benchmark.claims.verdicts import decide_paper
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import Cell
from benchmark.report.mask_rankings import empty_table, mask_standings
from benchmark.utils.errors import BadInput


def world(
    protocol: Protocol, method: str, levels: Sequence[int], seeds: int, kept: Callable[[int, int], Sequence[int]]
) -> Observations:
    """Records of one method whose masks keep `kept(level, seed)` weights by layer."""
    cells = [Cell(method, level, seed) for level in levels for seed in range(seeds)]
    return Observations(protocol, [mask_record(protocol, c, kept(c.level, c.seed)) for c in cells])


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


def test_runs_far_apart_widen_the_window_by_two_steps_of_the_grid_at_most() -> None:
    """Random's runs end at 10^2.75, 10^3.75 and 10^3.5: three deviations, 1.56 decades, hold every other method's."""
    seen = world(VGG, "random", range(1, 25), 5, collapsing([14] * 5, layer=0))
    of = {"method": "random", "levels": {"first": 1, "last": 24}}
    found = rule(rule="collapse", of=of, table="layers", published="random").evaluate(seen)
    assert [(item.low, item.high) for item in found.items] == [
        (pytest.approx(-0.5, abs=0.01), pytest.approx(0.5, abs=0.01))
    ]
    assert verdict(found) == "inconclusive"


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
        {"rule": "emptied", "expected": "whole", "metric": "disconnected"},  # that is `connected`
        {"rule": "first-empty", "layers": ["conv1"], "metric": "disconnected"},
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
