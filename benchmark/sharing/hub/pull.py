"""From a repository into a results folder: downloaded aside, checked, then moved in file by file.

Methods that plugins added are known from their submission.json alone: no code of theirs is downloaded or run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.planning.plan import Job
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.records import submissions
from benchmark.records.masks import nested_masks_in
from benchmark.records.paths import LIMITS, FileGroup, ResultPath, ResultPaths, file_groups, submission_at
from benchmark.records.store import Store
from benchmark.records.submissions import VERIFICATION_FILE, Submission
from benchmark.sharing.hub.remote import Fetched, Listing, Patience, Remote, RemoteFile
from benchmark.sharing.integrity import FolderChecks
from benchmark.utils.errors import BadInput, Conflict, EnvironmentProblem
from benchmark.utils.files import MIB, read_limited, read_text_limited, write_atomically

MOST_METHODS = 1000


@dataclass(frozen=True)
class Added:
    """Sound submissions of a repository, by protocol key and method."""

    by_protocol: Mapping[str, Mapping[str, Submission]]

    def widened(self, protocol: Protocol) -> Protocol:
        """The protocol with those of these methods beside its own that were submitted to this very document."""
        for name, submission in sorted(self.by_protocol.get(protocol.key, {}).items()):
            if submission.protocol.digest != protocol.digest or name in protocol.added:
                continue
            try:
                protocol = submissions.added_to(protocol, {name: submission})
            except BadInput:  # it takes a name or a level that it may not: its files are left alone
                continue
        return protocol


def added_methods(remote: Remote, listing: Listing) -> Added:
    """What the repository's submission.json files say.

    A file that is damaged, too long, or about something else counts as none: then its method is not known here.
    Raises EnvironmentProblem where the Hub fails, Conflict for more methods than anybody could look at.
    """
    wanted = {
        path: result_path
        for path, file in listing.files.items()
        if (result_path := submission_at(path)) and file.size <= LIMITS["submission"]
    }
    if len(wanted) > MOST_METHODS:
        cause = f"holds {len(wanted):,} methods of plugins, at most {MOST_METHODS:,} are read"
        raise Conflict(remote.repository, cause, "Ask its owner to split it")
    found: dict[str, dict[str, Submission]] = {}

    def read(got: Fetched) -> None:
        key, method = wanted[got.file.path]
        submission = _parsed(got.path, got.file.size)
        if submission and (submission.name, f"{submission.protocol.id}@{submission.protocol.version}") == (method, key):
            found.setdefault(key, {})[method] = submission

    remote.fetch([listing.files[path] for path in sorted(wanted)], listing.commit, read)
    return Added(found)


def _parsed(path: Path, size: int) -> Submission | None:
    try:
        return submissions.parse(read_limited(path, size).decode(), str(path))
    except (BadInput, UnicodeDecodeError):
        return None


Say = Callable[[str, int, int], None]
Selection = Sequence[tuple[Protocol, str]]
Widened = Callable[[Protocol], Protocol]
Choice = Callable[[Widened], Selection]
"""What to pull, once it is known which methods of plugins stand beside a protocol's own in the repository."""
PULLED = "pulled.json"
NOTHING = "Nothing was taken over"
REFUSED = f"{NOTHING}. Pull another --revision, or leave it out with PROTOCOL:METHOD patterns"


@dataclass(frozen=True)
class Pulled:
    """What a pull did: the commit, files taken over, files that were here already, other files left alone."""

    commit: str
    new: int
    here: int
    others: tuple[str, ...]


