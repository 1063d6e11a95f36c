"""From an outcome to a record and its curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmark.analyses import digest_of, load_analysis
from benchmark.harness.analysed import Analysed
from benchmark.harness.learned import LearnedMask, LearningCost
from benchmark.harness.masks import FREE
from benchmark.harness.start import hook_of, is_learning
from benchmark.plugins.registry import PluginSource
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, is_chain, learning_steps, source_of, started_from, train_steps
from benchmark.protocols.methods import ControlSpec, HookSpec, MethodSpec
from benchmark.pruning.connectivity import connectivity
from benchmark.pruning.interface import Masks
from benchmark.pruning.masks import tensor_mask_digest as mask_digest
from benchmark.pruning.schedule import PruneCost
from benchmark.records.provenance import provenance
from benchmark.records.schema import (
    RECORD_SCHEMA,
    AnalysisRef,
    CellRef,
    CostFacts,
    HookRef,
    LayerCount,
    MaskFacts,
    Measured,
    MethodRef,
    MetricValues,
    Number,
    ProtocolRef,
    Record,
    ScoreFacts,
    SourceRef,
)
from benchmark.tasks import Task, load_task
from benchmark.training.device import capability, described, device_name, driver
from benchmark.training.evaluate import History
from benchmark.training.kernels.engine import described as arithmetic
from benchmark.training.replicas import Outcome
from benchmark.utils.files import sha256
from benchmark.utils.npz import pack


@dataclass(frozen=True)
class RecordContext:
    """What a record says of a cell besides what was measured. `source`: of its pruner, None for the dense network;
    `hook`: of what acts on its training, None where nothing does."""

    protocol: Protocol
    cell: Cell
    source: PluginSource | None
    dataset_digest: str
    device: str
    hook: PluginSource | None = None


def curves_of(history: History) -> bytes:
    """The .npz beside a record: `steps` (n,) with the task's metrics on the validation set, `test_steps` (m,) with
    those on the test set."""
    arrays = {
        "steps": np.asarray(history.steps, np.int32),
        "test_steps": np.asarray(history.test_steps, np.int32),
    }
    for name, qualities in (("test", history.test), ("validation", history.validation)):
        for spec in qualities[0].task.declared if qualities else ():
            arrays[f"{name}_{spec.column}"] = np.asarray([q[spec.name] for q in qualities], np.float32)
    return pack(arrays)


def mask_facts(protocol: Protocol, masks: Masks) -> MaskFacts:
    """Counts per layer, collapsed layers and digest of a mask."""
    pruning = protocol.pruning
    kept = dict.fromkeys(pruning.layer_sizes, 0)
    for name, mask in masks.items():
        kept[pruning.layer_of[name]] += int(mask.sum())
    total, prunable = sum(kept.values()), sum(pruning.layer_sizes.values())
    used = connectivity(protocol.network, {name: mask.numpy() for name, mask in masks.items()})
    return MaskFacts(
        kept=total,
        prunable=prunable,
        density=total / prunable,
        layers={layer: LayerCount(kept=kept[layer], size=size) for layer, size in pruning.layer_sizes.items()},
        collapsed_layers=tuple(layer for layer, count in kept.items() if count == 0),
        effective=used.effective,
        disconnected=used.disconnected,
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
    for spec in task.declared:
        test = [quality[spec.name] for quality in history.test]
        reported: dict[str, float] = {"last": test[-1]}
        if spec.name != "loss":
            reported["best"] = spec.best(test)
            if stop is not None:
                reported["early_stop"] = stop[2][spec.name]
        metrics[f"test_{spec.name}"] = MetricValues(unit=spec.unit, **reported)
        metrics[f"train_{spec.name}"] = MetricValues(unit=spec.unit, last=outcome.train[spec.name])
        if stop is not None and spec.name == task.early_stop:
            metrics[f"validation_{spec.name}"] = MetricValues(unit=spec.unit, best=stop[1][spec.name])
    return Measured(
        metrics=dict(sorted(metrics.items())),
        early_stop_step=None if stop is None else stop[0],
        last_evaluation_step=history.test_steps[-1],
    )


def _mask_train_steps(protocol: Protocol, cell: Cell) -> int:
    """Updates spent on networks that only served to find the cell's mask."""
    if cell.method == DENSE:
        return 0
    spec = protocol.method(cell.method)
    if isinstance(spec, ControlSpec):
        return _mask_train_steps(protocol, Cell(spec.of, cell.level, cell.seed))
    assert isinstance(spec, MethodSpec)  # an analysis trains nothing under a mask of its own
    if (taken := source_of(protocol, cell)) is not None:
        source, of = taken
        own = started_from(protocol, cell) == of  # else the networks before the mask hold all that was trained
        return _mask_train_steps(source, of) + (train_steps(source, of) if own else 0)
    if spec.schedule.scores == "initial":
        return learning_steps(protocol, cell)
    steps = protocol.recipe.steps
    if not is_chain(protocol, cell.method):
        return steps
    return steps + (cell.level - 1) * train_steps(protocol, Cell(cell.method, 1, cell.seed))


