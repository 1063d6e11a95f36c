"""What open claims need: seeds and core time against hand calculations, one wording, and the order of a plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import Outcome, fill
from click.testing import CliRunner

from benchmark import protocols
from benchmark.claims.evidence import Verdict
from benchmark.claims.observations import Observations
from benchmark.claims.verdicts import decide, decide_all, decide_open
from benchmark.cli.main import cli
from benchmark.planning.plan import jobs
from benchmark.planning.power import Need, claim_needs
from benchmark.planning.priority import NEVER, ClaimStatus, cells_for_one_seed, wanted_methods
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.report import leaderboard

LTH, MNIST1D = protocols.load("lth/lenet-mnist@1"), protocols.load("mnist1d/mlp@1")


def names(cells: list[Cell]) -> list[str]:
    return [f"{c.method} {c.level}" + (f" draw {c.draw}" if c.draw else "") for c in cells]


@pytest.mark.parametrize(
    ("point", "trained"),
    [
        (("dense", 0), ["dense 0"]),
        (("imp", 0), ["dense 0"]),  # level 0 of a chain is the dense network
        (("imp", 2), ["dense 0", "imp 1", "imp 2"]),
        # the parent's networks up to the one that its mask is cut from, and both draws of the control
        (("imp+reinit", 3), ["dense 0", "imp 1", "imp 2", "imp+reinit 3", "imp+reinit 3 draw 1"]),
        (("random+shuffle", 3), ["random+shuffle 3"]),
        (("random", 3), ["random 3"]),
        (("one-shot", 3), ["dense 0", "one-shot 3"]),  # scored at the dense network's last weights
        (("fine-tune", 2), ["dense 0", "fine-tune 2"]),
        (("imp-rewind", 1), ["dense 0", "imp-rewind 1"]),
    ],
)
def test_a_seed_takes_every_training_that_its_masks_need(
    tiny_protocol: Protocol, point: tuple[str, int], trained: list[str]
) -> None:
    assert names(cells_for_one_seed(tiny_protocol, [point])) == trained


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three seeds of MNIST-1D with some noise; one update of LeNet takes 1 / 50,000 s, as the builder says."""
    made = Store(tmp_path_factory.mktemp("results"))

    def world(cell: Cell) -> Outcome | None:
        noise = 0.7 * ((7 * cell.seed + 3 * cell.level + len(cell.method)) % 5)
        gain = (cell.method == "imp") * (0.5 + 0.5 * (88 <= cell.level <= 92))
        return Outcome(70 + noise + gain) if cell.seed < 3 else None

    fill(made, MNIST1D, world)
    return made


@pytest.fixture(scope="module")
def needs(store: Store) -> list[Need]:
    return claim_needs(store, [LTH, MNIST1D])


def test_every_open_claim_and_no_other_is_there(store: Store, needs: list[Need]) -> None:
    decisions = decide(store, [LTH, MNIST1D])
    open_ = {d.claim: d for d in decisions if d.verdict in ("inconclusive", "not measured")}
    assert {need.claim: need.seeds for need in needs} == {c: d.seeds_still_needed for c, d in open_.items()}
    assert {need.verdict for need in needs} == {"inconclusive", "not measured"}


def test_the_cheapest_decision_comes_first_and_the_hopeless_last(needs: list[Need]) -> None:
    costs = [need.core_seconds for need in needs]
    known = [cost for cost in costs if cost is not None]
    assert known == sorted(known)
    assert None in costs
    assert all(cost is None for cost in costs[len(known) :])


def test_core_time_by_hand(needs: list[Need]) -> None:
    """mnist1d-1 needs dense and the whole chain: 99 trainings of a second each, since the last level keeps nothing and
    is not trained. Nothing of LeNet is measured: lth-59 needs two seeds."""
    by_claim = {need.claim: need for need in needs}
    chain = by_claim["mnist1d-1"]
    assert chain.methods == ("dense", "imp")
    assert chain.seeds is not None
    assert chain.core_seconds == pytest.approx(chain.seeds * 99.0)
    unmeasured = by_claim["lth-59"]
    assert (unmeasured.verdict, unmeasured.seeds, unmeasured.seeds_planned) == ("not measured", 2, 5)
    assert set(unmeasured.methods) == {"dense", "imp", "imp+reinit", "magnitude"}


