"""Making a fixed set of fast cells again and comparing them with their committed records.

On the versions and processor of the record everything must be the same to the bit. Elsewhere arithmetic rounds
differently, and what must hold is stated here: `random` masks, whose scores are drawn and not computed, are the same to
the bit with the same torch; of other masks the totals are the same, and a layer keeps a number of weights that differs
by at most `LAYER_TOLERANCE` of its size; an accuracy lies within the prediction interval of the committed seeds.

What a regression check found. No torch.

Everything committed that follows from records and published numbers, derived again and compared. No torch.

Do the committed headline numbers still follow from the committed records, and the records from the code?

Which committed cells are made again: fast ones, fixed, that between them use most of the code. No torch.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import fmean

import torch

from benchmark.claims import statistics
from benchmark.datasets.dataset import Dataset
from benchmark.harness.harness import Harness
from benchmark.harness.settings import Settings
from benchmark.harness.start import State, Tickets
from benchmark.plugins.registry import locate
from benchmark.plugins.sandbox.confinement import Limits
from benchmark.protocols import Protocol, lock
from benchmark.protocols.cells import DENSE, Cell, title
from benchmark.pruning.schedule import layer_groups
from benchmark.records.provenance import provenance
from benchmark.records.schema import Provenance, Record
from benchmark.records.store import Store
from benchmark.report import figure, leaderboard
from benchmark.sharing.remeasure import cell_again, mask_again, same_machine
from benchmark.training.device import device_name
from benchmark.utils.cpu import cpu_settings
from benchmark.utils.errors import BadInput, LotterybenchError


@dataclass
class Outcome:
    """`agreed`: what was compared and is the same; `reasons`: what is not, in words; `notes`: what could not be
    compared, and why."""

    agreed: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Take over what another check found."""
        self.agreed += other.agreed
        self.reasons += other.reasons
        self.notes += other.notes


SHOWN_LINES = 6  # of a difference; the whole one is a `lotterybench leaderboard` and a `git diff` away
_CLAIM = re.compile(r'^\| <a id="([^"]+)"></a>', re.ASCII)
_CREATOR = re.compile(r"<dc:title>(.*?)</dc:title>")


def derive(store: Store, protocols: Sequence[Protocol], board: Path, figures: Path) -> Outcome:
    """Compare the locked protocols, `board` and the pictures in the folder `figures` with what `store` gives.

    A record, protocol or published number that cannot even be read is a regression too: it was committed readable.
    Raises BadInput if there is no board.
    """
    if not board.is_file():
        raise BadInput(str(board), "there is no such file to compare with", "Run this in a clone, or give --board")
    found = Outcome()
    for step in (_locked, _board, _figures):
        try:
            found.add(step(store, protocols, board, figures))
        except BadInput as error:
            found.reasons.append(str(error))
    found.reasons = list(dict.fromkeys(found.reasons))  # one damaged record stops several steps
    return found


def _locked(store: Store, protocols: Sequence[Protocol], board: Path, figures: Path) -> Outcome:  # noqa: ARG001
    locked = lock.read()
    problems = [why for protocol in protocols if (why := lock.problem(protocol, locked))]
    if gone := sorted(set(locked) - {protocol.key for protocol in protocols}):
        # An older version is replaced by its successor; a protocol whose every version is gone is missed.
        left = {protocol.id for protocol in protocols}
        problems += [f"{key} is locked, and its protocol is gone" for key in gone if key.split("@")[0] not in left]
    return Outcome([] if problems else [f"{len(protocols)} protocols are the locked ones"], problems)


def _board(store: Store, protocols: Sequence[Protocol], board: Path, figures: Path) -> Outcome:  # noqa: ARG001
    committed, derived = board.read_bytes(), leaderboard.render(store, protocols).encode()
    if committed == derived:
        claims = sum(bool(_CLAIM.match(line)) for line in derived.decode().splitlines())
        return Outcome([f"{board} with {claims} verdicts, byte for byte"])
    return Outcome(reasons=[_difference(board, committed.decode(errors="replace"), derived.decode())])


def _difference(board: Path, committed: str, derived: str) -> str:
    """Which claims read differently now, then the first lines that do."""
    before, after = (dict(_rows(text)) for text in (committed, derived))
    changed = [claim for claim in before | after if before.get(claim) != after.get(claim)]
    lines = unified_diff(committed.splitlines(), derived.splitlines(), "committed", "derived now", lineterm="", n=0)
    named = f" Rows of the ledger that changed: {', '.join(changed)}." if changed else ""
    shown = "\n".join(f"    {line[:300]}" for line in islice(lines, SHOWN_LINES + 3))
    return f"{board} is not what records and published numbers say.{named}\n{shown}"


