"""Methods of plugins in a repository: known from their submission.json alone. No code of theirs is there, or run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmark import submissions
from benchmark.errors import BadInput, Conflict
from benchmark.hub.listing import Listing
from benchmark.hub.remote import Fetched, Remote
from benchmark.limited import read_limited
from benchmark.places import LIMITS, submission_place
from benchmark.protocol import Protocol
from benchmark.submissions import Submission

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
        path: place
        for path, file in listing.files.items()
        if (place := submission_place(path)) and file.size <= LIMITS["submission"]
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