def _method_ref(context: RecordContext) -> MethodRef:
    name = context.cell.method
    if name in context.protocol.analyses:
        return _analysis_ref(context.protocol, name)
    if context.source is None:
        return MethodRef(name=name, pruner=None, pruner_digest=None, parameters={})
    spec = context.protocol.pruning_method(name)
    hook = hook_of(context.protocol, context.cell)
    return MethodRef(
        name=name,
        pruner=spec.pruner,
        pruner_digest=context.source.digest,
        parameters=spec.parameters,
        hook=None if hook is None else _hook_ref(hook, context.hook),
    )


def _analysis_ref(protocol: Protocol, name: str) -> MethodRef:
    spec = protocol.analyses[name]
    own = AnalysisRef(name=spec.analysis, digest=digest_of(load_analysis(spec)), of=spec.of)
    return MethodRef(name=name, pruner=None, pruner_digest=None, parameters=spec.parameters, analysis=own)


def _hook_ref(hook: HookSpec, source: PluginSource | None) -> HookRef:
    assert source is not None  # the harness says it wherever a hook acts
    return HookRef(name=hook.name, digest=source.digest, parameters=hook.parameters)


def _record(context: RecordContext, reason: str | None, replica_group: str | None = None, **found: Any) -> Record:
    """`found`: what was measured, by the record's own field names; what is not given was not measured."""
    protocol, cell, device = context.protocol, context.cell, context.device
    return Record(
        schema=RECORD_SCHEMA,
        protocol=ProtocolRef(id=protocol.id, version=protocol.version, digest=protocol.digest),
        method=_method_ref(context),
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
            context.dataset_digest,
            torch.get_num_threads(),
            device_name(device),
            driver(device),
            replica_group,
            _arithmetic(protocol, cell, device),
            capability(),
        ),
        **{"mask": None, "measured": None, "cost": None, "curves_sha256": None, **found},
    )


def _arithmetic(protocol: Protocol, cell: Cell, device: str) -> str | None:
    """What trained, where the protocol asks for portable arithmetic: scores are learned by torch."""
    if not protocol.examined.trains:
        return None
    found = arithmetic(protocol.recipe, device)
    if found and protocol.measures == "analysis":
        return f"torch (of networks trained by {found})"
    return "torch (scores are learned)" if found and is_learning(protocol, cell) else found


def mask_record(context: RecordContext, masks: Masks, prune_cost: PruneCost, scores: ScoreFacts | None) -> Record:
    """The record of a mask that no network was trained with."""
    cost = _cost(prune_cost, train_steps=0, train_examples=0, train_seconds=0.0, train_cpu_seconds=0.0)
    return _record(context, None, mask=mask_facts(context.protocol, masks), cost=cost, scores=scores)


