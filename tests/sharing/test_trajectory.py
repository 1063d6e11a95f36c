"""First losses: rounding stays within the bound that is derived for it, and another training does not."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.protocols import Protocol
from benchmark.sharing.trajectory import FIRST_UPDATES, early_differences, tolerance
from benchmark.utils.npz import pack


def curves(losses: list[float], steps: tuple[int, ...] = (0, 1, 20)) -> bytes:
    """A file of curves with these test losses."""
    at = np.asarray(steps, np.int32)
    loss = np.asarray(losses, np.float32)
    return pack({"steps": at, "test_steps": at, "test_loss": loss, "test_accuracy_percent": 50 * loss})


def test_the_bound_is_the_sum_of_inputs_times_rounding(tiny_protocol: Protocol) -> None:
    inputs = sum(shape[1] for shape in tiny_protocol.pruning.prunable.values() if len(shape) == 2)
    assert tolerance(tiny_protocol, 0) == pytest.approx(8 * inputs / 2**24)
    assert tolerance(tiny_protocol, 1) == pytest.approx(3 * tolerance(tiny_protocol, 0))


def test_early_losses_may_differ_by_rounding_and_late_ones_by_anything(tiny_protocol: Protocol) -> None:
    most = tolerance(tiny_protocol, 0)
    first, near = curves([2.0, 1.5, 1.0]), curves([2.0 * (1 + most / 2), 1.5, 3.0])
    assert not list(early_differences(tiny_protocol, first, near))
    (line,) = early_differences(tiny_protocol, first, curves([2.0 * (1 + 4 * most), 1.5, 1.0]))
    assert line.startswith("test_loss after 0 updates is ")
    (line,) = early_differences(tiny_protocol, first, curves([2.0, 1.5, 1.0], (0, 2, 20)))
    assert "other steps" in line
    late = (FIRST_UPDATES + 1, FIRST_UPDATES + 2, FIRST_UPDATES + 3)
    assert not list(early_differences(tiny_protocol, curves([2, 1, 1], late), curves([9, 9, 9], late)))


def test_a_loss_that_is_no_number_or_missing_agrees_with_none(tiny_protocol: Protocol) -> None:
    nan = float("nan")
    good, bad = curves([2.0, 1.5, 1.0]), curves([nan, 1.5, 1.0])
    for recorded, again in ((bad, good), (good, bad)):
        (line,) = early_differences(tiny_protocol, recorded, again)
        assert "after 0 updates" in line
    assert not list(early_differences(tiny_protocol, bad, bad))
    (line,) = early_differences(tiny_protocol, curves([2.0]), good)
    assert "fewer values than steps" in line


def test_a_network_in_other_instructions_agrees_and_another_one_does_not() -> None:
    """LeNet's size: float32 products in another order of their terms, against another initialisation."""
    import torch
    from torch.nn.functional import cross_entropy

    from benchmark import protocols

    protocol = protocols.load("lth/lenet-mnist")
    rng = torch.Generator().manual_seed(0)
    layers = [torch.randn(n, m, generator=rng) * (2 / (n + m)) ** 0.5 for n, m in ((784, 300), (300, 100), (100, 10))]
    inputs, labels = torch.rand(500, 784, generator=rng), torch.randint(10, (500,), generator=rng)

    def loss(order: bool, scale: float = 1.0) -> float:
        x = inputs
        for weight in layers:
            turn = torch.arange(len(weight) - 1, -1, -1) if order else torch.arange(len(weight))
            x = torch.relu(x[:, turn] @ (scale * weight)[turn])
        return float(cross_entropy(x, labels))

    exact = loss(False)
    assert abs(loss(True) - exact) / exact <= tolerance(protocol, 0)
    assert abs(loss(False, 1.1) - exact) / exact > tolerance(protocol, 0)
