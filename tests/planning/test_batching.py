"""Side by side on a device: who goes with whom, what that should take, and that `run` does what `plan` shows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import Outcome, record
from click.testing import CliRunner
from replica_groups import run_batch

from benchmark.cli.main import cli
from benchmark.harness.executors import worker
from benchmark.harness.executors.worker import Events, Options, work
from benchmark.harness.harness import Harness, Settings
from benchmark.planning.batching import Batch, costs_of, estimate, packed
from benchmark.planning.cost import (
    CostModel,
    Throughput,
    Widths,
    assumed,
    nearly_free,
    replicas_in,
    round_seconds,
    side_by_side,
)
from benchmark.planning.plan import Job, PlannedJob, plan
from benchmark.protocols import Protocol, load
from benchmark.protocols.cells import DENSE, Cell
from benchmark.records.leases import Leases, Timing
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.training.loop import Placement

GPU = "cuda: Test"


def on_gpu(protocol: Protocol, company: int, seconds_per_step: float, seed: int = 0) -> Record:
    """A record of a network that was trained in a company, whose updates took so long."""
    made = record(protocol, Cell(DENSE, 0, seed), Outcome(50.0, 2))
    assert made.cost is not None
    share = made.cost.train_steps * seconds_per_step / company
    words = f"{company} side by side, stacked"
    return made.model_copy(
        update={
            "cost": made.cost.model_copy(update={"train_seconds": share}),
            "provenance": made.provenance.model_copy(update={"device": GPU, "replica_group": words}),
        }
    )


def test_a_company_is_known_by_its_words() -> None:
    assert replicas_in("5 side by side, stacked; 10 did not fit into memory") == 5
    assert replicas_in(None) == 1


def test_what_a_company_takes_by_hand(tiny_protocol: Protocol) -> None:
    """Four side by side took 1 ms, eight took 2 ms: a company in between is the one nearest, far ones follow the
    assumption, by which the tiny network leaves a GPU idle: sixty-four take no longer than one."""
    found = [on_gpu(tiny_protocol, 4, 1e-3, 0), on_gpu(tiny_protocol, 8, 2e-3, 1)]
    wall = CostModel.learn({tiny_protocol: found}).wall(tiny_protocol, GPU)
    assert [wall(n) for n in (1, 4, 5, 6, 8, 64)] == pytest.approx([1e-3, 1e-3, 1e-3, 2e-3, 2e-3, 2e-3])
    assert assumed(tiny_protocol, GPU, 64) == assumed(tiny_protocol, GPU)
    vgg = load("synflow/vgg16-cifar10")
    assert assumed(vgg, GPU, 64) > 20 * assumed(vgg, GPU), "a large network fills a GPU alone"
    assert assumed(vgg, "cpu: Test") > 20 * assumed(vgg, GPU)


def test_a_gpu_is_not_judged_by_a_core(tiny_protocol: Protocol) -> None:
    """Records of a processor say nothing of a GPU; those of another GPU do."""
    core = record(tiny_protocol, Cell(DENSE, 0, 0), Outcome(50.0, 2))
    model = CostModel.learn({tiny_protocol: [core]})
    assert model.seconds_per_step(tiny_protocol, GPU) == assumed(tiny_protocol, GPU)
    other = CostModel.learn({tiny_protocol: [core, on_gpu(tiny_protocol, 4, 1e-3)]})
    assert other.seconds_per_step(tiny_protocol, "cuda: Another", 4) == pytest.approx(1e-3)


def test_how_many_side_by_side_by_hand() -> None:
    """A device that is idle up to 10 networks, then as slow as they are many: nine of ten for nine, free up to 11."""
    wall: Callable[[int], float] = lambda n: max(1.0, n / 10)  # noqa: E731
    assert side_by_side(wall) == 9
    assert nearly_free(wall) == 11
    assert side_by_side(float) == nearly_free(float) == 1
    assert side_by_side(lambda _n: 1.0) == 58  # 0.9 * 64
    assert side_by_side(lambda _n: 0.0) == 1


def test_the_error_is_of_companies_of_one_size(tiny_protocol: Protocol) -> None:
    """Eight took 2 and 3 ms, each foreseen from the other: off by 50 % and 33 %; the only four say nothing."""
    sizes = [(8, 2e-3), (8, 3e-3), (4, 1e-3)]
    found = [on_gpu(tiny_protocol, company, seconds, seed) for seed, (company, seconds) in enumerate(sizes)]
    error = CostModel.learn({tiny_protocol: found}).error(tiny_protocol, GPU)
    assert error is not None
    assert error.count == 2
    assert error.middle == pytest.approx((1 / 2 + 1 / 3) / 2)


def tiered(protocol: Protocol, folder: Path, methods: Sequence[str], tier: Callable[[Job], int]) -> list[PlannedJob]:
    """A plan with tiers of the test's own."""
    planned = plan([(protocol, name) for name in methods], Store(folder))
    return sorted((replace(item, tier=tier(item.job)) for item in planned), key=lambda item: item.tier)


