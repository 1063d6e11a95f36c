"""The results folder: records, curves and masks, written whole or not at all. No torch.

    <root>/<protocol>@<version>/<method>/<cell>.json          the record; its presence means finished
    <root>/<protocol>@<version>/<method>/<cell>.curves.npz    what was seen at every evaluation
    <root>/<protocol>@<version>/<method>/seed-<s>.masks.npz   all masks of an iterative chain, see `NestedMasks`
    <root>/.work/                                             leases, checkpoints, weights, open claims; not committed

`status` and `score` look at tens of thousands of records, so `RecordFiles` keeps their names as plain text and what it
read: a file costs one open, then one stat for as long as it stays as it is.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.records import schema as records
from benchmark.records.leases import Lease, Leases
from benchmark.records.schema import Record
from benchmark.utils.errors import BadInput
from benchmark.utils.files import RECORD_BYTES, as_text, cannot_write, read_with_state, write_atomically

if TYPE_CHECKING:
    from benchmark.records.masks import NestedMasks


logger = logging.getLogger(__name__)  # without a handler, Python writes warnings to stderr


def left_out(why: str) -> None:
    """Say on stderr that something damaged was not read: one bad file stops no verb that reads."""
    logger.warning("Left out: %s. What else is wrong: lotterybench fsck", why)


Mark = tuple[int, int, int]  # of a file: another one, or a changed one, has another


class RecordFiles:
    """The records under one results folder."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._known: dict[str, tuple[Mark, Record]] = {}
        self._damaged: set[str] = set()

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
        """Many records, without those that are damaged: each of these names itself, once, in a warning."""
        with without_collection():
            return [record for path in paths if (record := self.sound(path)) is not None]

    def sound(self, path: str) -> Record | None:
        """One record; None if it is damaged, which is said once, as one bad file is no reason to read no other."""
        try:
            return self.read(path)
        except BadInput as error:
            if path not in self._damaged:
                self._damaged.add(path)
                left_out(str(error))
            return None

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


WAIT_SECONDS = 0.5


class Store:
    """One results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / ".work"
        self._leases: dict[str, Leases] = {}
        self._files = RecordFiles(root)

    def folder(self, protocol: Protocol, method: str) -> Path:
        """Where the records of one method lie."""
        return self.root / protocol.key / method

    def record_path(self, protocol: Protocol, cell: Cell) -> Path:
        """Path of one cell's record."""
        return self.folder(protocol, cell.method) / f"{cell.name}.json"

    def curves_path(self, protocol: Protocol, cell: Cell) -> Path:
        """Path of one cell's curves."""
        return self.folder(protocol, cell.method) / f"{cell.name}.curves.npz"

    def read(self, protocol: Protocol, cell: Cell) -> Record | None:
        """The cell's record of this very protocol document, or None. Raises BadInput if it is damaged."""
        path = self._files.path(protocol.key, cell)
        if not os.path.exists(path):
            return None
        record = self._files.read(path)
        return record if record.protocol.digest == protocol.digest else None

    def settled(self, protocol: Protocol, cell: Cell, retry_failed: bool) -> bool:
        """Whether nothing is left to do for a cell. A damaged record is never made again behind its owner's back: it is
        named in a warning, and its cell waits until the file is moved away or restored."""
        path = self._files.path(protocol.key, cell)
        if not os.path.exists(path):
            return False
        if (record := self._files.sound(path)) is None:
            return True
        return record.protocol.digest == protocol.digest and (record.status == "finished" or not retry_failed)

    def write(self, protocol: Protocol, cell: Cell, record: Record, curves: bytes | None) -> None:
        """Write curves first, then the record: a record never points at curves that are not there."""
        if curves is not None:
            write_atomically(self.curves_path(protocol, cell), curves, self.work)
        write_atomically(self.record_path(protocol, cell), record.dumps().encode(), self.work)

    def records(self, protocol: Protocol) -> list[Record]:
        """All sound records of this protocol's digest, sorted by path; a damaged one names itself in a warning."""
        found = self._files.read_all(self._files.of_protocol(protocol.key))
        return [record for record in found if record.protocol.digest == protocol.digest]

    def as_it_is(self) -> Store:
        """This folder as a plan sees it, which asks for the same records again and again: each protocol's are looked at
        once, and what others write meanwhile is not seen."""
        return _AsItIs(self.root)

    def marks(self, protocols: Iterable[Protocol]) -> list[tuple[str, Mark]]:
        """What marks each record of protocols that was read: another file, or a changed one, has another."""
        return self._files.marks({protocol.key for protocol in protocols})

    def refuse_other_document(self, protocol: Protocol) -> None:
        """Raise BadInput if records of another document under the same id and version lie here: running would
        replace them."""
        for path in self._files.of_protocol(protocol.key):
            record = self._files.sound(path)
            if record is not None and record.protocol.digest != protocol.digest:
                raise BadInput(
                    path,
                    f"was made with another document called {protocol.key}, and would be replaced",
                    "Give your protocol another id or a higher version, or another --results folder",
                )

    def nested_masks_path(self, protocol: Protocol, method: str, seed: int) -> Path:
        """Path of a chain's masks."""
        return self.folder(protocol, method) / f"seed-{seed}.masks.npz"

    def read_nested_masks(self, protocol: Protocol, method: str, seed: int) -> NestedMasks:
        """Masks of a chain as far as they are known for this very protocol document; level 0 if none were written.

        The digest is the file's comment. Files without one were written before there were comments.
        """
        from benchmark.records.masks import NestedMasks, nested_masks_in
        from benchmark.utils.npz import comment_of

        path = self.nested_masks_path(protocol, method, seed)
        if not path.exists() or comment_of(path) not in ("", protocol.digest):
            return NestedMasks.dense(protocol.pruning.prunable)
        return nested_masks_in(path, protocol)

    def write_nested_masks(self, protocol: Protocol, method: str, seed: int, nested: NestedMasks) -> None:
        """Replace a chain's masks."""
        from benchmark.utils.npz import pack

        content = pack({**nested.last_kept, "costs": nested.costs}, protocol.digest)
        write_atomically(self.nested_masks_path(protocol, method, seed), content, self.work)

    def weights_path(self, protocol: Protocol, cell: Cell, what: str) -> Path:
        """Scratch file for weights between rounds, keyed by the protocol's digest; not committed."""
        return (
            self.work
            / "weights"
            / protocol.key
            / protocol.digest[:16]
            / cell.method
            / f"{cell.name}.{what}.safetensors"
        )

    def leases(self, protocol: Protocol) -> Leases:
        """Who works on which job of a protocol."""
        if protocol.key not in self._leases:
            self._leases[protocol.key] = Leases(self.work / "leases" / protocol.key)
        return self._leases[protocol.key]

    @contextmanager
    def lock(self, protocol: Protocol, name: str, wait: bool) -> Iterator[Lease | None]:
        """Hold the lease `name`; yields None at once if another process has it and `wait` is false."""
        leases = self.leases(protocol)
        try:
            while (lease := leases.take(name)) is None and wait:
                time.sleep(WAIT_SECONDS)
        except OSError as error:
            raise cannot_write(self.root, error) from error
        try:
            yield lease
        finally:
            if lease is not None:
                lease.release()


class _AsItIs(Store):
    """See `Store.as_it_is`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._seen: dict[str, list[Record]] = {}

    def as_it_is(self) -> Store:
        """Itself."""
        return self

    def records(self, protocol: Protocol) -> list[Record]:
        """See `Store.records`."""
        if protocol.digest not in self._seen:
            self._seen[protocol.digest] = super().records(protocol)
        return self._seen[protocol.digest]
