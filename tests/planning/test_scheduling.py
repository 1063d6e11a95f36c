"""Budgets and many workers: what is wanted first, what it should cost, who does which part, how long it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import standing
from hypothesis import given
from hypothesis import strategies as st
from simulation import World, ideal, simulate

from benchmark.harness.executors.executor import WorkOrder, plan_path
from benchmark.harness.executors.profile import load_profile
from benchmark.planning.cost import CostModel, assumed, flops_per_step
from benchmark.planning.plan import Shard, expected_seconds, part, plan
from benchmark.planning.priority import FIRST_SEEDS, wanted
from benchmark.protocols import Protocol, load
from benchmark.protocols.cells import DENSE, Cell, cells_of, method_names
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput

LENGTHS = st.lists(st.floats(0.01, 100), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 12))
def test_a_simulated_schedule_keeps_grahams_bound(seconds: list[float], workers: int) -> None:
    """Never below the ideal, and no greedy schedule exceeds it by a factor of 2 - 1/m (Graham 1966)."""
    found = simulate(seconds, workers, World()).makespan
    assert ideal(seconds, workers) - 1e-6 <= found
    assert found <= (2 - 1 / workers) * ideal(seconds, workers) + 1e-6


def test_a_schedule_by_hand() -> None:
    """Three workers, jobs 3 3 2 2 2 in this order: the first two take 3, the third 2, then 2 more on each: 5."""
    assert simulate([3, 3, 2, 2, 2], 3, World()).makespan == 5
    assert simulate([4, 1], 1, World()).makespan == 5


@given(LENGTHS, st.integers(1, 5), st.integers(0, 5))
def test_deaths_cost_time_and_lose_no_job(seconds: list[float], workers: int, seed: int) -> None:
    calm = simulate(seconds, workers, World())
    stormy = simulate(seconds, workers, World(between_deaths=200.0, lost=5.0, patience=10.0, back=20.0), seed)
    assert stormy.makespan >= ideal(seconds, workers) - 1e-6
    assert (stormy.deaths == 0) == (stormy.makespan == calm.makespan) or stormy.deaths > 0


def _record(device: str, seconds: float) -> Record:
    """A committed record with another device and cost."""
    found = Store(Path(__file__).parents[2] / "results").records(load("mnist1d/mlp@1"))[0]
    assert found.cost is not None
    cost = found.cost.model_copy(update={"train_steps": 100, "train_seconds": seconds, "train_cpu_seconds": seconds})
    return found.model_copy(update={"cost": cost, "provenance": found.provenance.model_copy(update={"device": device})})


def test_costs_are_learned_by_device(tiny_protocol: Protocol) -> None:
    """Medians by hand; another device's speed is carried over by what both do elsewhere; nothing known: operations."""
    other = load("mnist1d/mlp@1")
    here = [_record("a", s) for s in (1.0, 2.0, 9.0)]
    model = CostModel.learn({tiny_protocol: here})
    assert model.seconds_per_step(tiny_protocol, "a") == 0.02
    ratio = flops_per_step(other) / flops_per_step(tiny_protocol)
    assert model.seconds_per_step(other, "a") == pytest.approx(0.02 * ratio)
    slower = CostModel.learn({tiny_protocol: [*here, _record("b", 4.0)], other: [_record("a", 10.0)]})
    assert slower.seconds_per_step(other, "b") == pytest.approx(0.1 * slower.factors["b"] / slower.factors["a"])
    assert CostModel().seconds_per_step(other) == flops_per_step(other) / 3e10


def test_the_price_of_an_update_by_hand() -> None:
    """MNIST-1D: 1,000 test examples now and then; one image, looked at every 50 updates of one example."""
    protocol = load("mnist1d/mlp")
    work, evaluation = protocol.network.multiply_adds, protocol.evaluation
    seen = 1000 / evaluation.test_every + protocol.data.validation / evaluation.every
    assert flops_per_step(protocol) == pytest.approx(work * (6 * protocol.recipe.batch_size + 2 * seen))
    image = load("oes/pepper-64")
    assert flops_per_step(image) == pytest.approx(image.network.multiply_adds * (6 + 2 / 50))


