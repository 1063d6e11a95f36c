"""The one schedule engine: rounds of scoring and cutting, for every pruner and every allocation."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from benchmark.api import Examples, Masks, Plugin
from benchmark.protocol import MethodSpec, PruningSpec
from benchmark.pruning.levels import Level, exponential_totals, layerwise_counts
from benchmark.pruning.masks import check_masks, check_scores, full_masks, masks_from_scores
from benchmark.pruning.scoring import DirectScorer, Scorer, Subject


@dataclass(frozen=True)
class PruneCost:
    """Measured by the harness over all rounds of one mask."""

    seconds: float
    forward_passes: int
    backward_passes: int
    examples_seen: int


def layer_groups(pruning: PruningSpec) -> dict[str, list[str]]:
    """Tensors of each layer, in tie order."""
    groups: dict[str, list[str]] = {}
    for name, layer in pruning.layer_of.items():
        groups.setdefault(layer, []).append(name)
    return groups


def _round_counts(spec: MethodSpec, pruning: PruningSpec, level: Level) -> list[dict[str, int]]:
    """Weights to keep per group after each round of this level's mask."""
    if spec.schedule.rounds == "levels":
        return [dict(level.counts) if spec.allocation == "layerwise" else {"all": level.kept}]
    totals = exponential_totals(level.prunable, level.kept, spec.schedule.rounds)
    if spec.allocation == "global":
        return [{"all": total} for total in totals]
    counts, current = [], dict(pruning.layer_sizes)
    for total in totals:
        current = layerwise_counts(current, total, pruning.layer_rates)
        counts.append(current)
    return counts


def prune(
    plugin: Plugin,
    spec: MethodSpec,
    pruning: PruningSpec,
    level: Level,
    subject: Subject,
    examples: Examples | None,
    rng: torch.Generator,
    before: Masks | None = None,
) -> tuple[Masks, PruneCost]:
    """`cut` with the plugin called in this process: for tests and for an author's own checks, not for the harness."""
    return cut(
        DirectScorer(plugin, spec.pruner, tuple(pruning.prunable), subject, examples, rng), spec, pruning, level, before
    )


def cut(
    scorer: Scorer, spec: MethodSpec, pruning: PruningSpec, level: Level, before: Masks | None = None
) -> tuple[Masks, PruneCost]:
    """The mask of one level. `before`: the mask of the level before, for `rounds: levels`.

    Masks are nested over rounds: a pruned weight ranks below every kept one, whatever its score.
    Raises BadPruner if the plugin breaks its contract.
    """
    started = time.perf_counter()
    masks = before if before is not None else full_masks(pruning.prunable)
    if scorer.kind == "masks":
        learned = scorer.masks(masks, level.density)
        check_masks(learned, masks, level.kept, spec.pruner)
        masks = learned
    else:
        groups = layer_groups(pruning) if spec.allocation == "layerwise" else {"all": list(pruning.prunable)}
        for counts in _round_counts(spec, pruning, level):
            scores = scorer.scores(masks)
            check_scores(scores, masks, spec.pruner)
            masks = masks_from_scores(scores, masks, groups, counts)
    seconds, cost = time.perf_counter() - started, scorer.cost
    return masks, PruneCost(seconds, cost.forward_passes, cost.backward_passes, cost.examples_seen)


__all__ = ["PruneCost", "Subject", "cut", "layer_groups", "prune"]