def test_it_says_what_the_board_says(store: Store, needs: list[Need]) -> None:
    pages = leaderboard.render(store, [LTH, MNIST1D])
    claims = {claim: part for text in pages.values() for claim, part in leaderboard.by_claim(text).items()}
    for need in needs:
        if need.verdict == "inconclusive":
            assert f": inconclusive; {need.words.partition(' (')[0]}\n" in claims[need.claim]


def test_as_json(store: Store) -> None:
    """Of the newest versions, as every verb."""
    needs = claim_needs(store, [protocols.load(MNIST1D.id)])
    result = CliRunner().invoke(cli, ["power", "--results", str(store.root), "--json"])
    document = [entry for entry in json.loads(result.output) if entry["protocol"] == MNIST1D.id]
    assert [entry["claim"] for entry in document] == [need.claim for need in needs]
    assert all((entry["core_hours"] is None) == (entry["seeds"] is None) for entry in document)


def test_a_plan_asks_for_claims_to_which_its_runs_can_add(store: Store) -> None:
    """Those of seeds 3 and 4 on MNIST-1D; the same decisions, whichever were asked for: Holm's families stay whole."""
    seen = {p.id: Observations(p, store.records(p)) for p in (LTH, MNIST1D)}
    every = decide_all(seen)
    assert decide_open(seen) == [d for d in every if d.runs_missing] == every
    done = {MNIST1D.id: Observations(MNIST1D, _all_seeds(store))}
    assert decide_all(done)
    assert decide_open(done) == []
    assert decide_open({**seen, **done}) == [d for d in every if d.protocol == LTH.id]


def _all_seeds(store: Store) -> list[Record]:
    """Seeds 3 and 4 as seeds 0 and 1 were."""
    own = store.records(MNIST1D)
    more = [r for r in own if r.cell.seed < 2]
    return own + [r.model_copy(update={"cell": r.cell.model_copy(update={"seed": r.cell.seed + 3})}) for r in more]


def test_a_failed_run_can_add_to_a_claim_if_it_is_tried_again(store: Store) -> None:
    records = _all_seeds(store)
    broken = next(i for i, r in enumerate(records) if r.method.name == "random" and r.cell.level == 90)
    records[broken] = records[broken].model_copy(update={"status": "failed", "reason": "diverged"})
    seen = {MNIST1D.id: Observations(MNIST1D, records)}
    assert decide_open(seen) == []
    again = decide_open(seen, retry_failed=True)
    assert again == [d for d in decide_all(seen) if d.failures]
    assert "mnist1d-2" in {d.claim for d in again}


def test_methods_are_wanted_by_the_claim_that_needs_fewest_seeds(tiny_protocol: Protocol) -> None:
    def claim(methods: tuple[str, ...], seeds: int | None, verdict: Verdict = "inconclusive") -> ClaimStatus:
        cells = {tiny_protocol.id: tuple((method, 1) for method in methods)}
        return ClaimStatus("paper", "claim", None, verdict, 1, seeds, cells)

    # A chain takes the dense network as well, which it starts from.
    assert wanted_methods([claim(("imp",), 9)], [tiny_protocol]) == {tiny_protocol.id: {"dense": 9, "imp": 9}}
    claims = [
        claim(("imp",), 9),
        claim(("dense", "random"), 2, "not measured"),
        claim(("snip",), None),
        claim(("magnitude", "dense"), 1, "reproduced"),
    ]
    found = wanted_methods(claims, [tiny_protocol])
    assert found == {tiny_protocol.id: {"dense": 2, "imp": 9, "random": 2, "snip": NEVER}}


def test_a_plan_takes_first_what_decides_with_few_seeds(tiny_protocol: Protocol, tmp_path: Path) -> None:
    methods = [DENSE, "imp", "random", "magnitude"]

    def order(wanted: dict[str, int] | None) -> list[str]:
        found = jobs(tiny_protocol, methods, Store(tmp_path), wanted=wanted)
        return [f"{job.method} {job.cells[0].seed}" for job in found if job.cells[0].level < 4]

    usual = [f"{method} {seed}" for seed in (0, 1) for method in methods]
    assert order(None) == order({}) == usual
    assert order({"dense": 1, "magnitude": 1, "imp": 7}) == [
        "dense 0", "magnitude 0", "dense 1", "magnitude 1", "imp 0", "imp 1", "random 0", "random 1",
    ]  # fmt: skip
    chains = [
        job for job in jobs(tiny_protocol, ["imp"], Store(tmp_path), wanted={"imp": 3}) if job.cells[0].level == 1
    ]
    assert [[cell.level for cell in job.cells] for job in chains] == [[1, 2, 3]] * 2  # no chain is torn apart
