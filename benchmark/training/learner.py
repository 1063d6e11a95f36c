"""Learners: methods that find a mask by gradient descent on scores, while every weight stays as it was drawn.

A learner says how scores begin, which mask they mean, and what happens to both on the way. The harness does the rest,
in the loop that trains every network: batches, loss, optimizer, evaluations, checkpoints, costs. See
`training.learning`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from benchmark.protocols.needs import Needs
from benchmark.pruning.interface import Plugin
from benchmark.pruning.topk import keep_top
from benchmark.training.hooks import Hook, Run

if TYPE_CHECKING:
    from benchmark.protocols.recipe import Recipe

Scored = Mapping[str, Tensor]


class Learner(Hook, Plugin):
    """Learns one score for each prunable weight. The network that is trained is f(x; w * mask(s)): the optimizer
    updates the scores s by the gradient that reaches them through the mask, and nothing else.

    As a hook it may act at stated steps, where `run.scores` are the scores, to be changed in place, and `run.masks` say
    which weights are left: a weight that leaves them has the score 0, with no memory, from then on. `target`: how many
    weights the cell's density leaves in each group of tensors, set before the training begins; the mask that is
    recorded keeps exactly as many, those that `ranking` puts highest.

    `words`: (2,) random ones of the update at hand, on its device, of which `mask` may draw by `uniforms`: so a mask
    that is drawn anew at every update stays a pure function, which a graph can hold. None where a network is measured.
    """

    words: Tensor | None = None
    needs: ClassVar[Needs] = "training set"
    paper: ClassVar[str] = ""

    @abstractmethod
    def first_scores(self, weight: Tensor, rng: torch.Generator) -> Tensor:
        """Scores to begin with of one prunable tensor, of its shape. `weight`: its frozen values."""

    @abstractmethod
    def mask(self, scores: Scored, left: Scored) -> dict[str, Tensor]:
        """The mask of each tensor, of its shape, in the scores' type, at every update: differentiable in the scores, as
        `straight_through` makes it. `left`: boolean; what is not left must have mask 0."""

    def penalty(self, scores: Scored) -> Tensor | None:  # noqa: ARG002
        """() what is added to the loss of each update; None for nothing."""
        return None

    def bound(self, scores: Scored) -> None:
        """Bring scores back in place, after every update, to where they may be."""

    def ranking(self, scores: Scored, left: Scored) -> dict[str, Tensor]:
        """By which the recorded mask is cut, highest first, and inverted masks lowest first: of each tensor's shape.

        Here the magnitude of the scores, and -1 for what is not left.
        """
        return {name: torch.where(left[name], score.detach().abs(), -1.0) for name, score in scores.items()}

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:  # noqa: ARG002
        """See `Hook`: never, unless said otherwise."""
        return ()

    def at(self, step: int, run: Run) -> None:
        """See `Hook`."""

    def recorded_mask(self, scores: Scored, left: Scored) -> dict[str, Tensor]:
        """The boolean masks that are recorded: exactly the target of each group of tensors."""
        return highest(self.ranking(scores, left), self.target)


def highest(
    scores: Scored, counts: Mapping[tuple[str, ...], int], ties: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Boolean masks with exactly `counts[names]` weights in each group of tensors that share a budget.

    Of equal scores the first stay, or those that `ties` draws. Scores that were clipped to a bound are equal by the
    thousand: there the first would be the first layer's.
    """
    found: dict[str, Tensor] = {}
    for names, count in counts.items():
        parts = [scores[name] for name in names]
        kept = keep_top(parts, count) if ties is None else _top_in_random_order(parts, count, ties)
        found.update(zip(names, kept, strict=True))
    return found


def _top_in_random_order(parts: Sequence[Tensor], count: int, rng: torch.Generator) -> list[Tensor]:
    whole = torch.cat([part.detach().flatten() for part in parts])
    order = torch.randperm(len(whole), generator=rng, device=rng.device).to(whole.device)
    kept = torch.empty_like(whole, dtype=torch.bool)
    kept[order] = keep_top([whole[order]], count)[0]
    split = torch.split(kept, [part.numel() for part in parts])
    return [part.reshape(like.shape) for part, like in zip(split, parts, strict=True)]


def annealed(size: int, count: int, share: float) -> int:
    """How many of `size` weights are left after a `share` of the way to `count`, by equal factors of density."""
    return count if share >= 1 or count == 0 else round(size * (count / size) ** share)


def event_steps(last: int, every: int) -> tuple[int, ...]:
    """Every so many updates, and after the last one."""
    return (*range(every, last, every), last)


def cut_steps(last: int, updates_per_epoch: int, every: int, from_start: bool = False) -> tuple[int, ...]:
    """Updates before which a mask that shrinks is cut: every so many epochs, and never after the last update, so that
    scores are trained at the density that is asked for.

    `from_start`: from the first epoch on; otherwise from the one after `every` of them. Where a training is too short
    for that, it is cut before it begins.
    """
    epochs = -(-last // updates_per_epoch)
    return tuple(epoch * updates_per_epoch for epoch in range(0 if from_start else every, epochs, every)) or (0,)


class _StraightThrough(torch.autograd.Function):
    """Forward a mask, backward the gradient of the mask as if it were the scores (Bengio et al. 2013, arXiv
    1308.3432)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, mask: Tensor) -> Tensor:
        return mask.to(scores.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Nothing to remember."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradients[0], None


def straight_through(scores: Tensor, mask: Tensor) -> Tensor:
    """`mask` in the type of `scores`, of their shape; d/d scores of it counts as 1, entry by entry."""
    passed: Tensor = _StraightThrough.apply(scores, mask)
    return passed
