"""How claims stand to which planned runs can add, remembered beside the results while what that rests on stays.

No torch, and no statistics where the memory holds. Statistics take half as long as all else that a plan does, and
every worker of a run plans when it starts. Only the order of work rests on what is remembered: what is shown of a claim
is always worked out anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from benchmark.claims.observations import Observations
from benchmark.planning.priority import ClaimStatus
from benchmark.records.store import Store
from benchmark.utils.errors import LotterybenchError
from benchmark.utils.files import MIB, read_limited, sha256, write_atomically

if TYPE_CHECKING:
    from benchmark.claims.verdicts import Decision


MOST_BYTES = 16 * MIB  # 216 claims take 0.1 MB
PACKAGE = Path(__file__).parents[1]
RESTS_ON = (".py", ".yaml", ".csv")


def open_claims(store: Store, seen: Mapping[str, Observations], retry_failed: bool = False) -> list[ClaimStatus]:
    """Of `decide_open` of what was seen of each protocol, by id, in the records of `store`."""
    remembered = TypeAdapter(tuple[str, list[ClaimStatus]])
    state = _state(store, seen)
    path = store.work / "open-claims" / f"{sha256(json.dumps([*sorted(seen), retry_failed]).encode())[:16]}.json"
    with suppress(LotterybenchError, ValueError):  # not there, or damaged: worked out anew
        known, claims = remembered.validate_json(read_limited(path, MOST_BYTES))
        if known == state:
            return claims
    claims = worked_out(seen, retry_failed)
    if any(observations.records for observations in seen.values()):  # no folder is made for nothing
        with suppress(LotterybenchError):  # read-only, or full
            write_atomically(path, remembered.dump_json((state, claims)), store.work)
    return claims


def worked_out(seen: Mapping[str, Observations], retry_failed: bool) -> list[ClaimStatus]:
    """How every claim stands to which a planned run can add."""
    from benchmark.claims.verdicts import decide_open

    return [status_of(decision) for decision in decide_open(seen, retry_failed)]


def status_of(decision: Decision) -> ClaimStatus:
    """What the order of work needs of a decision."""
    return ClaimStatus(
        paper=decision.paper,
        claim=decision.claim,
        part_of=decision.part_of,
        verdict=decision.verdict,
        seeds_measured=min((len(check.seeds) for check in decision.checks), default=0),
        seeds_still_needed=decision.seeds_still_needed,
        cells=decision.cells,
    )


def _state(store: Store, seen: Mapping[str, Observations]) -> str:
    """Digest of all that decisions rest on: protocols, files of records, and this package, claims and code."""
    protocols = [(name, observations.protocol.digest) for name, observations in sorted(seen.items())]
    records = store.marks(observations.protocol for observations in seen.values())
    return sha256(json.dumps([protocols, records, sorted(_files(PACKAGE))]).encode())


def _files(folder: Path | str) -> Iterator[tuple[str, int, int]]:
    """(path, bytes, time of change) of every file below that code or claims are in."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            elif entry.name.endswith(RESTS_ON):
                found = entry.stat()
                yield entry.path, found.st_size, found.st_mtime_ns
