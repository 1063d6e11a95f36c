"""Data that a sparse network of one hidden layer has labelled: the signal is its weights.

    y = sum_j relu(X w_j),   w_j in R^d for j = 1..m,   s of the m d weights nonzero

as in the paper's planted experiments with one output (arXiv 2509.20323; github voilalab/MLP-IHT, planted_nn_model.py):
inputs and nonzero weights are standard normal, every output weight is +1, there is no bias, and inputs and labels are
stored in float32. Solvers compute in float64, so no fit is better than the rounding of the labels, at about 155 dB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Generator, Tensor

from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import portable_normals

if TYPE_CHECKING:
    from benchmark.analyses.setting import Setting
    from benchmark.protocols import Protocol


@dataclass(frozen=True)
class Planted:
    """A planted network with its data, float64.

    `weights`: (m, d), s of them nonzero. `inputs`: (n, d). `labels`: (n,).
    """

    weights: Tensor
    inputs: Tensor
    labels: Tensor

    task: ClassVar[str] = "sparse-recovery"

    @property
    def peak(self) -> float:
        """The largest absolute label, to which PSNR refers."""
        return float(self.labels.abs().max())


def outputs(inputs: Tensor, weights: Tensor) -> Tensor:
    """(n,) of the network with hidden weights (m, d) and output weights 1: the sum of its hidden units."""
    return (inputs @ weights.T).clamp_min(0).sum(1)


def planted_weights(units: int, width: int, sparsity: int, rng: Generator) -> Tensor:
    """(units, width), float64: exactly `sparsity` entries, drawn alike from all, are standard normal float32 numbers.

    Raises BadInput if there are fewer entries.
    """
    if not 1 <= sparsity <= units * width:
        raise BadInput(
            f"{sparsity} planted weights",
            f"a hidden layer of {units} units that read {width} inputs has {units * width}",
            f"Plant between 1 and {units * width}",
        )
    weights = torch.zeros(units * width, dtype=torch.float64)
    places = torch.randperm(units * width, generator=rng)[:sparsity]
    weights[places] = portable_normals((sparsity,), rng).double()
    return weights.reshape(units, width)


def labelled(weights: Tensor, examples: int, rng: Generator, rounded: bool = True) -> Planted:
    """`examples` standard normal inputs (float32 numbers) with the labels that the network gives them.

    `rounded`: labels are float32 numbers too, as released; without, the network fits them to float64 rounding.
    """
    inputs = portable_normals((examples, weights.shape[1]), rng).double()
    labels = outputs(inputs, weights)
    return Planted(weights, inputs, labels.float().double() if rounded else labels)


def opposite_weights(units: int, width: int, sparsity: int, rng: Generator) -> Tensor:
    """(units, width), float64: units in pairs, the second one's weights the first one's times U(-2, -0.5).

    The pairs' first units are planted as by `planted_weights`. Raises BadInput if units or weights do not come in
    pairs.
    """
    if units % 2 or sparsity % 2:
        raise BadInput(f"{sparsity} weights in {units} units", "opposite units come in pairs", "Use even numbers")
    first = planted_weights(units // 2, width, sparsity // 2, rng)
    factors = -(0.5 + 1.5 * torch.rand(units // 2, 1, generator=rng, dtype=torch.float64))
    return torch.stack([first, factors * first], 1).reshape(units, width)


def shape_of(protocol: Protocol) -> tuple[int, int]:
    """(hidden units, inputs) of the protocol's network. Raises BadInput unless it is `mlp` d-m-1."""
    network = protocol.network
    widths: tuple[int, ...] = getattr(network, "widths", ())
    if network.name != "mlp" or len(widths) != 3 or widths[2] != 1:
        raise BadInput(
            f"{protocol.id}: network", "is not fully connected with one hidden layer and one output", "Use [d, m, 1]"
        )
    return widths[1], widths[0]


def planted_in(setting: Setting, examples: int) -> tuple[Planted, int]:
    """The planted network of a cell's seed and level with its data, and how many weights it has: the same for every
    analysis that looks at it."""
    units, width = shape_of(setting.protocol)
    sparsity = sum(setting.counts.values())
    weights = planted_weights(units, width, sparsity, setting.rng("planted", sparsity))
    return labelled(weights, examples, setting.rng("inputs")), sparsity
