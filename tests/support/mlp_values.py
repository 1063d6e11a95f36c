"""A float64 MLP as values by name, as a pruner sees it, and its loss in numpy: for slow, independent computations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from benchmark.api import Examples, Masks, Network
from benchmark.networks.mlp import Mlp
from benchmark.pruning.sparse import Masked

WIDTHS = (5, 4, 3, 3)
Values = dict[str, Tensor]


def drawn(widths: tuple[int, ...] = WIDTHS, seed: int = 0) -> Values:
    """Weights and biases of a float64 MLP, all of order one."""
    rng = torch.Generator().manual_seed(seed)
    return {n: torch.randn(p.shape, generator=rng, dtype=torch.float64) for n, p in Mlp(widths).named_parameters()}


def points() -> Examples:
    """Twelve random points, three classes."""
    rng = torch.Generator().manual_seed(7)
    return Examples(torch.randn(12, 5, generator=rng, dtype=torch.float64), torch.arange(12) % 3)


def network(
    values: Values,
    widths: tuple[int, ...] = WIDTHS,
    biases_too: bool = False,
    masks: Masks | None = None,
    initial: Values | None = None,
) -> Network:
    """`values` as a pruner sees them, under masks if there are any; weights prunable, biases only if asked for."""
    module = Mlp(widths).double()
    module.load_state_dict(values)
    prunable = {n: v for n, v in values.items() if biases_too or n.endswith("weight")}
    kept = masks or {n: torch.ones_like(v, dtype=torch.bool) for n, v in prunable.items()}
    others = {n: v for n, v in values.items() if n not in prunable}
    first = None if initial is None else {n: initial[n] for n in prunable}
    shown = Masked(tuple(prunable), prunable, kept)
    return Network(module, shown, others, kept, (widths[0],), widths[-1], initial=first)


def loss(values: Mapping[str, Tensor], examples: Examples, temperature: float = 1.0) -> float:
    """Mean cross-entropy of the MLP, written in numpy."""
    h = examples.inputs.numpy()
    depth = len(values) // 2
    for i in range(1, depth + 1):
        h = h @ values[f"fc{i}.weight"].numpy().T + values[f"fc{i}.bias"].numpy()
        h = np.maximum(h, 0) if i < depth else h / temperature
    picked = h[np.arange(len(h)), examples.labels.numpy()]
    return float(np.mean(np.log(np.exp(h).sum(1)) - picked))


def moved(values: Values, name: str, index: tuple[int, ...], factor: float) -> Values:
    """`values` with one entry multiplied by `factor`."""
    changed = {n: v.clone() for n, v in values.items()}
    changed[name][index] *= factor
    return changed


def entries(values: Mapping[str, Tensor]) -> list[tuple[str, tuple[int, ...]]]:
    """(name, index) of every single weight."""
    return [(name, index) for name, value in values.items() for index in np.ndindex(*value.shape)]
