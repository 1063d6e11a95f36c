"""The dataset card: what a repository holds and what its records say, for people who come across it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmark import verdicts
from benchmark.errors import BadInput
from benchmark.hub.added import added_methods
from benchmark.hub.listing import Listing
from benchmark.hub.remote import Fetched, Remote
from benchmark.intake import Intake
from benchmark.limited import read_limited
from benchmark.places import LIMITS, Place, Places
from benchmark.plan import cells_of, method_names
from benchmark.protocol import Protocol, load_all
from benchmark.scoring.ledger import VERDICTS
from benchmark.store import Store

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
    known = Places([(protocol, method) for protocol in protocols for method in method_names(protocol)])
    places, _ = known.all_in(listing.files)
    records = [place for place in places if place.kind in ("submission", "record")]
    with TemporaryDirectory() as folder:
        merged = Store(Path(folder))
        _gather(remote, listing, store, records, merged)
        rows = [_row(protocol, places, merged) for protocol in protocols if any(p.protocol == protocol for p in places)]
        found = Counter(str(decision.verdict) for decision in verdicts.decide(merged, protocols))
    table = "\n".join(["| protocol | records | of | failed | masks of chains |", "|:--|--:|--:|--:|--:|", *rows]) + "\n"
    counted = ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict])
    said = f"Published claims, decided from these records: {counted}.\n" if found else ""
    front = yaml.safe_dump(FRONT, sort_keys=True)
    return f"---\n{front}---\n\n" + TEXT.format(table=table, verdicts=said, repository=remote.repository)


def _gather(remote: Remote, listing: Listing, store: Store, records: Sequence[Place], merged: Store) -> None:
    """The sound records of the repository in one folder: from here where the very file is here, else downloaded."""

    def keep(place: Place, source: Path) -> None:
        target = place.under(merged.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)

    missing: dict[str, Place] = {}
    for place in records:
        path, file = place.under(store.root), listing.files[place.path]
        if path.exists() and path.stat().st_size == file.size and file.holds(read_limited(path, file.size)):
            keep(place, path)
        elif file.size <= LIMITS[place.kind]:
            missing[place.path] = place

    def fetched(got: Fetched) -> None:
        keep(missing[got.file.path], got.path)

    remote.fetch([listing.files[path] for path in missing], listing.commit, fetched)
    intake = Intake(merged.root)
    for place in missing.values():
        try:
            if place.kind == "record":
                intake.record(place)
        except BadInput:
            place.under(merged.root).unlink()


def _row(protocol: Protocol, places: Sequence[Place], merged: Store) -> str:
    records = merged.records(protocol)
    total = sum(len(cells_of(protocol, method)) for method in method_names(protocol))
    failed = sum(record.status == "failed" for record in records)
    chains = sum(place.kind == "masks" and place.protocol == protocol for place in places)
    return f"| {protocol.key} | {len(records):,} | {total:,} | {failed:,} | {chains:,} |"
