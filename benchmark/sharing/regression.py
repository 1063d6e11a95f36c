"""Making a fixed set of fast cells again and comparing them with their committed records.

On the versions and machine of the record (`records.provenance`) everything must be the same to the bit. Elsewhere
arithmetic rounds differently, and what must hold is stated here: `random` masks, whose scores are drawn and not
computed, are the same to the bit with the same torch; of other masks the totals are the same, and a layer keeps a
number of weights that differs by at most `LAYER_TOLERANCE` of its size; losses of the first updates agree within
rounding (`sharing.trajectory`); and the mean of the accuracies made again lies within the prediction interval of the
committed seeds. No single final accuracy decides.
The cells are fast ones that between them use most of the code. What follows from records alone is in `sharing.derive`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

import torch

from benchmark.claims import statistics
from benchmark.datasets.dataset import Dataset
from benchmark.harness.harness import Harness, Settings
from benchmark.harness.masks import MaskMaker
from benchmark.plugins.registry import locate
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, title
from benchmark.pruning.schedule import layer_groups
from benchmark.records.provenance import Provenance, provenance
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.sharing.derive import RegressionResult
from benchmark.sharing.remeasure import cell_again, mask_again, same_machine
from benchmark.sharing.trajectory import early_reasons
from benchmark.training.device import capability, cpu_settings, device_name
from benchmark.utils.errors import LotterybenchError


@dataclass(frozen=True)
class FixedCells:
    """Of one protocol, by its key: `masks`, made again without training, by pruners that need no data; and `trained`,
    in order."""

    protocol: str
    masks: tuple[Cell, ...]
    trained: tuple[Cell, ...] = ()


FIXED = (
    FixedCells(
        "lth/lenet-mnist@1",
        masks=tuple(Cell(method, level, 0) for method in ("random", "magnitude", "synflow") for level in (7, 12, 18)),
    ),
    FixedCells(
        "mnist1d/mlp@2",
        masks=tuple(Cell("random", level, seed) for level in (50, 90) for seed in (5, 6, 7)),
        trained=(Cell(DENSE, 0, 5), *(Cell("imp", level, 5) for level in (1, 2, 3))),
    ),
)
"""Data-free masks of LeNet (one round layerwise, one round, 100 rounds global) and of MNIST-1D's network; the first
levels of one MNIST-1D chain: train, prune, rewind, train."""

LAYER_TOLERANCE = 0.01
CONFIDENCE = 0.999  # of the prediction interval of an accuracy
Say = Callable[[str], None]


def remeasure(protocol: Protocol, committed: Store, fixed: FixedCells, folder: Path, say: Say) -> RegressionResult:
    """Make the fixed cells that have a finished record again, in the empty `folder`. Raises EnvironmentProblem."""
    found = RegressionResult()
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


def _masks(
    protocol: Protocol,
    cells: Sequence[Cell],
    records: dict[Cell, Record],
    store: Store,
    found: RegressionResult,
    say: Say,
) -> None:
    maker = MaskMaker(protocol, store, lambda: shapes_only(protocol), cache(locate))
    same = 0
    for cell in cells:
        say(f"mask of {protocol.id} {title(cell)}")
        record = records[cell]
        made = record.provenance
        threads, device = torch.get_num_threads(), device_name("cpu")
        here = provenance(made.precision, made.data_digest, threads, device, None, capability=capability())
        try:
            made_again = mask_again(maker, record)
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
    protocol: Protocol, cells: Sequence[Cell], committed: Store, again: Store, found: RegressionResult, say: Say
) -> None:
    harness = Harness(protocol, again, Settings())
    same, others = 0, dict[Cell, Record]()
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
        else:
            found.reasons += [f"{name}: {why}" for why in early_reasons(protocol, cell, committed, again)]
            others[cell] = second
    if why := _unlike(protocol, committed, others):
        found.reasons.append(f"{protocol.key}: {why}")
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


def _unlike(protocol: Protocol, committed: Store, again: Mapping[Cell, Record]) -> str | None:
    """Why accuracies made again with other bits are none of the population of the committed seeds; None if they may be.

    The mean over the cells of (accuracy - mean of the seeds at its level), against t * sd * sqrt(1 + 1 / n) with the
    standard deviation over seeds pooled over these levels: cells of one chain share their seed, so the mean over them
    is held against the spread of one.
    """
    if not again:
        return None
    groups: dict[tuple[str, int], list[float]] = {(c.method, c.level): [] for c in again}
    for record in committed.records(protocol):
        place = (record.method.name, record.cell.level)
        if place in groups and record.measured is not None and record.status == "finished":
            groups[place].append(record.measured.last("test_accuracy"))
    sd, df = statistics.pooled_sd(list(groups.values()))
    half = statistics.quantile((1 + CONFIDENCE) / 2, df) * sd * math.sqrt(1 + 1 / min(map(len, groups.values())))
    measured = {cell: record.measured for cell, record in again.items() if record.measured}
    shift = fmean(found.last("test_accuracy") - fmean(groups[c.method, c.level]) for c, found in measured.items())
    if abs(shift) <= half:
        return None
    return f"{len(again)} cells made again are {shift:+.2f} points from the committed seeds, not within {half:.2f}"
