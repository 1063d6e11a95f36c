"""ToST, training sparse networks better with any mask: Jaiswal et al., ICML 2022, arXiv 2206.12755.

Four parts of a recipe, each with a switch: soft activations and ghost skips, which are gone before training ends, so
that the network that comes out is the plain one; a layer-wise rescaled start; smoothed labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from benchmark.api import Hook, Recipe, Run

Activation = Literal["relu", "swish", "swish-2", "mish", "gelu"]
SOFT: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "swish": functional.silu,
    "swish-2": lambda x: x * torch.sigmoid(2 * x),  # the released parametric Swish, whose beta stays 2
    "mish": functional.mish,
    "gelu": functional.gelu,
}
RELU = (torch.relu, functional.relu, Tensor.relu)
LAYERS = (functional.linear, functional.conv2d)


class _Ghosts(TorchFunctionMode):
    """While a network computes: `soft` in the place of ReLU, and behind layers with a weight in `skipped` (by id) what
    they read, averaged to the shape of what they give, times `alpha`."""

    def __init__(self, soft: Callable[[Tensor], Tensor], skipped: frozenset[int], alpha: float) -> None:
        super().__init__()
        self.soft, self.skipped, self.alpha = soft, skipped, alpha

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in RELU:
            return self.soft(args[0])
        outputs = func(*args, **(kwargs or {}))
        if func in LAYERS and id(args[1]) in self.skipped:
            return outputs + self.alpha * averaged(args[0], outputs.shape[1:])
        return outputs


def averaged(x: Tensor, shape: torch.Size) -> Tensor:
    """(n, *shape) from (n, ...) of as many axes, by adaptive averages over units or over channels, rows, columns."""
    if len(shape) == 1:
        return functional.adaptive_avg_pool1d(x.unsqueeze(1), shape[0]).squeeze(1)
    channels, height, width = shape
    return functional.adaptive_avg_pool3d(x.unsqueeze(1), (channels, height, width)).squeeze(1)


class GhostNetwork(nn.Module):
    """A network with ghosts while it trains; in evaluation it is the plain one, whose parts it shares, names and all.

    `skips`: names of weights behind whose layers there is a skip.
    """

    plain: nn.Module

    def __init__(self, plain: nn.Module, activation: Activation, skips: Iterable[str], alpha: float) -> None:
        super().__init__()
        self.__dict__.update(plain.__dict__)  # the very parameters, buffers and parts
        self.__dict__["plain"] = plain  # not as a part: names stay
        self.activation: Activation = activation
        self.skips, self.alpha = tuple(skips), alpha

    def forward(self, x: Tensor) -> Tensor:
        """(n, classes) logits."""
        outputs: Tensor
        if self.training:
            skipped = frozenset(id(self.get_parameter(name)) for name in self.skips)
            with _Ghosts(SOFT[self.activation], skipped, self.alpha):
                outputs = self.plain(x)
        else:
            outputs = self.plain(x)
        return outputs

    def train(self, mode: bool = True) -> GhostNetwork:
        """Both of them."""
        self.plain.train(mode)
        super().train(mode)
        return self


def smoothed(loss: Callable[[Tensor, Tensor], Tensor], share: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy with 1 - share of the label on its class, the rest equally on the other k - 1. `loss`: the task's,
    which has to be the cross-entropy of one class; anything else has no such label. Raises ValueError then."""
    logits, labels = torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([1])
    if not torch.allclose(loss(logits, labels), functional.cross_entropy(logits, labels)):
        raise ValueError("label smoothing is of classification's cross-entropy")

    def smooth(outputs: Tensor, labels: Tensor) -> Tensor:
        classes = outputs.shape[-1]  # torch spreads its share over all k classes, the right one too
        return functional.cross_entropy(outputs.float(), labels, label_smoothing=share * classes / (classes - 1))

    return smooth


