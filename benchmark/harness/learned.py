"""Learned masks: what a learning leaves for the trainings and controls that follow from it, kept between them.

A learning is a training of its own, of scores, which the harness runs before whatever needs its mask; see
`Harness._learning_before`. The file is scratch, like weights between rounds: a fresh clone learns again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from benchmark.pruning.interface import Masks
from benchmark.training.checkpoint import load_weights, save_weights
from benchmark.training.optim import under
from benchmark.training.replicas import Outcome


@dataclass(frozen=True)
class LearningCost:
    """What learning a mask took: updates of scores, training examples they were shown, seconds of the clock and of a
    core, of which others may have had the rest."""

    steps: int
    examples: int
    seconds: float
    cpu_seconds: float

    @staticmethod
    def of(outcome: Outcome) -> LearningCost:
        """Of a training of scores."""
        return LearningCost(outcome.steps, outcome.examples, round(outcome.seconds, 3), round(outcome.cpu_seconds, 3))


@dataclass(frozen=True)
class LearnedMask:
    """What was learned. `masks`: boolean, by prunable tensor. `ranking`: what they were cut from, highest first.

    `facts`: what the learner counted.
    """

    masks: Masks
    ranking: Mapping[str, Tensor]
    cost: LearningCost
    facts: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def of(outcome: Outcome) -> LearnedMask:
        """What a training of scores gave. It must not have failed."""
        assert outcome.masks is not None  # a learner gives both
        assert outcome.ranking is not None
        return LearnedMask(outcome.masks, outcome.ranking, LearningCost.of(outcome), outcome.hook_facts or {})

    def save(self, path: Path, work: Path, of: str) -> None:
        """Write the file, whole or not at all. `of`: the digest of the learner's code."""
        cost = torch.tensor(astuple(self.cost), dtype=torch.float64)
        state = {"cost": cost, "of": _bytes(of)}
        state |= {f"fact.{name}": torch.tensor(value, dtype=torch.float64) for name, value in self.facts.items()}
        state |= {f"mask.{name}": mask for name, mask in self.masks.items()}
        state |= {f"ranking.{name}": ranks for name, ranks in self.ranking.items()}
        save_weights(path, state, work)

    @staticmethod
    def load(path: Path, names: Sequence[str], of: str) -> LearnedMask | None:
        """Read it, tensors in the order of `names`; None if there is none, undamaged, with all of
        its costs and of the code `of`."""
        state = load_weights(path)
        if state is None or not torch.equal(state.get("of", torch.zeros(0)), _bytes(of)):
            return None
        steps, examples, *seconds = state["cost"].tolist()
        if len(seconds) != 2:  # by an older version
            return None
        facts = {name: float(value) for name, value in under("fact.", state).items()}
        cost = LearningCost(int(steps), int(examples), *seconds)
        masks, ranking = ({n: state[f"{kind}.{n}"] for n in names} for kind in ("mask", "ranking"))
        return LearnedMask(masks, ranking, cost, facts)


def _bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def why_refused(outcome: Outcome, parameters: Iterable[str], start: Mapping[str, Tensor]) -> str | None:
    """Why what was learned is none: scores that are not finite, or a parameter that moved; None if it is all right."""
    learned = LearnedMask.of(outcome)
    if not all(bool(ranks.isfinite().all()) for ranks in learned.ranking.values()):
        return f"diverged: scores are not finite after {outcome.steps} updates"
    if name := changed(parameters, start, learned.masks, outcome.weights):
        return f"the learner has changed '{name}', and it may change scores only"
    return None


def changed(
    names: Iterable[str], start: Mapping[str, Tensor], masks: Masks, weights: Mapping[str, Tensor]
) -> str | None:
    """The first parameter that is not, bit for bit, what the training began with, times its mask; None if all are."""
    for name in names:
        expected = start[name] * masks[name] if name in masks else start[name]
        if not torch.equal(expected.view(torch.int32), weights[name].view(torch.int32)):
            return name
    return None