def _rows(text: str) -> list[tuple[str, str]]:
    """(claim, its row without the padding of columns, which one long cell changes for all)."""
    return [(found[1], " ".join(line.split())) for line in text.splitlines() if (found := _CLAIM.match(line))]


def _figures(store: Store, protocols: Sequence[Protocol], board: Path, figures: Path) -> Outcome:  # noqa: ARG001
    found = Outcome()
    for path, protocol in figure.readme_figures(figures, protocols).items():
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
            command = f"lotterybench figure {protocol.id} --to {path}"
            found.reasons.append(f"{path} is not the picture of the records. To draw it: {command}")
    return found


@dataclass(frozen=True)
class FixedCells:
    """Of one protocol: `masks`, made again without training, by pruners that need no data; and `trained`, in order."""

    protocol: str
    masks: tuple[Cell, ...]
    trained: tuple[Cell, ...] = ()


FIXED = (
    FixedCells(
        "lth/lenet-mnist",
        masks=tuple(Cell(method, level, 0) for method in ("random", "magnitude", "synflow") for level in (7, 12, 18)),
    ),
    FixedCells(
        "mnist1d/mlp",
        masks=tuple(Cell("random", level, seed) for level in (50, 90) for seed in (0, 1, 2)),
        trained=(Cell(DENSE, 0, 0), *(Cell("imp", level, 0) for level in (1, 2, 3))),
    ),
)
"""Data-free masks of LeNet (one round layerwise, one round, 100 rounds global) and of MNIST-1D's network; the first
levels of one MNIST-1D chain: train, prune, rewind, train."""

LAYER_TOLERANCE = 0.01
CONFIDENCE = 0.999  # of the prediction interval of an accuracy
Say = Callable[[str], None]


def remeasure(protocol: Protocol, committed: Store, fixed: FixedCells, folder: Path, say: Say) -> Outcome:
    """Make the fixed cells that have a finished record again, in the empty `folder`. Raises EnvironmentProblem."""
    found = Outcome()
    records = {
        cell: record for cell in (*fixed.masks, *fixed.trained) if (record := _finished(protocol, committed, cell))
    }
    masks = [cell for cell in fixed.masks if cell in records]
    trained = [cell for cell in fixed.trained if cell in records]
    with cpu_settings():
        _masks(protocol, masks, records, Store(folder), found, say)
    if trained:
        _trained(protocol, trained, committed, Store(folder), found, say)
    return found


def _finished(protocol: Protocol, store: Store, cell: Cell) -> Record | None:
    record = store.read(protocol, cell)
    return record if record is not None and record.status == "finished" else None


def shapes_only(protocol: Protocol) -> Dataset:
    """A data set of no examples: all that a pruner without data may ask about it."""
    network = protocol.network
    shape = network.input_shape
    classes = network.outputs
    nothing, labels = torch.zeros(0, *shape), torch.zeros(0, dtype=torch.int64)
    return Dataset(protocol.data.name, nothing, labels, nothing, labels, classes, "")


def _untrained(cell: Cell, what: str) -> State:
    raise AssertionError(f"{title(cell)}: '{what}' is asked for, but fixed masks need no training")


def _masks(
    protocol: Protocol, cells: Sequence[Cell], records: dict[Cell, Record], store: Store, found: Outcome, say: Say
) -> None:
    tickets = Tickets(protocol, store, lambda: shapes_only(protocol), cache(locate), _untrained, Limits())
    same = 0
    for cell in cells:
        say(f"mask of {protocol.id} {title(cell)}")
        record = records[cell]
        made = record.provenance
        here = provenance(made.precision, made.data_digest, torch.get_num_threads(), device_name("cpu"), None)
        try:
            made_again = mask_again(tickets, record)
        except LotterybenchError as error:
            found.reasons.append(f"{protocol.key} {title(cell)}: no mask can be made: {error}")
            continue
        if made_again.identical:
            same += 1
        elif _exact(protocol, cell, record.provenance, here):
            found.reasons.append(f"{protocol.key} {title(cell)}: another mask than recorded{_changed(record)}")
        elif why := _far(_kept(protocol, made_again.masks), record):
            found.reasons.append(f"{protocol.key} {title(cell)}: {why}{_changed(record)}")
    if cells:
        found.agreed.append(f"{protocol.key}: {same} of {len(cells)} masks made again are the same bit for bit")


