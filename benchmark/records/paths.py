"""Which files a results folder may hold, and which of them belong together. Any other name is ignored.

Folders that come from elsewhere (a Hub repository, a bundle) are read through these names only, so no path in them
can lead out of the folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell, cells_of, is_chain
from benchmark.records.submissions import NAME, SUBMISSION_BYTES, SUBMISSION_FILE
from benchmark.utils.files import CURVES_BYTES, MASKS_BYTES, RECORD_BYTES

Kind = Literal["submission", "masks", "curves", "record"]
LIMITS: dict[Kind, int] = {
    "submission": SUBMISSION_BYTES,
    "masks": MASKS_BYTES,
    "curves": CURVES_BYTES,
    "record": RECORD_BYTES,
}
ENDINGS: dict[Kind, str] = {
    "submission": SUBMISSION_FILE,
    "masks": ".masks.npz",
    "curves": ".curves.npz",
    "record": ".json",
}

LONGEST_PATH = 300
_CELL = re.compile(r"level-([0-9]{2,3})_seed-([0-9]{1,9})(?:_draw-([0-9]{1,6}))?", re.ASCII)
_SUBMISSION = re.compile(rf"([a-z0-9]+/[a-z0-9-]+@[0-9]{{1,6}})/({NAME})/{re.escape(SUBMISSION_FILE)}", re.ASCII)
_CHAIN = re.compile(r"seed-([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True)
class ResultPath:
    """One file: `path` is relative to the results folder, with forward slashes. `cell` is None for what
    belongs to a whole method or chain; `seed` is -1 for what belongs to a whole method."""

    path: str
    kind: Kind
    protocol: Protocol = field(repr=False)
    method: str
    seed: int
    cell: Cell | None

    def under(self, root: Path) -> Path:
        """Where the file lies in a results folder."""
        return root / self.path


@dataclass(frozen=True)
class FileGroup:
    """Files that only make sense together, in the order in which they are written: curves before their record."""

    name: str
    result_paths: tuple[ResultPath, ...]


class ResultPaths:
    """The file names of a selection of (protocol, method) pairs."""

    def __init__(self, selection: Iterable[tuple[Protocol, str]]) -> None:
        self._known = {(protocol.key, method): (protocol, method) for protocol, method in selection}
        self._cells = {key: frozenset(cells_of(*pair)) for key, pair in self._known.items()}

    def of(self, path: str) -> ResultPath | None:
        """The result file that a path names; None for every other path, such as `../x` or a cell that no plan holds."""
        parts = path.split("/")
        if len(parts) != 4 or len(path) > LONGEST_PATH:
            return None
        key, name = (f"{parts[0]}/{parts[1]}", parts[2]), parts[3]
        kind = next((kind for kind, ending in ENDINGS.items() if name.endswith(ending)), None)
        if key not in self._known or kind is None:
            return None
        protocol, method = self._known[key]
        stem = name.removesuffix(ENDINGS[kind])
        if kind == "submission":
            # A verification.json is none: that the sender of a file says it is verified is no evidence.
            return ResultPath(path, kind, protocol, method, -1, None) if not stem and method in protocol.added else None
        return self._chain(path, stem, protocol, method) if kind == "masks" else self._cell(path, stem, kind, key)

    def _chain(self, path: str, stem: str, protocol: Protocol, method: str) -> ResultPath | None:
        chain = _CHAIN.fullmatch(stem)
        seed = int(chain[1]) if chain else -1
        if seed not in protocol.seeds or stem != f"seed-{seed}" or not is_chain(protocol, method):
            return None
        return ResultPath(path, "masks", protocol, method, seed, None)

    def _cell(self, path: str, stem: str, kind: Kind, key: tuple[str, str]) -> ResultPath | None:
        protocol, method = self._known[key]
        found = _CELL.fullmatch(stem)
        cell = Cell(method, int(found[1]), int(found[2]), int(found[3] or 0)) if found else None
        if cell is None or cell.name != stem or cell not in self._cells[key]:
            return None
        return ResultPath(path, kind, protocol, method, cell.seed, cell)

    def all_in(self, paths: Iterable[str]) -> tuple[list[ResultPath], list[str]]:
        """(result files, other paths), each sorted by path."""
        ordered = sorted(paths)
        found = [(path, self.of(path)) for path in ordered]
        return [result_path for _, result_path in found if result_path], [
            path for path, result_path in found if not result_path
        ]

    def in_folder(self, root: Path) -> list[ResultPath]:
        """The result files of a folder on disk, sorted by path."""
        folders = [root / key / method for key, method in self._known]
        names = [path.relative_to(root).as_posix() for folder in folders for path in folder.glob("*") if path.name]
        return self.all_in(names)[0]


def submission_at(path: str) -> tuple[str, str] | None:
    """(protocol key, method) if a path is that of a submission to any protocol; else None."""
    found = _SUBMISSION.fullmatch(path)
    return (found[1], found[2]) if found and len(path) <= LONGEST_PATH else None


def file_groups(result_paths: Sequence[ResultPath]) -> list[FileGroup]:
    """Files that belong together, by path: first what methods say of themselves and masks of chains, then cells."""
    groups: dict[tuple[bool, str], list[ResultPath]] = {}
    for result_path in result_paths:
        groups.setdefault(
            (result_path.cell is not None, result_path.path.removesuffix(ENDINGS[result_path.kind])), []
        ).append(result_path)
    order: list[Kind] = ["submission", "masks", "curves", "record"]
    return [
        FileGroup(name, tuple(sorted(group, key=lambda result_path: order.index(result_path.kind))))
        for (_, name), group in sorted(groups.items())
    ]
