"""Moving a verified method into a results folder: all of it in one step, its mark last. No torch."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from benchmark import submissions
from benchmark.bundles.checking import Claimed
from benchmark.errors import Conflict, EnvironmentProblem
from benchmark.files import write_atomically
from benchmark.limited import read_limited
from benchmark.places import LIMITS, Place, Places, units_of
from benchmark.records import DENSE
from benchmark.store import Store
from benchmark.submissions import VERIFICATION_FILE, VERIFICATION_SCHEMA, Verification

FIX = "Nothing was taken over. Give another --results folder"


def mark(claimed: Claimed, by: str, cells: int) -> Verification:
    """Who measured how many cells again, now."""
    return Verification(
        schema=VERIFICATION_SCHEMA,
        name=claimed.submission.name,
        protocol=claimed.submission.protocol,
        plugin_digest=claimed.submission.plugin_digest,
        by=by,
        when=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        cells=cells,
    )


def refuse_differing(claimed: Claimed, store: Store) -> None:
    """Raise Conflict if a results folder holds anything of this method that the bundle does not hold."""
    submissions.refuse_changed(store, claimed.protocol, claimed.submission)
    target = store.folder(claimed.protocol, claimed.submission.name)
    offered = {place.path for place in _places(claimed)}
    for path in sorted(target.glob("*")):
        name = path.relative_to(store.root).as_posix()
        if path.name == VERIFICATION_FILE:
            continue
        place = next((p for p in _places(claimed) if p.path == name), None)
        limit = LIMITS[place.kind] if place else 0
        if name not in offered or read_limited(path, limit) != read_limited(claimed.store.root / name, limit):
            raise Conflict(str(path), "is not what the bundle holds there, and stays", FIX)


def take_over(claimed: Claimed, store: Store, verification: Verification) -> int:
    """Move the method's files in, with the mark; the number of files. Raises Conflict as `refuse_differing` does.

    A method that is not there yet appears as one whole folder. Its dense networks are added where there are none:
    those that are there stay, because other methods are compared with them.
    """
    refuse_differing(claimed, store)
    protocol, name = claimed.protocol, claimed.submission.name
    content = (verification.model_dump_json(by_alias=True, indent=1) + "\n").encode()
    target, places = store.folder(protocol, name), _places(claimed)
    for unit in units_of(Places([(protocol, DENSE)]).in_folder(claimed.store.root)):
        if not unit.places[-1].under(store.root).exists():
            _copy(unit.places, claimed.store, store)
    if target.exists():
        _copy(places, claimed.store, store)
        write_atomically(target / VERIFICATION_FILE, content, store.work)
        return len(places) + 1
    staging = Store(store.work / "unfinished" / f"bundle-{os.getpid()}")
    shutil.rmtree(staging.root, ignore_errors=True)
    try:
        _copy(places, claimed.store, staging)
        write_atomically(staging.folder(protocol, name) / VERIFICATION_FILE, content, staging.work)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.folder(protocol, name).rename(target)
    except OSError as error:
        cause = f"cannot be written ({error.strerror or error})"
        raise EnvironmentProblem(str(target), cause, "Give a writable --results folder") from error
    finally:
        shutil.rmtree(staging.root, ignore_errors=True)
    return len(places) + 1


def _places(claimed: Claimed) -> list[Place]:
    """The method's files, what it is first and records last."""
    found = Places([(claimed.protocol, claimed.submission.name)]).in_folder(claimed.store.root)
    return [place for unit in units_of(found) for place in unit.places]


def _copy(places: list[Place] | tuple[Place, ...], source: Store, target: Store) -> None:
    for place in places:
        content = read_limited(place.under(source.root), LIMITS[place.kind])
        write_atomically(Path(place.under(target.root)), content, target.work, replace=False)


__all__ = ["mark", "refuse_differing", "take_over"]
