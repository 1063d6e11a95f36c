"""Rules 2: levels of looks, moderated variances, Holm with gates over looks, and the error rates of all of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from error_rates import RULE, most
from lenet_worlds import ACCURACY, EARLY, NOTHING, RIGHT, STEP, TRAIN, Truth, World, lenet_claims, verdicts
from scipy import special, stats

from benchmark import protocols
from benchmark.claims import papers
from benchmark.claims.looks import nominal_levels
from benchmark.claims.moderation import NO_PRIOR, Prior, _inverse_trigamma, cell_variances, moderated, prior
from benchmark.claims.published import Published
from benchmark.claims.rules.sampling import claimed_margin
from benchmark.claims.rules.window import line_weights
from benchmark.claims.statistics import Estimate, estimate
from benchmark.claims.verdicts import Decision, decide_paper
from benchmark.protocols.statistics import PlannedLook, StatisticsSpec
from benchmark.report.board.claims_pages import claims_page
from benchmark.utils.errors import BadInput

LENET = protocols.load("lth/lenet-mnist")
PAPER = lenet_claims(LENET)
LOOKS = LENET.statistics.looks


def looks(*pairs: tuple[int, float]) -> tuple[PlannedLook, ...]:
    return tuple(PlannedLook(seeds=seeds, spent=spent) for seeds, spent in pairs)


# Looks.


def test_one_look_is_an_ordinary_test_and_two_agree_with_the_bivariate_normal() -> None:
    assert nominal_levels(looks((5, 0.05)), 0.05) == pytest.approx((0.05,))
    first, second = nominal_levels(looks((4, 0.02), (9, 0.05)), 0.05)
    bounds = -special.ndtri([first, second])
    neither = stats.multivariate_normal([0, 0], [[1, 2 / 3], [2 / 3, 1]]).cdf(bounds)
    assert (first, 1 - neither) == pytest.approx((0.02, 0.05), abs=2e-5)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 7])
def test_walks_cross_the_bounds_as_often_as_is_spent(alpha: float) -> None:
    rng = np.random.default_rng(3)
    steps = np.sqrt([3, 2, 3, 2]) * rng.standard_normal((400_000, 4))
    z = np.cumsum(steps, axis=1) / np.sqrt([3, 5, 8, 10])
    crossed = np.maximum.accumulate(z > -special.ndtri(np.array(nominal_levels(LOOKS, alpha))), axis=1)
    spent = np.array([look.spent for look in LOOKS]) * alpha / 0.05
    assert np.abs(crossed.mean(axis=0) - spent).max() < 5 * math.sqrt(alpha / 400_000)


def test_looking_at_every_seed_without_a_plan_would_not_keep_the_level() -> None:
    """What the plan is for: t tests at 2 to 10 seeds, stopping at the first that comes out well."""
    x = np.random.default_rng(1).standard_normal((4000, 10))
    found = np.zeros(4000, bool)
    for n in range(2, 11):
        found |= stats.ttest_1samp(x[:, :n], 0, axis=1, alternative="greater").pvalue < 0.05
    assert found.mean() > 0.14


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"looks": []}, "rules 2 plans them"),
        ({"looks": [{"seeds": 5, "spent": 0.02}, {"seeds": 5, "spent": 0.05}]}, "must rise"),
        ({"looks": [{"seeds": 5, "spent": 0.02}]}, "the last one spends alpha, 0.05"),
        ({"rules": 1}, "rules 1 has none"),
        ({"margins": {"accuracy_points": 0.2, "seed_sd_multiple": 2.0, "ratio": 0.2, "density_rounds": 1}}, "fixed"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(change: dict[str, Any], why: str) -> None:
    document = {**LENET.statistics.model_dump(mode="json"), **change}
    with pytest.raises(ValueError, match=why):
        StatisticsSpec.model_validate(document, strict=False)


# Variances.


def test_a_fit_finds_the_distribution_that_variances_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    true = 0.04 * 8 / rng.chisquare(8, 4000)  # d0 = 8 around 0.04
    found = prior((true * rng.chisquare(4, 4000) / 4).tolist(), 4)
    assert found.df == pytest.approx(8, rel=0.15)
    assert found.variance == pytest.approx(0.04, rel=0.05)
    alike = prior((0.04 * rng.chisquare(4, 50) / 4).tolist(), 4)
    assert alike.df > 30
    assert alike.variance == pytest.approx(0.04, rel=0.25)


def test_what_a_seed_adds_to_all_its_networks_is_no_variance_of_a_cell() -> None:
    rng = np.random.default_rng(2)
    rows = (5 * rng.standard_normal((1, 4)) + 0.1 * rng.standard_normal((600, 4))).tolist()
    variances, df = cell_variances(rows)
    assert df == pytest.approx(3, rel=0.01)
    assert fmean(variances) == pytest.approx(0.01, rel=0.06)


@pytest.mark.parametrize("x", [1e-3, 0.2, 1.0, 7.5, 1e3])
def test_degrees_of_freedom_are_found_where_trigamma_has_the_value(x: float) -> None:
    assert _inverse_trigamma(float(special.polygamma(1, x))) == pytest.approx(x, rel=1e-12)
    assert _inverse_trigamma(math.pi**2 / 6) == pytest.approx(1.0, rel=1e-14)


def test_moderation_is_the_weighted_mean_of_variances() -> None:
    own = estimate([1.0, 2.0, 4.0])
    both = moderated(own, 2.0, Prior(variance=0.5, df=6.0, most=100.0))
    assert both.df == 8
    assert both.se**2 == pytest.approx((6 * 0.5 * 2.0 + 2 * 3 * own.se**2) / 8 / 3)
    assert (both.mean, both.n) == (own.mean, 3)
    assert moderated(own, 2.0, NO_PRIOR) == own
    assert moderated(own, 2.0, Prior(0.5, 6.0, most=7.0)).df == 7
    single = Estimate(1.0, math.inf, 1.0, 1)
    assert moderated(single, 2.0, Prior(0.5, 6.0, 100.0)) == single
    assert prior([0.1, 0.2, 0.3], 4) == NO_PRIOR


# Margins and lines.


def test_no_margin_is_wider_than_half_of_the_effect_that_is_claimed() -> None:
    assert [claimed_margin(0.2, effect) for effect in (0.3, -0.3, 0.5, 0.0)] == [0.15, 0.15, 0.2, 0.2]


@pytest.mark.parametrize(
    ("levels", "x"), [((2, 6, 7, 8), 6.0), (tuple(range(1, 19)), 13.0), ((3, 7, 12), 9.5), ((3, 9), 3.0)]
)
def test_a_local_line_gives_back_lines(levels: Sequence[int], x: float) -> None:
    weights = line_weights(levels, x, 2.0)
    assert sum(weights.values()) == pytest.approx(1)
    assert sum(w * level for level, w in weights.items()) == pytest.approx(x)


# Families.


def alone(claim: str) -> Published:
    """A paper that states this claim and nothing else."""
    kept = tuple(c.model_copy(update={"after": None}) for c in PAPER.claims if c.id == claim)
    return PAPER.model_copy(update={"claims": kept})


def test_claims_are_corrected_with_those_of_their_section_and_wait_for_their_gate() -> None:
    sections = {claim.id: claim.section for claim in PAPER.claims}
    assert (sections["lth-14"], sections["lth-65-better"], sections["lth-59"]) == (
        "Section 2",
        "Section 2",
        "Appendix F",
    )
    seen = World(LENET, NOTHING, np.random.default_rng(0))
    found = {d.claim: d for d in decide_paper(PAPER, {LENET.id: seen})}
    assert found["lth-4-size"].waits_for == "lth-4-gain"
    assert found["lth-4-size"].verdict != "reproduced"
    assert found["lth-14"].waits_for is None


@pytest.mark.parametrize(("seeds", "words"), [(3, ""), (10, ", which it can no more")])
def test_a_gate_that_has_no_look_left_is_said_to_stay_shut(seeds: int, words: str) -> None:
    """Where nothing differs no gain is shown, so that nothing which waits for it can be after the last look."""
    seen = World(LENET, NOTHING, np.random.default_rng(1), seeds)
    found = {d.claim: d for d in decide_paper(PAPER, {LENET.id: seen})}
    for claim, gate in (("lth-4-gain", "lth-14"), ("lth-4-size", "lth-4-gain")):
        assert (found[claim].verdict, found[gate].verdict) == ("inconclusive", "inconclusive")
        assert {c.untested for c in found[claim].checks} == {f"not tested before {gate} holds{words}"}


def test_a_gate_must_be_an_earlier_claim_of_the_family() -> None:
    paper = papers.load("lth")
    document = paper.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    by_id = {claim["id"]: claim for claim in document["claims"]}
    for gate in ("lth-14", "lth-4-size", "lth-58", "lth-99"):  # itself, a circle, another section, no claim
        by_id["lth-14"]["after"] = gate
        with pytest.raises(BadInput, match=r"lth-14|lth-4-gain"):
            papers.parse(document, "x.yaml")


def decided_at(seeds: int) -> dict[str, Decision]:
    """The claims of one right world at so many of its seeds."""
    seen = World(LENET, RIGHT, np.random.default_rng(4), seeds)
    return {d.claim: d for d in decide_paper(PAPER, {LENET.id: seen})}


def test_nothing_is_tested_before_the_first_look_nor_between_looks() -> None:
    """Verdicts at 4 seeds are those at 3, and a claim says how many seeds the next look needs."""
    for seeds, still in ((1, 2), (2, 1)):
        found = decided_at(seeds).values()
        assert {d.verdict for d in found} == {"inconclusive"}
        assert {d.seeds_still_needed for d in found} == {still}
    at = {
        n: {d.claim: d for d in decide_paper(PAPER, {LENET.id: World(LENET, RIGHT, np.random.default_rng(4), n)})}
        for n in (3, 4)
    }
    assert {c: d.verdict for c, d in at[3].items()} == {c: d.verdict for c, d in at[4].items()}
    open_ = [c for c, d in at[4].items() if d.verdict == "inconclusive"]
    assert open_
    assert {at[4][c].seeds_still_needed for c in open_} == {1}
    assert {d.seeds_still_needed for d in decided_at(10).values()} == {None}


def test_before_a_look_no_p_value_is_given_and_the_look_is_named() -> None:
    early = decided_at(2)["lth-64-worse"]
    assert early.needed_words == "next look at 3 seeds"
    assert {(c.p_reproduced, c.p_deviates, c.untested) for c in early.checks} == {
        (None, None, "not tested before 3 seeds (planned look)")
    }
    page = claims_page(PAPER, [early], {LENET.id: World(LENET, RIGHT, np.random.default_rng(4), 2)})
    assert "2 seeds, not tested before 3 seeds (planned look); inconclusive; next look at 3 seeds" in page
    assert "p = " not in page
    assert "more seed" not in page
    at_first = decided_at(3)
    waiting = next(d for d in at_first.values() if d.waits_for and d.verdict == "inconclusive")
    assert {c.untested for c in waiting.checks} == {f"not tested before {waiting.waits_for} holds"}
    assert {d.needed_words for d in at_first.values() if d.verdict == "inconclusive"} == {"next look at 5 seeds"}
    tested = [d for d in at_first.values() if not d.waits_for]
    assert all(c.p_reproduced is not None and not c.untested for d in tested for c in d.checks)
    assert {d.needed_words for d in decided_at(10).values() if d.verdict == "inconclusive"} <= {"no planned look left"}


def test_a_verdict_says_at_which_look_it_was_reached() -> None:
    for seeds, words in ((3, "3 of 10 seeds"), (4, "3 of 10 seeds, 4 measured")):
        assert decided_at(seeds)["lth-64-worse"].seeds_words == f"decided at the look of {words}"
    assert decided_at(2)["lth-64-worse"].seeds_words == "2 of 10 seeds"


def test_a_verdict_stays_whatever_later_seeds_say() -> None:
    """The first three seeds show the gain, all later ones the opposite."""
    seen = World(LENET, RIGHT, np.random.default_rng(5))
    early = {d.claim: d for d in decide_paper(PAPER, {LENET.id: seen.at_look(3)})}
    assert early["lth-64-worse"].verdict == "reproduced"
    for (metric, (method, _)), values in seen._drawn.items():
        if metric == EARLY and method == "imp":
            values[3:] = [90.0] * 7
    late = {d.claim: d for d in decide_paper(PAPER, {LENET.id: seen})}
    assert late["lth-64-worse"].verdict == "reproduced"
    assert late["lth-64-worse"].seeds == "3 of 10"
    assert not late["lth-64-worse"].provisional


# Error rates.

FLAT: Mapping[str, Any] = {}
EDGES = {
    "ordering": ("lth-4-gain", NOTHING),
    "ordering of stops": ("lth-2-earlier", NOTHING),
    "average of a range": ("lth-65-faster", NOTHING),
    "ratio, lower edge": ("lth-1-ratio", Truth(time={"imp": {7: 1.5 * math.log(0.62)}})),
    "ratio, upper edge": ("lth-1-ratio", Truth(time={"imp": {7: 0.5 * math.log(0.62)}})),
    "size of a gain": ("lth-4-size", Truth(accuracy={"imp": {9: 0.15}})),
    "difference, lower edge": ("lth-10-accuracy", Truth(accuracy={"imp": {7: 0.3}})),
    "difference, upper edge": ("lth-10-accuracy", Truth(accuracy={"imp": {7: 0.7}})),
    "flat curve without a peak": ("lth-4-place", Truth(accuracy=FLAT)),
    "peak elsewhere": (
        "lth-4-place",
        Truth(accuracy={"imp": {0: -0.3, 4: 0, 5: 0.4, 7: 0.4, 8: 0.3, 10: 0.3, 11: -0.1}}),
    ),
    "crossing two rounds early": ("lth-5", Truth(accuracy={"imp": {x: -0.1 * (x - 13) for x in range(1, 22)}})),
    "crossing two rounds late": ("lth-5", Truth(accuracy={"imp": {x: -0.1 * (x - 17) for x in range(1, 22)}})),
    "largest gain too small": ("lth-6-size", Truth(accuracy={"imp": {0: 0, 8: 0, 9: 0.175, 10: 0}})),
    "training accuracy": ("lth-7", Truth(moved=lambda m, _, level: -0.17 if (m, level) == (TRAIN, 17) else 0.0)),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("draws", [40, pytest.param(600, marks=pytest.mark.long)])
def test_at_the_edge_neither_word_comes_out_more_often_than_alpha(name: str, draws: int) -> None:
    """After all four looks: a claim that is wrong by as much as its window is wide."""
    claim, truth = EDGES[name]
    paper, rng = alone(claim), np.random.default_rng(11)
    found = [verdicts(paper, LENET, truth, 10, rng)[claim] for _ in range(draws)]
    for word in ("reproduced", "deviates"):
        assert found.count(word) <= most(draws), word


@pytest.mark.long
def test_where_nothing_differs_from_dense_a_section_says_reproduced_in_at_most_alpha_of_worlds() -> None:
    section = [c for c in PAPER.claims if c.section == "Section 2"]
    paper, rng = PAPER.model_copy(update={"claims": tuple(section)}), np.random.default_rng(12)
    true = {"lth-7", "lth-8"}
    found = [verdicts(paper, LENET, NOTHING, 10, rng) for _ in range(300)]
    assert sum(any(v == "reproduced" for c, v in f.items() if c not in true) for f in found) <= most(300)


@pytest.mark.parametrize("draws", [6, pytest.param(100, marks=pytest.mark.long)])
def test_a_paper_that_is_right_is_confirmed(draws: int) -> None:
    """At 10 seeds at least 80 % of the claims of a paper whose every number is true, and hardly any `deviates`."""
    rng = np.random.default_rng(10)
    found = [verdicts(PAPER, LENET, RIGHT, 10, rng) for _ in range(draws)]
    words = [word for f in found for word in f.values()]
    assert words.count("reproduced") >= 0.8 * len(words)
    assert words.count("deviates") <= 0.01 * len(words)


def test_the_worlds_hold_what_the_paper_says() -> None:
    assert ACCURACY["imp"][9] > 0.3
    assert RIGHT.mean(STEP, "imp", 7) - RIGHT.mean(STEP, "dense", 0) == pytest.approx(math.log(0.62))
    assert RIGHT.mean(STEP, "imp+reinit", 7) - RIGHT.mean(STEP, "imp", 7) == pytest.approx(math.log(2.51))
    assert RIGHT.mean(EARLY, "imp", 7) - RIGHT.mean(EARLY, "imp+reinit", 7) == pytest.approx(0.5)


def test_a_statement_with_its_own_tolerance_gets_no_margin_besides() -> None:
    """Within 1 point: a gap of 1.2 points is outside, which `at-least` with the margin would let pass."""
    sides = {"higher": {"method": "imp", "levels": (7,)}, "lower": {"method": "dense"}}
    rule = RULE.validate_python({"rule": "difference", "metric": EARLY, **sides, "published": -1.0, "bound": "above"})
    found = {}
    for gap in (-1.2, -0.8):
        evidence = rule.evaluate(World(LENET, Truth(accuracy={"imp": {7: gap}}), np.random.default_rng(0)))
        found[gap] = (evidence.p_reproduced < 0.01, evidence.p_deviates < 0.01)
    assert found == {-1.2: (False, True), -0.8: (True, False)}
