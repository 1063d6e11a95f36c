"""Which verdicts a budget buys: by hand on offers made up here, and on worlds whose truth is known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from statistics import fmean, stdev

import pytest
from command_line import in_process

from benchmark.claims.observations import all_gathered
from benchmark.planning.priority import UNCLAIMED
from benchmark.planning.purchase import Donors, Market, Offer, Purchase, Purchases, looks, purchases
from benchmark.protocols import Protocol, load
from benchmark.protocols.cells import DENSE, Cell
from benchmark.records.store import Store

RESULTS = Path(__file__).parents[2] / "results"
A, B, C, D = (("p@1", Cell("imp", level, 0)) for level in (1, 2, 3, 4))


def offer(claim: str, chance: float, *cells: tuple[str, Cell], seeds: int = 3) -> Offer:
    return Offer(claim, "paper", "p", seeds, chance, "simulated", frozenset(cells))


def market(**seconds: float) -> Market:
    """One in which cells A, B, C and D cost so many seconds."""
    made = Market({}, Store(Path("nowhere")))
    made._price = {{"a": A, "b": B, "c": C, "d": D}[name]: cost for name, cost in seconds.items()}
    return made


def bought(made: Market, offers: list[Offer], seconds: float) -> list[tuple[str, float]]:
    return [(each.offer.claim, each.seconds) for each in made.buy(offers, seconds)]


def test_the_cheapest_verdict_comes_first_and_shared_cells_are_paid_once() -> None:
    """x costs 10 s / 0.5 = 20 a verdict, y 30 / 0.9 = 33; z shares B with y, so it only costs C then: 50 / 0.8."""
    offers = [offer("z", 0.8, B, C), offer("y", 0.9, B), offer("x", 0.5, A)]
    assert bought(market(a=10.0, b=30.0, c=50.0), offers, math.inf) == [("x", 10.0), ("y", 30.0), ("z", 50.0)]


def test_what_the_budget_does_not_pay_is_left_for_what_it_does() -> None:
    offers = [offer("x", 0.5, A), offer("y", 0.9, B), offer("z", 0.3, C)]
    assert bought(market(a=10.0, b=30.0, c=15.0), offers, 25.0) == [("x", 10.0), ("z", 15.0)]
    assert bought(market(a=10.0, b=30.0, c=15.0), offers, 9.0) == []


def test_claims_that_share_a_dear_network_are_bought_together() -> None:
    """Alone, each pays 100 s for 0.5 of a verdict, 200 a verdict; together 100 a verdict, and less than w's 150."""
    offers = [offer("w", 0.4, A), offer("x", 0.5, B), offer("y", 0.5, B)]
    assert bought(market(a=60.0, b=100.0), offers, 110.0) == [("x", 100.0), ("y", 0.0)]
    offers = [offer("w", 0.4, A, seeds=5), offer("x", 0.5, B, C), offer("y", 0.5, B, D)]  # and a cheap one each
    assert bought(market(a=60.0, b=100.0, c=1.0, d=1.0), offers, 110.0) == [("x", 101.0), ("y", 1.0)]


def test_further_seeds_count_for_what_they_add() -> None:
    """At 3 seeds 0.5 for 10 s; at 5 seeds 0.6, which is 0.1 more for 90 s: after y, which costs 100 a verdict."""
    offers = [offer("x", 0.6, A, B, seeds=5), offer("x", 0.5, A), offer("y", 0.1, C)]
    made = market(a=10.0, b=90.0, c=10.0)
    assert bought(made, offers, math.inf) == [("x", 10.0), ("y", 10.0), ("x", 90.0)]
    plan = Purchases(tuple(made.buy(offers, math.inf)), 2)
    assert plan.expected == pytest.approx(0.6 + 0.1), "the best chance of each claim"
    assert plan.seconds == 110.0
    assert plan.wanted.only
    assert [plan.wanted.tiers[cell] for cell in (A, C, B)] == [(0, 0), (0, 1), (0, 2)]
    assert ("p@1", Cell("imp", 9, 0)) not in plan.wanted.tiers
    assert plan.wanted.tiers.get(("other@1", A[1]), UNCLAIMED) == UNCLAIMED


