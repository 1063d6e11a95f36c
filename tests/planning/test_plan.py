"""Plans: what is expanded, in which order, what it should cost, and what fits a budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.harness.harness import Harness, Settings
from benchmark.planning.batching import estimate, packed
from benchmark.planning.cost import CostModel
from benchmark.planning.narrowed import Narrowed
from benchmark.planning.plan import Job, PlannedJob, jobs, only_recorded, plan
from benchmark.planning.select import planned_for
from benchmark.protocols import Protocol, load
from benchmark.protocols.cells import DENSE, Cell, cells_of, method_names, select, train_steps
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput


def test_every_cell_is_planned_once(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """The jobs of an empty folder hold each cell of the protocol exactly once."""
    methods = method_names(tiny_protocol)
    planned = [cell for job in jobs(tiny_protocol, methods, Store(tmp_path)) for cell in job.cells]
    wanted = [cell for method in methods for cell in cells_of(tiny_protocol, method)]
    assert len(planned) == len(set(planned)) == len(wanted)
    assert set(planned) == set(wanted)


def test_the_numbers_of_networks_are_those_of_the_papers() -> None:
    """MNIST-1D: 99 pruned rounds of both methods by 5 seeds. LTH: 15 reinitialized networks per ticket."""
    mnist1d, lenet = load("mnist1d/mlp@1"), load("lth/lenet-mnist@1")
    assert len(cells_of(mnist1d, "imp")) == len(cells_of(mnist1d, "random")) == 99 * 5
    assert len([c for c in cells_of(lenet, "imp+reinit") if c.level == 7]) == 15
    assert [c.level for c in cells_of(lenet, "dense")] == [0] * 5


def test_a_chain_is_one_job_in_order_and_single_cells_are_many(tmp_path: Path, tiny_protocol: Protocol) -> None:
    found = jobs(tiny_protocol, ["imp", "random"], Store(tmp_path))
    chains = [job for job in found if job.method == "imp"]
    assert [[cell.level for cell in job.cells] for job in chains] == [[1, 2, 3], [1, 2, 3], [4], [4]]
    assert all(len(job.cells) == 1 for job in found if job.method == "random")


def test_wanted_levels_first_draws_and_first_seeds_come_first(tmp_path: Path) -> None:
    """Everything of seeds 0 to 2 precedes seeds 3 and 4; later draws and levels follow those."""
    lenet = load("lth/lenet-mnist@1")
    order = jobs(lenet, method_names(lenet), Store(tmp_path))
    place = {(c.method, c.level, c.seed, c.draw): n for n, job in enumerate(order) for c in job.cells}
    assert place["synflow", 18, 2, 0] < place["dense", 0, 3, 0]
    assert place["imp", 18, 4, 0] < place["imp+reinit", 7, 0, 1] < place["imp", 19, 0, 0]
    assert place["imp", 1, 0, 0] < place["imp+reinit", 3, 0, 0]


def test_seeds_and_levels_narrow_a_plan_and_chains_keep_what_they_need(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """By hand: tiny has seeds 0 and 1, a chain `imp` of levels 1 to 4, and `random` at single levels."""
    planned = plan(select([tiny_protocol], []), Store(tmp_path))
    found = Narrowed.parse("1", "3").of(planned)
    cells = {cell for item in found for cell in item.job.cells}
    assert {cell.seed for cell in cells} == {1}
    assert {cell.level for cell in cells if cell.method == "imp"} == {1, 2, 3}
    assert {cell.level for cell in cells if cell.method == "random"} == {3}
    assert {cell.level for cell in cells if cell.method == "dense"} == {0}
    assert sum(item.seconds for item in found) < sum(item.seconds for item in planned)
    assert Narrowed.parse(None, None).of(planned) == planned
    assert Narrowed.parse("0,2-4", None).seeds == {0, 2, 3, 4}
    for text in ("", "a", "-1", "0-99999999"):
        with pytest.raises(BadInput, match="are no numbers"):
            Narrowed.parse(text, None)
    with pytest.raises(BadInput, match=r"5-1 runs backwards\. Write 1-5"):
        Narrowed.parse(None, "0,5-1")


def test_seeds_and_levels_that_nothing_selected_has_are_refused_with_what_there_is(tiny_protocol: Protocol) -> None:
    """LTH's LeNet has seeds 10 to 19, and of the dense network 40 more; tiny has seeds 0 and 1, levels 1 to 4."""
    lenet = load("lth/lenet-mnist")
    everything = select([lenet], [])
    words = r"--seeds 3,98-99: lth/lenet-mnist has seeds 10 to 19 \(dense 20 to 59\)\."
    with pytest.raises(BadInput, match=words):
        Narrowed.parse("98,99,3", None).refuse_none(everything)
    with pytest.raises(BadInput, match=r"--seeds 25: lth/lenet-mnist has seeds 10 to 19\."):
        Narrowed.parse("25", None).refuse_none([(lenet, "imp")])
    with pytest.raises(BadInput, match=r"--seeds 9: lth/lenet-mnist has seeds 10 to 59\."):
        Narrowed.parse("9", None).refuse_none([(lenet, "dense")])
    last = len(lenet.level_table) - 1
    with pytest.raises(BadInput, match=rf"--levels 999: lth/lenet-mnist has levels 0 to {last}\."):
        Narrowed.parse(None, "999").refuse_none(everything)
    both = [*everything, *select([tiny_protocol], [])]
    for seeds, levels in (("10", None), ("0", None), ("25", None), (None, "4"), (None, "0")):
        Narrowed.parse(seeds, levels).refuse_none(both)
    with pytest.raises(BadInput, match=r"has seeds 10 to 19.*; .* has seeds 0 to 1"):
        Narrowed.parse("2", None).refuse_none(both)


