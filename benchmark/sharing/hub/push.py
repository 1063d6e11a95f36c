"""From a results folder into a repository: checked first, in bounded commits, beside other writers.

With the records goes the dataset card: what the repository holds and what its records say.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmark.claims import verdicts
from benchmark.protocols import Protocol, load_all
from benchmark.protocols.cells import cells_of, method_names
from benchmark.records.masks import NestedMasks, nested_masks_in
from benchmark.records.paths import LIMITS, ResultPath, ResultPaths, file_groups
from benchmark.records.store import Store
from benchmark.report.leaderboard import VERDICTS
from benchmark.sharing.hub import remote as failures
from benchmark.sharing.hub.pull import added_methods
from benchmark.sharing.hub.remote import AGAIN, Fetched, Listing, Outrun, Patience, Remote, Unreachable
from benchmark.sharing.integrity import Content, FolderChecks
from benchmark.utils.errors import BadInput, Conflict, EnvironmentProblem
from benchmark.utils.files import MIB, read_limited, sha256

FRONT = {
    "pretty_name": "Lotterybench records",
    "tags": ["lotterybench", "lottery-ticket-hypothesis", "pruning", "reproducibility", "benchmark"],
    "viewer": False,  # records are one JSON file each, which is no table
}

TEXT = """\
# Lotterybench records

Records, curves and masks measured by Lotterybench, a reproducibility
benchmark of lottery tickets and pruning at initialization. This page is generated from them at every push.

{table}
{verdicts}
## Get them

    lotterybench pull {repository} --revision COMMIT --to results
    lotterybench score --results results

`COMMIT` is one of this repository's commits; without `--revision` the latest is taken, and `pull` says which it was.
Every file is checked before it is taken over. Checks find damage and contradictions, not an invented accuracy:
run cells again (`lotterybench run`) before you rely on somebody's records.

## Layout

