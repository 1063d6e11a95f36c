"""Slurm through submitit: an array of tasks, each a machine's share of workers on the one results folder.

A task takes what nobody else holds, so tasks need no list of their own: any number of them, of any number of
submissions and users, share the work, and one that is requeued goes on with whatever is left.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmark.harness.executors.executor import Listen, Message, WorkOrder, recorded_fields
from benchmark.harness.executors.profile import Profile
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput, EnvironmentProblem, plain
from benchmark.utils.files import KIB, read_limited, write_atomically

FORGOTTEN = "Invalid job id"  # what squeue says of a job that ended long ago
PATIENCE = 1800.0  # seconds that a controller may be silent for before nobody waits any longer
OFTEN = 1_000_000  # times that a task may run into its time limit: it ends when nothing is left


@dataclass(frozen=True)
class SubmittedArray:
    """One array: its Slurm job id, how many tasks, and the folder of their logs, `<job>_<task>_0_log.out`."""

    job: str
    tasks: int
    logs: str
    submitted: str


NOTE_BYTES = 64 * KIB
_NOTE: TypeAdapter[SubmittedArray] = TypeAdapter(SubmittedArray)


@dataclass(frozen=True)
class Slurm:
    """Submit and return at once, telling `listen` of the submission; with `wait`, return when all tasks ended."""

    profile: Profile
    wait: bool = False

    def execute(self, order: WorkOrder, listen: Listen) -> None:
        """See `Executor`. Raises EnvironmentProblem without submitit or Slurm, or if Slurm refuses."""
        executor, folder = self._executor(Store(order.results))
        count = len(order.planned)
        tasks = min(self.profile.tasks, -(-count // self.profile.workers))
        plan = folder / "plan.json"
        order.save(plan)
        job = ArrayTask(str(plan), min(self.profile.workers, count))
        try:
            jobs = executor.map_array(job, range(tasks))
        except Exception as error:  # submitit passes on what sbatch said under several types
            raise EnvironmentProblem("Slurm", f"did not take the tasks ({error})", "Check the profile") from error
        made = SubmittedArray(jobs[0].job_id.partition("_")[0], tasks, str(folder), time.strftime("%Y-%m-%d %H:%M:%S"))
        note = json.dumps(asdict(made), indent=1).encode()
        write_atomically(folder / "submission.json", note, Store(order.results).work)
        listen(Message(0, "submitted", asdict(made)))
        if self.wait:
            wait_for(made.job)
            self._tell(order, listen)

    @staticmethod
    def _tell(order: WorkOrder, listen: Listen) -> None:
        """Say of every cell of the order that has a record by now what a worker would have said."""
        store = Store(order.results)
        for protocol, job in ((item.job.protocol, item.job) for item in order.planned):
            for cell in job.cells:
                if record := store.read(protocol, cell):
                    listen(Message(0, "recorded", recorded_fields(protocol, cell, record)))

    def _executor(self, store: Store) -> tuple[Any, Path]:
        try:
            import submitit
        except ImportError as error:
            raise EnvironmentProblem(
                "submitit", "is not installed", "Run: pip install 'lotterybench[slurm]'"
            ) from error
        if shutil.which("sbatch") is None:
            raise EnvironmentProblem("sbatch", "is not on this machine", "Run this on a login node of the cluster")
        folder = store.work.absolute() / "slurm" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=OFTEN)
        executor.update_parameters(**self.profile.parameters())
        return executor, folder


@dataclass(frozen=True)
class ArrayTask:
    """What a task of the array runs. submitit stores it as a pickle of its own, which nobody else reads."""

    plan: str
    workers: int

    def __call__(self, number: int) -> int:
        """Be a machine's share of workers; the number of cells recorded. `number` is only for the log."""
        from benchmark.harness.executors.local import run_workers

        array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID")
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else job  # a single task is no array
        os.environ["LOTTERYBENCH_LOG"] = f"{os.environ.get('SUBMITIT_FOLDER')}/{job}_0_log.out"
        recorded = 0

        def listen(message: Message) -> None:
            nonlocal recorded
            if message.event == "recorded":
                recorded += 1
                print(json.dumps(message.fields), flush=True)

        print(f"Task {number} on {os.environ.get('SLURMD_NODENAME')}: {self.workers} worker(s)", flush=True)
        run_workers(Path(self.plan), self.workers, listen)
        return recorded

    def checkpoint(self, number: int) -> Any:
        """What submitit puts in the queue again before the time limit: the same, for whatever is left then."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, number)


def submissions(store: Store) -> list[SubmittedArray]:
    """All submissions of a results folder, oldest first."""
    found = []
    for path in sorted(store.work.glob("slurm/*/submission.json")):
        try:
            found.append(_NOTE.validate_json(read_limited(path, NOTE_BYTES)))
        except (BadInput, ValueError):
            print(plain(f"{path} is not readable; left out"), file=sys.stderr)
    return found


def states(jobs: Sequence[str]) -> dict[str, str] | None:
    """Slurm's word for every task of these jobs that it still knows, `<job>_<task>` -> RUNNING, PENDING, ...

    Empty where there is no Slurm, None where it does not answer.
    """
    if not jobs or shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T", f"--jobs={','.join(jobs)}"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode and FORGOTTEN not in done.stderr:
        return None
    return {parts[0]: parts[1] for line in done.stdout.splitlines() if len(parts := line.split()) == 2}


def wait_for(job: str) -> None:
    """Return when no task of an array will run again.

    A controller that does not answer has not said so, and is asked again for `PATIENCE` seconds: it may be restarted.
    Raises EnvironmentProblem if it stays silent for longer.
    """
    heard = time.monotonic()
    while True:
        found = states([job])
        if found is not None:
            heard = time.monotonic()
            if all(state_is_final(state) for state in found.values()):
                return
        elif time.monotonic() - heard > PATIENCE:
            cause = f"its controller has not answered for {PATIENCE / 60:g} minutes; the tasks go on by themselves"
            raise EnvironmentProblem(f"Slurm's job {job}", cause, "See lotterybench status --watch")
        time.sleep(1.0)


def state_is_final(state: str) -> bool:
    """Whether a task will not run again: Slurm's words for that, of which it has fewer than for what goes on."""
    return state in {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REVOKED",
        "TIMEOUT",
    }
