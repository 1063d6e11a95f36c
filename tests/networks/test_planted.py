"""Planted tickets: the formula by itself, in a network of random weights, and what it has to do with the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchmark.datasets.circle import SQUARED_RADII, Circle
from benchmark.networks import initial_state, make
from benchmark.networks.planted import circle, plant, square
from benchmark.protocols.network import MlpSpec
from benchmark.utils.seeding import stream

WIDTHS = (2, 100, 100, 100, 4)
FIELDS = {"name": "mlp", "initialiser": "kaiming-normal-fan-in", "bias": "normal-by-depth", "widths": WIDTHS}


def random_state(seed: int = 0) -> dict[str, torch.Tensor]:
    spec = MlpSpec.model_validate(FIELDS)
    return initial_state(make(spec), spec, stream(seed, "init"), "portable")


def points() -> tuple[torch.Tensor, np.ndarray]:
    x, y, more, labels, _ = Circle().read(None)  # type: ignore[arg-type]
    return torch.from_numpy(np.concatenate([x, more])), np.concatenate([y, labels])


def test_the_square_is_that_of_lines_between_its_places() -> None:
    units, factors, constant = square(10)
    for x in np.linspace(0, 1, 101):
        found = constant + sum(
            factor * max(0.0, weight * x + bias)
            for factor, (weight,), bias in zip(factors, units.weights, units.bias, strict=True)
        )
        assert found == pytest.approx(np.interp(x, np.linspace(0, 1, 10), np.linspace(0, 1, 10) ** 2), abs=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_planted_ticket_solves_the_task_in_any_network(seed: int) -> None:
    """108 of 20,600 weights, the count that shared published/plantnseek gives; only noise is named wrongly."""
    before = random_state(seed)
    state, masks = plant(before, circle())
    module = make(MlpSpec.model_validate(FIELDS))
    module.load_state_dict({name: value * masks[name] for name, value in state.items()})
    x, labels = points()
    with torch.no_grad():
        answers = module(x).argmax(1).numpy()
    rings = ((x.double().numpy() ** 2).sum(1)[:, None] >= np.array(SQUARED_RADII)).sum(1)
    assert (answers == rings).mean() > 0.985
    assert (answers == labels).mean() > (rings == labels).mean() - 0.015
    weights = sum(int(mask.sum()) for name, mask in masks.items() if name.endswith("weight"))
    assert weights == 108
    assert sum(value.numel() for name, value in state.items() if name.endswith("weight")) == 20_600
    for name, value in before.items():  # nothing else was touched, but the biases of the ticket's units without one
        moved = (state[name] != value) & ~masks[name]
        assert not moved.any() or name.endswith("bias")
        assert (state[name][moved] == 0).all()


def test_a_network_with_a_ticket_is_the_same_random_network_elsewhere() -> None:
    spec = MlpSpec.model_validate({**FIELDS, "planted": "circle"})
    planted = initial_state(make(spec), spec, stream(3, "init"), "portable")
    expected, masks = plant(random_state(3), circle())
    assert all(torch.equal(planted[name], expected[name]) for name in expected)
    shares = [float((planted[name] != random_state(3)[name]).double().mean()) for name in ("fc1.weight", "fc2.weight")]
    assert shares[0] <= 4 / 200
    assert shares[1] <= 4 / 10_000
    sizes = planted["fc2.weight"][masks["fc2.weight"]].abs()
    assert float(sizes.min()) > 0.01  # of the size of the weights around them, sd 0.141
    assert float(sizes.max()) < 1


def test_only_networks_that_hold_a_ticket_take_one() -> None:
    for widths in ((2, 100, 100, 4), (3, 100, 100, 100, 4), (2, 100, 19, 100, 4)):
        with pytest.raises(ValidationError, match="planted: circle is of an mlp of widths"):
            MlpSpec.model_validate({**FIELDS, "widths": widths, "planted": "circle"})
