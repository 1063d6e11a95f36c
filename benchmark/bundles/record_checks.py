"""Do the figures of records follow from what lies beside them? Every check gives reasons in words. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from benchmark.arrays import Array, unpack_bytes
from benchmark.bundles.manifest import LevelMean
from benchmark.bundles.mask_files import Bits
from benchmark.intake import mask_digest
from benchmark.limited import CURVES_BYTES
from benchmark.plan import train_steps
from benchmark.protocol import MethodSpec, Protocol
from benchmark.records import DENSE, Cell, Measured, Record
from benchmark.scoring.observations import metric_of, reported_metric


def cell_of(record: Record) -> Cell:
    """The cell that a record is about."""
    return Cell(record.method.name, record.cell.level, record.cell.seed, record.cell.draw)


def title(cell: Cell) -> str:
    """A cell in words."""
    return f"{cell.method} level {cell.level}, seed {cell.seed}"


def missing_cells(protocol: Protocol, method: str, there: Sequence[Record]) -> Iterator[str]:
    """Seeds left out: of the dense network, of every level that the method must have, of every other that it has."""
    have = {(r.method.name, r.cell.level, r.cell.seed) for r in there}
    spec = protocol.added[method]
    measured = {level for name, level, _ in have if name == method}
    levels = [level for level in protocol.measured_levels(method) if level not in spec.later or level in measured]
    for name, level in [(DENSE, 0), *((method, level) for level in levels)]:
        if left_out := [seed for seed in protocol.seeds if (name, level, seed) not in have]:
            yield f"{name} level {level}: no record for seed {', '.join(map(str, left_out))}"


def repeated_cells(records: Sequence[Record]) -> Iterator[str]:
    """The same training under two seeds. With a collapsed layer, networks of two seeds may really end up alike."""
    first: dict[str, Cell] = {}
    for record in records:
        if record.curves_sha256 is None or record.mask is None or record.mask.collapsed_layers:
            continue
        cell = cell_of(record)
        other = first.setdefault(record.curves_sha256, cell)
        if other.seed != cell.seed:
            yield f"{title(cell)}: its curves are those of {title(other)}"


def contradictions(protocol: Protocol, record: Record, curves: bytes | None) -> Iterator[str]:
    """What a finished record says and its curves or its protocol do not."""
    cell, name = cell_of(record), title(cell_of(record))
    if record.measured is None or record.cost is None or curves is None:
        yield f"{name}: finished without figures or curves"
        return
    arrays = unpack_bytes(curves, CURVES_BYTES)
    for cause in _against_curves(protocol, record.measured, arrays):
        yield f"{name}: {cause}"
    if record.cost.train_steps != train_steps(protocol, cell):
        yield f"{name}: {record.cost.train_steps} training steps, the protocol has {train_steps(protocol, cell)}"
    spec = None if cell.method == DENSE else protocol.pruning_method(cell.method)
    before = protocol.recipe.steps if isinstance(spec, MethodSpec) and spec.schedule.scores == "trained" else 0
    if record.cost.mask_train_steps != before:
        yield f"{name}: {record.cost.mask_train_steps} steps for its mask, the method takes {before}"


def _against_curves(protocol: Protocol, figures: Measured, curves: dict[str, Array]) -> Iterator[str]:
    """Curves are float32; a record's figures, rounded to that, must stand in them."""
    steps, tested = _numbers(curves, "steps"), _numbers(curves, "test_steps")
    accuracy, loss = _numbers(curves, "test_accuracy_percent"), _numbers(curves, "test_loss")
    total = protocol.recipe.steps  # an added method starts at 0
    if tuple(steps) != protocol.evaluation.steps(total):
        yield "its curves do not have the steps of the protocol's evaluations"
        return
    if not set(protocol.evaluation.test_steps(total)) <= set(tested) <= set(steps) or len(set(tested)) != len(tested):
        yield "its test curve does not have the steps of the protocol"
        return
    if not len(accuracy) == len(loss) == len(tested):
        yield "its test curves have other lengths than their steps"
        return
    said = figures.test_accuracy_percent
    facts: list[tuple[str, float | None, Any]] = [
        ("last test accuracy", said.last, accuracy[-1]),
        ("best test accuracy", said.best, accuracy.max()),
        ("last test loss", figures.test_loss_last, loss[-1]),
        ("step of the last evaluation", figures.last_evaluation_step, tested[-1]),
    ]
    validation = _numbers(curves, "validation_loss")
    if protocol.evaluation.early_stop != "none":
        if len(validation) != len(steps):
            yield "its validation curve has another length than its steps"
            return
        # Two losses may differ in float64 and not here: the record's step must be one of the least.
        at = next((i for i, step in enumerate(steps) if step == figures.early_stop_step), int(validation.argmin()))
        facts += [
            ("step of early stopping", figures.early_stop_step, steps[at]),
            ("least validation loss", figures.validation_loss_minimum, validation.min()),
            ("validation loss at early stopping", float(validation[at]), validation.min()),
        ]
        seen = [a for step, a in zip(tested, accuracy, strict=True) if step == steps[at]]
        facts.append(("test accuracy at early stopping", said.early_stop, seen[0] if seen else None))
    elif said.early_stop is not None or figures.early_stop_step is not None:
        yield "it names an early stop, the protocol has none"
    for what, stated, found in facts:
        with np.errstate(over="ignore"):
            differ = stated is None or found is None or np.float32(stated) != np.float32(found)
        if differ:
            yield f"{what} is {stated} in the record and {found} in its curves"


def _numbers(curves: dict[str, Array], name: str) -> Array:
    """One curve as a vector; empty if it is not there."""
    found = curves.get(name)
    return found if found is not None and found.ndim == 1 else np.zeros(0, np.float32)


def mask_contradictions(protocol: Protocol, record: Record, masks: Bits) -> Iterator[str]:
    """What a record says of its mask and the mask does not."""
    name, facts = title(cell_of(record)), record.mask
    assert facts is not None  # finished
    if mask_digest(masks) != facts.sha256:
        yield f"{name}: its mask is not the one whose digest its record names"
        return
    kept = dict.fromkeys(protocol.pruning.layer_sizes, 0)
    for tensor, mask in masks.items():
        kept[protocol.pruning.layer_of[tensor]] += int(mask.sum())
    sizes = {layer: (count, protocol.pruning.layer_sizes[layer]) for layer, count in kept.items()}
    said = {layer: (count.kept, count.size) for layer, count in facts.layers.items()}
    total, collapsed = sum(kept.values()), tuple(layer for layer, count in kept.items() if count == 0)
    if said != sizes or facts.kept != total or facts.density != total / facts.prunable:
        yield f"{name}: the record counts other weights than its mask keeps"
    elif facts.collapsed_layers != collapsed:
        yield f"{name}: the record names other collapsed layers than its mask has"


def level_means(protocol: Protocol, method: str, records: Sequence[Record]) -> tuple[LevelMean, ...]:
    """The accuracy that the paper reports, averaged over the seeds of every level of the method."""
    values: dict[int, list[float]] = {}
    for record in sorted(records, key=cell_of):
        if record.method.name == method and record.status == "finished" and record.measured:
            value = metric_of(record.measured, reported_metric(protocol))
            values.setdefault(record.cell.level, []).extend([] if value is None else [value])
    return tuple(LevelMean(level=lv, seeds=len(v), mean_percent=fmean(v)) for lv, v in sorted(values.items()) if v)