def test_an_analysis_costs_the_trainings_behind_its_network() -> None:
    """Of 1,500 updates each: a learned mask has 3,000 of scores and 1,500 behind it, the third level of iterative
    pruning a dense network and three pruned ones, the dense network itself one training; each has one of its own."""
    protocol = load("oes/pepper-64@1")
    seconds = expected_seconds(protocol, [], device="cpu: Test")
    update = assumed(protocol.examined, "cpu: Test")
    for method, level, updates in (("sparse-dip", 3, 4500), ("imp-dip", 3, 6000), ("dense-dip", 0, 1500)):
        assert seconds([Cell(method, level, 2400)]) == pytest.approx(update * (1500 + updates))


def test_updates_that_learn_a_mask_cost_their_own() -> None:
    """A dense network: 100 updates of 0.02 s. With its mask learned: 1,502 more of 0.05 s; a control only takes it.

    By portable kernels an update with 27,778 of 275,000 weights takes 0.08 + 0.92 d / 0.75 of a dense one's time.
    """
    protocol = load("suite/learners-mnist1d")
    plain, learned = _record("a", 2.0), _record("a", 2.0)
    assert learned.cost is not None
    cost = learned.cost.model_copy(update={"mask_train_steps": 10, "mask_train_seconds": 0.5})
    found = [plain, learned.model_copy(update={"cost": cost})]
    seconds = expected_seconds(protocol, found, device="a")
    steps, part = protocol.recipe.steps, 0.08 + 0.92 * (27_778 / 275_000) / 0.75
    assert seconds([Cell("dense", 0, 500)]) == pytest.approx(0.02 * steps)
    assert seconds([Cell("gem-miner", 3, 500)]) == pytest.approx((0.02 * part + 0.05) * steps)
    assert seconds([Cell("gem-miner+shuffle", 3, 500)]) == pytest.approx(0.02 * part * steps)
    assert seconds([Cell("gem-miner-untrained", 3, 500)]) == pytest.approx(0.05 * steps)
    loaded = cost.model_copy(update={"mask_train_seconds": 4.0})
    alone = loaded.model_copy(update={"mask_train_cpu_seconds": 0.3})
    found += [learned.model_copy(update={"cost": each}) for each in (loaded, alone)]
    seconds = expected_seconds(protocol, found, device="a")
    assert seconds([Cell("gem-miner-untrained", 3, 500)]) == pytest.approx(0.03 * steps), (
        "the core's, where one says it"
    )
    unlearned = expected_seconds(protocol, [plain], device="a")
    assert unlearned([Cell("gem-miner", 3, 500)]) == pytest.approx((0.02 * part + 0.02) * steps)


def test_the_prediction_error_by_hand(tiny_protocol: Protocol) -> None:
    """Of 1, 2 and 9: 1 is predicted from (2, 9) as 5.5, 2 from (1, 9) as 5, 9 from (1, 2) as 1.5."""
    error = CostModel.learn({tiny_protocol: [_record("a", s) for s in (9.0, 1.0, 2.0)]}).error(tiny_protocol, "a")
    assert error is not None
    assert error.count == 3
    assert error.middle == pytest.approx(1.5)
    assert CostModel().error(tiny_protocol) is None


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_shards_are_a_partition_whatever_is_done(tmp_path: Path, tiny_protocol: Protocol, count: int) -> None:
    selection = [(tiny_protocol, method) for method in method_names(tiny_protocol)]
    planned = plan(selection, Store(tmp_path))
    parts = [part(planned, selection, Shard(n, count)) for n in range(1, count + 1)]
    names = [{item.job.name for item in each} for each in parts]
    assert sum(len(each) for each in parts) == len(planned)
    assert set.union(*names) == {item.job.name for item in planned}
    assert sum(map(len, names)) == len(set.union(*names)), "a job lies in two shards"
    later = [part(planned[5:], selection, Shard(n, count)) for n in range(1, count + 1)]
    for now, before in zip(later, names, strict=True):
        assert {item.job.name for item in now} <= before
    if count == 2:
        loads = [sum(item.seconds for item in each) for each in parts]
        assert min(loads) > 0.8 * max(loads)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(BadInput, match="NUMBER/COUNT"):
        Shard.parse(text)