@dataclass
class Scales:
    """Layer-wise rescaling (GradInit, arXiv 2102.08098): one factor a tensor, learned on the batches to come.

    Each iteration looks at the gradient g at the scaled weights on one batch. If its norm is above `most`, factors move
    to make it smaller; else to make the loss smaller that the next batch, which shares half of the first one's
    examples, has after the step -`step` g / |g|. Factors move by Adam, their gradient clipped at norm 1, and stay at
    least 0.01 for tensors of two axes and more, 0 for others.
    """

    iterations: int
    rate: float = 0.01
    most: float = 1.0
    step: float = 0.1
    forward_passes: int = 0
    backward_passes: int = 0
    examples: int = 0

    def learned(self, run: Run) -> dict[str, float]:
        """The factor of every tensor that is trained."""
        weights = {name: p.detach() for name, p in run.network.named_parameters()}
        factors = {name: torch.ones((), device=w.device, requires_grad=True) for name, w in weights.items()}
        adam = torch.optim.Adam(factors.values(), lr=self.rate)
        for number in range(self.iterations):
            adam.zero_grad()
            self._objective(run, {n: factors[n] * w for n, w in weights.items()}, number).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(factors.values(), 1.0)
            adam.step()
            with torch.no_grad():
                for name, factor in factors.items():
                    factor.clamp_(min=0.01 if weights[name].dim() > 1 else 0.0)
        return {name: factor.item() for name, factor in factors.items()}

    def _objective(self, run: Run, scaled: dict[str, Tensor], number: int) -> Tensor:
        inputs, labels = run.coming(number)
        loss = self._loss(run, scaled, inputs, labels)
        whole = dict(zip(scaled, torch.autograd.grad(loss, [*scaled.values()], create_graph=True), strict=True))
        gradient = [part * run.masks[name] if name in run.masks else part for name, part in whole.items()]
        norm = torch.stack([part.square().sum() for part in gradient]).sum().sqrt()
        self.backward_passes += 3  # once for the gradient; through it, for factors, costs about twice that
        if norm > self.most:
            return norm
        others, their_labels = run.coming(number + 1)
        half = len(inputs) // 2
        stepped = {n: w - self.step * g / norm for (n, w), g in zip(scaled.items(), gradient, strict=True)}
        self.backward_passes += 1
        return self._loss(
            run, stepped, torch.cat([inputs[:half], others[half:]]), torch.cat([labels[:half], their_labels[half:]])
        )

    def _loss(self, run: Run, weights: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
        self.forward_passes += 1
        self.examples += len(inputs)
        buffers = {name: b.detach().clone() for name, b in run.network.named_buffers()}  # batch norm counts into these
        outputs: Tensor = functional_call(run.network, (weights, buffers), (inputs,))
        return run.loss(outputs, labels)


class ToST(Hook):
    """Each part is off by default.

    `activation`: in the place of ReLU until the share `until` of the training is done. `skip`: what ghost skips start
    with, falling by equal amounts at every `every` updates to nothing at `until`; there is one behind each prunable
    layer but the first and the last. `rescale`: iterations of `Scales`, on the masked network before training.
    `smoothing`: the share of a label that other classes get, throughout.
    """

    paper = "Jaiswal et al. 2022, arXiv 2206.12755"
    moves_masks = False

    def __init__(
        self,
        activation: Activation = "relu",
        skip: float = 0.0,
        rescale: int = 0,
        smoothing: float = 0.0,
        until: float = 0.5,
        every: int = 50,
    ) -> None:
        if not 0 < until < 1:
            raise ValueError(f"until is {until}: ghosts go after a share of the training between 0 and 1")
        if activation not in SOFT or not 0 <= smoothing < 1 or skip < 0 or rescale < 0 or every < 1:
            raise ValueError(f"activation is one of {', '.join(SOFT)}; smoothing is in [0, 1), no number is negative")
        self.activation, self.skip, self.smoothing, self.until, self.every = activation, skip, smoothing, until, every
        self.scales, self.factors = Scales(rescale), dict[str, float]()
        self.end = self.done = 0

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:  # noqa: ARG002
        """See `Hook`."""
        self.end = ceil(self.until * recipe.steps)
        if self.end >= recipe.steps:
            raise ValueError(f"until is {self.until}: no update is left for the plain network")
        return [*range(0, self.end, self.every), self.end]

    def at(self, step: int, run: Run) -> None:
        """See `Hook`."""
        if step == 0:
            self._smooth(run)
            self._rescale(run)
        self.done = step
        self._haunt(run)

    def _rescale(self, run: Run) -> None:
        if not self.scales.iterations:
            return
        self.factors = self.scales.learned(run)
        with torch.no_grad():
            for name, factor in self.factors.items():
                run.network.get_parameter(name).mul_(factor)

    def _smooth(self, run: Run) -> None:
        if self.smoothing:
            run.loss = smoothed(run.loss, self.smoothing)

    def _haunt(self, run: Run) -> None:
        """Have the ghosts of this time, on the plain network."""
        plain = getattr(run.network, "plain", run.network)
        if self.done >= self.end:
            run.network = plain
            return
        alpha = self.skip * (1 - self.done / self.end)
        if alpha or self.activation != "relu":
            run.network = GhostNetwork(plain, self.activation, [*run.masks][1:-1] if alpha else [], alpha)

    def facts(self) -> Mapping[str, int | float]:
        """See `Hook`: what rescaling cost, in passes over a batch, and the factors' ends."""
        if not self.scales.iterations:
            return {}
        return {
            "rescale_forward_passes": self.scales.forward_passes,
            "rescale_backward_passes": self.scales.backward_passes,
            "rescale_examples": self.scales.examples,
            "rescale_least_factor": min(self.factors.values()),
            "rescale_greatest_factor": max(self.factors.values()),
        }

    def state(self) -> Mapping[str, Tensor]:
        """See `Hook`."""
        scales = self.scales
        counts = torch.tensor([self.done, scales.forward_passes, scales.backward_passes, scales.examples])
        return {"counts": counts, **{f"factor.{n}": torch.tensor(f) for n, f in self.factors.items()}}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:
        """See `Hook`."""
        self.done, *passes = state["counts"].tolist()
        self.scales.forward_passes, self.scales.backward_passes, self.scales.examples = passes
        self.factors = {n.removeprefix("factor."): t.item() for n, t in state.items() if n.startswith("factor.")}
        self._smooth(run)
        self._haunt(run)