| file | what it holds |
|:--|:--|
| `<protocol>@<version>/<method>/level-<l>_seed-<s>.json` | one trained network: accuracies, masks, costs, provenance |
| `....curves.npz` | its loss and accuracy at every evaluation |
| `seed-<s>.masks.npz` | all masks of an iterative chain: the number of levels each weight outlived |
| `submission.json` | what a method that a plugin added is; its results are `reported` until you verify them |
"""


def card(remote: Remote, listing: Listing, store: Store, selection: Sequence[tuple[Protocol, str]]) -> str:
    """The card of a repository at `listing`, records of others included. The same files give the same text.

    Records that are not in `store` are downloaded. Those that are unsound are not counted. Raises EnvironmentProblem.
    """
    own = {protocol.key: protocol for protocol in (*load_all(), *(protocol for protocol, _ in selection))}
    added = added_methods(remote, listing)
    protocols = [added.widened(protocol) for protocol in own.values()]
    known = ResultPaths([(protocol, method) for protocol in protocols for method in method_names(protocol)])
    result_paths, _ = known.all_in(listing.files)
    records = [result_path for result_path in result_paths if result_path.kind in ("submission", "record")]
    with TemporaryDirectory() as folder:
        merged = Store(Path(folder))
        _gather(remote, listing, store, records, merged)
        rows = [
            _row(protocol, result_paths, merged)
            for protocol in protocols
            if any(p.protocol == protocol for p in result_paths)
        ]
        found = Counter(str(decision.verdict) for decision in verdicts.decide(merged, protocols))
    table = "\n".join(["| protocol | records | of | failed | masks of chains |", "|:--|--:|--:|--:|--:|", *rows]) + "\n"
    counted = ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict])
    said = f"Published claims, decided from these records: {counted}.\n" if found else ""
    front = yaml.safe_dump(FRONT, sort_keys=True)
    return f"---\n{front}---\n\n" + TEXT.format(table=table, verdicts=said, repository=remote.repository)


def _gather(remote: Remote, listing: Listing, store: Store, records: Sequence[ResultPath], merged: Store) -> None:
    """The sound records of the repository in one folder: from here where the very file is here, else downloaded."""

    def keep(result_path: ResultPath, source: Path) -> None:
        target = result_path.under(merged.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)

    missing: dict[str, ResultPath] = {}
    for result_path in records:
        path, file = result_path.under(store.root), listing.files[result_path.path]
        if path.exists() and path.stat().st_size == file.size and file.holds(read_limited(path, file.size)):
            keep(result_path, path)
        elif file.size <= LIMITS[result_path.kind]:
            missing[result_path.path] = result_path

    def fetched(got: Fetched) -> None:
        keep(missing[got.file.path], got.path)

    remote.fetch([listing.files[path] for path in missing], listing.commit, fetched)
    checks_of_folder = FolderChecks(merged.root)
    for result_path in missing.values():
        try:
            if result_path.kind == "record":
                checks_of_folder.record(result_path)
        except BadInput:
            result_path.under(merged.root).unlink()


def _row(protocol: Protocol, result_paths: Sequence[ResultPath], merged: Store) -> str:
    records = merged.records(protocol)
    total = sum(len(cells_of(protocol, method)) for method in method_names(protocol))
    failed = sum(record.status == "failed" for record in records)
    chains = sum(result_path.kind == "masks" and result_path.protocol == protocol for result_path in result_paths)
    return f"| {protocol.key} | {len(records):,} | {total:,} | {failed:,} | {chains:,} |"


BATCH_FILES = 400
BATCH_BYTES = 64 * MIB
MOST_OUTRUN = 50  # commits of others that we let pass before giving up
CARD = "README.md"
Say = Callable[[str, int, int], None]
"""(what is being done, done, total)"""
Selection = Sequence[tuple[Protocol, str]]


@dataclass(frozen=True)
class Pushed:
    """What a push did: the commit it leaves, files sent, files that were there already, commits made."""

    commit: str
    sent: int
    there: int
    commits: int


def push(store: Store, selection: Selection, remote: Remote, private: bool, say: Say) -> Pushed:
    """Send every record, with its curves and masks, that the repository does not hold yet.

    Nothing is sent unless all of the folder's files are sound (BadInput names the first that is not), and nothing
    that differs is replaced (Conflict names what). Raises EnvironmentProblem where the Hub cannot be reached; what
    was committed until then stays, and the same push goes on from there.
    """
    if remote.offline:
        raise EnvironmentProblem("push", "HF_HUB_OFFLINE is set, so nothing can be sent", "Unset HF_HUB_OFFLINE")
    groups = file_groups(ResultPaths(selection).in_folder(store.root))
    if not groups:
        raise BadInput(str(store.root), "holds no results of this selection", "Name another --results folder")
    checks_of_folder, contents = FolderChecks(store.root), []
    for number, group in enumerate(groups):
        contents.append(checks_of_folder.group(group))
        say("checked", number + 1, len(groups))
    pushing = _Pushing(store, remote, contents, say)
    pushing.run(private)
    pushing.write_card(selection)
    total = sum(len(group) for group in contents)
    return Pushed(pushing.listing.commit, len(pushing.sent), total - len(pushing.sent), pushing.commits)


class _Pushing:
    """The state of one push: the last commit that was seen, and what was sent."""

    def __init__(self, store: Store, remote: Remote, groups: Sequence[Sequence[Content]], say: Say) -> None:
        self._store, self._remote, self._units, self._say = store, remote, groups, say
        self._patience, self._outrun, self._missing = Patience(), 0, 0
        self.sent: set[str] = set()
        self.commits = 0
        self.listing: Listing

    def run(self, private: bool) -> None:
        """Commit batch after batch until everything is there."""
        if not self._patience(self._remote.exists):
            self._patience(lambda: self._remote.create(private))
        while batch := self._next(self._see()):
            files = {content.result_path.path: self._read(content) for content in batch}
            if lost := self.sent & files.keys():
                cause = "was accepted, but is not there"
                self._patience.after(Unreachable(f"{min(lost)} of {self._remote.repository}", cause, AGAIN))
            if self._commit(files, f"Add {len(files)} files, {batch[0].result_path.path} and following"):
                self.sent |= files.keys()
                self._say("sent", len(self.sent), len(self.sent) + self._missing - len(files))

    def write_card(self, selection: Selection) -> None:
        """Describe what the repository now holds, others' records included."""
        while True:
            self._see()
            text = self._patience(lambda: card(self._remote, self.listing, self._store, selection)).encode()
            known = self.listing.files.get(CARD)
            if (known and known.holds(text)) or self._commit({CARD: text}, "Describe what is here"):
                self._see()
                return

    def _see(self) -> Listing:
        """The repository as it is now."""
        self.listing = self._patience(lambda: self._remote.listing(self._remote.resolve("main")))
        return self.listing

    def _next(self, listing: Listing) -> list[Content]:
        """The next files to send, at most a batch, groups whole. Raises Conflict before anything differing is sent."""
        todo, differing = [], []
        for group in self._units:
            wanted = []
            for content in group:
                there = listing.files.get(content.result_path.path)
                if there is None:
                    wanted.append(content)
                elif not there.is_like(content.size, content.sha256, content.blob_id):
                    found = (
                        self._relation(content.result_path, listing)
                        if content.result_path.kind == "masks"
                        else "differ"
                    )
                    differing += [content.result_path.path] if found == "differ" else []
                    wanted += [content] if found == "longer" else []
            todo.append(wanted)
        if differing:
            raise Conflict(
                ", ".join(differing[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else ""),
                f"{self._remote.repository} holds other content there, and is not overwritten",
                "Leave them out with PROTOCOL:METHOD patterns, or push to a repository of your own",
            )
        self._missing = sum(len(wanted) for wanted in todo)
        batch: list[Content] = []
        for wanted in todo:
            size = sum(content.size for content in (*batch, *wanted))
            if batch and (len(batch) + len(wanted) > BATCH_FILES or size > BATCH_BYTES):
                break
            batch += wanted
        return batch

    def _relation(self, result_path: ResultPath, listing: Listing) -> str:
        """How a chain's masks here stand to those there."""
        theirs: list[NestedMasks] = []
        file = listing.files[result_path.path]
        try:
            self._patience(
                lambda: self._remote.fetch(
                    [file], listing.commit, lambda got: theirs.append(nested_masks_in(got.path, result_path.protocol))
                )
            )
        except BadInput:  # no masks of this protocol
            return "differ"
        return nested_masks_in(result_path.under(self._store.root), result_path.protocol).compared_with(theirs[0])

    def _read(self, content: Content) -> bytes:
        """The very bytes that were checked."""
        found = read_limited(content.result_path.under(self._store.root), content.size)
        if sha256(found) != content.sha256:
            raise BadInput(
                content.result_path.path, "changed while it was being pushed", "Push again when the run is over"
            )
        return found

    def _commit(self, files: dict[str, bytes], message: str) -> bool:
        """One commit on top of what was seen; False if the repository must be looked at again first: another writer
        was faster, or the request failed, and then a commit may have been made whose answer got lost."""
        try:
            self._remote.commit(files, self.listing.commit, message)
        except Outrun as error:
            self._outrun += 1
            if self._outrun > MOST_OUTRUN:
                raise EnvironmentProblem(self._remote.repository, "others commit all the time", AGAIN) from error
            failures.pause(0.1 * min(self._outrun, 10))
            return False
        except Unreachable as failure:
            self._patience.after(failure)
            return False
        self._patience.failures, self._outrun = 0, 0
        self.commits += 1
        return True
