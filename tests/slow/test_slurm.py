"""On a real Slurm of two nodes: what a cluster does to jobs costs time, never a record; no cell is measured twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from slurm_cluster import Cluster, until, why_not
from tiny_protocol import written

from benchmark.harness.executors.executor import InProcess, WorkOrder
from benchmark.planning.plan import Job, PlannedJob, plan
from benchmark.protocols import Protocol, load_file
from benchmark.protocols.cells import cells_of
from benchmark.records.store import Store

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(why_not() is not None, reason=f"SLURM IS NOT TESTED HERE: {why_not()}"),
]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes with one core each. Its folder has a short path, as sockets need, that other users may enter."""
    pytest.importorskip("submitit", reason="SLURM IS NOT TESTED HERE: pip install 'lotterybench[slurm]'")
    made = Cluster(Path(tempfile.mkdtemp(prefix="slurm-")))
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.root)


@dataclass(frozen=True)
class Bench:
    """A protocol of many short trainings, a folder, and the cluster that fills it."""

    cluster: Cluster
    path: Path
    folder: Path
    methods: str

    @property
    def protocol(self) -> Protocol:
        return load_file(self.path)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def submit(self, tasks: int, more: str = "", **popen: Any) -> str:
        """`lotterybench run --executor slurm`; the job's id. `popen`: as which user, say."""
        profile = self.folder / "cluster.yaml"
        profile.write_text(f"schema: lotterybench/slurm/1\npartition: low\ntasks: {tasks}\n{more or 'time: 10m'}\n")
        command = [
            sys.executable, "-m", "benchmark.cli", "run", f"{self.path}:{self.methods}", "--results",
            str(self.results), "--executor", "slurm", "--profile", str(profile),
        ]  # fmt: skip
        environment = {**os.environ, **self.cluster.environment, "LOTTERYBENCH_LEASE_SECONDS": "12"}
        environment |= popen.pop("environment", {})
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, **popen)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split("Slurm has job ")[1].split()[0]

    def prints(self, root: Path | None = None) -> dict[str, str]:
        """Cell -> fingerprint; reading checks every file."""
        found = Store(root or self.results).records(self.protocol)
        return {f"{r.method.name} {r.cell}": r.fingerprint() for r in found}

    def undisturbed(self) -> dict[str, str]:
        """The same, measured here in one go, once for each text of the protocol."""
        root = self.cluster.root / self.protocol.digest[:16]
        planned = plan([(self.protocol, self.methods)], Store(root))
        InProcess().execute(WorkOrder(tuple(planned), root), lambda _message: None)
        return self.prints(root)

    def told(self) -> Counter[str]:
        """How often each cell was said to be recorded, in the logs of all tasks."""
        logs = self.results.glob(".work/slurm/*/*_log.out")
        lines = [line for log in logs for line in log.read_text().splitlines() if line.startswith("{")]
        return Counter(json.loads(line)["name"] for line in lines)


@pytest.fixture
def bench(cluster: Cluster, tmp_path: Path) -> Iterator[Bench]:
    """24 trainings of a tenth of a second on an idle core, several on a busy one."""
    yield made(cluster, tmp_path, 24, 400, "dense")
    cluster.ask("scancel", "--user=root")
    until(lambda: not cluster.ask("squeue", "-h"), "an empty queue")


def made(cluster: Cluster, folder: Path, seeds: int, steps: int, methods: str) -> Bench:
    """The tiny protocol with so many seeds and updates."""
    half = steps // 2
    changes = {"steps: 20": f"steps: {steps}", "every: 2": f"every: {half}", "test_every: 10": f"test_every: {half}"}
    path = written(folder, seeds, changes)
    return Bench(cluster, path, folder, methods)


def complete(bench: Bench) -> None:
    """Everything is recorded, once, with the bits of an undisturbed run."""
    assert bench.prints() == bench.undisturbed()
    assert len(bench.prints()) == len(cells_of(bench.protocol, bench.methods))
    assert set(bench.told().values()) == {1}


def some_records(bench: Bench) -> None:
    until(lambda: len(list(bench.results.glob("tests/*/*/*.json"))) >= 3, "three records")


@pytest.mark.long
def test_two_nodes_give_the_records_of_one_process(bench: Bench) -> None:
    """An array of two tasks, then nothing is left; both nodes took part."""
    bench.cluster.drain(bench.submit(2))
    complete(bench)
    logs = [log.read_text() for log in bench.results.glob(".work/slurm/*/*_log.out")]
    assert sorted(node for log in logs for node in ("node1", "node2") if f"on {node}" in log) == ["node1", "node2"]
    assert all('"status"' in log for log in logs), "one node did nothing"