def test_an_order_survives_its_file(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """What a worker reads is what was planned, jobs, order and all."""
    planned = tuple(plan([(tiny_protocol, name) for name in ("dense", "imp", "imp+reinit")], Store(tmp_path)))
    order = WorkOrder(planned, tmp_path, 5.0, None, (tmp_path / "p.py",), True, "cuda", 3)
    path = plan_path(Store(tmp_path))
    order.save(path)
    assert WorkOrder.load(path) == order
    assert order.deadline_here() == 5.0


def test_an_order_of_another_protocol_is_refused(tiny_protocol: Protocol, tmp_path: Path) -> None:
    path = plan_path(Store(tmp_path))
    WorkOrder(tuple(plan([(tiny_protocol, "dense")], Store(tmp_path))), tmp_path).save(path)
    path.write_text(path.read_text().replace(tiny_protocol.digest, "0" * 64))
    with pytest.raises(BadInput, match="was made for another"):
        WorkOrder.load(path)
    path.write_text("{}")
    with pytest.raises(BadInput, match="is no plan"):
        WorkOrder.load(path)


PROFILE = "schema: lotterybench/slurm/1\npartition: gpu\ntime: 1h30m\ntasks: 8\n"


def test_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(PROFILE + "gpus: 2\ncpus: 4\nconstraint: a100\n")
    profile = load_profile(path)
    asked = profile.parameters()
    assert (profile.minutes, profile.workers) == (90, 2)
    assert (asked["timeout_min"], asked["slurm_gpus_per_node"], asked["slurm_constraint"]) == (90, 2, "a100")
    assert "slurm_account" not in asked
    path.write_text(PROFILE + "cpus: 3\n")
    assert load_profile(path).workers == 3


@pytest.mark.parametrize(
    "text",
    [
        PROFILE.replace("gpu", "[gpu]"), PROFILE + "typo: 1\n", PROFILE.replace("8", "0"), PROFILE.replace("8", "'8'"),
        PROFILE.replace("1h30m", "90"), PROFILE.replace("1h30m", "0m"), PROFILE.replace("1h30m", "h"), "[]", "",
        PROFILE + "gpus: 4\n", PROFILE.replace("slurm/1", "slurm/2"), PROFILE + "memory: 8\n",
    ],
)  # fmt: skip
def test_a_profile_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match="cluster"):
        load_profile(path)


def test_what_nothing_is_known_of_comes_first(tmp_path: Path) -> None:
    """In an empty folder: three seeds of what claims need, in front of all else."""
    protocol = load("mnist1d/mlp@1")
    asked = wanted(standing(Store(tmp_path), [protocol]), [protocol])
    selection = [(protocol, method) for method in method_names(protocol)]
    tiers = [asked.tier(protocol, cell)[0] for item in plan(selection, Store(tmp_path), False, None, asked)
             for cell in item.job.cells]  # fmt: skip
    assert tiers == sorted(tiers)
    assert set(tiers) >= {0, 2}
    assert asked.tier(protocol, Cell(DENSE, 0, FIRST_SEEDS - 1))[0] == 0
    assert asked.tier(protocol, Cell(DENSE, 0, FIRST_SEEDS))[0] == 2