def pull(store: Store, choose: Choice, remote: Remote, revision: str, say: Say) -> Pulled:
    """Take over every record, with its curves and masks, of one commit of the repository.

    Everything is downloaded and checked before the first file is moved in; records move last, so one that is there
    is whole. A file that is here already stays as it is. Raises Conflict, and takes nothing over, if one here
    differs or one there could not have been written by the harness; EnvironmentProblem where the Hub or the disk
    fails. The same pull then goes on with what the client's cache holds.
    """
    patience = Patience()
    commit = patience(lambda: remote.resolve(revision))
    listing = patience(lambda: remote.listing(commit))
    selection = choose(patience(lambda: added_methods(remote, listing)).widened)
    result_paths, others = ResultPaths(selection).all_in(listing.files)
    if not result_paths:
        cause = f"holds no results of this selection at {commit}"
        raise BadInput(remote.repository, cause, "Give another --revision or other patterns")
    _refuse_too_long(result_paths, listing)
    with _alone(store), _Pull(store, remote, listing, say) as job:
        new = job.run(file_groups(result_paths), patience)
    _note(store, remote, revision, commit, len(result_paths))
    return Pulled(commit, new, len(result_paths) - new, tuple(others))


def _refuse_too_long(result_paths: Sequence[ResultPath], listing: Listing) -> None:
    for result_path in result_paths:
        if (size := listing.files[result_path.path].size) > LIMITS[result_path.kind]:
            raise Conflict(f"{result_path.path} at {listing.commit}", f"is too long: {size:,} bytes", REFUSED)


