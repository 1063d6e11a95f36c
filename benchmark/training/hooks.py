"""Hooks: what acts at stated steps of a training, and what it may change there.

Methods whose mask moves (SET, RigL, iterative hard thresholding), that freeze units (NEq), that change the network or
the loss for a while (ToST) or gather statistics (BINGO) are hooks. Between two steps at which one acts, an update is a
pure function of tensors on the device, so it can be captured as a CUDA graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import cos, pi
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from benchmark.utils.errors import BadInput

if TYPE_CHECKING:
    from benchmark.protocols.recipe import Recipe


def _no_batch(_ahead: int) -> tuple[Tensor, Tensor]:
    raise BadInput("a hook", "asks for batches to come, and this training tells of none", "Use `Run.batch`")


def _nothing_held_out() -> tuple[Tensor, Tensor]:
    raise BadInput("a hook", "asks for validation examples, and none are held out", "Set data.validation")


@dataclass
class Run:
    """One replica at a step, as a hook sees it. What is assigned or changed in place holds from the next update on.

    `network`: the module with the replica's weights; they may be changed in place, or the module be replaced by one
    whose parameters have the same names and shapes. `masks`: boolean, per prunable tensor; a weight that leaves its
    mask becomes exactly zero with the optimizer's memory of it, one that enters starts at zero. `frozen`: boolean, by
    parameter; those entries and their optimizer state stay as they are. `loss`: () mean loss of outputs (n, ...) and
    labels (n, ...). `batch()`: inputs (n, ...) and labels of the next update, ready for the network. `rng(purpose)`:
    the replica's own random generator for this step. `scores`: what a learner trains in the weights' place, per
    prunable tensor; empty where weights are trained. `coming(k)`: the batch of the update k after the next, where the
    epoch ends from its first one on again. `held_out()`: inputs and labels of the validation examples, as the split
    orders them. `extra_parameters`: leaves of the hook's own, by name, that the optimizer trains with the network's as
    long as they are there; `network` or `loss` has to compute with the very tensors.
    """

    network: nn.Module
    masks: dict[str, Tensor]
    frozen: dict[str, Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    batch: Callable[[], tuple[Tensor, Tensor]]
    rng: Callable[[str], torch.Generator]
    scores: dict[str, Tensor] = field(default_factory=dict)
    coming: Callable[[int], tuple[Tensor, Tensor]] = _no_batch
    held_out: Callable[[], tuple[Tensor, Tensor]] = _nothing_held_out
    extra_parameters: dict[str, Tensor] = field(default_factory=dict)


class Hook(ABC):
    """Acts on one replica. Every replica of a training has hooks of its own, so one may remember what it met.

    At a step it acts before the network is evaluated, stored for rewinding or saved in a checkpoint there.

    `target`: how many weights the cell's density leaves in each group of tensors (names), set before training begins;
    the mask has to keep as many at the end. `parent_facts`: where a control trains with the hook, what the hook of the
    method that it is a control of has counted in the same cell; set before training begins. `paper`: where the method
    was published, in words. `moves_masks`: whether it changes masks at all; read from the source of the very class.
    """

    moves_masks: ClassVar[bool] = True

    target: Mapping[tuple[str, ...], int] = MappingProxyType({})
    parent_facts: Mapping[str, float] = MappingProxyType({})
    paper: ClassVar[str] = ""

    @abstractmethod
    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:
        """The steps at which it acts, as numbers of updates done; those outside the training are left out."""

    @abstractmethod
    def at(self, step: int, run: Run) -> None:
        """Act after `step` updates."""

    def facts(self) -> Mapping[str, int | float]:
        """Numbers for the record, by name, when the training has ended: what was counted on the way."""
        return {}

    def state(self) -> Mapping[str, Tensor]:
        """What a checkpoint has to hold beside weights, masks, frozen entries and optimizer state; nothing at first."""
        return {}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:  # noqa: B027 - most hooks remember nothing
        """Go on from `state` in a new process. Whoever has changed `run.network` or `run.loss` changes it again here;
        weights, masks and frozen entries are those of the checkpoint already. So do `run.extra_parameters` become, once
        tensors of their names and shapes are put there, whatever these hold."""


class GathersScores(Hook):
    """Gathers a score of every prunable weight while a network is trained, and changes nothing: the network ends with
    the bits that it has without the hook. What its forward passes add to a batch norm's statistics, `act` takes back.
    """

    moves_masks = False

    @property
    @abstractmethod
    def scores(self) -> Mapping[str, Tensor]:
        """By prunable tensor, of its shape; the lowest are to be pruned first. On the device of the training."""

    @property
    @abstractmethod
    def forward_passes(self) -> int:
        """Of a batch each, that the scores have taken."""


def act(hook: Hook, step: int, run: Run) -> None:
    """Have a hook act on a replica at a step."""
    buffers = dict(run.network.named_buffers()) if isinstance(hook, GathersScores) else {}
    before = {name: buffer.clone() for name, buffer in buffers.items()}
    hook.at(step, run)
    for name, buffer in buffers.items():
        buffer.copy_(before[name])


class CountsLeft(Hook):
    """Decides itself how many weights are left, whatever density is asked for, and counts them as it trains."""

    @property
    @abstractmethod
    def left(self) -> Sequence[Sequence[int]]:
        """After each epoch, by tensor in the order of masks, how many weights compute."""


class MovingMasks(Hook):
    """Dynamic sparse training: at regular steps, some weights of each tensor are dropped and as many others grow.

    The share that is dropped at update t is share (1 + cos(pi t / T)) / 2 with `anneal: cosine` (RigL, arXiv
    1911.11134, Section 3), T being the last step at which masks move, or `share` throughout. `every`: updates between
    moves;
    "epoch" for the end of each epoch. `until`: T, an update of the training; 0 for its last.

    A dropped weight may grow again at once, and then has never been away: it keeps its value and the optimizer's memory
    of it, as in the released code of RigL. Every other weight that grows starts at zero with no memory. Subclasses say
    which weights go (`drop_scores`: the lowest) and which come (`grow_scores`: the highest); of equal ones the first.
    """

    def __init__(
        self,
        every: int | Literal["epoch"] = 100,
        until: int = 0,
        share: float = 0.3,
        anneal: Literal["cosine", "constant"] = "cosine",
    ) -> None:
        self.every, self.until, self.share, self.anneal = every, until, share, anneal
        self.last = 0
        self.moves = 0
        self.ever_left = dict[str, Tensor]()  # per tensor, which weights have been part of a mask

    @abstractmethod
    def grow_scores(self, run: Run) -> Mapping[str, Tensor]:
        """Per prunable tensor, of its shape: the highest grow. Computed before anything is dropped."""

    def drop_scores(self, weight: Tensor) -> Tensor:
        """Per weight of one tensor: the lowest are dropped. Here their magnitude."""
        return weight.abs()

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:
        """See `Hook`. Not at update 0, where nothing has been learned, nor at the end of the training."""
        self.last = self.until or recipe.steps
        step = updates_per_epoch if self.every == "epoch" else self.every
        return range(step, min(self.last, recipe.steps - 1) + 1, step)

    def share_at(self, step: int) -> float:
        """The share of a tensor's weights that is dropped at a step."""
        return self.share * (1 + cos(pi * step / self.last)) / 2 if self.anneal == "cosine" else self.share

    def at(self, step: int, run: Run) -> None:
        """See `Hook`: drop, then grow, tensor by tensor; each keeps its number of weights."""
        grow = self.grow_scores(run)
        for name, mask in run.masks.items():
            self._note(name, mask)
            drop = self.drop_scores(run.network.get_parameter(name).detach())
            moved = moved_mask(mask, drop, grow[name], self.share_at(step))
            self.grown(name, run, moved & ~without_dropped(mask, drop, self.share_at(step)))
            run.masks[name] = moved
            self._note(name, moved)
        self.moves += 1

    def grown(self, name: str, run: Run, where: Tensor) -> None:
        """What a tensor's weights that have just grown start from, dropped ones among them; here what they hold.

        `where`: boolean, of the tensor's shape. Values are set in place, in `run.network`.
        """

    def _note(self, name: str, mask: Tensor) -> None:
        self.ever_left[name] = self.ever_left[name] | mask if name in self.ever_left else mask.clone()

    def facts(self) -> Mapping[str, int | float]:
        """See `Hook`: how often masks moved, and how many weights were part of a mask at some time."""
        return {"mask_moves": self.moves, "weights_ever_left": sum(int(m.sum()) for m in self.ever_left.values())}

    def state(self) -> Mapping[str, Tensor]:
        """See `Hook`."""
        return {"moves": torch.tensor(self.moves), **{f"ever_left.{n}": m for n, m in self.ever_left.items()}}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:
        """See `Hook`."""
        self.moves = int(state["moves"])
        self.ever_left = {name: state[f"ever_left.{name}"].to(mask.device)
                          for name, mask in run.masks.items() if f"ever_left.{name}" in state}  # fmt: skip


def moved_mask(mask: Tensor, drop: Tensor, grow: Tensor, share: float) -> Tensor:
    """A mask with int(share * kept) of its weights dropped and as many grown, of its shape.

    `drop`: scores, the lowest of those kept go; `grow`: scores, the highest of all others come, those that were just
    dropped among them.
    """
    moved = without_dropped(mask, drop, share).flatten()
    others = torch.where(moved, -torch.inf, grow.flatten().double()).argsort(descending=True, stable=True)
    moved[others[: int(share * int(mask.sum()))]] = True
    return moved.reshape(mask.shape)


def without_dropped(mask: Tensor, drop: Tensor, share: float) -> Tensor:
    """A mask without int(share * kept) of its weights, those of the lowest scores in `drop`; of its shape."""
    flat, kept = mask.flatten(), int(mask.sum())
    ranked = torch.where(flat, drop.flatten().double(), -torch.inf).argsort(descending=True, stable=True)
    left = torch.zeros_like(flat)
    left[ranked[: kept - int(share * kept)]] = True
    return left.reshape(mask.shape)


Hooks = Callable[[int], Iterable[Hook]]
"""New hooks for the replica of that number, once for each attempt to train it."""
