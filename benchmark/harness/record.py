"""From an outcome to a record and its curves."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmark.protocols.cells import DENSE, Cell, is_chain, train_steps
from benchmark.protocols.methods import ControlSpec
from benchmark.pruning.interface import Masks
from benchmark.pruning.masks import tensor_mask_digest as mask_digest
from benchmark.pruning.schedule import PruneCost
from benchmark.records.provenance import provenance
from benchmark.records.schema import (
    RECORD_SCHEMA,
    CellRef,
    CostFacts,
    LayerCount,
    MaskFacts,
    Measured,
    MethodRef,
    MetricValues,
    ProtocolRef,
    Record,
    ScoreFacts,
)
from benchmark.tasks import Task, load_task
from benchmark.training.device import device_name, driver
from benchmark.training.evaluate import History
from benchmark.training.precision import described
from benchmark.training.replicas import Outcome
from benchmark.utils.files import sha256
from benchmark.utils.npz import pack

if TYPE_CHECKING:
    from benchmark.harness.harness import Harness


def curves_of(history: History) -> bytes:
    """The .npz beside a record: `steps` (n,) with validation loss and accuracy, `test_steps` (m,) with test's."""
    arrays = {
        "steps": np.asarray(history.steps, np.int32),
        "test_steps": np.asarray(history.test_steps, np.int32),
    }
    for name, qualities in (("test", history.test), ("validation", history.validation)):
        if qualities:
            arrays[f"{name}_loss"] = np.asarray([q.loss for q in qualities], np.float32)
            arrays[f"{name}_accuracy_percent"] = np.asarray([q.accuracy_percent for q in qualities], np.float32)
    return pack(arrays)


def mask_facts(harness: Harness, masks: Masks) -> MaskFacts:
    """Counts per layer, collapsed layers and digest of a mask."""
    pruning = harness.protocol.pruning
    kept = dict.fromkeys(pruning.layer_sizes, 0)
    for name, mask in masks.items():
        kept[pruning.layer_of[name]] += int(mask.sum())
    total, prunable = sum(kept.values()), sum(pruning.layer_sizes.values())
    return MaskFacts(
        kept=total,
        prunable=prunable,
        density=total / prunable,
        layers={layer: LayerCount(kept=kept[layer], size=size) for layer, size in pruning.layer_sizes.items()},
        collapsed_layers=tuple(layer for layer, count in kept.items() if count == 0),
        sha256=mask_digest(masks),
    )


def measured(outcome: Outcome, task: Task) -> Measured | None:
    """The figures of a training, named and in units as the task declares them; None if it failed.

    The loss is recorded after the last update only, and on the validation set only its minimum: papers report no
    other, and the curves beside the record hold them all.
    """
    if outcome.failure or outcome.train is None:
        return None
    history, stop = outcome.history, outcome.history.early_stop()
    metrics: dict[str, MetricValues] = {}
    for place, spec in enumerate(task.declared):
        test = [astuple(quality)[place] for quality in history.test]
        reported: dict[str, float] = {"last": test[-1]}
        if spec.name != "loss":
            reported["best"] = spec.best(test)
            if stop is not None:
                reported["early_stop"] = astuple(stop[2])[place]
        metrics[f"test_{spec.name}"] = MetricValues(unit=spec.unit, **reported)
        metrics[f"train_{spec.name}"] = MetricValues(unit=spec.unit, last=astuple(outcome.train)[place])
        if stop is not None and spec.name == task.early_stop:
            metrics[f"validation_{spec.name}"] = MetricValues(unit=spec.unit, best=astuple(stop[1])[place])
    return Measured(
        metrics=dict(sorted(metrics.items())),
        early_stop_step=None if stop is None else stop[0],
        last_evaluation_step=history.test_steps[-1],
    )


def _mask_train_steps(harness: Harness, cell: Cell) -> int:
    """Updates spent on networks that only served to find the cell's mask."""
    if cell.method == DENSE:
        return 0
    spec = harness.protocol.method(cell.method)
    if isinstance(spec, ControlSpec):
        return _mask_train_steps(harness, Cell(spec.of, cell.level, cell.seed))
    if spec.schedule.scores == "initial":
        return 0
    steps = harness.protocol.recipe.steps
    if not is_chain(harness.protocol, cell.method):
        return steps
    return steps + (cell.level - 1) * train_steps(harness.protocol, Cell(cell.method, 1, cell.seed))


def _method_ref(harness: Harness, cell: Cell) -> MethodRef:
    if cell.method == DENSE:
        return MethodRef(name=DENSE, pruner=None, pruner_digest=None, parameters={})
    spec = harness.protocol.pruning_method(cell.method)
    found = harness.found(spec.pruner)
    return MethodRef(name=cell.method, pruner=spec.pruner, pruner_digest=found.digest, parameters=spec.parameters)


def _record(harness: Harness, cell: Cell, reason: str | None, company: str | None = None, **found: Any) -> Record:
    """`found`: what was measured, by the record's own field names; what is not given was not measured."""
    protocol, placement = harness.protocol, harness.settings.placement
    device = placement.device if placement else "cpu"
    return Record(
        schema=RECORD_SCHEMA,
        protocol=ProtocolRef(id=protocol.id, version=protocol.version, digest=protocol.digest),
        method=_method_ref(harness, cell),
        cell=CellRef(
            level=cell.level,
            density_asked=protocol.level_table[cell.level].density,
            seed=cell.seed,
            draw=cell.draw,
        ),
        status="failed" if reason else "finished",
        reason=reason,
        provenance=provenance(
            described(protocol.recipe.precision, device),
            harness.dataset.digest,
            torch.get_num_threads(),
            device_name(device),
            driver(device),
            company,
        ),
        **{"mask": None, "measured": None, "cost": None, "curves_sha256": None, **found},
    )


def mask_record(harness: Harness, cell: Cell, masks: Masks, prune_cost: PruneCost, scores: ScoreFacts | None) -> Record:
    """The record of a mask that no network was trained with."""
    cost = _cost(prune_cost, train_steps=0, train_examples=0, train_seconds=0.0, train_cpu_seconds=0.0)
    return _record(harness, cell, None, mask=mask_facts(harness, masks), cost=cost, scores=scores)


def _cost(prune_cost: PruneCost, mask_train_steps: int = 0, **training: Any) -> CostFacts:
    return CostFacts(
        mask_train_steps=mask_train_steps,
        prune_seconds=round(prune_cost.seconds, 4),
        prune_forward_passes=prune_cost.forward_passes,
        prune_backward_passes=prune_cost.backward_passes,
        prune_examples=prune_cost.examples_seen,
        **training,
    )


def finished_record(harness: Harness, cell: Cell, masks: Masks, prune_cost: PruneCost, outcome: Outcome) -> Record:
    """The record of a training that ended, well or diverged."""
    cost = _cost(
        prune_cost,
        _mask_train_steps(harness, cell),
        train_steps=outcome.steps,
        train_examples=outcome.examples,
        train_seconds=round(outcome.seconds, 3),
        train_cpu_seconds=round(outcome.cpu_seconds, 3),
    )
    curves = None if outcome.failure else sha256(curves_of(outcome.history))
    figures = measured(outcome, load_task(harness.protocol.task))
    facts = {"mask": mask_facts(harness, masks), "measured": figures, "cost": cost, "curves_sha256": curves}
    return _record(harness, cell, outcome.failure, outcome.company, **facts)


def failed_record(harness: Harness, cell: Cell, reason: str) -> Record:
    """The record of a cell whose pruner broke its contract."""
    return _record(harness, cell, reason)