class _alone:  # noqa: N801  a context manager, used as a verb
    """One pull into a folder at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> None:
        path = self._store.work / "locks" / "pull.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path, timeout=0)
            self._lock.acquire()
        except Timeout as error:
            raise EnvironmentProblem(str(self._store.root), "another pull goes on here", "Wait for it") from error
        except OSError as error:
            cause, fix = f"cannot be written ({error.strerror or error})", "Give a writable --to folder"
            raise EnvironmentProblem(str(self._store.root), cause, fix) from error

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _Pull:
    """One pull, with its staging folder: a results folder of its own, which nobody reads."""

    def __init__(self, store: Store, remote: Remote, listing: Listing, say: Say) -> None:
        self._store, self._remote, self._listing, self._say = store, remote, listing, say
        self._staging = store.work / "unfinished" / "pull"

    def __enter__(self) -> _Pull:
        shutil.rmtree(self._staging, ignore_errors=True)  # of a pull that was killed
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)

    def run(self, groups: Sequence[FileGroup], patience: Patience) -> int:
        """Fetch, check, compare, move; the number of files moved in."""
        lacking = {group.name: [p for p in group.result_paths if not self._same(p)] for group in groups}
        wanted = [result_path for group in groups for result_path in lacking[group.name]]
        self._refuse_differing([result_path for result_path in wanted if result_path.kind != "masks"])
        self._refuse_verified(wanted)
        self._fetch([self._listing.files[result_path.path] for result_path in wanted], patience)
        touched = [group for group in groups if lacking[group.name]]
        self._complete(touched, groups)
        self._check(touched)
        moves = [result_path for result_path in wanted if result_path.kind != "masks" or self._longer(result_path)]
        for number, result_path in enumerate(moves):
            self._move(result_path)
            self._say("taken over", number + 1, len(moves))
        return len(moves)

    def _same(self, result_path: ResultPath) -> bool:
        """Whether the very file is here already."""
        path = result_path.under(self._store.root)
        file = self._listing.files[result_path.path]
        return path.exists() and path.stat().st_size == file.size and file.holds(read_limited(path, file.size))

    def _refuse_differing(self, result_paths: Sequence[ResultPath]) -> None:
        differing = [result_path.path for result_path in result_paths if result_path.under(self._store.root).exists()]
        if differing:
            raise Conflict(
                ", ".join(differing[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else ""),
                f"{self._store.root} holds other content there than {self._remote.repository}, and keeps it",
                f"{NOTHING}. Pull into another folder (--to), or leave it out with PROTOCOL:METHOD patterns",
            )

    def _refuse_verified(self, result_paths: Sequence[ResultPath]) -> None:
        """A method's mark says that its records were measured again; more of them would stand under it unmeasured."""
        for result_path in result_paths:
            path = self._store.folder(result_path.protocol, result_path.method) / VERIFICATION_FILE
            if path.exists():
                cause = f"stands for the records that are here, and {result_path.path} is not among them"
                raise Conflict(str(path), cause, f"{NOTHING}. Pull into another folder (--to), or verify again there")

    def _fetch(self, files: Sequence[RemoteFile], patience: Patience) -> None:
        done: set[str] = set()

        def staged(got: Fetched) -> None:
            target = self._staging / got.file.path
            content = read_limited(got.path, got.file.size)
            if not got.file.holds(content):  # changed in the cache since it was checked
                raise EnvironmentProblem(str(got.path), "changes while it is read", "Run the same command again")
            write_atomically(target, content, self._store.work)
            done.add(got.file.path)
            patience.failures = 0
            self._say("downloaded", len(done), len(files))

        patience(lambda: self._remote.fetch([f for f in files if f.path not in done], self._listing.commit, staged))

    def _complete(self, touched: Sequence[FileGroup], groups: Sequence[FileGroup]) -> None:
        """Files that are here already, beside those they belong to: checks need them together."""
        chains = {(p.protocol.key, p.method, p.seed) for group in touched for p in group.result_paths}
        masks = [
            p for u in groups for p in u.result_paths if p.cell is None and (p.protocol.key, p.method, p.seed) in chains
        ]
        methods = {(p.protocol.key, p.method) for group in touched for p in group.result_paths}
        said = [
            p
            for u in groups
            for p in u.result_paths
            if p.kind == "submission" and (p.protocol.key, p.method) in methods
        ]
        for result_path in (*(result_path for group in touched for result_path in group.result_paths), *masks, *said):
            source, target = result_path.under(self._store.root), result_path.under(self._staging)
            if not target.exists() and source.exists():
                write_atomically(target, read_limited(source, LIMITS[result_path.kind]), self._store.work)

    def _check(self, touched: Sequence[FileGroup]) -> None:
        checks_of_folder = FolderChecks(self._staging)
        for number, group in enumerate(touched):
            try:
                checks_of_folder.group(group)
            except BadInput as error:
                thing = error.thing.replace(
                    f"{self._staging}/", f"{self._remote.repository} at {self._listing.commit}: "
                )
                raise Conflict(thing, error.cause, REFUSED) from error
            self._say("checked", number + 1, len(touched))

    def _longer(self, result_path: ResultPath) -> bool:
        """Whether masks from there are to be taken over: none are here, or these go on where ours stop."""
        here = result_path.under(self._store.root)
        if not here.exists():
            return True
        theirs = nested_masks_in(result_path.under(self._staging), result_path.protocol)
        relation = theirs.compared_with(nested_masks_in(here, result_path.protocol))
        if relation == "differ":
            self._refuse_differing([result_path])
        return relation == "longer"

    def _move(self, result_path: ResultPath) -> None:
        content = read_limited(result_path.under(self._staging), LIMITS[result_path.kind])
        target = result_path.under(self._store.root)
        if result_path.kind != "masks":
            if not write_atomically(target, content, self._store.work, replace=False) and not self._same(result_path):
                self._refuse_differing([result_path])
            return
        chain = Job(result_path.protocol, (Cell(result_path.method, 1, result_path.seed),))
        with self._store.lock(result_path.protocol, chain.name, wait=False) as mine:
            if not mine:
                raise EnvironmentProblem(str(target), "a run is making these masks", "Pull again when it is over")
            if self._longer(result_path):  # a run may have gone on with them since this pull began
                write_atomically(target, content, self._store.work)


def _note(store: Store, remote: Remote, asked: str, commit: str, files: int) -> None:
    """Write down where the files came from, in `pulled.json`: one entry for each repository and commit."""
    path = store.root / PULLED
    entries = []
    with suppress(BadInput, ValueError, TypeError, KeyError, RecursionError):
        entries = [dict(entry) for entry in json.loads(read_text_limited(path, MIB))["pulled"]]
    key = {"repository": remote.repository, "endpoint": str(remote.endpoint), "revision": commit}
    if any(key.items() <= entry.items() for entry in entries):
        return
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entries.append({**key, "asked_for": asked, "files": files, "pulled_utc": when})
    text = json.dumps({"schema": "lotterybench/pulled/1", "pulled": entries[-1000:]}, indent=1) + "\n"
    write_atomically(Path(path), text.encode(), store.work)
