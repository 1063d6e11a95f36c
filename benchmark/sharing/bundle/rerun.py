"""Measuring a sample of a bundle's cells again, with its plugin in its confined process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

from benchmark.harness.harness import Harness, Settings
from benchmark.harness.masks import Confinement, MaskMaker
from benchmark.harness.start import State
from benchmark.plugins.describe import described, submission_to
from benchmark.protocols.cells import DENSE, Cell, title
from benchmark.records.schema import Measured, Record, cell_of
from benchmark.records.store import Store
from benchmark.records.submissions import SUBMISSION_FILE, Submission, value_text, write
from benchmark.sharing.bundle import samples
from benchmark.sharing.bundle.fresh import at_fresh_seeds
from benchmark.sharing.bundle.verify import Claimed
from benchmark.sharing.remeasure import CellComparison, cell_again, is_portable, mask_again
from benchmark.sharing.trajectory import early_reasons
from benchmark.training.device import cpu_settings
from benchmark.utils.errors import LotterybenchError
from benchmark.utils.seeding import stream
from benchmark.utils.strict_model import flat as flat_fields

Say = Callable[[str, int, int], None]
NUDGE = 1e-5  # relative; float32 has 6e-8
ALIKE = 0.9  # of what the masks of other seeds share with those of nudged weights


@dataclass
class Rerun:
    """What measuring again found: how many masks and cells, of which how many the same to the bit, how many cells of
    the method at fresh seeds, and `reasons` against the bundle. `excludes`: what it may still hide. `shares`: see
    `_recognised`."""

    masks: int = 0
    cells: int = 0
    identical: int = 0
    fresh_cells: int = 0
    excludes: str = ""
    shares: dict[int, float] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def sampled(cells: Sequence[Cell], count: int, *key: str | int) -> list[Cell]:
    """`count` of the cells, the same for the same key; which ones cannot be known before the bundle is made."""

    def rank(cell: Cell) -> str:
        return hashlib.sha256(f"{key} {cell.method} {cell.name}".encode()).hexdigest()

    return sorted(sorted(cells, key=rank)[:count])


def measure_again(
    claimed: Claimed, folder: Path, sample: int, key: tuple[str, int], say: Say, fresh_seeds: int = 0
) -> Rerun:
    """Make `sample` masks and train `sample` cells and a dense network again, in the empty `folder`; compare. Then
    train the method at `fresh_seeds` seeds drawn here.

    `key`: the bundle's digest and the verifier's number, which decide what is sampled.
    """
    found, method = Rerun(), claimed.submission.name
    _itself(claimed, found)
    if found.reasons:
        return found
    again, files = Store(folder / "sample"), {claimed.plugin.stem: claimed.plugin}
    write(again, claimed.protocol, claimed.submission)
    harness = Harness(claimed.protocol, again, Settings(plugins=files, confinement=Confinement(all=True)))
    finished = claimed.finished(method)
    with cpu_settings():
        _masks(claimed, harness, sampled(finished, sample, *key, "masks"), found, say)
        _recognised(claimed, harness, found, say)
    _failures(claimed, harness, sample, key, found, say)
    chosen = sampled(claimed.finished(DENSE), 1, *key, "dense") + sampled(finished, sample, *key, "cells")
    comparisons = []
    for number, cell in enumerate(chosen):
        record = claimed.store.read(claimed.protocol, cell)
        assert record is not None  # it was chosen from those that are finished
        comparisons.append(cell_again(harness, cell, record))
        say("cells trained again", number + 1, len(chosen))
    _compare(comparisons, found)
    _first_losses(claimed, harness.store, comparisons, found)
    differing = samples.shifts(claimed.protocol, comparisons)
    found.reasons += samples.reasons(differing)
    fresh = at_fresh_seeds(claimed, folder / "fresh", 0 if found.reasons else fresh_seeds, say)
    found.reasons += fresh.reasons
    found.fresh_cells = fresh.cells
    total = len(finished) + len(claimed.finished(DENSE))
    found.excludes = f"{samples.excludes(differing, found.cells, total)} {fresh.words}"
    return found


def _itself(claimed: Claimed, found: Rerun) -> None:
    """submission.json must be what the plugin says of itself here: what it needs, its paper, its schedule."""
    given = {name: value_text(value) for name, value in claimed.submission.parameters.items()}
    try:
        expected = submission_to(claimed.protocol, described(claimed.plugin, given))
    except LotterybenchError as error:
        found.reasons.append(f"the plugin cannot be described here: {error.cause}")
        return
    said, here = (dict(_fields(each)) for each in (claimed.submission, expected))
    for name in sorted(said.keys() | here.keys()):
        if said.get(name) != here.get(name):
            found.reasons.append(
                f"{SUBMISSION_FILE}: {name} is {said.get(name)!r}, the plugin makes it {here.get(name)!r}"[:500]
            )


def _fields(submission: Submission) -> list[tuple[str, object]]:
    """Dotted fields and values."""
    document = submission.model_dump(mode="json")
    return [pair for name, value in document.items() for pair in flat_fields(name, value)]


def _masks(claimed: Claimed, harness: Harness, cells: Sequence[Cell], found: Rerun, say: Say) -> None:
    for number, cell in enumerate(cells):
        record = claimed.store.read(claimed.protocol, cell)
        assert record is not None
        try:
            harness.ensure_networks(cell)
            made = mask_again(harness.masks, record)
        except LotterybenchError as error:
            found.reasons.append(f"{title(cell)}: the plugin makes no mask here: {error.cause}")
            continue
        found.masks += 1
        if not made.identical:
            found.reasons.append(f"{title(cell)}: the plugin makes another mask than the bundle holds")
        say("masks made again", number + 1, len(cells))


def _failures(claimed: Claimed, harness: Harness, sample: int, key: tuple[str, int], found: Rerun, say: Say) -> None:
    """What failed must fail here: a bad seed could be hidden as a failure. Every cell that has no mask is tried; of
    networks that are said to have diverged, `sample`.
    """
    failed = claimed.failed()
    diverged = sampled([cell_of(record) for record in failed if record.mask is not None], sample, *key, "diverged")
    chosen = [cell_of(record) for record in failed if record.mask is None] + diverged
    for number, cell in enumerate(chosen):
        record = claimed.store.read(claimed.protocol, cell)
        assert record is not None  # it was chosen from those that failed
        again = cell_again(harness, cell, record).again
        if again is not None and again.status == "finished":
            found.reasons.append(f"{title(cell)}: failed in the bundle, and ends well here")
        say("failed cells tried again", number + 1, len(chosen))


class _Nudged(MaskMaker):
    """The same cells from initial weights that differ in their last digits."""

    def _initial(self, seed: int, *purpose: str | int) -> State:
        rng = stream(seed, "nudge")
        exact = super()._initial(seed, *purpose)
        return {
            name: tensor * (1 + NUDGE * torch.randn(tensor.shape, generator=rng))
            if tensor.is_floating_point()
            else tensor
            for name, tensor in exact.items()
        }


def _recognised(claimed: Claimed, harness: Harness, found: Rerun, say: Say) -> None:
    """A mask that a plugin brings along for weights it recognises is lost when these change a little.

    `shares`: which part of each seed's mask, at the sparsest level, stays when the weights are nudged. A method may
    hang on every digit, but then at every seed. Not done for trained weights: it would take every dense network.
    """
    method, spec = claimed.submission.name, claimed.submission.method
    if spec.schedule.scores == "trained":
        return
    levels = [cell.level for cell in claimed.finished(method)]
    cells = [cell for cell in claimed.finished(method) if cell.level == max(levels)]
    own = harness.masks
    nudged = _Nudged(claimed.protocol, harness.store, lambda: harness.dataset, harness.located, own.confinement)
    for number, cell in enumerate(cells):
        try:
            exact, other = own.make(cell)[0], nudged.make(cell)[0]
        except LotterybenchError as error:
            found.reasons.append(f"{title(cell)}: the plugin makes no mask here: {error.cause}")
            continue
        kept = sum(int(mask.sum()) for mask in exact.values())
        found.shares[cell.seed] = sum(int((mask & other[name]).sum()) for name, mask in exact.items()) / kept
        say("masks of nudged weights", number + 1, len(cells))
    usual = median(found.shares.values()) if found.shares else 1.0
    for seed, share in found.shares.items():
        if share < ALIKE * usual:
            found.reasons.append(
                f"{method} seed {seed}: {share:.0%} of its mask stays when the weights change by {NUDGE:g} of "
                f"themselves, {usual:.0%} at the usual seed: made for the weights of this seed"
            )


def _compare(comparisons: Sequence[CellComparison], found: Rerun) -> None:
    """What must be the same on every machine: the mask, the data, the end, and bits where arithmetic is portable."""
    for comparison in comparisons:
        first, second, name = comparison.recorded, comparison.again, title(cell_of(comparison.recorded))
        if second is None or comparison.failure:
            found.reasons.append(f"{name}: could not be trained again: {comparison.failure}")
            continue
        found.cells += 1
        found.identical += comparison.identical
        if first.mask and second.mask and first.mask.sha256 != second.mask.sha256:
            found.reasons.append(f"{name}: trained again, it has another mask")
        elif is_portable(second.provenance) and not comparison.identical:
            found.reasons.append(f"{name}: {_difference(first, second)}, in arithmetic that is the same everywhere")
        if first.provenance.data_digest != second.provenance.data_digest:
            found.reasons.append(f"{name}: was measured with other data")


def _first_losses(claimed: Claimed, again: Store, comparisons: Sequence[CellComparison], found: Rerun) -> None:
    """Whatever machine made a cell whose bits differ here: its first losses differ by rounding, or it is another
    training. Before accuracies are compared over seeds, as these say less: rounding moves each by points.

    Not asked of another mask's training, which is refused for its mask.
    """
    for comparison in comparisons:
        first, second = comparison.recorded, comparison.again
        if second is None or comparison.failure or comparison.identical:
            continue
        if (first.mask and first.mask.sha256) == (second.mask and second.mask.sha256):
            cell = cell_of(first)
            early = early_reasons(claimed.protocol, cell, claimed.store, again)
            found.reasons += [f"{title(cell)}: another training: {why}" for why in early]


def _accuracies(measured: Measured) -> tuple[float | None, ...]:
    values = measured.metrics["test_accuracy"]
    return values.last, values.best, values.early_stop


def _difference(first: Record, second: Record) -> str:
    """Where two records of one cell differ, in words."""
    if first.measured is None or second.measured is None:
        return "it gives another outcome"
    a, b = _accuracies(first.measured), _accuracies(second.measured)
    if a != b:
        return f"test accuracies {a} in the bundle, {b} here"
    return "its record differs from the one made here"