def _exact(protocol: Protocol, cell: Cell, there: Provenance, here: Provenance) -> bool:
    drawn = protocol.pruning_method(cell.method).pruner == "random"
    return same_machine(there, here) or (drawn and there.packages.get("torch") == here.packages.get("torch"))


def _changed(record: Record) -> str:
    """What is known of the cause."""
    pruner = record.method.pruner
    other = pruner is not None and locate(pruner).digest != record.method.pruner_digest
    return f" (the code of '{pruner}' has changed since)" if other else ""


def _kept(protocol: Protocol, masks: dict[str, torch.Tensor]) -> dict[str, int]:
    """Weights kept by layer: weights and biases that are pruned together count together."""
    return {
        layer: sum(int(masks[name].sum()) for name in names) for layer, names in layer_groups(protocol.pruning).items()
    }


def _far(kept: dict[str, int], record: Record) -> str | None:
    """How layers differ by more than the tolerance, in words; None if they do not."""
    assert record.mask is not None  # a finished record has one
    if sum(kept.values()) != record.mask.kept:
        return f"keeps {sum(kept.values()):,} weights, {record.mask.kept:,} are recorded"
    for layer, count in record.mask.layers.items():
        if abs(kept[layer] - count.kept) > max(1, LAYER_TOLERANCE * count.size):
            return f"keeps {kept[layer]:,} of {count.size:,} weights in {layer}, {count.kept:,} are recorded"
    return None


def _trained(
    protocol: Protocol, cells: Sequence[Cell], committed: Store, again: Store, found: Outcome, say: Say
) -> None:
    harness = Harness(protocol, again, Settings())
    same = 0
    for cell in cells:
        say(f"training of {protocol.id} {title(cell)}")
        first = committed.read(protocol, cell)
        assert first is not None  # it was asked before
        comparison = cell_again(harness, cell, first)
        second = comparison.again
        name = f"{protocol.key} {title(cell)}"
        if second is None or second.measured is None:
            found.reasons.append(
                f"{name}: cannot be trained again: {second.reason if second else 'no record came out'}"
            )
        elif comparison.identical:
            same += 1
        elif comparison.differs:
            found.reasons.append(f"{name}: {_words(first, second)}, on the same processor and versions")
        elif why := _unlike(protocol, committed, cells, cell, second):
            found.reasons.append(f"{name}: {why}")
    found.agreed.append(f"{protocol.key}: {same} of {len(cells)} cells trained again are the same bit for bit")


def _words(first: Record, second: Record) -> str:
    """Where two records of one cell differ."""
    assert first.measured is not None
    assert second.measured is not None
    pairs = (first.measured.last("test_accuracy"), second.measured.last("test_accuracy"))
    if pairs[0] != pairs[1]:
        return f"test accuracy {pairs[1]:.2f} %, {pairs[0]:.2f} % is recorded"
    if first.mask != second.mask:
        return "another mask than recorded"
    return "figures other than the recorded ones"


def _unlike(protocol: Protocol, committed: Store, cells: Sequence[Cell], cell: Cell, again: Record) -> str | None:
    """Why an accuracy is none of the population of the committed seeds; None if it may be.

    mean ± t * sd * sqrt(1 + 1 / n), with the standard deviation over seeds pooled over the fixed cells' levels.
    """
    groups: dict[tuple[str, int], list[float]] = {(c.method, c.level): [] for c in cells}
    for record in committed.records(protocol):
        place = (record.method.name, record.cell.level)
        if place in groups and record.measured is not None and record.status == "finished":
            groups[place].append(record.measured.last("test_accuracy"))
    sd, df = statistics.pooled_sd(list(groups.values()))
    own = groups[cell.method, cell.level]
    half = statistics.quantile((1 + CONFIDENCE) / 2, df) * sd * math.sqrt(1 + 1 / len(own))
    assert again.measured is not None
    accuracy = again.measured.last("test_accuracy")
    if abs(accuracy - fmean(own)) <= half:
        return None
    return f"test accuracy {accuracy:.2f} %, not within {fmean(own):.2f} ± {half:.2f} % of the committed seeds"