def test_for_a_claim_nothing_else_is_run(tmp_path: Path) -> None:
    protocol = load("mnist1d/mlp@1")
    selection = [(protocol, method) for method in method_names(protocol)]
    everything = {cell for _, method in selection for cell in cells_of(protocol, method)}
    asked = wanted(standing(Store(tmp_path), [protocol]), [protocol], "mnist1d-curve-random")
    cells = {cell for item in plan(selection, Store(tmp_path), False, None, asked) for cell in item.job.cells}
    assert cells < everything
    assert {cell.method for cell in cells} == {"random", DENSE}
    method = wanted(standing(Store(tmp_path), [protocol]), [protocol], "imp+reinit")
    planned = {cell for item in plan(selection, Store(tmp_path), False, None, method) for cell in item.job.cells}
    assert set(cells_of(protocol, "imp+reinit")) <= planned
    with pytest.raises(BadInput, match="mnist1d-4"):
        wanted(standing(Store(tmp_path), [protocol]), [protocol], "mnist1d-44")


def test_decided_claims_want_nothing_more() -> None:
    """Of the committed records: what claims that are decided rest on comes after what open ones need."""
    protocol = load("mnist1d/mlp@1")
    store = Store(Path(__file__).parents[2] / "results")
    tiers = wanted(standing(store, [protocol]), [protocol]).tiers
    assert {tier for tier, _ in tiers.values()} <= {1, 2, 3}


BROKEN = "from benchmark.api import Pruner\n\n\nclass Broken(Pruner):\n    def score(self, network, examples, rng):\n"


@pytest.fixture
def broken(tmp_path: Path, tiny_path: Path) -> tuple[Path, Path]:
    """The tiny protocol with one method, whose pruner always fails."""
    plugin, path = tmp_path / "broken.py", tmp_path / "own.yaml"
    plugin.write_text(BROKEN + "        return {}\n")
    text = tiny_path.read_text()
    head, tail = text.split("methods:\n")[0], text.split("\nseeds: [0, 1]")[1]
    method = "  bad:\n    pruner: broken\n    allocation: layerwise\n"
    method += "    schedule: {rounds: 1, scores: initial, restart: 0}\n    levels: [3]\n"
    path.write_text(f"{head}methods:\n{method}\nseeds: [0]{tail}")
    return path, plugin


def test_a_failure_is_tried_once_more_and_then_stays(tmp_path: Path, broken: tuple[Path, Path]) -> None:
    """First by another worker, whoever is there; the second failure is the record, with its reason."""
    from benchmark.harness.harness import Harness, Settings
    from benchmark.planning.plan import jobs
    from benchmark.protocols import load_file

    protocol, store = load_file(broken[0]), Store(tmp_path / "results")
    settings = Settings(data_root=tmp_path, plugins={"broken": broken[1]}, second_tries=True)
    job = jobs(protocol, ["bad"], store)[0]
    cell = job.cells[0]
    here = Harness(protocol, store, settings)
    assert not here.run(job)
    assert store.read(protocol, cell) is None
    noted = here.tries.first_failure(cell)
    assert noted is not None
    assert not here.run(job), "the same worker tried it again"
    assert here.tries.left
    here.tries.alone = True
    assert here.run(job)
    record: Any = store.read(protocol, cell)
    assert record.status == "failed"
    assert record.reason == noted.reason
    assert here.tries.first_failure(cell) is None


def test_status_knows_what_runs_and_what_is_left(tmp_path: Path, tiny_protocol: Protocol) -> None:
    from benchmark.cli.progress import progress_document

    store = Store(tmp_path)
    selection = [(tiny_protocol, method) for method in (DENSE, "imp", "random")]
    with store.lock(tiny_protocol, "imp_seed-0", wait=False):
        found = progress_document(store, selection)
        rows = {row["method"]: row for row in found["methods"]}
        assert [rows["imp"][key] for key in ("finished", "running", "failed", "missing")] == [0, 4, 0, 4]
        assert [rows[DENSE][key] for key in ("finished", "running", "failed", "missing")] == [0, 0, 0, 2]
        assert [worker["job"] for worker in found["workers"]] == ["imp_seed-0"]
    assert progress_document(store, selection)["workers"] == []
