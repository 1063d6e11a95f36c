"""Seconds to prune: every registered pruner on a protocol's network, and SynFlow against its direct implementation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from benchmark.datasets.dataset import Examples, random_dataset, scoring_examples
from benchmark.networks import build, initial_state, make
from benchmark.plugins.load import find
from benchmark.protocols import Protocol
from benchmark.protocols.levels import Level, exponential_totals
from benchmark.protocols.methods import MethodSpec, PruningSpec, Schedule, Scoring
from benchmark.protocols.needs import examples_of
from benchmark.protocols.network import VggSpec
from benchmark.protocols.network_rules import BatchNormSpec
from benchmark.pruning.schedule import prune
from benchmark.pruning.scorer import ScoredNetwork, declared_needs
from benchmark.utils.seeding import stream

DENSITY = 0.01
ROUNDS = {"synflow": 100}
WARM_UP = 2  # rounds
PRUNERS = ("random", "magnitude", "snip", "grasp", "synflow")
VGG_16 = VggSpec(
    name="vgg-16",
    input=(3, 32, 32),
    classes=10,
    initialiser="kaiming-normal-fan-in",
    linear_initialiser="kaiming-normal-fan-in",
    bias="zeros",
    convolution_bias=True,
    batch_norm=BatchNormSpec(scale="ones", momentum=0.1, epsilon=1e-5),
    last_pool="average-2x2",
    hidden=(),
    dropout=None,
)


@dataclass(frozen=True)
class PruneTime:
    """One mask at `DENSITY`."""

    what: str
    rounds: int
    seconds: float


def level_of(pruning: PruningSpec, density: float) -> Level:
    """A level of `density`; counts per layer are not used by global pruning."""
    total = sum(pruning.layer_sizes.values())
    return Level(1, round(density * total), total, pruning.layer_sizes, None)


def method_of(pruner: str) -> MethodSpec:
    """The pruner as it is used at initialization."""
    schedule = Schedule(rounds=ROUNDS.get(pruner, 1), scores="initial", restart=0)
    return MethodSpec(pruner=pruner, allocation="global", schedule=schedule, levels="all")


def prune_times(protocol: Protocol) -> list[PruneTime]:
    """Every pruner of this package once, on random examples of the protocol's shape, called directly."""
    dataset, module = random_dataset(protocol, 10_000), build(protocol)
    state = initial_state(module, protocol.network, stream(0, "init"))
    module.train(protocol.pruning.scoring.batch_norm == "train")
    rows = torch.arange(len(dataset.train_labels))
    drawn = scoring_examples(dataset, rows, protocol.pruning.scoring, stream(0, "examples"))
    subject = ScoredNetwork(module, state, dataset.input_shape, dataset.classes)
    found = []
    for pruner in PRUNERS:
        plugin = find(pruner).make({})
        examples: Examples | None = drawn if examples_of(declared_needs(plugin, pruner)) else None
        spec, level = method_of(pruner), level_of(protocol.pruning, DENSITY)
        started = time.perf_counter()
        prune(plugin, spec, protocol.pruning, level, subject, examples, stream(0, "prune"))
        found.append(PruneTime(pruner, ROUNDS.get(pruner, 1), time.perf_counter() - started))
    return found


def synflow_times(rounds: int = 100) -> list[PruneTime]:
    """SynFlow on VGG-16 for CIFAR-10 in float64 to `DENSITY`: this harness, then the direct implementation.

    Both once before in two rounds that do not count: whoever begins would else get all its memory from the kernel, page
    by page, and leave it to the other.
    """
    module = make(VGG_16).eval()
    state = initial_state(module, VGG_16, stream(0, "init"))
    names = {n: tuple(t.shape) for n, t in state.items() if n.endswith("weight") and t.dim() > 1}
    pruning = PruningSpec(
        prunable=names,
        layer_rates={},
        ties="lower-index-stays",
        pruned_weights="never-return",
        pruned_values="zero-after-every-update",
        rewound="weights-biases-and-batch-norm",
        optimizer_state="fresh",
        scoring=Scoring(
            examples_per_class=1,
            draw="balanced-from-training-set",
            augmentation="none",
            batch="all-at-once",
            batch_norm="eval",
            biases="not-scored",
        ),
    )
    subject, level = ScoredNetwork(module, state, VGG_16.input, VGG_16.classes), level_of(pruning, DENSITY)

    def ours(rounds: int) -> dict[str, Tensor]:
        schedule = Schedule(rounds=rounds, scores="initial", restart=0)
        spec = method_of("synflow").model_copy(update={"schedule": schedule})
        return prune(find("synflow").make({}), spec, pruning, level, subject, None, stream(0, "prune"))[0]

    def theirs(rounds: int) -> dict[str, Tensor]:
        return direct_synflow(module, state, tuple(names), exponential_totals(level.prunable, level.kept, rounds))

    ours(WARM_UP), theirs(WARM_UP)
    started = time.perf_counter()
    our_masks = ours(rounds)
    between = time.perf_counter()
    their_masks = theirs(rounds)
    ended = time.perf_counter()
    both = sum(int((our_masks[n] & their_masks[n]).sum()) for n in names)
    common = both / sum(int(m.sum()) for m in our_masks.values())
    return [
        PruneTime("synflow, VGG-16 float64", rounds, between - started),
        PruneTime(f"the same, direct implementation ({common:.2%} of the mask in common)", rounds, ended - between),
    ]


def direct_synflow(
    module: torch.nn.Module, state: dict[str, Tensor], names: tuple[str, ...], totals: Sequence[int]
) -> dict[str, Tensor]:
    """SynFlow as its equations read: score every weight and take the kth value of all of them, in every round.

    The baseline to beat. `totals`: weights left after each round. Ties at the threshold are dropped with it, as that
    loop does.
    """
    values = {n: t.double() if t.is_floating_point() else t for n, t in state.items()}
    masks = {n: torch.ones_like(values[n]) for n in names}
    total = sum(m.numel() for m in masks.values())
    for left in totals:
        leaves = {n: (values[n].abs() * masks[n]).requires_grad_() for n in names}
        rest = {n: t.abs() for n, t in values.items() if n not in names}
        flow = functional_call(module, {**rest, **leaves}, (torch.ones(1, 3, 32, 32, dtype=torch.float64),)).sum()
        gradients = dict(zip(names, torch.autograd.grad(flow, list(leaves.values())), strict=True))
        scores = {n: (leaves[n] * gradients[n]).abs().detach() for n in names}
        ranked = torch.cat([s.flatten() for s in scores.values()])
        threshold = ranked.kthvalue(total - left).values
        masks = {n: (scores[n] > threshold).double() for n in names}
    return {n: m.bool() for n, m in masks.items()}
