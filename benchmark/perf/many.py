"""A results folder of tens of thousands of records, for the time that reading verbs take in it. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.records.store import RecordFiles, Store
from benchmark.utils.errors import BadInput

MANY = 20_000
APART = 1000  # between the seeds of a record's copies; no protocol has so many


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
            seed = record.cell.seed + APART * copy
            again = record.model_copy(update={"cell": record.cell.model_copy(update={"seed": seed})})
            path = Path(files.path(protocol.key, Cell(record.method.name, again.cell.level, seed, again.cell.draw)))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(again.dumps(), encoding="utf-8")
        left -= len(originals[:left])
        if not left:
            return
