"""DST: dynamic sparse training with trainable thresholds. Liu et al., ICLR 2020, arXiv 2005.06870."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.api import CountsLeft, Recipe, Run


class _Step(torch.autograd.Function):
    """S(x) = 1 for x > 0, else 0. Backward the long-tailed H(x) in the place of its derivative (Eq. 3): 2 - 4|x| up to
    |x| = 0.4, 0.4 from there to 1, 0 beyond."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return positive(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        far = x.abs()
        beyond = positive(far - 1)
        slope: Tensor = far.mul_(-4).add_(2).clamp_(min=0.4)  # 2 - 4|x| is 0.4 at 0.4
        return slope.sub_(beyond, alpha=0.4).mul_(gradients[0])


def positive(x: Tensor) -> Tensor:
    """1 where x > 0, else 0, in the type and shape of x. Comparisons, which make booleans, take ten times as long."""
    return torch.sign(x).clamp_(min=0)


def step(x: Tensor) -> Tensor:
    """S(x), differentiable as `_Step` says."""
    found: Tensor = _Step.apply(x)
    return found


def above(weight: Tensor, threshold: Tensor) -> Tensor:
    """Q = |W| - t (Eq. 1), t (rows,) of the rows of W (rows, ...): a filter of a convolution is a row."""
    return weight.abs().add_(-threshold.reshape(-1, *[1] * (weight.dim() - 1)))


class ThresholdedNetwork(nn.Module):
    """A network that computes with W S(|W| - t) of each prunable tensor, in training and in evaluation.

    It shares the parts of `plain`, names and all. `thresholds`: by name of the tensor, (rows,). Where no more than the
    share `floor` of a tensor is above them, they are first set to 0, as in the released code; `resets`, (), counts.
    """

    plain: nn.Module
    thresholds: Mapping[str, Tensor]
    floor: float
    resets: Tensor

    def __init__(self, plain: nn.Module, thresholds: Mapping[str, Tensor], floor: float, resets: Tensor) -> None:
        super().__init__()
        self.__dict__.update(plain.__dict__)  # the very parameters, buffers and parts
        # Not as parts: names stay, and who trains the thresholds is told by `Run.extra_parameters`.
        self.__dict__["plain"], self.__dict__["thresholds"] = plain, thresholds
        self.__dict__["floor"], self.__dict__["resets"] = floor, resets

    def forward(self, x: Tensor) -> Tensor:
        """(n, classes) logits."""
        outputs: Tensor = functional_call(self.plain, {name: self._masked(name) for name in self.thresholds}, (x,))
        return outputs

    def mask(self, name: str) -> Tensor:
        """M = S(|W| - t) (Eq. 2), boolean, of the tensor's shape."""
        return above(self.get_parameter(name).detach(), self.thresholds[name].detach()) > 0

    def _masked(self, name: str) -> Tensor:
        weight, threshold = self.get_parameter(name), self.thresholds[name]
        with torch.no_grad():  # by tensors alone, so that a CUDA graph can hold it
            empty = positive(above(weight, threshold)).mean() <= self.floor
            self.resets.add_(empty)
            threshold.masked_fill_(empty, 0.0)
        return weight * step(above(weight, threshold))

    def train(self, mode: bool = True) -> ThresholdedNetwork:
        """Both of them."""
        self.plain.train(mode)
        super().train(mode)
        return self


class Dst(CountsLeft):
    """Weights and thresholds t are trained together, on L + alpha sum exp(-t) (Eq. 4 and 5) over all rows; a weight
    below its row's threshold computes as 0, goes on being trained, and may return. How many are left at the end is an
    outcome, whatever density is asked for.

    `floor`: see `ThresholdedNetwork`; the paper's text does not have it.
    """

    paper = "Liu et al. 2020, arXiv 2005.06870"

    def __init__(self, alpha: float = 5e-4, floor: float = 0.01) -> None:
        if alpha < 0 or not 0 <= floor < 1:
            raise ValueError(f"alpha {alpha} is below 0, or floor {floor} no share below 1")
        self.alpha, self.floor, self.last = alpha, floor, 0
        self._left: list[list[int]] = []
        self.resets = torch.zeros((), dtype=torch.int64)

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:
        """See `Hook`: at the beginning, and at the end of each epoch."""
        self.last = recipe.steps
        return (*range(0, recipe.steps, updates_per_epoch), recipe.steps)

    def at(self, step: int, run: Run) -> None:
        """See `Hook`. At the end of the training the network is the plain one again, under the mask that it ends with;
        a training that ends earlier leaves it as it is."""
        if step == 0:
            self._begin(run, torch.zeros(()))
            return
        network = run.network
        assert isinstance(network, ThresholdedNetwork)
        masks = {name: mask & network.mask(name) for name, mask in run.masks.items()}
        self._left.append([int(mask.sum()) for mask in masks.values()])
        if step == self.last:
            run.network, run.loss, run.masks = network.plain, self.loss, masks
            run.extra_parameters.clear()

    def _begin(self, run: Run, resets: Tensor) -> None:
        weights = {name: run.network.get_parameter(name) for name in run.masks}
        thresholds = {name: nn.Parameter(weight.new_zeros(len(weight))) for name, weight in weights.items()}
        device = next(iter(weights.values())).device
        self.resets = resets.to(device, torch.int64)
        self.loss, alpha = run.loss, self.alpha

        def penalised(outputs: Tensor, labels: Tensor) -> Tensor:
            low = torch.stack([torch.exp(-threshold).sum() for threshold in thresholds.values()]).sum()
            return self.loss(outputs, labels) + alpha * low

        run.extra_parameters.update({f"threshold.{name}": threshold for name, threshold in thresholds.items()})
        run.network = ThresholdedNetwork(run.network, thresholds, self.floor, self.resets)
        run.loss = penalised

    @property
    def left(self) -> list[list[int]]:
        """See `CountsLeft`."""
        return self._left

    def facts(self) -> Mapping[str, int | float]:
        """See `Hook`: how often a tensor's thresholds were set back to 0."""
        return {"threshold_resets": int(self.resets)}

    def state(self) -> Mapping[str, Tensor]:
        """See `Hook`."""
        return {"left": torch.tensor(self._left, dtype=torch.int64), "resets": self.resets.clone()}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:
        """See `Hook`."""
        self._left = state["left"].tolist()
        self._begin(run, state["resets"])
