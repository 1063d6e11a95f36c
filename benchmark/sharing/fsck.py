"""Every file of a results folder against every digest that names it: what `lotterybench fsck` says. No torch.

`sharing.integrity` says what may stand in a file; this module walks a whole folder, earlier versions of protocols
included, and goes on after each finding. What it looks at, and what each finding is:

* LOCK.json, and the digest of every document that it locks;
* each record: one canonical text, in its place, of a cell that is planned, with figures that follow from each other;
* its curves, by the sha256 that the record names; curves and masks that no record names;
* the mask of each level of a chain, by the sha256 in its record; a chain of records without its masks;
* a mask that was taken from another protocol's network, by the sha256 in that network's record;
* what plugins say of themselves, and marks of verification;
* any other file: it belongs to nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark import protocols
from benchmark.protocols import Protocol, lock
from benchmark.protocols.cells import DENSE, is_chain, method_names, source_of, title
from benchmark.records import submissions
from benchmark.records.paths import ENDINGS, ResultPath, ResultPaths, file_groups
from benchmark.records.schema import cell_of
from benchmark.records.store import Store
from benchmark.records.submissions import VERIFICATION_FILE
from benchmark.records.verifications import VERIFIERS, mark_of
from benchmark.sharing.integrity import FolderChecks
from benchmark.utils.errors import BadInput, LotterybenchError

WORK = ".work"
OTHERS = frozenset({"README.md", "pulled.json", VERIFIERS})  # of the results folder itself
Say = Callable[[str], None]


@dataclass
class Found:
    """`wrong`: each file that is not sound, and why, one line each; the others are what was looked at."""

    wrong: list[str] = field(default_factory=list)
    records: int = 0
    curves: int = 0
    masks: int = 0
    locked: int = 0

    def sentence(self) -> str:
        """What agrees, in words."""
        files = f"{self.records:,} records, {self.curves:,} files of curves, {self.masks:,} chains of masks"
        return f"{files} and {self.locked:,} locked protocols: every digest holds"


def fsck(store: Store, say: Say = lambda _: None) -> Found:
    """Look at every file under a results folder. `say` is told each protocol's key before its files are read."""
    found = Found()
    current = _every_protocol(found)
    seen: set[Path] = set()
    for protocol in current:
        if (store.root / protocol.key).is_dir():
            say(protocol.key)
            _protocol(store, protocol, found, seen)
    _strangers(store.root, seen, found)
    return found


def _every_protocol(found: Found) -> list[Protocol]:
    """The protocols that can be read, each held against the lock."""
    try:
        locked = lock.read()
    except LotterybenchError as error:
        found.wrong.append(str(error))
        locked = {}
    loaded: list[Protocol] = []
    for name in (*protocols.available(), *protocols.earlier()):
        try:
            loaded.append(protocols.load(name, need_lock=False))
        except LotterybenchError as error:
            found.wrong.append(str(error))
    if locked:
        problems = [why for protocol in loaded if (why := lock.problem(protocol, locked))]
        found.wrong += problems
        found.locked = len(loaded) - len(problems)
    return loaded


def _protocol(store: Store, protocol: Protocol, found: Found, seen: set[Path]) -> None:
    wider = _with_methods(store, protocol, found, seen)
    paths = ResultPaths([(wider, method) for method in (DENSE, *method_names(wider))]).in_folder(store.root)
    checks = FolderChecks(store.root)
    for group in file_groups(paths):
        seen.update(path.under(store.root) for path in group.result_paths)
        try:
            checks.group(group)
        except LotterybenchError as error:
            found.wrong.append(str(error))
        else:
            _counted(group.result_paths, found)
    _masks_missing(store, paths, found)
    _masks_taken(store, wider, found)
    _verifications(store, wider, found, seen)


def _with_methods(store: Store, protocol: Protocol, found: Found, seen: set[Path]) -> Protocol:
    """The protocol with the added methods whose submission.json can be read."""
    for path in sorted((store.root / protocol.key).glob(f"*/{ENDINGS['submission']}")):
        method = path.parent.name
        seen.add(path)
        try:
            if (submission := submissions.read(store, protocol, method)) is None:
                raise BadInput(str(path), "is of another document than this version", "Move its folder away")
            protocol = submissions.added_to(protocol, {method: submission})
        except LotterybenchError as error:
            found.wrong.append(str(error))
            seen.update(path.parent.glob("*"))  # its other files cannot be judged
    return protocol


def _counted(paths: Sequence[ResultPath], found: Found) -> None:
    for path in paths:
        found.records += path.kind == "record"
        found.curves += path.kind == "curves"
        found.masks += path.kind == "masks"


def _masks_missing(store: Store, paths: Sequence[ResultPath], found: Found) -> None:
    """Records of a chain, or of some of its levels, whose masks are not there: nothing proves theirs."""
    chains = {
        (path.protocol, path.method, path.seed)
        for path in paths
        if path.kind == "record" and path.cell and is_chain(path.protocol, path.method)
    }
    for protocol, method, seed in sorted(chains, key=lambda chain: (chain[1], chain[2])):
        path = store.nested_masks_path(protocol, method, seed)
        if not path.exists():
            found.wrong.append(f"{path}: is not there, and records of its chain are. Restore it from git")
            continue
        try:
            last = store.read_nested_masks(protocol, method, seed).last_level
        except LotterybenchError:
            continue  # said already
        levels = [p.cell.level for p in paths if p.kind == "record" and p.cell and (p.method, p.seed) == (method, seed)]
        if max(levels) > last:
            found.wrong.append(f"{path}: ends at level {last}, and a record is of level {max(levels)}. Restore it")


def _masks_taken(store: Store, protocol: Protocol, found: Found) -> None:
    """Records that name another mask of their source than the source's own record does."""
    if not protocol.mask_sources:
        return
    for record in store.records(protocol):
        cell = cell_of(record)
        taken = source_of(protocol, cell)
        if taken is None or record.source is None or taken[1].method == DENSE:
            continue
        source = store.read(*taken)
        if source is not None and source.mask is not None and source.mask.sha256 != record.source.mask_sha256:
            path = store.record_path(protocol, cell)
            found.wrong.append(
                f"{path}: its source {taken[0].key} {title(taken[1])} has another mask. Measure it again"
            )


def _verifications(store: Store, protocol: Protocol, found: Found, seen: set[Path]) -> None:
    for path in sorted((store.root / protocol.key).glob(f"*/{VERIFICATION_FILE}")):
        seen.add(path)
        try:
            submission = submissions.read(store, protocol, path.parent.name)
            if submission is None:
                raise BadInput(str(path), "marks no method that was added here", "Move it away")
            mark_of(store, protocol, submission)
        except LotterybenchError as error:
            found.wrong.append(str(error))


def _strangers(root: Path, seen: set[Path], found: Found) -> None:
    """Files that no plan holds: a record of no cell, a copy, a protocol whose document is gone."""
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        if inside[0] == WORK or path in seen or (path.is_dir() and not path.is_symlink()):
            continue
        if len(inside) == 1 and path.name in OTHERS:
            continue
        found.wrong.append(
            f"{path}: is no file of a cell that a protocol here plans. Move it away, or restore its name"
        )
