"""Tickets planted in a network's initial weights: sparse networks that solve a task and are there to be found.

Fischer & Burkholz, "Plant 'n' Seek: Can You Find the Winning Ticket?" (ICLR 2022, arXiv 2111.11153). A ticket is made
by formula, not trained. Every unit of it takes the place of a unit whose weights are nearest to its own up to a
positive factor, which ReLU passes on and the next layer divides out. What else the network holds stays random.

Sums are exactly rounded, so the same random weights are planted with the same bits on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum

import torch
from torch import Tensor

from benchmark.datasets.circle import SQUARED_RADII

KNOTS = 10
"""Of the piecewise linear square that the ticket computes of each coordinate."""

Row = tuple[float, ...]


@dataclass(frozen=True)
class Layer:
    """One layer of a ticket: `weights` of each unit (units, inputs), and its `bias`."""

    weights: tuple[Row, ...]
    bias: Row


def square(knots: int = KNOTS) -> tuple[Layer, Row, float]:
    """x^2 on [0, 1] by lines between `knots` even places: units relu(+-(x - place)), their factors, and a constant.

    f(x) = f(x_0) + sum_j (m_j - m_{j-1}) relu(x - x_j), with slopes m_j from a place to the next and m_{-1} = 0. Signs
    alternate, because pruners that look for size only should not find units alike; relu(x - x_j) is relu(x_j - x) +
    x - x_j, of which the line goes into the first unit and the constant.
    """
    places = [number / (knots - 1) for number in range(knots)]
    ends = [*places, places[-1] + places[1]]
    slopes = [(b * b - a * a) / (b - a) for a, b in pairwise(ends)]
    steps = [slopes[0], *(b - a for a, b in pairwise(slopes))]
    signs = [-1.0 if number % 2 and number < knots - 1 else 1.0 for number in range(knots)]
    turned = [(step, place) for step, place, sign in zip(steps, places, signs, strict=True) if sign < 0]
    factors = (steps[0] + fsum(step for step, _ in turned), *steps[1:])
    constant = -fsum(step * place for step, place in turned)
    units = Layer(tuple((sign,) for sign in signs), tuple(-s * p for s, p in zip(signs, places, strict=True)))
    return units, factors, constant


def circle() -> tuple[Layer, ...]:
    """The ticket of the four rings, five layers deep with the input: 4 + 4 + 20 + 80 = 108 weights.

    relu(x), relu(-x) of both coordinates; their absolute values; units of their squares; and for each class a line of
    the sum of squares, of slopes 5, 10, 20 and 40, which cross at the bounds of the rings.
    """
    units, factors, constant = square()
    signs = Layer(((1, 0), (-1, 0), (0, 1), (0, -1)), (0.0,) * 4)
    absolute = Layer(((1, 1, 0, 0), (0, 0, 1, 1)), (0.0, 0.0))
    spread = tuple((weight, 0.0) for (weight,) in units.weights) + tuple((0.0, weight) for (weight,) in units.weights)
    rows, biases, slope, offset = list[Row](), list[float](), 5.0, 0.0
    for bound in (None, *SQUARED_RADII):
        if bound is not None:
            offset, slope = offset - slope * bound, 2 * slope
        rows.append(tuple(slope * factor for factor in factors * 2))
        biases.append(offset + 2 * slope * constant)
    return signs, absolute, Layer(spread, units.bias * 2), Layer(tuple(rows), tuple(biases))


TICKETS: Mapping[str, Callable[[], tuple[Layer, ...]]] = {"circle": circle}
"""Every ticket by what `network.planted` of a protocol says."""


def plant(state: Mapping[str, Tensor], ticket: Sequence[Layer]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(`state` with the ticket in it, masks of the ticket alone), by the names of a fully connected network.

    `state`: `fc1.weight` (units, inputs), `fc1.bias` (units,) and so on, with random values, which stay as they are.
    Outputs keep their places and share one factor, so that the largest stays the largest.
    """
    planted = {name: value.clone() for name, value in state.items()}
    masks = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in state.items()}
    inputs = list(range(len(ticket[0].weights[0])))
    scales = [1.0] * len(inputs)
    for number, layer in enumerate(ticket, start=1):
        weight, bias = f"fc{number}.weight", f"fc{number}.bias"
        wanted = [_Unit.of(row, b, inputs, scales) for row, b in zip(layer.weights, layer.bias, strict=True)]
        values = planted[weight].tolist(), planted[bias].tolist()
        places = _outputs(wanted, *values) if number == len(ticket) else _nearest(wanted, *values)
        for unit, (place, factor) in zip(wanted, places, strict=True):
            for read, value in zip(unit.inputs, unit.weights, strict=True):
                planted[weight][place, read] = factor * value
                masks[weight][place, read] = True
            planted[bias][place] = factor * unit.bias
            masks[bias][place] = unit.bias != 0
        inputs, scales = [place for place, _ in places], [factor for _, factor in places]
    return planted, masks


@dataclass(frozen=True)
class _Unit:
    """What a place of the network must hold, up to a positive factor: the weights of some inputs, and the bias."""

    inputs: tuple[int, ...]
    weights: Row
    bias: float

    @staticmethod
    def of(row: Row, bias: float, inputs: Sequence[int], scales: Sequence[float]) -> _Unit:
        """A ticket's unit, where its inputs lie at `inputs` and are `scales` times as large as they should be."""
        used = [(place, weight / scale) for place, weight, scale in zip(inputs, row, scales, strict=True) if weight]
        return _Unit(tuple(place for place, _ in used), tuple(weight for _, weight in used), bias)

    @property
    def values(self) -> Row:
        """The bias, then the weights."""
        return (self.bias, *self.weights)

    def held(self, row: Sequence[float], bias: float) -> Row:
        """What a place holds of them."""
        return (bias, *(row[place] for place in self.inputs))

    def factor(self, held: Row) -> float:
        """By least squares from the sizes of what is held."""
        products = fsum(abs(a * b) for a, b in zip(held, self.values, strict=True))
        return products / fsum(value * value for value in self.values)

    def distance(self, held: Row) -> float | None:
        """Sum of differences to what is held, with the unit at the same size; None if a sign is another."""
        pairs = list(zip(held, self.values, strict=True))
        if any(a * b <= 0 for a, b in pairs if b):
            return None
        factor = self.factor(held)
        return fsum(abs(a - factor * b) for a, b in pairs)


Places = list[tuple[int, float]]
"""For each unit of a ticket's layer its place in the network, and its factor."""


def _nearest(wanted: Sequence[_Unit], rows: list[list[float]], biases: list[float]) -> Places:
    """A place of its own for every unit: the nearest with its signs, else the first that is free."""
    places, free = Places(), list(range(len(rows)))
    for unit in wanted:
        held = {place: unit.held(rows[place], biases[place]) for place in free}
        near = [(d, place) for place in free if (d := unit.distance(held[place])) is not None]
        place = min(near)[1] if near else free[0]
        free.remove(place)
        places.append((place, unit.factor(held[place])))
    return places


def _outputs(wanted: Sequence[_Unit], rows: list[list[float]], biases: list[float]) -> Places:
    """Outputs where they are, all by the mean of their factors."""
    factors = [unit.factor(unit.held(*held)) for unit, held in zip(wanted, zip(rows, biases, strict=True), strict=True)]
    mean = fsum(factors) / len(factors)
    return [(place, mean) for place in range(len(wanted))]
