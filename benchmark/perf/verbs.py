"""How long verbs that only read take, on what is committed and on a results folder of very many records. No torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

from benchmark.protocols import Protocol, load_all
from benchmark.protocols.cells import Cell
from benchmark.records.store import RecordFiles, Store
from benchmark.utils.errors import BadInput

MANY = 20_000
SEED_STRIDE = 1000  # between the seeds of a record's copies; no protocol has so many
REPEATS = 3


@dataclass(frozen=True)
class Timed:
    """Something that takes seconds."""

    what: str
    seconds: float


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


def copy_records(source: Store, protocols: Sequence[Protocol], target: Path, wanted: int = MANY) -> None:
    """Fill `target` with `wanted` valid records: those of `source`, again and again under further seeds.

    Curves and masks are not copied. Raises BadInput if `source` holds no record of these protocols.
    """
    originals = [(protocol, record) for protocol in protocols for record in source.records(protocol)]
    if not originals:
        raise BadInput(str(source.root), "holds no record to copy", "Run `lotterybench speed` where results/ is")
    files, left = RecordFiles(target), wanted
    for copy in count():
        for protocol, record in originals[:left]:
            seed = record.cell.seed + SEED_STRIDE * copy
            again = record.model_copy(update={"cell": record.cell.model_copy(update={"seed": seed})})
            path = Path(files.path(protocol.key, Cell(record.method.name, again.cell.level, seed, again.cell.draw)))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(again.dumps(), encoding="utf-8")
        left -= len(originals[:left])
        if not left:
            return
