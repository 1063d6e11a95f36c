"""Record files on disk: listed, and read once while they stay as they are. No torch.

Tens of thousands of them are looked at by `status` and `score`, so names are plain text here and every file costs one
open, or one stat once it is known.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmark import records
from benchmark.errors import BadInput
from benchmark.limited import RECORD_BYTES, as_text, read_with_state
from benchmark.records import Cell, Record

Mark = tuple[int, int, int]  # of a file: another one, or a changed one, has another


class RecordFiles:
    """The records under one results folder."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._known: dict[str, tuple[Mark, Record]] = {}

    def of_protocol(self, key: str) -> list[str]:
        """Paths of all records of a protocol `id@version`, by method and name. Raises OSError for a closed folder."""
        found = []
        for method in _folders(f"{self._root}/{key}"):
            folder = f"{self._root}/{key}/{method}"
            names = [name for name in os.listdir(folder) if name.startswith("level-") and name.endswith(".json")]
            found += [f"{folder}/{name}" for name in sorted(names)]
        return found

    def path(self, key: str, cell: Cell) -> str:
        """Where the record of a cell lies, if there is one."""
        return f"{self._root}/{key}/{cell.method}/{cell.name}.json"

    def read(self, path: str) -> Record:
        """One record, read again only if its file is another one or has changed. Raises BadInput if it is damaged."""
        if path in self._known:
            mark, record = self._known[path]
            with suppress(OSError):  # reading it says what is wrong
                if _mark(os.stat(path)) == mark:
                    return record
        content, state = read_with_state(path, RECORD_BYTES)
        record = self._in_its_place(path, records.parse(as_text(content, path), path))
        self._known[path] = _mark(state), record
        return record

    def marks(self, keys: Collection[str]) -> list[tuple[str, Mark]]:
        """Path and mark of every record of these protocols that was read, sorted."""
        start = len(self._root) + 1
        return sorted((path, mark) for path, (mark, _) in self._known.items() if path[start:].rsplit("/", 2)[0] in keys)

    def read_all(self, paths: Sequence[str]) -> list[Record]:
        """Many records. Raises BadInput naming the first that is damaged."""
        with without_collection():
            return [self.read(path) for path in paths]

    def _in_its_place(self, path: str, record: Record) -> Record:
        cell = Cell(record.method.name, record.cell.level, record.cell.seed, record.cell.draw)
        place = f"{record.protocol.id}@{record.protocol.version}/{cell.method}/{cell.name}.json"
        if path != f"{self._root}/{place}":
            raise BadInput(path, f"is the record of {place}", "Put it where it belongs, or move it away")
        return record


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _mark(state: os.stat_result) -> Mark:
    return state.st_ino, state.st_mtime_ns, state.st_size


@contextmanager
def without_collection() -> Iterator[None]:
    """No search for cycles meanwhile: records are trees, and looking for cycles among 20,000 of them again and again
    takes longer than reading them."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
