"""The one schedule engine: rounds of scoring and cutting, for every pruner and every allocation.

`ScoreWatch` sums up on the way what the scores behind a mask were: by layer, conservation at hidden units, and the
size of what is pruned against the smallest cut (arXiv 2006.05467). No other module decides how many weights remain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import floor, fsum, isclose

import torch
from torch import Tensor

from benchmark.datasets.dataset import Examples
from benchmark.protocols.levels import Level, exponential_totals, layerwise_counts, linear_totals
from benchmark.protocols.methods import MethodSpec, PruningSpec
from benchmark.pruning.interface import Cost, Masks, Plugin, Scores, ScoringRound
from benchmark.pruning.masks import check_masks, check_scores, full_masks, left, masks_from_scores, whole
from benchmark.pruning.scorer import DirectScorer, ScoredNetwork, Scorer
from benchmark.pruning.sparse import kept_count
from benchmark.records.schema import LayerScores, ScoreFacts
from benchmark.utils.errors import BadPruner


@dataclass(frozen=True)
class PruneCost:
    """Measured by the harness over all rounds of one mask."""

    seconds: float
    forward_passes: int
    backward_passes: int
    examples_seen: int
    inner_steps: int = 0


def prune_cost(seconds: float, counted: Cost) -> PruneCost:
    """What was counted, with the seconds that it took."""
    return PruneCost(
        seconds, counted.forward_passes, counted.backward_passes, counted.examples_seen, counted.inner_steps
    )


def layer_groups(pruning: PruningSpec) -> dict[str, list[str]]:
    """Tensors of each layer, in tie order."""
    groups: dict[str, list[str]] = {}
    for name, layer in pruning.layer_of.items():
        groups.setdefault(layer, []).append(name)
    return groups


def _totals(spec: MethodSpec, level: Level) -> list[int]:
    """Weights to keep after each round of this level's mask."""
    if spec.schedule.rounds == "levels":
        return [level.kept]
    curve = linear_totals if spec.schedule.curve == "linear" else exponential_totals
    return curve(level.prunable, level.kept, spec.schedule.rounds)


def _round_counts(
    spec: MethodSpec, pruning: PruningSpec, level: Level, budgets: Callable[[int], Mapping[str, float]]
) -> list[dict[str, int]]:
    """Weights to keep per group after each round of this level's mask. `budgets`: the pruner's, for a total."""
    totals = _totals(spec, level)
    if spec.allocation == "global":
        return [{"all": total} for total in totals]
    if spec.allocation == "by-pruner":
        return [whole_budgets(budgets(total), pruning.tensor_sizes, total, spec.pruner) for total in totals]
    if spec.schedule.rounds == "levels" or spec.schedule.layer_counts == "of-levels":
        return [dict(level.counts)]
    counts, current = [], dict(pruning.layer_sizes)
    for total in totals:
        current = layerwise_counts(current, total, pruning.layer_rates)
        counts.append(current)
    return counts


def target_of(spec: MethodSpec, pruning: PruningSpec, level: Level) -> dict[tuple[str, ...], int]:
    """Weights that a level leaves when all rounds are done, by the tensors that share them."""
    if spec.allocation == "by-pruner":  # its budgets are of the mask that it gives, not of what becomes of it
        return {tuple(pruning.prunable): level.kept}
    counts = _round_counts(spec, pruning, level, lambda _total: {})[-1]
    return {tuple(names): counts[group] for group, names in _groups(spec, pruning).items()}


