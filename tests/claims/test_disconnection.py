"""Where networks have no path left, against the compressions at which the published ones are at exact chance."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from importlib import resources

import pytest
from claim_rules import rule
from mask_worlds import mask_record, verdict

from benchmark.claims import papers
from benchmark.claims.observations import Observations
from benchmark.claims.published import Claim
from benchmark.claims.rules.collapse import Connected, Disconnection
from benchmark.claims.table_reader import results
from benchmark.protocols import Protocol, load
from benchmark.protocols.cells import Cell, axis_value

RESNET, CIRCLE = load("synflow/resnet18-cifar10-disconnection"), load("plantnseek/circle")
CLAIMS = [(c, check) for c in papers.load("synflow").claims for check in c.checks if isinstance(check, Disconnection)]


def world(
    protocol: Protocol, method: str, levels: Sequence[int], seeds: int, cut: Callable[[int, int], bool]
) -> Observations:
    """Masks of one method that are cut through, or not, by level and seed; no layer is ever empty."""
    size = len(protocol.pruning.layer_sizes)
    records = []
    for seed in protocol.seeds[:seeds]:
        for level in levels:
            record = mask_record(protocol, Cell(method, level, seed), [1] * size)
            assert record.mask is not None
            mask = record.mask.model_copy(update={"disconnected": cut(level, seed), "effective": 0})
            records.append(record.model_copy(update={"mask": mask}))
    return Observations(protocol, records)


@pytest.mark.parametrize(
    ("first_cut", "expected"),
    [
        ([5] * 5, "reproduced"),  # a path at 10^1, none at 10^1.25: as in the three published runs
        ([5, 5, 5, 6, 5], "reproduced"),
        ([6] * 5, "inconclusive"),  # a step of the grid away is on the edge of the margin
        ([8] * 5, "deviates"),
        ([9] * 5, "deviates"),  # a path at every level named
        ([5], "inconclusive"),
    ],
)
def test_magnitude_on_a_resnet(first_cut: Sequence[int], expected: str) -> None:
    check = rule(
        rule="disconnection", of={"method": "magnitude", "levels": {"first": 1, "last": 8}}, table="figure-6",
        setting="cifar10-tiny_resnet18", published="magnitude", chance=10.0,
    )  # fmt: skip
    at = dict(zip(RESNET.seeds, first_cut, strict=False))
    seen = world(RESNET, "magnitude", range(1, 9), len(first_cut), lambda level, seed: level >= at[seed])
    assert verdict(check.evaluate(seen)) == expected


@pytest.mark.parametrize(("cut", "expected"), [(0, "reproduced"), (2, "inconclusive"), (5, "deviates")])
def test_connected_in_all_of_five_seeds(cut: int, expected: str) -> None:
    check = rule(rule="connected", of={"method": "synflow", "levels": [12]})
    seen = world(RESNET, "synflow", [12], 5, lambda _level, seed: seed in RESNET.seeds[:cut])
    assert verdict(check.evaluate(seen)) == expected


@pytest.mark.parametrize(("cut", "expected"), [(25, "reproduced"), (13, "inconclusive"), (0, "deviates")])
def test_disconnected_where_a_paper_says_so(cut: int, expected: str) -> None:
    """Seeds with a path count against it, as those without do against `connected`."""
    check = rule(rule="connected", of={"method": "magnitude", "levels": [4]}, expected="disconnected")
    seen = world(CIRCLE, "magnitude", [4], 25, lambda _level, seed: seed in CIRCLE.seeds[:cut])
    assert verdict(check.evaluate(seen)) == expected


@pytest.mark.parametrize("expected", ["connected", "disconnected"])
def test_records_without_the_field_count_as_neither(expected: str) -> None:
    """Those made before it was measured."""
    records = [mask_record(RESNET, Cell("synflow", 12, seed), [1] * 21) for seed in RESNET.seeds]
    check = rule(rule="connected", of={"method": "synflow", "levels": [12]}, expected=expected)
    assert verdict(check.evaluate(Observations(RESNET, records))) == "not measured"


@pytest.mark.parametrize(("claim", "check"), CLAIMS, ids=[claim.id for claim, _ in CLAIMS])
def test_chance_is_read_from_the_runs(claim: Claim, check: Disconnection) -> None:
    """The compressions that a claim prints, against the CSV file read without the suite's reader."""
    protocol = load(claim.protocol)
    path = resources.files("benchmark") / "claims/tables/synflow/fig6_top1.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    levels = [axis_value(protocol, level) for _, level in check.of.cells]
    largest = []
    for run in "012":
        mine = [r for r in rows if f"{r['dataset']}-{r['model']}" == check.setting and r["run"] == run]
        above = [
            float(r["log10_compression"])
            for r in mine
            if r["pruner"] == check.published and float(r["top1_best_epoch"]) != check.chance
        ]
        largest.append(max(x for x in above if min(levels) - 0.01 <= x <= max(levels) + 0.01))
    text = ", ".join(f"10^{x:g}" for x in largest)
    assert claim.published == f"above {check.chance:g} % up to {text} in the three runs"
    assert check.chance == 100 / protocol.network.outputs
    assert check._accuracies(results("synflow", "figure-6"), protocol)[0] != ()


def test_methods_whose_claims_are_of_paths_are_above_chance_at_every_compression() -> None:
    """What the claims of `connected` state of the released runs: SynFlow on every panel, SNIP on those of CIFAR."""
    claims = [(c, k.of.method) for c in papers.load("synflow").claims for k in c.checks if isinstance(k, Connected)]
    assert sorted(method for _, method in claims) == ["snip"] * 8 + ["synflow"] * 12
    for claim, method in claims:
        chance = 100 / load(claim.protocol).network.outputs
        runs = [r for r in results("synflow", "figure-6") if (r.setting, r.method) == (claim.setting, method)]
        assert min(value for row in runs for value in row.values) > 1.5 * chance