def names(items: Sequence[PlannedJob]) -> list[str]:
    return [item.job.name for item in items]


def test_batches(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """What is wanted equally goes together, dense networks first; what is wanted less rides along."""
    planned = tiered(tiny_protocol, tmp_path, (DENSE, "snip", "random"), lambda job: job.cells[0].seed)
    found = packed(planned, CostModel(), "cuda")
    assert [names(batch.jobs) for batch in found] == [
        ["dense_level-00_seed-0"],
        ["random_level-03_seed-0", "snip_level-03_seed-0"],
        ["dense_level-00_seed-1"],
        ["random_level-03_seed-1", "snip_level-03_seed-1"],
    ]
    assert [names(batch.backfill) for batch in found[:2]] == [names(found[2].jobs), names(found[3].jobs)]
    assert [(batch.width, batch.backfill_width) for batch in found] == [(1, 2), (2, 4), (1, 1), (2, 2)]
    assert [(batch.width, batch.backfill_width) for batch in packed(planned, CostModel(), "cuda", 2)][1] == (1, 2)
    assert [names(batch.jobs) for batch in packed(planned, CostModel())] == [[name] for name in names(planned)]


def chain(protocol: Protocol, seed: int) -> PlannedJob:
    return PlannedJob(Job(protocol, tuple(Cell("imp", level, seed) for level in (1, 2, 3))), 1.0)


def single(protocol: Protocol, seed: int) -> PlannedJob:
    return PlannedJob(Job(protocol, (Cell("random", 3, seed),)), 1.0)


@pytest.mark.parametrize(
    ("width", "workers", "budget", "cells", "seconds"),
    [
        (3, 1, None, (3, 1, 1), 60.0),  # all at once: three rounds of 20 updates of a second
        (2, 1, None, (3, 1, 1), 60.0),  # chain and cell, chain and cell, chain
        (1, 1, None, (3, 1, 1), 100.0),
        (1, 2, None, (3, 1, 1), 60.0),  # the second worker takes the cells
        (2, 1, 40.0, (2, 1, 1), 40.0),
        (2, 1, 19.0, (0, 0, 0), 0.0),
    ],
)
def test_an_estimate_by_hand(
    tiny_protocol: Protocol, width: int, workers: int, budget: float | None, cells: tuple[int, ...], seconds: float
) -> None:
    """A chain of three and two cells of 20 updates each; a company's update takes a second, however large."""
    planned = [chain(tiny_protocol, 0), single(tiny_protocol, 0), single(tiny_protocol, 1)]
    batch = Batch(tuple(planned), (), width, 0, lambda _n: 1.0)
    found = estimate(planned, [batch], workers, budget)
    assert (found.cells, found.seconds) == (cells, seconds)


def test_fewer_go_where_all_do_not_fit(tiny_protocol: Protocol) -> None:
    """Updates of n networks take n seconds: in 50 s there is room for two of three."""
    planned = [single(tiny_protocol, 0), single(tiny_protocol, 1), chain(tiny_protocol, 0)]
    found = estimate(planned, [Batch(tuple(planned), (), 3, 0, float)], 1, 50.0)
    assert (found.cells, found.seconds) == ((1, 1, 0), 40.0)


def test_backfill_runs_while_wanted_jobs_do(tiny_protocol: Protocol) -> None:
    """A cell takes one level of a chain along; the chain's own batch does the other two."""
    planned = [single(tiny_protocol, 0), chain(tiny_protocol, 0)]
    batches = [
        Batch((planned[0],), (planned[1],), 1, 2, lambda _n: 1.0),
        Batch((planned[1],), (), 1, 1, lambda _n: 1.0),
    ]
    assert estimate(planned, batches).seconds == 60.0
    assert estimate(planned, batches, 1, 20.0).cells == (1, 1)


def test_rounds_of_unequal_trainings() -> None:
    """Three of 20 updates together, one of 8 after them: 20 * 2 + 8."""
    assert round_seconds(lambda n: 2.0 if n > 1 else 1.0, [20, 8, 20, 20]) == 48.0


def test_a_pace_is_corrected_by_what_was_seen() -> None:
    """Expected 1 s for any company; the first took 3 s, so the median of 1 and 3 is expected of the next."""
    pace = Throughput(lambda _n: 1.0)
    assert pace.seconds([10, 10]) == 10.0
    pace.measured(2, 3.0)
    assert pace.seconds([10]) == 20.0
    ignorant = Throughput()
    assert ignorant.seconds([10]) == 0.0
    ignorant.measured(1, 4.0)
    assert ignorant.seconds([10, 10]) == 40.0  # two of them: as long as one after the other


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's way of working, on this core."""

    def place(_protocol: Protocol, device: str) -> Placement | None:
        return None if device == "cpu" else Placement("cpu", "streams")

    monkeypatch.setattr(worker, "placement_for", place)


def recorded(planned: Sequence[PlannedJob], store: Store, **options: Any) -> list[str]:
    """What a worker records, in order."""
    found: list[str] = []
    events = Events(lambda *_: None, lambda _protocol, cell, _record: found.append(f"{cell.method} {cell.seed}"))
    work(planned, store, Options(device="cuda", **options), events)
    return found


@pytest.mark.usefixtures("on_cpu")
def test_a_worker_follows_the_batches(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """Seed 1 of the dense networks and of snip rides along with seed 0; nothing is trained twice."""
    planned = tiered(tiny_protocol, tmp_path, (DENSE, "snip", "random"), lambda job: job.cells[0].seed)
    found = recorded(planned, Store(tmp_path))
    assert found == ["dense 0", "dense 1", "random 0", "snip 0", "random 1", "snip 1"]
    companies = {r.provenance.replica_group for r in Store(tmp_path).records(tiny_protocol)}
    assert companies == {"2 side by side, streams", "4 side by side, streams"}


@pytest.mark.usefixtures("on_cpu")
def test_the_networks_that_chains_start_from_are_trained_together(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """Where only the chains are wanted, their dense networks are one group too."""
    recorded(plan([(tiny_protocol, "imp")], Store(tmp_path)), Store(tmp_path))
    groups = {(r.method.name, r.provenance.replica_group) for r in Store(tmp_path).records(tiny_protocol)}
    assert groups == {("dense", "2 side by side, streams"), ("imp", "2 side by side, streams")}


@pytest.mark.usefixtures("on_cpu")
def test_a_budget_holds_the_whole_company(
    tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A company of n should take n times 20 s. In 50 s it has two; of the two there is room for one at a time."""
    monkeypatch.setattr(CostModel, "wall", lambda *_: lambda n: 0.001 if n == 1 else float(n))
    monkeypatch.setattr(CostModel, "widths", lambda *_: Widths(first=3))
    monkeypatch.setattr("benchmark.planning.batching.nearly_free", lambda _wall: 3)
    planned = tiered(tiny_protocol, tmp_path, ("snip", "random"), lambda _job: 0)
    recorded(planned, Store(tmp_path), deadline=time.monotonic() + 50.0)
    first = [r.provenance.replica_group for r in Store(tmp_path).records(tiny_protocol)]
    assert "2 side by side, streams" in first
    assert "3 side by side, streams" not in first


@pytest.mark.usefixtures("on_cpu")
def test_a_failure_on_a_device_is_tried_once_more(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """By another worker; this one leaves it, and trains the others."""
    plugin = tmp_path / "random.py"
    plugin.write_text(
        "from benchmark.api import Pruner\n\nclass Random(Pruner):\n    def score(self, network, examples, rng):\n"
        "        return {}\n"
    )
    store = Store(tmp_path / "r")
    planned = tiered(tiny_protocol, store.root, ("snip", "random"), lambda _job: 0)
    settings = Settings(placement=Placement("cpu", "streams"), plugins={"random": plugin}, second_tries=True)
    here, there = (Harness(tiny_protocol, store, settings) for _ in range(2))
    batch = packed(planned, CostModel(), "cuda")[0]
    failing = [Job(tiny_protocol, (Cell("random", 3, seed),)) for seed in (0, 1)]
    assert run_batch(here, batch) == failing
    assert run_batch(here, batch) == failing, "tried again by the same worker"
    assert {r.method.name for r in store.records(tiny_protocol)} == {"snip"}
    assert here.tries.left == 2
    there.tries.alone = True  # as another process would find them
    assert run_batch(there, batch) == []
    failed = [r for r in store.records(tiny_protocol) if r.status == "failed"]
    assert [r.method.name for r in failed] == ["random", "random"]


@pytest.mark.usefixtures("on_cpu")
def test_one_lost_lease_costs_the_others_nothing(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """While three train, one job is taken over by another process: its record alone is not written."""
    store = Store(tmp_path)
    planned = tiered(tiny_protocol, tmp_path, (DENSE,), lambda _job: 0)
    lost = planned[1].job

    def taken_over(cell: Cell, done: int, *_: object) -> None:
        if cell == lost.cells[0] and done == 10:
            folder = store.leases(tiny_protocol).folder
            (folder / f"{lost.name}.2").write_bytes((folder / f"{lost.name}.1").read_bytes())

    harness = Harness(tiny_protocol, store, Settings(placement=Placement("cpu", "streams"), on_progress=taken_over))
    assert run_batch(harness, packed(planned, CostModel(), "cuda")[0]) == [lost]
    assert [r.cell.seed for r in store.records(tiny_protocol)] == [0]
    assert Leases(store.leases(tiny_protocol).folder, Timing()).take(planned[0].job.name) is not None


def invoke(*arguments: str) -> Any:
    done = CliRunner().invoke(cli, list(arguments))
    assert done.exit_code == 0, done.output
    return done


def test_run_follows_the_order_that_plan_shows(tmp_path: Path, tiny_path: Path) -> None:
    """Two protocols, the second with records already, which puts it first: jobs are recorded in the order shown."""
    other = tmp_path / "other.yaml"
    other.write_text(tiny_path.read_text().replace("id: tests/tiny", "id: tests/other"))
    place = ["--results", str(tmp_path / "r")]
    invoke("run", f"{other}:random", *place, "--executor", "in-process")
    patterns = [f"{path}:{name}" for path in (tiny_path, other) for name in ("dense", "snip", "random", "one-shot")]
    shown = json.loads(invoke("plan", *patterns, *place, "--order", "99", "--json").stdout)
    assert shown[0]["protocol"] == "tests/other"
    done = invoke("run", *patterns, *place, "--executor", "in-process").stdout
    lines = [line.split("] ")[1].split(" ", 1)[1] for line in done.splitlines() if line.startswith("[")]
    ran = [(line.split()[0], line.split()[1], line.partition(":")[0][-1]) for line in lines]
    assert ran == [(e["protocol"], e["job"].split("_")[0], e["job"][-1]) for e in shown]


def test_plan_for_a_claim_and_for_a_gpu(tmp_path: Path) -> None:
    """--for, --shard and --device mean to `plan` what they mean to `run`; GPU time where GPUs are meant."""
    place = ["--results", str(tmp_path), "--json"]
    shown = json.loads(invoke("plan", "mnist1d/mlp", "--for", "mnist1d-curve-random", "--order", "999", *place).stdout)
    assert {e["job"].split("_")[0] for e in shown} == {"random", "dense"}
    assert shown[0]["why"] == "first seeds of a claim not measured"
    shards = [json.loads(invoke("plan", "mnist1d/mlp", "--shard", f"{n}/2", *place).stdout) for n in (1, 2)]
    whole = json.loads(invoke("plan", "mnist1d/mlp", *place).stdout)
    assert [a["left"] + b["left"] for a, b in zip(*shards, strict=True)] == [e["left"] for e in whole]
    gpu = json.loads(invoke("plan", "mnist1d/mlp", "--device", "cuda", *place).stdout)
    assert all("core_seconds" in e for e in whole)
    assert all(e["gpu_seconds"] > 0 for e in gpu)
    words = invoke("plan", "lth/lenet-mnist", "--device", "cuda", "--results", str(tmp_path)).stdout
    assert "Side by side on a GPU: " in words
    status = json.loads(invoke("status", "lth/lenet-mnist", "--device", "cuda", *place).stdout)
    assert status["costs"][0]["side_by_side"].endswith(", to begin with")
    order = json.loads(invoke("plan", "lth/lenet-mnist", "--device", "cuda", "--order", "9", *place).stdout)
    assert order[0]["job"].startswith("dense")
    assert order[0]["side_by_side"] > 1


def test_each_protocols_records_are_read_once(
    tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each of thousands of jobs."""
    asked: list[str] = []

    def records(_store: Store, protocol: Protocol) -> list[Record]:
        asked.append(protocol.key)
        return []

    monkeypatch.setattr(Store, "records", records)
    planned = tiered(tiny_protocol, tmp_path, (DENSE, "snip", "random"), lambda _job: 0)
    asked.clear()
    costs_of(planned, Store(tmp_path))
    assert asked == [tiny_protocol.key]


def test_the_next_run_goes_on_exploring_where_records_end(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """Four side by side were measured: eight are next, though the plan's share may be less; nine did not fit."""
    planned = tiered(tiny_protocol, tmp_path, (DENSE, "snip", "random"), lambda _job: 0)
    model = CostModel.learn({tiny_protocol: [on_gpu(tiny_protocol, 4, 1e-3)]})
    assert model.widths(tiny_protocol, GPU).width == 8
    assert model.widths(tiny_protocol, GPU).exploring
    seen = on_gpu(tiny_protocol, 4, 1e-3)
    words = "4 side by side, stacked; 8 did not fit into memory"
    full = seen.model_copy(update={"provenance": seen.provenance.model_copy(update={"replica_group": words})})
    assert CostModel.learn({tiny_protocol: [full]}).widths(tiny_protocol, GPU).width == 4
    other = seen.model_copy(
        update={"provenance": seen.provenance.model_copy(update={"replica_group": words.replace("stacked", "streams")})}
    )
    assert CostModel.learn({tiny_protocol: [other]}).widths(tiny_protocol, GPU) == CostModel().widths(
        tiny_protocol, GPU
    )
    assert [batch.most for batch in packed(planned, CostModel(), "cuda")] == [2, 4]
