"""The one schedule engine: rounds of scoring and cutting, for every pruner and every allocation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from benchmark.datasets.dataset import Examples
from benchmark.protocols.levels import Level, exponential_totals, layerwise_counts, linear_totals
from benchmark.protocols.methods import MethodSpec, PruningSpec
from benchmark.pruning.interface import Masks, Plugin, Scores
from benchmark.pruning.masks import check_masks, check_scores, full_masks, masks_from_scores
from benchmark.pruning.scorer import DirectScorer, Scorer, Subject
from benchmark.utils.errors import BadPruner


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
    curve = linear_totals if spec.schedule.curve == "linear" else exponential_totals
    totals = curve(level.prunable, level.kept, spec.schedule.rounds)
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


Watcher = Callable[[Scores, Masks, Masks], None]
"""Told of every round: the scores, the masks that they were given under, and the masks cut from them."""


def nobody(scores: Scores, before: Masks, after: Masks) -> None:
    """Watches nothing."""


def cut(
    scorer: Scorer,
    spec: MethodSpec,
    pruning: PruningSpec,
    level: Level,
    before: Masks | None = None,
    watch: Watcher = nobody,
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
        for counts in _round_counts(spec, pruning, level):
            scores = _asked(scorer, spec, masks)
            earlier, masks = masks, masks_from_scores(scores, masks, _groups(spec, pruning), counts)
            watch(scores, earlier, masks)
    seconds, cost = time.perf_counter() - started, scorer.cost
    return masks, PruneCost(seconds, cost.forward_passes, cost.backward_passes, cost.examples_seen)


def _asked(scorer: Scorer, spec: MethodSpec, masks: Masks) -> Scores:
    """Scores of one round, checked, and turned around where the protocol keeps the lowest.

    Those of a whole tensor come in its shape, so that they serve narrower masks too.
    """
    scores = scorer.scores(masks)
    check_scores(scores, masks, spec.pruner)
    scores = {n: s.reshape(masks[n].shape) if s.numel() == masks[n].numel() else s for n, s in scores.items()}
    if spec.keep == "highest":
        return scores
    return {name: -score.detach().double() for name, score in scores.items()}


def _groups(spec: MethodSpec, pruning: PruningSpec) -> dict[str, list[str]]:
    return layer_groups(pruning) if spec.allocation == "layerwise" else {"all": list(pruning.prunable)}


@dataclass
class Scored:
    """One set of scores of the whole network, for `scored: once-for-all-levels`, with what it took.

    `narrowest`: the last mask cut from it.
    """

    scores: Scores
    cost: PruneCost
    full: Masks
    narrowest: Masks


def score_once(scorer: Scorer, spec: MethodSpec, pruning: PruningSpec) -> Scored:
    """Score the whole network. Raises BadPruner if the plugin breaks its contract or gives masks, not scores."""
    started = time.perf_counter()
    if scorer.kind != "scores":
        raise BadPruner(f"pruner '{spec.pruner}'", "gives masks, one density at a time", "Use scored: for-each-level")
    masks = full_masks(pruning.prunable)
    scores = _asked(scorer, spec, masks)
    cost = scorer.cost
    seconds = time.perf_counter() - started
    cost_once = PruneCost(seconds, cost.forward_passes, cost.backward_passes, cost.examples_seen)
    return Scored(scores, cost_once, masks, masks)


def cut_again(
    scored: Scored, spec: MethodSpec, pruning: PruningSpec, level: Level, watch: Watcher = nobody
) -> tuple[Masks, PruneCost]:
    """The one-shot mask of a level from scores that serve all levels; its cost includes the scoring.

    The highest of the highest are the highest: what a denser mask of the same scores dropped is not ranked again.
    """
    started = time.perf_counter()
    groups = _groups(spec, pruning)
    (counts,) = _round_counts(spec, pruning, level)
    narrow = {g: sum(int(scored.narrowest[name].sum()) for name in names) for g, names in groups.items()}
    inside = scored.narrowest if all(counts[g] <= narrow[g] for g in groups) else scored.full
    masks = scored.narrowest = masks_from_scores(scored.scores, inside, groups, counts)
    watch(scored.scores, scored.full, masks)
    return masks, replace(scored.cost, seconds=scored.cost.seconds + time.perf_counter() - started)
