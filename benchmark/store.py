"""The results folder: records, curves and masks, written whole or not at all. No torch here.

<root>/<protocol>@<version>/<method>/<cell>.json          the record; its presence means finished
<root>/<protocol>@<version>/<method>/<cell>.curves.npz    what was seen at every evaluation
<root>/<protocol>@<version>/<method>/seed-<s>.masks.npz   all masks of an iterative chain, see `Survival`
<root>/.work/                                             leases, checkpoints, weights between rounds; not committed
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from benchmark.arrays import comment_of, pack, unpack
from benchmark.errors import BadInput, EnvironmentProblem
from benchmark.leases import Lease, Leases
from benchmark.protocol import Protocol
from benchmark.pruning.levels import MOST_LEVELS
from benchmark.record_files import RecordFiles
from benchmark.records import Cell, Record
from benchmark.survival import Survival

__all__ = ["Store", "Survival", "comment_of", "pack", "sha256", "survival_in", "unpack", "write_atomically"]

COSTS_BYTES = (MOST_LEVELS + 1) * 4 * 8
WAIT_SECONDS = 0.5


def write_atomically(path: Path, content: bytes, work: Path, replace: bool = True) -> bool:
    """Write, fsync, rename, fsync the folder. False, and nothing written, if `replace` is false and the file is there.

    Raises EnvironmentProblem on a full disk or a read-only folder.
    """
    temporary = work / "unfinished" / f"{uuid4().hex[:12]}-{path.name}"  # process ids repeat from machine to machine
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        elif not _linked(temporary, path):
            return False
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with suppress(OSError):  # a read-only file system refuses even to remove what is not there
            temporary.unlink()
        raise EnvironmentProblem(
            str(path),
            f"cannot be written ({error.strerror or error})",
            "Free space or give another --results folder",
        ) from error
    return True


def _linked(temporary: Path, path: Path) -> bool:
    """Give a file its name unless the name is taken: unlike a rename, a link refuses what came in between."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


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
        """Whether nothing is left to do for a cell. Raises BadInput if its record is damaged."""
        record = self.read(protocol, cell)
        return record is not None and (record.status == "finished" or not retry_failed)

    def write(self, protocol: Protocol, cell: Cell, record: Record, curves: bytes | None) -> None:
        """Write curves first, then the record: a record never points at curves that are not there."""
        if curves is not None:
            write_atomically(self.curves_path(protocol, cell), curves, self.work)
        write_atomically(self.record_path(protocol, cell), record.dumps().encode(), self.work)

    def records(self, protocol: Protocol) -> list[Record]:
        """All records of this protocol's digest, sorted by path. Raises BadInput naming a damaged file."""
        found = self._files.read_all(self._files.of_protocol(protocol.key))
        return [record for record in found if record.protocol.digest == protocol.digest]

    def refuse_other_document(self, protocol: Protocol) -> None:
        """Raise BadInput if records of another document under the same id and version lie here: running would
        replace them."""
        for path in self._files.of_protocol(protocol.key):
            if self._files.read(path).protocol.digest != protocol.digest:
                raise BadInput(
                    path,
                    f"was made with another document called {protocol.key}, and would be replaced",
                    "Give your protocol another id or a higher version, or another --results folder",
                )

    def survival_path(self, protocol: Protocol, method: str, seed: int) -> Path:
        """Path of a chain's masks."""
        return self.folder(protocol, method) / f"seed-{seed}.masks.npz"

    def read_survival(self, protocol: Protocol, method: str, seed: int) -> Survival:
        """Masks of a chain as far as they are known for this very protocol document; level 0 if none were written.

        The digest is the file's comment. Files without one were written before there were comments.
        """
        path = self.survival_path(protocol, method, seed)
        if not path.exists() or comment_of(path) not in ("", protocol.digest):
            return Survival.dense(protocol.pruning.prunable)
        return survival_in(path, protocol)

    def write_survival(self, protocol: Protocol, method: str, seed: int, survival: Survival) -> None:
        """Replace a chain's masks."""
        content = pack({**survival.outlived, "costs": survival.costs}, protocol.digest)
        write_atomically(self.survival_path(protocol, method, seed), content, self.work)

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
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise EnvironmentProblem(
                str(self.root),
                f"cannot be written ({error.strerror or error})",
                "Free space or give another --results folder" if full else "Give a writable --results folder",
            ) from error
        try:
            yield lease
        finally:
            if lease is not None:
                lease.release()


def survival_in(path: Path, protocol: Protocol) -> Survival:
    """The masks in one file, whatever its comment. Raises BadInput if they are not masks of this protocol."""
    arrays = unpack(path, sum(protocol.pruning.tensor_sizes.values()) + COSTS_BYTES)
    costs = arrays.pop("costs", np.zeros(0))
    outlived = {name: arrays[name].astype(np.uint8) for name in protocol.pruning.prunable if name in arrays}
    if {name: array.shape for name, array in arrays.items()} != protocol.pruning.prunable or not _fit(outlived, costs):
        raise BadInput(str(path), f"does not fit protocol {protocol.key}", "Restore it from git, or move it away")
    return Survival(outlived, costs.astype(np.float64))


def _fit(outlived: Mapping[str, NDArray[np.uint8]], costs: NDArray[np.generic]) -> bool:
    """Whether there are finite costs for level 0 and for every level that a weight outlived."""
    if costs.ndim != 2 or costs.shape[1] != 4 or not 1 <= len(costs) <= MOST_LEVELS + 1 or costs.dtype.kind != "f":
        return False
    highest = max((int(levels.max(initial=0)) for levels in outlived.values()), default=0)
    return highest < len(costs) and bool(np.isfinite(costs).all())


def sha256(content: bytes) -> str:
    """Hex digest of bytes."""
    return hashlib.sha256(content).hexdigest()
