"""What `lotterybench speed` measured: one document with its provenance, and the line of a results file it becomes."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.perf.verbs import Timed
from benchmark.records.provenance import commit, packages
from benchmark.utils.files import write_atomically

SCHEMA = "lotterybench/speed/1"


@dataclass(frozen=True)
class LoopRate:
    """One contender. `per_core_second`: updates by processor time, which a busy machine blurs less.
    `fraction_of_matmul`: of the device's matrix-product ceiling, 6 operations per multiply-add. `peak_memory_bytes`:
    reserved on a GPU."""

    label: str
    loop: str
    networks: int
    updates_per_second: float
    lowest: float
    highest: float
    per_core_second: float
    fraction_of_matmul: float
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class SpeedReport:
    """Everything one run of the verb measured."""

    protocol: str
    device: str
    load_average: float
    loops: Sequence[LoopRate] = ()
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


def append(report: SpeedReport, path: Path) -> None:
    """Add one line of JSON to a file, whole or not at all. Raises EnvironmentProblem if it cannot be written."""
    work = path.parent / f".{path.name}.work"
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work / "lock"):
        before = path.read_bytes() if path.exists() else b""
        write_atomically(path, before + json.dumps(report.document()).encode() + b"\n", work)
