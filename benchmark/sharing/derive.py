"""Everything committed that follows from records and published numbers, derived again and compared. No torch."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from itertools import islice
from pathlib import Path

from benchmark.protocols import Protocol, lock
from benchmark.records.store import Store
from benchmark.report import figure, leaderboard
from benchmark.utils.errors import BadInput


@dataclass
class RegressionResult:
    """`agreed`: what was compared and is the same; `reasons`: what is not, in words; `notes`: what could not be
    compared, and why."""

    agreed: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: RegressionResult) -> None:
        """Take over what another check found."""
        self.agreed += other.agreed
        self.reasons += other.reasons
        self.notes += other.notes


SHOWN_LINES = 6  # of a difference; the whole one is a `lotterybench leaderboard` and a `git diff` away
SHOWN_FILES = 4


_CREATOR = re.compile(r"<dc:title>(.*?)</dc:title>")


def derive(store: Store, protocols: Sequence[Protocol], board: Path, figures: Path) -> RegressionResult:
    """Compare the locked protocols, `board` with its pages, and the pictures in the folder `figures` with what `store`
    gives.

    A record, protocol or published number that cannot even be read is a regression too: it was committed readable.
    Raises BadInput if there is no board.
    """
    if not board.is_file():
        raise BadInput(str(board), "there is no such file to compare with", "Run this in a clone, or give --board")
    found = RegressionResult()
    for step in (_locked, _board, _figures):
        try:
            found.add(step(store, protocols, board, figures))
        except BadInput as error:
            found.reasons.append(str(error))
    found.reasons = list(dict.fromkeys(found.reasons))  # one damaged record stops several steps
    return found


def _locked(store: Store, protocols: Sequence[Protocol], board: Path, figures: Path) -> RegressionResult:  # noqa: ARG001
    locked = lock.read()
    problems = [why for protocol in protocols if (why := lock.problem(protocol, locked))]
    if gone := sorted(set(locked) - {protocol.key for protocol in protocols}):
        # An older version is replaced by its successor; a protocol whose every version is gone is missed.
        left = {protocol.id for protocol in protocols}
        problems += [f"{key} is locked, and its protocol is gone" for key in gone if key.split("@")[0] not in left]
    return RegressionResult([] if problems else [f"{len(protocols)} protocols are the locked ones"], problems)


def _board(store: Store, protocols: Sequence[Protocol], board: Path, figures: Path) -> RegressionResult:  # noqa: ARG001
    made = leaderboard.render(store, protocols, board=board)
    if not (wrong := leaderboard.problems(board, made)):
        claims = len({claim for text in made.values() for claim in leaderboard.by_claim(text)})
        return RegressionResult([f"{board} and {len(made) - 1} files behind it, with {claims} claims, byte for byte"])
    return RegressionResult(reasons=[_difference(board, wrong, made)])


def _difference(board: Path, wrong: Mapping[Path, str], made: Mapping[str, str]) -> str:
    """Which files and which claims read differently now, then the first lines that do."""
    changed: dict[str, None] = {}
    lines: list[str] = []
    for path in wrong:
        committed = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        derived = made.get(str(path.relative_to(board.parent)), "")
        before, after = leaderboard.by_claim(committed), leaderboard.by_claim(derived)
        changed |= dict.fromkeys(claim for claim in before | after if before.get(claim) != after.get(claim))
        lines += unified_diff(
            committed.splitlines(), derived.splitlines(), "committed", "derived now", lineterm="", n=0
        )
    files = "; ".join(f"{path} {why}" for path, why in islice(wrong.items(), SHOWN_FILES))
    more = f"; {len(wrong) - SHOWN_FILES} more files" if len(wrong) > SHOWN_FILES else ""
    named = f" Claims that read differently: {', '.join(changed)}." if changed else ""
    shown = "\n".join(f"    {line[:300]}" for line in islice(lines, SHOWN_LINES + 3))
    return f"{board} or a page behind it: {files}{more}.{named} To renew them: lotterybench leaderboard\n{shown}"


def _figures(store: Store, protocols: Sequence[Protocol], board: Path, figures: Path) -> RegressionResult:  # noqa: ARG001
    found = RegressionResult()
    for path, protocol in figure.readme_figures(figures, protocols, store).items():
        committed = path.read_bytes()
        creator = _CREATOR.search(committed.decode(errors="replace"))
        if creator and creator[1] != figure.drawn_by():
            found.notes.append(f"{path} is not compared: made by {creator[1]}, and {figure.drawn_by()} is here")
            continue
        with tempfile.TemporaryDirectory() as folder:
            again = Path(folder) / path.name
            figure.draw(store, protocol, again)
            same = again.read_bytes() == committed
        if same:
            found.agreed.append(f"{path}, byte for byte")
        else:
            command = f"lotterybench figure {protocol.key} --to {path}"
            found.reasons.append(f"{path} is not the picture of the records. To draw it: {command}")
    return found
