"""From a repository into a results folder: downloaded aside, checked, then moved in file by file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.errors import BadInput, Conflict, EnvironmentProblem
from benchmark.files import write_atomically
from benchmark.hub.added import added_methods
from benchmark.hub.failures import Patience
from benchmark.hub.listing import Listing, RemoteFile
from benchmark.hub.remote import Fetched, Remote
from benchmark.intake import Intake
from benchmark.limited import MIB, read_limited, read_text_limited
from benchmark.places import LIMITS, Place, Places, Unit, units_of
from benchmark.protocol import Protocol
from benchmark.store import Store
from benchmark.submissions import VERIFICATION_FILE
from benchmark.survival import survival_in

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
    places, others = Places(selection).all_in(listing.files)
    if not places:
        cause = f"holds no results of this selection at {commit}"
        raise BadInput(remote.repository, cause, "Give another --revision or other patterns")
    _refuse_too_long(places, listing)
    with _alone(store), _Pull(store, remote, listing, say) as job:
        new = job.run(units_of(places), patience)
    _note(store, remote, revision, commit, len(places))
    return Pulled(commit, new, len(places) - new, tuple(others))


def _refuse_too_long(places: Sequence[Place], listing: Listing) -> None:
    for place in places:
        if (size := listing.files[place.path].size) > LIMITS[place.kind]:
            raise Conflict(f"{place.path} at {listing.commit}", f"is too long: {size:,} bytes", REFUSED)


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

    def run(self, units: Sequence[Unit], patience: Patience) -> int:
        """Fetch, check, compare, move; the number of files moved in."""
        lacking = {unit.name: [p for p in unit.places if not self._same(p)] for unit in units}
        wanted = [place for unit in units for place in lacking[unit.name]]
        self._refuse_differing([place for place in wanted if place.kind != "masks"])
        self._refuse_verified(wanted)
        self._fetch([self._listing.files[place.path] for place in wanted], patience)
        touched = [unit for unit in units if lacking[unit.name]]
        self._complete(touched, units)
        self._check(touched)
        moves = [place for place in wanted if place.kind != "masks" or self._longer(place)]
        for number, place in enumerate(moves):
            self._move(place)
            self._say("taken over", number + 1, len(moves))
        return len(moves)

    def _same(self, place: Place) -> bool:
        """Whether the very file is here already."""
        path = place.under(self._store.root)
        file = self._listing.files[place.path]
        return path.exists() and path.stat().st_size == file.size and file.holds(read_limited(path, file.size))

    def _refuse_differing(self, places: Sequence[Place]) -> None:
        differing = [place.path for place in places if place.under(self._store.root).exists()]
        if differing:
            raise Conflict(
                ", ".join(differing[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else ""),
                f"{self._store.root} holds other content there than {self._remote.repository}, and keeps it",
                f"{NOTHING}. Pull into another folder (--to), or leave it out with PROTOCOL:METHOD patterns",
            )

    def _refuse_verified(self, places: Sequence[Place]) -> None:
        """A method's mark says that its records were measured again; more of them would stand under it unmeasured."""
        for place in places:
            path = self._store.folder(place.protocol, place.method) / VERIFICATION_FILE
            if path.exists():
                cause = f"stands for the records that are here, and {place.path} is not among them"
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

    def _complete(self, touched: Sequence[Unit], units: Sequence[Unit]) -> None:
        """Files that are here already, beside those they belong to: checks need them together."""
        chains = {(p.protocol.key, p.method, p.seed) for unit in touched for p in unit.places}
        masks = [p for u in units for p in u.places if p.cell is None and (p.protocol.key, p.method, p.seed) in chains]
        methods = {(p.protocol.key, p.method) for unit in touched for p in unit.places}
        said = [p for u in units for p in u.places if p.kind == "submission" and (p.protocol.key, p.method) in methods]
        for place in (*(place for unit in touched for place in unit.places), *masks, *said):
            source, target = place.under(self._store.root), place.under(self._staging)
            if not target.exists() and source.exists():
                write_atomically(target, read_limited(source, LIMITS[place.kind]), self._store.work)

    def _check(self, touched: Sequence[Unit]) -> None:
        intake = Intake(self._staging)
        for number, unit in enumerate(touched):
            try:
                intake.unit(unit)
            except BadInput as error:
                thing = error.thing.replace(
                    f"{self._staging}/", f"{self._remote.repository} at {self._listing.commit}: "
                )
                raise Conflict(thing, error.cause, REFUSED) from error
            self._say("checked", number + 1, len(touched))

    def _longer(self, place: Place) -> bool:
        """Whether masks from there are to be taken over: none are here, or these go on where ours stop."""
        here = place.under(self._store.root)
        if not here.exists():
            return True
        theirs = survival_in(place.under(self._staging), place.protocol)
        relation = theirs.compared_with(survival_in(here, place.protocol))
        if relation == "differ":
            self._refuse_differing([place])
        return relation == "goes on"

    def _move(self, place: Place) -> None:
        content = read_limited(place.under(self._staging), LIMITS[place.kind])
        target = place.under(self._store.root)
        if place.kind != "masks":
            if not write_atomically(target, content, self._store.work, replace=False) and not self._same(place):
                self._refuse_differing([place])
            return
        with self._store.lock(place.protocol, f"{place.method}_seed-{place.seed}", wait=False) as mine:
            if not mine:
                raise EnvironmentProblem(str(target), "a run is making these masks", "Pull again when it is over")
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