def test_imagined_runs_have_the_mean_and_spread_of_those_there() -> None:
    """Over 400 worlds: the mean of the five runs, within its uncertainty; spread of a cell and of its mean add up."""
    protocol = load("mnist1d/mlp@1")
    records = [r for r in Store(RESULTS).records(protocol) if r.method.name == "imp" and r.cell.level == 10]
    values = [r.measured.last("test_accuracy") for r in records if r.measured]
    assert len(values) >= 5
    donors, drawn, means = Donors(protocol, records), [], []
    for number in range(400):
        world = donors.world(Random(number))
        runs = [world(Cell("imp", 10, seed)).measured for seed in range(99, 109)]
        accuracies = [run.last("test_accuracy") for run in runs if run is not None]
        drawn.append(accuracies[0])
        means.append(fmean(accuracies))
    sd = stdev(values)
    expected = sd * math.sqrt(1 + 1 / len(values))
    assert fmean(drawn) == pytest.approx(fmean(values), abs=4 * expected / math.sqrt(400))
    assert stdev(drawn) == pytest.approx(expected, rel=0.15)
    assert stdev(means) == pytest.approx(sd * math.sqrt(1 / len(values) + 1 / 10), rel=0.15), "a world has one mean"


def test_a_look_is_a_number_of_seeds() -> None:
    assert looks(load("lth/lenet-mnist")) == (3, 5, 8, 10)
    assert looks(load("mnist1d/mlp@1")) == (3, 5)


def test_what_seeds_decide_and_what_they_do_not(tmp_path: Path) -> None:
    """Of MNIST-1D's claims with their last two seeds hidden: those that all five decide are likely to be decided."""
    protocol = load("mnist1d/mlp@1")
    whole = all_gathered([protocol], [Store(RESULTS)])
    hidden = {protocol.id: whole[protocol.id].at_look(3)}
    found = {each.claim: each for each in Market(hidden, Store(tmp_path)).offers() if each.seeds == 5}
    assert found
    assert all(each.basis == "simulated" for each in found.values())
    assert {cell.seed for each in found.values() for _, cell in each.cells} <= set(protocol.seeds[3:])
    assert purchases(hidden, Store(tmp_path), 0.0).taken == ()
    chances = {claim: each.chance for claim, each in found.items()}
    # docs/published.md says why: the early stop of MNIST-1D varies too much for five seeds.
    assert chances.get("mnist1d-1", 0.0) < 0.5


def test_the_command_line_buys_what_it_says(tmp_path: Path) -> None:
    asked = ("plan", "mnist1d/mlp", "--results", str(tmp_path), "--buy", "verdicts", "--budget", "2h")
    said = in_process(*asked, "--json")
    document = json.loads(said.stdout)
    assert document["bought"]
    assert document["expected_verdicts"] == pytest.approx(
        sum({each["claim"]: each["chance"] for each in document["bought"]}.values()), abs=0.01
    )
    assert all(each["basis"] == "base rate" for each in document["bought"]), "nothing is recorded"
    table = in_process(*asked).stdout
    assert all(each["claim"] in table for each in document["bought"])
    cells = sum(each["cells"] for each in document["bought"])
    assert f"{cells:,} cells planned" in table
    both = in_process("plan", "--buy", "verdicts", "--for", "lth")
    assert both.returncode == 2
    assert "Give one of both" in both.stderr


def test_nothing_else_is_planned(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """`run` follows: jobs of bought cells in the order of purchase, and none of others."""
    from benchmark.planning.select import planned_for

    key = tiny_protocol.key
    second, first = (key, Cell(DENSE, 0, 1)), (key, Cell("snip", tiny_protocol.measured_levels("snip")[0], 0))
    wanted = Purchases(tuple(Purchase(offer("x", 0.9, cell), 1.0, (cell,)) for cell in (first, second)), 1).wanted
    selection = [(tiny_protocol, DENSE), (tiny_protocol, "snip"), (tiny_protocol, "imp")]
    planned = planned_for(selection, Store(tmp_path), bought=wanted)
    assert [cell for item in planned for cell in item.job.cells] == [first[1], second[1]]
