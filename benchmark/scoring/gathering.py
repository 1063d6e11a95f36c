"""Records of several results folders as one set of observations, with the methods that plugins added. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark import submissions
from benchmark.errors import BadInput
from benchmark.protocol import Protocol
from benchmark.records import Record
from benchmark.scoring.observations import Observations
from benchmark.store import Store
from benchmark.submissions import Submission, Verification

REPORTED = "reported"


def mark_text(verification: Verification | None) -> str:
    """How far a row can be trusted: `reported` by its author, or measured again by somebody."""
    if verification is None:
        return REPORTED
    v = verification
    return f"verified ({' '.join(v.by.split())}, {v.when}, {v.cells} cell{'s' if v.cells > 1 else ''})"


def all_gathered(protocols: Iterable[Protocol], stores: Sequence[Store]) -> dict[str, Observations]:
    """What `gathered` gives of each protocol, by its id. Raises BadInput."""
    return {protocol.id: gathered(protocol, stores) for protocol in protocols}


def gathered(protocol: Protocol, stores: Sequence[Store]) -> Observations:
    """All records of a protocol, and the methods of plugins. Where two folders hold one cell, the first one counts.

    Raises BadInput if two folders hold different code under one name, or a record that other code made.
    """
    added: dict[str, Submission] = {}
    marks: dict[str, str] = {}
    records: dict[tuple[str, int, int, int], Record] = {}
    for store in stores:
        own = submissions.of_protocol(store, protocol)
        found = store.records(protocol)
        for name, submission in own.items():
            submissions.refuse_mixed(submission, (r for r in found if r.method.name == name))
            if added.setdefault(name, submission) != submission:
                raise BadInput(
                    f"{protocol.key} {name}",
                    f"{store.root} and a folder before it hold different plugins of this name",
                    "Rename one of the plugin files, and measure it again",
                )
            verification = submissions.verification(store, protocol, submission)
            if verification or name not in marks:
                marks[name] = mark_text(verification)
        for r in found:
            records.setdefault((r.method.name, r.cell.level, r.cell.seed, r.cell.draw), r)
    wider = submissions.added_to(protocol, added)
    return Observations(wider, (records[key] for key in sorted(records)), added, marks)
