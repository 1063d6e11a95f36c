"""What `lotterybench speed` measured: one document with its provenance, and the line of a results file it becomes."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from filelock import FileLock

from benchmark.perf.many import MANY, copy_records
from benchmark.protocols import load_all
from benchmark.records.provenance import commit, packages
from benchmark.records.store import Store
from benchmark.utils.files import write_atomically

SCHEMA = "lotterybench/speed/1"
REPEATS = 3


@dataclass(frozen=True)
class Loop:
    """One contender. `per_core_second`: updates by processor time, which a busy machine blurs less.
    `fraction_of_matmul`: of the device's matrix-product ceiling, 6 operations per multiply-add."""

    label: str
    loop: str
    networks: int
    updates_per_second: float
    lowest: float
    highest: float
    per_core_second: float
    fraction_of_matmul: float


@dataclass(frozen=True)
class Timed:
    """Something that takes seconds."""

    what: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """Everything one run of the verb measured."""

    protocol: str
    device: str
    load_average: float
    loops: Sequence[Loop] = ()
    ratios: dict[str, float] = field(default_factory=dict)
    ceiling: dict[str, float] = field(default_factory=dict)
    seconds: Sequence[Timed] = ()

    def document(self) -> dict[str, Any]:
        """Plain JSON types, with who measured it."""
        head, dirty = commit()
        return {
            "schema": SCHEMA,
            "protocol": self.protocol,
            "updates_per_second": [vars(loop) for loop in self.loops],
            "ratios": self.ratios,
            "ceiling": self.ceiling,
            "seconds": {timed.what: timed.seconds for timed in self.seconds},
            "provenance": {
                "commit": head,
                "dirty": dirty,
                "python": platform.python_version(),
                "packages": packages(),
                "device": self.device,
                "cores": os.cpu_count(),
                "load_average_before": self.load_average,
                "finished_utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        }


def append(report: Report, path: Path) -> None:
    """Add one line of JSON to a file, whole or not at all. Raises EnvironmentProblem if it cannot be written."""
    work = path.parent / f".{path.name}.work"
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work / "lock"):
        before = path.read_bytes() if path.exists() else b""
        write_atomically(path, before + json.dumps(report.document()).encode() + b"\n", work)


def verb_times() -> list[Timed]:
    """Seconds of verbs that only read, as processes of their own: the median of a few.

    A plan remembers which claims are open, so all but the first of several take the shorter time. Where `.work` is no
    folder, it can remember nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        empty, forgetful = Path(folder) / "empty", Path(folder) / "forgetful"
        if Path("results").is_dir():
            shutil.copytree("results", forgetful, ignore=shutil.ignore_patterns("*.npz", ".work"))
            (forgetful / ".work").touch()
        return _timed(
            {
                "--help": ["--help"],
                "run --help": ["run", "--help"],
                "plan the whole suite, nothing measured": ["plan", "--json", "--results", str(empty)],
                "plan the whole suite": ["plan", "--json"],
                "plan the whole suite, claims decided anew": ["plan", "--json", "--results", str(forgetful)],
                "score every claim": ["score", "--json"],
                "status": ["status", "--json"],
            }
        )


def many_times() -> list[Timed]:
    """The same where there are very many records: copies of those in `results`. Raises BadInput if there are none."""
    with tempfile.TemporaryDirectory() as folder:
        copy_records(Store(Path("results")), load_all(), Path(folder))
        verbs = {
            f"{verb}, {MANY:,} records": [verb, "--json", "--results", folder] for verb in ("status", "score", "plan")
        }
        return _timed(verbs)


def _timed(verbs: Mapping[str, Sequence[str]]) -> list[Timed]:
    """In turns, so that all meet the same machine."""
    rounds = [[_seconds(arguments) for arguments in verbs.values()] for _ in range(REPEATS)]
    return [Timed(what, median(seconds)) for what, seconds in zip(verbs, zip(*rounds, strict=True), strict=True)]


def _seconds(arguments: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "benchmark.cli", *arguments], capture_output=True, check=False)
    return time.perf_counter() - started
