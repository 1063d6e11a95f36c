"""Iterative hard thresholding with several outputs: digits of ten classes, by the released code's rule for them.

Fridovich-Keil & Pilanci (arXiv 2509.20323; github voilalab/MLP-IHT @2783c93d, `AIHT_step_vectoroutput`, read). With one
output the weights of a unit are fused into one vector and the problem is convex; with k outputs the code fuses nothing:
hidden weights U (m, d) and output weights V (m, k) share one budget of s weights, and both take gradient steps of one
fixed size, without line search and without inner steps.

    logits = sum_j D_j X u_j v_j^T,   R = (softmax(logits) - Y) / n
    u_j <- u_j - eta X^T D_j R v_j,   v_j <- v_j - eta (D_j X u_j)^T R,   then the s weights of highest rank stay
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy, one_hot

from benchmark.analyses.setting import Setting
from benchmark.datasets.dataset import Dataset
from benchmark.protocols import Protocol
from benchmark.pruning.topk import keep_top
from benchmark.utils.errors import BadInput

IMAGES = 2000  # of the training images, as stored
Ranking = Literal["accumulated", "magnitude"]
RANKINGS: tuple[str, ...] = get_args(Ranking)


@dataclass(frozen=True)
class TwoLayers:
    """Weights without biases: `hidden` (m, d), `output` (m, k), unit by unit."""

    hidden: Tensor
    output: Tensor

    def logits(self, inputs: Tensor) -> Tensor:
        """(n, k) of inputs (n, d) by the network itself, whose patterns are those of its hidden weights."""
        return (inputs @ self.hidden.T).clamp_min(0) @ self.output

    @property
    def dead(self) -> int:
        """Units that no input can move, because they read nothing."""
        return int((self.hidden == 0).all(1).sum())


@dataclass(frozen=True)
class Classes:
    """Inputs (n, d), float64, with class numbers (n,), and those held out, (n', d) and (n',)."""

    inputs: Tensor
    labels: Tensor
    held_out: tuple[Tensor, Tensor]

    task: ClassVar[str] = "classification"

    def test_accuracy(self, logits: Callable[[Tensor], Tensor]) -> float:
        """Percent of the held-out examples."""
        return _accuracy(logits(self.held_out[0]), self.held_out[1])

    def numbers(self, logits: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Accuracies in percent, of equal logits the first; cross-entropy of the examples that were fitted, nats."""
        found = logits(self.inputs)
        return {
            "test_accuracy": self.test_accuracy(logits),
            "train_accuracy": _accuracy(found, self.labels),
            "train_loss": float(cross_entropy(found.double(), self.labels)),
        }


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return 100 * float((logits.argmax(1) == labels).double().mean())


def digits_of(setting: Setting, pixels: float) -> Classes:
    """The problem of an analysis: `all_digits` of the protocol's data. Raises BadInput where there is none."""
    if setting.data is None:
        raise BadInput(
            f"{setting.protocol.id}: data", "is none, and the analysis fits images", "Name an image data set"
        )
    return all_digits(setting.data, pixels)


def all_digits(data: Dataset, pixels: float) -> Classes:
    """The first `IMAGES` training images, flat, times `pixels`: 255 where data is in [0, 1] gives the bytes that the
    released loader hands over as they are. Held out are all test images."""

    def part(images: Tensor, labels: Tensor, first: int | None) -> tuple[Tensor, Tensor]:
        return pixels * data.prepare(images[:first]).flatten(1).double(), labels[:first]

    return Classes(*part(data.train_inputs, data.train_labels, IMAGES), part(data.test_inputs, data.test_labels, None))


def layers_of(protocol: Protocol) -> tuple[int, int, int]:
    """(units, inputs, outputs) of the protocol's network, all of whose weights count. Raises BadInput unless it is
    `mlp` d-m-k with k > 1, both tensors of it prunable."""
    network = protocol.network
    widths: tuple[int, ...] = getattr(network, "widths", ())
    if network.name != "mlp" or len(widths) != 3 or widths[2] < 2:
        raise BadInput(
            f"{protocol.id}: network", "is not fully connected with one hidden layer and several outputs",
            "Use mlp with widths [d, m, k]",
        )  # fmt: skip
    if set(protocol.pruning.prunable) != {"fc1.weight", "fc2.weight"}:
        raise BadInput(
            f"{protocol.id}: pruning.prunable", "has to name both layers, whose weights share one budget",
            "Name fc1.weight and fc2.weight",
        )  # fmt: skip
    return widths[1], widths[0], widths[2]


def uniform_start(units: int, width: int, outputs: int, rng: Generator) -> TwoLayers:
    """What the first step takes gradients at, as released: U(-1, 1) / sqrt(d m) and U(-1, 1) / sqrt(m k). At zero,
    where the solver starts, each layer's gradient is a product with the other layer's zeros."""

    def drawn(columns: int, scale: int) -> Tensor:
        return (2 * torch.rand(units, columns, generator=rng, dtype=torch.float64) - 1) / math.sqrt(scale)

    return TwoLayers(drawn(width, width * units), drawn(outputs, units * outputs))


def iht_of_classes(
    problem: Classes, generators: Tensor, start: TwoLayers, sparsity: int, size: float, ranked: Ranking
) -> Iterator[TwoLayers]:
    """The released solver for several outputs on one batch, step by step, without end.

    `generators`: (m, d), whose patterns hold in the first two steps; those of the hidden weights follow, anew after
    every step, and a unit without weights is dead from then on. `start`: as `uniform_start`; the outputs of the first
    step are nevertheless those of no weights. `size`: eta. `ranked`: "accumulated" keeps the weights whose steps so far
    add up to most, also of those that were dropped in between (the code estimates these sums by a count sketch; here
    they are exact); "magnitude" keeps the largest. A weight that comes back starts from zero.
    """
    targets = one_hot(problem.labels, start.output.shape[1]).double()
    layers, sums = start, [torch.zeros_like(start.hidden), torch.zeros_like(start.output)]
    patterns, outputs = (problem.inputs @ generators.T > 0).double(), torch.zeros_like(targets)
    for step in count():
        residual = (torch.softmax(outputs, 1) - targets) / len(targets)
        units = problem.inputs @ layers.hidden.T * patterns
        moves = [
            -size * (residual @ layers.output.T * patterns).T @ problem.inputs,
            -size * units.T @ residual,
        ]
        sums = [total + move for total, move in zip(sums, moves, strict=True)]
        moved = [layers.hidden + moves[0], layers.output + moves[1]]
        measured = sums if ranked == "accumulated" else moved
        # An entry that is zero holds nothing that could be kept.
        ranks = [part.abs().where(weight != 0, -1.0) for part, weight in zip(measured, moved, strict=True)]
        masks = keep_top(ranks, sparsity)
        layers = TwoLayers(*(weight.where(mask, 0.0) for weight, mask in zip(moved, masks, strict=True)))
        yield layers
        if step > 0:
            patterns = (problem.inputs @ layers.hidden.T > 0).double()
        outputs = (problem.inputs @ layers.hidden.T * patterns) @ layers.output