def analysed_record(context: RecordContext, found: Analysed) -> Record:
    """The record of an analysis; a failed one if its numbers are not finite."""
    findings = found.findings
    cost = _cost(
        FREE,
        found.updates_before,
        train_steps=findings.updates,
        train_examples=findings.examples,
        train_seconds=round(found.seconds, 3),
        train_cpu_seconds=round(found.cpu_seconds, 3),
    )
    if findings.failure:
        return _record(context, findings.failure, cost=cost)
    numbers = {name: Number(unit=found.units[name], value=float(findings.numbers[name])) for name in found.units
               if name in findings.numbers}  # fmt: skip
    curves = findings.packed()
    return _record(context, None, analysed=numbers, cost=cost, curves_sha256=None if curves is None else sha256(curves))


def _cost(
    prune_cost: PruneCost, mask_train_steps: int = 0, learning: LearningCost | None = None, **training: Any
) -> CostFacts:
    return CostFacts(
        mask_train_steps=mask_train_steps,
        mask_train_examples=None if learning is None else learning.examples,
        mask_train_seconds=None if learning is None else learning.seconds,
        mask_train_cpu_seconds=None if learning is None else learning.cpu_seconds,
        prune_seconds=round(prune_cost.seconds, 4),
        prune_forward_passes=prune_cost.forward_passes,
        prune_backward_passes=prune_cost.backward_passes,
        prune_examples=prune_cost.examples_seen,
        prune_inner_steps=prune_cost.inner_steps or None,
        **training,
    )


def finished_record(
    context: RecordContext,
    masks: Masks,
    prune_cost: PruneCost,
    outcome: Outcome,
    learned: LearnedMask | None = None,
    source: SourceRef | None = None,
) -> Record:
    """The record of a training that ended, well or diverged. `learned`: where its mask, or its parent's, comes from;
    `source`: the network of another protocol that it takes mask and weights from."""
    cost = _cost(
        prune_cost,
        _mask_train_steps(context.protocol, context.cell),
        None if learned is None else learned.cost,
        train_steps=outcome.steps,
        train_examples=outcome.examples,
        train_seconds=round(outcome.seconds, 3),
        train_cpu_seconds=round(outcome.cpu_seconds, 3),
        evaluation_cpu_seconds=round(outcome.evaluation_cpu_seconds, 3),
    )
    facts = outcome.hook_facts or (dict(learned.facts) if learned else None) or None
    return _of_outcome(context, outcome, masks, cost, facts, source)


def learned_record(context: RecordContext, masks: Masks, outcome: Outcome) -> Record:
    """The record of a mask that was learned, on weights that stay: nothing is trained but scores, and that is its cost.

    What was measured is the network of initial weights under the mask.
    """
    learning = LearningCost.of(outcome)
    nothing = {"train_steps": 0, "train_examples": 0, "train_seconds": 0.0, "train_cpu_seconds": 0.0}
    cost = _cost(FREE, learning.steps, learning, **nothing)
    return _of_outcome(context, outcome, masks, cost, outcome.hook_facts)


def _of_outcome(
    context: RecordContext,
    outcome: Outcome,
    masks: Masks,
    cost: CostFacts,
    hook_facts: dict[str, float] | None,
    source: SourceRef | None = None,
) -> Record:
    curves = None if outcome.failure else sha256(curves_of(outcome.history))
    facts = {
        "mask": mask_facts(context.protocol, outcome.masks or masks),
        "source": source,
        "hook_facts": hook_facts,
        "measured": measured(outcome, load_task(context.protocol.task)),
        "cost": cost,
        "curves_sha256": curves,
    }
    return _record(context, outcome.failure, outcome.replica_group, **facts)


def failed_record(context: RecordContext, reason: str) -> Record:
    """The record of a cell whose pruner broke its contract."""
    return _record(context, reason)