def test_what_was_narrowed_is_counted(tiny_protocol: Protocol) -> None:
    """By hand: two seeds of a dense network and of level 3 of `random`; of the chain, levels 1 to 3 of one seed."""
    pairs = [(tiny_protocol, method) for method in ("dense", "random", "imp")]
    assert Narrowed.parse("1", "3").count(pairs) == 1 + 1 + 3
    assert Narrowed.parse(None, "3").count(pairs) == 2 * (1 + 1 + 3)


def test_recorded_cells_leave_the_plan(tmp_path: Path, tiny_protocol: Protocol) -> None:
    store = Store(tmp_path)
    first = jobs(tiny_protocol, ["dense"], store)[0]
    Harness(tiny_protocol, store, Settings()).run(first)
    left = jobs(tiny_protocol, ["dense"], store)
    assert [job.cells for job in left] == [(Cell("dense", 0, 1),)]
    planned = plan(select([tiny_protocol], []), Store(tmp_path / "other"))
    assert [item.job.cells for item in only_recorded(planned, store)] == [(Cell("dense", 0, 0),)]
    assert CostModel.learn({tiny_protocol: store.records(tiny_protocol)}).seconds_per_step(tiny_protocol) > 0


def test_training_steps_by_schedule(tiny_protocol: Protocol) -> None:
    """20 updates; rewinding to 6 leaves 14; fine-tuning takes its own 8; an empty network takes none."""
    assert train_steps(tiny_protocol, Cell("dense", 0, 0)) == 20
    assert train_steps(tiny_protocol, Cell("imp", 2, 0)) == 20
    assert train_steps(tiny_protocol, Cell("imp-rewind", 2, 0)) == 14
    assert train_steps(tiny_protocol, Cell("fine-tune", 2, 0)) == 8
    assert train_steps(load("mnist1d/mlp@1"), Cell("imp", 99, 0)) == 0


@pytest.mark.parametrize(
    ("budget", "workers", "counts"),
    [
        (None, 1, [3, 1, 1]),
        (29.0, 1, [2, 0, 1]),  # two of the chain's three levels, 10 s each, then the 5 s cell
        (30.0, 1, [3, 0, 0]),
        (30.0, 2, [3, 1, 1]),
        (20.0, 2, [2, 1, 1]),  # a chain can be cut, a single cell cannot
        (9.0, 2, [0, 0, 1]),
    ],
)
def test_what_fits_a_budget(tiny_protocol: Protocol, budget: float | None, workers: int, counts: list[int]) -> None:
    """Worked by hand: a chain of three levels (30 s), a cell of 15 s, a cell of 5 s."""
    chain = Job(tiny_protocol, tuple(Cell("imp", level, 0) for level in (1, 2, 3)))
    planned = [
        PlannedJob(chain, 30.0),
        PlannedJob(Job(tiny_protocol, (Cell("random", 3, 0),)), 15.0),
        PlannedJob(Job(tiny_protocol, (Cell("random", 3, 1),)), 5.0),
    ]
    found = estimate(planned, packed(planned, CostModel()), workers, budget)
    assert list(found.cells) == counts


def test_selection_by_pattern() -> None:
    known = [load("lth/lenet-mnist@1"), load("mnist1d/mlp@1")]
    assert {method for _, method in select(known, ["lth/*:imp*"])} == {"imp", "imp+reinit", "imp+shuffle", "imp-rewind"}
    assert {protocol.id for protocol, _ in select(known, ["mnist1d/mlp"])} == {"mnist1d/mlp"}
    assert select(known, ["none"]) == []


def test_a_claim_on_two_protocols_is_one_of_either(tmp_path: Path) -> None:
    """Half of it is selected: only that is planned. Claims on the other half alone are none of the selection's."""
    store, asked = Store(tmp_path / "results"), "lth-50-low-ticket"
    low, lenet = load("lth/lenet-adam-2e-4-mnist"), load("lth/lenet-mnist")
    for protocol in (low, lenet):
        selection = [(protocol, method) for method in method_names(protocol)]
        planned = planned_for(selection, store, wanted_for=asked)
        assert {item.job.protocol for item in planned} == {protocol}
        tickets = {cell.level for item in planned for cell in item.job.cells if cell.method == "imp"}
        assert tickets == set(range(1, 8)), "21.1 % is the seventh round"
        assert {cell.method for item in planned for cell in item.job.cells} == {DENSE, "imp"}
    with pytest.raises(BadInput, match="--for lth-14: is no claim, paper or method of the selected protocols"):
        planned_for([(low, "imp")], store, wanted_for="lth-14")
