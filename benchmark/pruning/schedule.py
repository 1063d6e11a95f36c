"""The one schedule engine: rounds of scoring and cutting, for every pruner and every allocation."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import Tensor, nn

from benchmark.api import Cost, Examples, MaskLearner, Masks, Network, Plugin, Pruner
from benchmark.errors import BadPruner
from benchmark.protocol import MethodSpec, PruningSpec
from benchmark.pruning.levels import Level, exponential_totals, layerwise_counts
from benchmark.pruning.masks import check_masks, check_scores, full_masks, masks_from_scores

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class PruneCost:
    """Measured by the harness over all rounds of one mask."""

    seconds: float
    forward_passes: int
    backward_passes: int
    examples_seen: int


@dataclass(frozen=True)
class Subject:
    """What is pruned: a module, the values its parameters have when scored, and the shape of the task."""

    module: nn.Module
    state: Mapping[str, Tensor]
    input_shape: tuple[int, ...]
    classes: int


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


def _digest(state: Mapping[str, Tensor]) -> bytes:
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return digest.digest()


def _view(subject: Subject, pruning: PruningSpec, masks: Masks, cost: Cost) -> Network:
    weights = {name: subject.state[name] * masks[name] for name in pruning.prunable}
    others = {name: tensor.clone() for name, tensor in subject.state.items() if name not in weights}
    own_masks = {name: mask.clone() for name, mask in masks.items()}
    # Read-only views: a plugin that put its own tensors in their place would escape the comparison in `_guarded`.
    return Network(
        subject.module,
        MappingProxyType(weights),
        MappingProxyType(others),
        MappingProxyType(own_masks),
        subject.input_shape,
        subject.classes,
        cost,
    )


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
    """The mask of one level. `before`: the mask of the level before, for `rounds: levels`.

    Masks are nested over rounds: a pruned weight ranks below every kept one, whatever its score.
    Raises BadPruner if the plugin breaks its contract.
    """
    started, cost = time.perf_counter(), Cost()
    masks = before if before is not None else full_masks(pruning.prunable)
    if isinstance(plugin, MaskLearner):
        network = _view(subject, pruning, masks, cost)
        learned = _guarded(network, lambda: plugin.learn(network, examples, level.density, rng), spec.pruner)
        check_masks(learned, masks, level.kept, spec.pruner)
        masks = learned
    elif isinstance(plugin, Pruner):
        groups = layer_groups(pruning) if spec.allocation == "layerwise" else {"all": list(pruning.prunable)}
        for counts in _round_counts(spec, pruning, level):
            network = _view(subject, pruning, masks, cost)
            scores = _guarded(network, partial(plugin.score, network, examples, rng), spec.pruner)
            check_scores(scores, network.weights, spec.pruner)
            masks = masks_from_scores(scores, masks, groups, counts)
    else:
        raise BadPruner(f"pruner '{spec.pruner}'", "is neither a Pruner nor a MaskLearner", "Subclass one of them")
    seconds = time.perf_counter() - started
    return masks, PruneCost(seconds, cost.forward_passes, cost.backward_passes, cost.examples_seen)


def _guarded(network: Network, call: Callable[[], Answer], pruner: str) -> Answer:
    """Run the plugin; refuse if it raised, or changed a weight, a buffer or the module in place."""
    # The module's own tensors bear the same names as the weights it is scored at: both are watched.
    own = {f"module/{name}": tensor for name, tensor in network.module.state_dict().items()}
    state = {**network.weights, **network.others, **own}
    before = _digest(state)
    try:
        answer = call()
    except BadPruner:
        raise
    except Exception as error:
        raise BadPruner(
            f"pruner '{pruner}'",
            f"raised {type(error).__name__}: {error}",
            "Correct the pruner, then run again with --retry-failed",
        ) from error
    if _digest(state) != before:
        raise BadPruner(f"pruner '{pruner}'", "changed weights in place", "Work on copies: w.clone(), not w.mul_()")
    return answer
