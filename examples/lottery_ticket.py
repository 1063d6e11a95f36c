"""A lottery ticket from start to end on one page: MNIST-1D, an MLP, five rounds of iterative magnitude pruning.

    python examples/lottery_ticket.py [SEED]

Frankle & Carbin (arXiv 1803.03635), section 2: train a network, remove the smallest weights, rewind what is left to its
initial values, and train again. The winning ticket is compared with a random mask of the same size in each layer.
The setting is that of Greydanus & Kobak (arXiv 2011.14439, notebook "lottery-tickets"), but for fewer, larger rounds.

Only torch, numpy and the `mnist1d` package are used. Lotterybench runs this same experiment as protocols, in parallel,
with records; tests/golden/test_example.py holds its numbers against this file.
"""

from __future__ import annotations

import hashlib
import math
import sys

import numpy as np
import torch
from mnist1d.data import get_dataset_args, make_dataset
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, relu

Weights = dict[str, Tensor]
Masks = dict[str, Tensor]
WIDTHS = (40, 500, 500, 10)
LAYERS = ("fc1", "fc2", "fc3")
STEPS, BATCH, RATE = 1501, 100, 0.02
DENSITIES = (0.5, 0.25, 0.125, 0.0625, 0.03125)  # fraction of every layer that remains after each round


def generator(seed: int, purpose: str) -> torch.Generator:
    """A random stream for one purpose, so that no draw depends on which others came before it."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training inputs (4000, 40) and labels (4000,), test inputs (1000, 40) and labels (1000,)."""
    made = make_dataset(get_dataset_args())
    inputs = [torch.from_numpy(np.asarray(made[key]).round(6).astype(np.float32)) for key in ("x", "x_test")]
    labels = [torch.from_numpy(np.asarray(made[key]).astype(np.int64)) for key in ("y", "y_test")]
    return inputs[0], labels[0], inputs[1], labels[1]


def initial_weights(seed: int) -> Weights:
    """Every weight and bias from U(-1/sqrt(inputs), 1/sqrt(inputs)), as torch.nn.Linear draws them."""
    rng, weights = generator(seed, "init"), Weights()
    for layer, inputs, outputs in zip(LAYERS, WIDTHS, WIDTHS[1:], strict=False):
        for name, shape in ((f"{layer}.weight", (outputs, inputs)), (f"{layer}.bias", (outputs,))):
            weights[name] = (torch.rand(shape, generator=rng) * 2 - 1) / math.sqrt(inputs)
    return weights


def network(weights: Weights, x: Tensor) -> Tensor:
    """Logits (n, 10): h = relu(W1 x + b1); h = h + relu(W2 h + b2); W3 h + b3."""
    h = relu(linear(x, weights["fc1.weight"], weights["fc1.bias"]))
    h = h + relu(linear(h, weights["fc2.weight"], weights["fc2.bias"]))
    return linear(h, weights["fc3.weight"], weights["fc3.bias"])


def train(start: Weights, masks: Masks, inputs: Tensor, labels: Tensor, steps: int = STEPS) -> Weights:
    """The weights after `steps` Adam updates on consecutive batches; what a mask removes stays exactly zero."""
    weights = {name: (start[name] * masks[name]).requires_grad_() for name in start}
    optimizer = torch.optim.Adam(weights.values(), lr=RATE, fused=True)
    per_epoch = len(inputs) // BATCH
    for step in range(steps):
        batch = slice(step % per_epoch * BATCH, (step % per_epoch + 1) * BATCH)
        loss = cross_entropy(network(weights, inputs[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        for name, weight in weights.items():
            weight.grad.mul_(
                masks[name]
            )  # a zero gradient from the start leaves Adam's moments, and the weight, at zero
        optimizer.step()
    return {name: weight.detach() for name, weight in weights.items()}


def keep_largest(scores: Weights, masks: Masks, density: float) -> Masks:
    """The `density` of each layer, weights and bias as one, with the largest scores among what `masks` keep."""
    smaller = Masks()
    for layer in LAYERS:
        names = (f"{layer}.weight", f"{layer}.bias")
        flat = torch.cat([scores[name].where(masks[name], -torch.inf).flatten() for name in names])
        best = flat.argsort(descending=True, stable=True)[: round(density * len(flat))]
        kept = torch.zeros(len(flat), dtype=torch.bool).index_fill_(0, best, True)
        parts = kept.split([scores[name].numel() for name in names])
        smaller |= {name: part.view_as(scores[name]) for name, part in zip(names, parts, strict=True)}
    return smaller


def accuracy(weights: Weights, inputs: Tensor, labels: Tensor) -> float:
    """Percent of examples classified right."""
    return 100 * (network(weights, inputs).argmax(1) == labels).double().mean().item()


def main(seed: int = 0) -> None:
    """Print the test accuracy of the dense network, of each round's ticket, and of a random mask like the last."""
    torch.set_num_threads(1)  # two cores with two threads are slower on matrices this small
    torch.set_flush_denormal(True)
    x, y, x_test, y_test = data()
    initial = initial_weights(seed)
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in initial.items()}
    weights = train(initial, masks, x, y)
    print(f"dense network        100.0 % of the weights: {accuracy(weights, x_test, y_test):5.1f} % test accuracy")
    for number, density in enumerate(DENSITIES, start=1):
        masks = keep_largest({name: weight.abs() for name, weight in weights.items()}, masks, density)
        weights = train(initial, masks, x, y)  # rewound: the ticket's own initial weights
        print(f"ticket of round {number}    {density:6.1%} of the weights: {accuracy(weights, x_test, y_test):5.1f} %")
    rng = generator(seed, "random mask")
    noise = {name: torch.rand(weight.shape, generator=rng) for name, weight in initial.items()}
    everything = {name: torch.ones_like(mask) for name, mask in masks.items()}
    weights = train(initial, keep_largest(noise, everything, DENSITIES[-1]), x, y)
    print(f"random mask          {DENSITIES[-1]:6.1%} of the weights: {accuracy(weights, x_test, y_test):5.1f} %")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