@pytest.mark.long
def test_two_submissions_of_one_plan_share_the_work(bench: Bench) -> None:
    bench.cluster.drain(bench.submit(1), bench.submit(1))
    complete(bench)


NOBODY: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": ()}


@pytest.mark.long
def test_two_users_share_the_work(cluster: Cluster) -> None:
    """root and nobody submit the same plan into a folder that both may write to; each measures a part."""
    try:
        subprocess.run([sys.executable, "-c", "import benchmark"], cwd=ROOT, capture_output=True, check=True, **NOBODY)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("TWO USERS ARE NOT TESTED HERE: nobody may not read this checkout or its Python")
    folder = cluster.root / "shared"
    folder.mkdir()
    bench = made(cluster, folder, 24, 400, "dense")
    for path in (folder, bench.results):
        path.mkdir(exist_ok=True)
        path.chmod(0o777)
    first = bench.submit(1, umask=0)
    second = bench.submit(1, umask=0, environment={"HOME": str(folder)}, **NOBODY)
    cluster.drain(first, second)
    complete(bench)
    assert {path.stat().st_uid for path in bench.results.glob("tests/*/*/*.json")} == {0, 65534}


@pytest.mark.long
def test_a_cancelled_array_loses_nothing(bench: Bench) -> None:
    first = bench.submit(2)
    some_records(bench)
    bench.cluster.ask("scancel", first)
    until(lambda: set(bench.cluster.states(first).values()) == {"CANCELLED"}, "cancelled")
    kept = bench.prints()
    assert 3 <= len(kept) < 24, "cancelled too late: the test tested nothing"
    bench.cluster.drain(bench.submit(2))
    complete(bench)
    assert kept.items() <= bench.prints().items()


@pytest.mark.long
def test_a_node_that_dies_loses_nothing(bench: Bench) -> None:
    """What its task held is taken over by the other node's, long before Slurm gives the node up."""
    job = bench.submit(2)
    some_records(bench)
    bench.cluster.kill_node("node2")
    assert len(bench.prints()) < 24, "killed too late: the test tested nothing"
    try:
        until(lambda: bench.cluster.states(job).get(f"{job}_0") == "COMPLETED", "the other node's task", 180)
        complete(bench)
    finally:
        bench.cluster.start_node("node2")


@pytest.mark.long
def test_preemption_loses_nothing(bench: Bench) -> None:
    """Jobs of a partition with precedence take both nodes; the array is requeued and goes on after them."""
    job = bench.submit(2)
    some_records(bench)
    urgent = bench.cluster.ask(
        "sbatch", "--parsable", "-p", "high", "-a", "0-1", "-o", "/dev/null", "--wrap", "sleep 1"
    )
    until(lambda: set(bench.cluster.states(urgent).values()) == {"COMPLETED"}, "the urgent jobs")
    assert len(bench.prints()) < 24, "preempted too late: the test tested nothing"
    bench.cluster.drain(job)
    complete(bench)


@pytest.mark.long
def test_a_time_limit_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """The limit comes near while the task works: Slurm warns it, within half a minute, it puts itself back into the
    queue and goes on with what is left. There is more to do than that takes, so only some of it is measured again."""
    bench = made(cluster, tmp_path, 1500, 400, "dense")
    job = bench.submit(1, "time: 10m\nwarning_seconds: 50")
    some_records(bench)
    cluster.ask("scontrol", "update", f"job={job}", "TimeLimit=1")
    until(lambda: "Restarts=1" in cluster.ask("scontrol", "show", "job", job), "requeued", 180)
    kept = bench.prints()
    assert len(kept) < 1500, "requeued too late: the test tested nothing"
    cluster.ask("scontrol", "update", f"job={job}", "TimeLimit=10")
    until(lambda: len(list(bench.results.glob("tests/*/*/*.json"))) > len(kept) + 1, "it goes on", 120)
    cluster.ask("scancel", job)
    until(lambda: set(cluster.states(job).values()) == {"CANCELLED"}, "cancelled")
    found = bench.prints()
    assert kept.items() <= found.items()
    assert set(bench.told().values()) == {1}
    again = Store(tmp_path / "again")
    cells = cells_of(bench.protocol, "dense")
    chosen = [PlannedJob(Job(bench.protocol, (cell,)), 0.0) for cell in (*cells[:3], *cells[len(kept) : len(kept) + 2])]
    InProcess().execute(WorkOrder(tuple(chosen), again.root), lambda _message: None)
    assert bench.prints(again.root).items() <= found.items()


@pytest.mark.long
def test_five_hundred_tiny_jobs_drain(cluster: Cluster, tmp_path: Path) -> None:
    bench = made(cluster, tmp_path, 500, 20, "dense")
    cluster.drain(bench.submit(4))
    complete(bench)
