"""Published curves and means against runs, each level with its own spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from builders import Outcome, record
from claim_rules import ACCURACY, CURVE, IMP, rule
from judging import judge
from pydantic import ValidationError

from benchmark import protocols
from benchmark.claims import papers as published
from benchmark.claims.observations import Observations
from benchmark.claims.rules.cells import Sample
from benchmark.claims.verdicts import decide_paper
from benchmark.protocols.cells import Cell
from benchmark.protocols.statistics import StatisticsSpec

CURRENT = protocols.load("synflow/vgg11-tiny")
# By rules 1, under which the margin is twice the published deviation where that is more.
RULES_1 = {
    "alpha": 0.05,
    "margins": {"accuracy_points": 0.5, "seed_sd_multiple": 2.0, "ratio": 0.2, "density_rounds": 1},
}
PANEL = CURRENT.model_copy(update={"statistics": StatisticsSpec.model_validate(RULES_1)})


# Curves against runs, each level with its own spread


def panel(method: str, moved: float = 0.0, at: int | None = None) -> list[Any]:
    """The published runs of SynFlow's Fig. 6 as if they were ours, moved by some points everywhere or at one level."""
    whole = {"method": method, "levels": {"first": 1, "last": 12}}
    curve = rule(**CURVE, of=whole, published=[method]).published_runs(PANEL)
    return [
        record(PANEL, Cell(method, level, seed), Outcome(max(0.0, value + (moved if at in (None, level) else 0.0))))
        for level, runs in curve.items()
        for seed, value in enumerate(runs)
    ]


@pytest.mark.parametrize(
    ("method", "levels", "moved", "at", "verdict"),
    [
        ("magnitude", [4, 5, 6, 7], 0.0, None, "reproduced"),  # at chance in every run
        ("synflow", [1, 2, 3], 3.0, None, "deviates"),
        ("synflow", [1, 2, 3], 3.0, 2, "deviates"),
        ("snip", [9, 10, 11], 1.0, None, "inconclusive"),  # runs 2 to 3 points apart: the margin is 4 to 5
        ("snip", [9, 10, 11], 15.0, None, "deviates"),
    ],
)
def test_a_curve_is_decided_with_the_spread_of_each_level(
    method: str, levels: list[int], moved: float, at: int | None, verdict: str
) -> None:
    asked = rule(**CURVE, of={"method": method, "levels": levels}, published=[method])
    found = asked.evaluate(Observations(PANEL, panel(method, moved, at)))
    assert len(found.items) == len(levels)
    assert found.verdict(0.05, found.p_reproduced, found.p_deviates) == verdict


def test_the_margin_of_a_curve_is_each_levels_own() -> None:
    """SNIP on VGG-11, Tiny-ImageNet: 54.77, 56.06, 55.32 at 10^0.25 and 0.5, 5.23, 6.79 at 10^3."""
    asked = rule(**CURVE, of={"method": "snip", "levels": [1, 12]}, published=["snip"])
    first, last = asked.evaluate(Observations(PANEL, panel("snip"))).items
    assert first.high == pytest.approx(2 * 0.6473, abs=1e-3)  # sqrt((0.613^2 + 0.677^2 + 0.063^2) / 2)
    assert last.high == pytest.approx(2 * 3.2754, abs=1e-3)
    assert first.fixed_se == pytest.approx(0.6473 / 3**0.5, abs=1e-3)


def test_synflows_own_runs_do_not_deviate_from_the_papers_curves() -> None:
    methods = ("random", "magnitude", "snip", "synflow")
    records = [r for method in methods for r in panel(method)]
    found = decide_paper(published.load("synflow"), {CURRENT.id: Observations(CURRENT, records)})
    curves = {d.claim: d.verdict for d in found if "-fig6-" in d.claim}
    assert len(curves) == 5
    assert "deviates" not in curves.values()
    assert curves["synflow-fig6-vgg11-tiny-dense"] == "not measured"


@pytest.mark.parametrize(
    "fields",
    [
        {"spread": "own", "width": 5},  # averaged levels have no spread of their own
        {"published": []},
        {"spread": "sd"},
        {"metric": "early-stop-step"},
    ],
)
def test_impossible_curves_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rule(**CURVE | {"of": IMP, "published": ["imp"]} | fields)


# Means whose number of runs is not stated


def test_a_deviation_without_a_number_of_runs_makes_the_margin_alone() -> None:
    def value(**sample: Any) -> dict[str, Any]:
        return {"rule": "value", "metric": ACCURACY, "of": IMP, "published": sample}

    def at(accuracy: float) -> Callable[[str, int], tuple[float, float]]:
        return lambda method, _level: (98.0 if method == "dense" else accuracy, 5000.0)

    known, plain = judge([value(mean=98.0, sd=1.1)], at(99.5)), judge([value(mean=98.0)], at(99.5))
    assert (known.verdict, plain.verdict) == ("reproduced", "deviates")
    assert known.checks[0].window == "\N{MINUS SIGN}2.20 to 2.20"
    assert judge([value(mean=98.0, sd=1.1)], at(101.0)).verdict == "deviates"
    assert "± 1.10 sd, n not stated" in known.checks[0].rule
    for bad in ({"mean": 98.0, "n": 3}, {"mean": 98.0, "sd": 1.0, "sd_df": 4}, {"values": [98.0], "n": 1}):
        with pytest.raises(ValidationError):
            Sample.model_validate(bad)