def prune(
    plugin: Plugin,
    spec: MethodSpec,
    pruning: PruningSpec,
    level: Level,
    subject: ScoredNetwork,
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


def no_op(scores: Scores, before: Masks, after: Masks) -> None:
    """A `Watcher` that does nothing."""


def cut(
    scorer: Scorer,
    spec: MethodSpec,
    pruning: PruningSpec,
    level: Level,
    before: Masks | None = None,
    watch: Watcher = no_op,
    ties_seed: int | None = None,
) -> tuple[Masks, PruneCost]:
    """The mask of one level. `before`: the mask of the level before, for `rounds: levels`. `ties_seed`: see
    `masks_from_scores`.

    Masks are nested over rounds, a pruned weight ranking below every kept one, whatever its score, unless the schedule
    says that pruned weights may return. Raises BadPruner if the plugin breaks its contract.
    """
    started = time.perf_counter()
    masks = before if before is not None else full_masks(pruning.prunable)
    if scorer.kind == "masks":
        if spec.keep == "lowest" or spec.allocation == "by-pruner":
            raise BadPruner(
                f"pruner '{spec.pruner}'", "gives masks, no scores to invert or cut", "Use a scoring pruner"
            )
        learned = scorer.masks(masks, level.density)
        check_masks(learned, masks, level.kept, spec.pruner)
        masks = learned
    else:
        groups, everything = _groups(spec, pruning), masks
        every = _round_counts(spec, pruning, level, scorer.budgets)
        for number, counts in enumerate(every, start=1):
            scores = _asked(scorer, spec, masks, _round(spec, level, number, len(every), sum(counts.values())))
            candidates = everything if spec.schedule.pruned_weights == "may-return" else masks
            _refuse_growth(counts, groups, candidates, spec.pruner)
            masks = masks_from_scores(scores, candidates, groups, counts, ties_seed)
            watch(scores, candidates, masks)
    return masks, prune_cost(time.perf_counter() - started, scorer.cost)


def _round(spec: MethodSpec, level: Level, number: int, rounds: int, kept: int) -> ScoringRound:
    """What a pruner is told of a round that leaves `kept` weights."""
    if spec.schedule.rounds == "levels":
        number = rounds = level.index
    return ScoringRound(number, rounds, kept / level.prunable, level.kept / level.prunable)


def _asked(scorer: Scorer, spec: MethodSpec, masks: Masks, at: ScoringRound | None) -> Scores:
    """Scores of one round, checked, and turned around where the protocol keeps the lowest.

    Those of a whole tensor come in its shape, so that they serve narrower masks too.
    """
    scores = scorer.scores(masks, at)
    check_scores(scores, masks, spec.pruner)
    scores = {n: s.reshape(masks[n].shape) if s.numel() == masks[n].numel() else s for n, s in scores.items()}
    if spec.schedule.pruned_weights == "may-return" and any(s.shape != masks[n].shape for n, s in scores.items()):
        raise BadPruner(
            f"pruner '{spec.pruner}'", "scores only what is left, where pruned weights may return", "Score all weights"
        )
    if spec.keep == "highest":
        return scores
    return {name: -score.detach().double() for name, score in scores.items()}


def _groups(spec: MethodSpec, pruning: PruningSpec) -> dict[str, list[str]]:
    if spec.allocation == "by-pruner":
        return {name: [name] for name in pruning.prunable}
    return layer_groups(pruning) if spec.allocation == "layerwise" else {"all": list(pruning.prunable)}


def _refuse_growth(counts: Mapping[str, int], groups: Mapping[str, list[str]], masks: Masks, pruner: str) -> None:
    for group, names in groups.items():
        left_over = sum(kept_count(masks[name]) for name in names)
        if counts[group] > left_over:
            raise BadPruner(
                f"pruner '{pruner}'",
                f"budgets {counts[group]} weights of '{group}', of which {left_over} are left",
                "Let no budget grow while the density falls, or use one round",
            )


def whole_budgets(budgets: Mapping[str, float], sizes: Mapping[str, int], total: int, pruner: str) -> dict[str, int]:
    """A pruner's budgets as whole numbers of sum `total`: floors, then one more for the largest remainders.

    Raises BadPruner unless every tensor has one, from 0 to its size, and they add up to `total` within half a weight.
    """
    why = None
    if set(budgets) != set(sizes):
        why = "budgets do not name the network's weights"
    elif wrong := [name for name, size in sizes.items() if not 0 <= budgets[name] <= size]:
        why = f"budgets {budgets[wrong[0]]:g} weights of '{wrong[0]}', which has {sizes[wrong[0]]}"
    elif not isclose(fsum(budgets.values()), total, rel_tol=0, abs_tol=0.499):
        why = f"budgets add up to {fsum(budgets.values()):g}, {total} weights stay"
    if why:
        raise BadPruner(f"pruner '{pruner}'", why, "Give each tensor from 0 to its size, of the asked sum")
    counts = {name: floor(budgets[name]) for name in sizes}
    order = sorted(sizes, key=lambda name: counts[name] - budgets[name])  # stable: of equal remainders the first
    room = [name for name in order if counts[name] < sizes[name]]
    for name in room[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


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
    scores = _asked(scorer, spec, masks, None)
    return Scored(scores, prune_cost(time.perf_counter() - started, scorer.cost), masks, masks)


def cut_again(
    scored: Scored,
    spec: MethodSpec,
    pruning: PruningSpec,
    level: Level,
    watch: Watcher = no_op,
    ties_seed: int | None = None,
) -> tuple[Masks, PruneCost]:
    """The one-shot mask of a level from scores that serve all levels; its cost includes the scoring.

    The highest of the highest are the highest: what a denser mask of the same scores dropped is not ranked again.
    """
    started = time.perf_counter()
    groups = _groups(spec, pruning)
    (counts,) = _round_counts(spec, pruning, level, lambda _: {})  # by-pruner is not scored once for all levels
    narrow = {g: sum(int(scored.narrowest[name].sum()) for name in names) for g, names in groups.items()}
    inside = scored.narrowest if all(counts[g] <= narrow[g] for g in groups) else scored.full
    masks = scored.narrowest = masks_from_scores(scored.scores, inside, groups, counts, ties_seed)
    watch(scored.scores, scored.full, masks)
    return masks, replace(scored.cost, seconds=scored.cost.seconds + time.perf_counter() - started)


class ScoreWatch:
    """Watches the rounds of masks (see `benchmark.pruning.schedule.Watcher`) and sums up what their scores were.

    Levels that are cut from one set of scores share its sums, which are made once.
    """

    def __init__(self, pruning: PruningSpec) -> None:
        self._layer_of = pruning.layer_of
        self._summed: tuple[Scores, Masks, dict[str, LayerScores]] = {}, {}, {}
        self._unit_error: float | None = None
        self._rounds = 0
        self._prune_to_cut: float | None = None

    def restart(self) -> None:
        """Forget the rounds: another mask begins."""
        self._rounds, self._prune_to_cut = 0, None

    def __call__(self, scores: Scores, before: Masks, after: Masks) -> None:
        """One more round. Only weights that were left when they were scored count."""
        if self._summed[0] is not scores:
            self._summed = scores, before, self._sums(scores, before)
            self._unit_error = None
        self._rounds += 1
        layers = self._summed[2].values()
        kept = sum(layer.sum for layer in self._sums(scores, before, after).values())
        smallest = min(layer.sum for layer in layers)
        if smallest > 0:  # in the rounds before a layer is empty
            ratio = (sum(layer.sum for layer in layers) - kept) / smallest
            self._prune_to_cut = max(self._prune_to_cut or 0.0, ratio)

    def _sums(self, scores: Scores, masks: Masks, inside: Masks | None = None) -> dict[str, LayerScores]:
        layers: dict[str, LayerScores] = {}
        for name, mask in masks.items():
            values = torch.from_numpy(left(scores[name], mask, None if inside is None else inside[name]))
            known = layers.get(self._layer_of[name], LayerScores(sum=0.0, scored=0))
            more = LayerScores(sum=known.sum + float(values.sum()), scored=known.scored + len(values))
            layers[self._layer_of[name]] = more
        return layers

    @property
    def facts(self) -> ScoreFacts | None:
        """Of the last round, and the worst prune size of all; None if nothing was scored."""
        if not self._rounds:
            return None
        scores, before, layers = self._summed
        if self._unit_error is None:
            self._unit_error = unit_error({n: whole(scores[n].detach(), m) * m for n, m in before.items()})
        return ScoreFacts(
            rounds=self._rounds,
            layers=layers,
            unit_error_largest=self._unit_error,
            prune_to_cut_largest=self._prune_to_cut,
        )


def unit_error(scores: Mapping[str, Tensor]) -> float | None:
    """Largest relative difference between the scores that go into a hidden unit and those that leave it.

    Theorem 1 of arXiv 2006.05467: they are equal for saliencies in a homogeneous network. `scores`: one tensor
    (outputs, inputs, ...) per layer of a chain, in order; a unit is an output, a channel for convolutions, and may
    feed several inputs of the next layer, one after another. Relative to the larger of both in size; units without
    score count as 0. None if the tensors make no chain: with biases among them, or branches.
    """
    worst = 0.0
    for one, following in pairwise(scores.values()):
        if one.dim() < 2 or following.dim() < 2 or following.shape[1] % one.shape[0]:
            return None
        into = one.double().flatten(1).sum(1)
        by_input = following.double().flatten(2).sum(2) if following.dim() > 2 else following.double()
        out = by_input.sum(0).reshape(one.shape[0], -1).sum(1)
        scale = torch.maximum(into.abs(), out.abs())
        worst = max(worst, float(torch.where(scale > 0, (into - out).abs() / scale, 0.0).max()))
    return worst
