"""Data that nobody planted a network for: two digits to be told apart, and one image as a function of its coordinates.

The paper's experiments beside the planted ones (arXiv 2509.20323, abstract and README: MNIST of two digits, implicit
neural representation of one test image). Labels are real numbers of one output, as in `planted`; all are at least 0,
because refreshed patterns represent units with positive output weights only. Float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from benchmark.analyses.recovery.planted import shape_of
from benchmark.analyses.setting import Setting
from benchmark.datasets.dataset import Dataset
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import portable_normals

TWO_DIGITS = (4, 9)
FIRST = 2000  # of the training images of these digits, as stored
IMAGE = 1000  # of the test images
SIGMA = 2.0  # of the Fourier features' frequencies, in cycles over the image
BOUNDARY = 0.5  # outputs above it mean the second digit


@dataclass(frozen=True)
class Problem:
    """Inputs (n, d) with labels (n,), and those held out, (n', d) and (n',); None where the fit itself is judged."""

    inputs: Tensor
    labels: Tensor
    held_out: tuple[Tensor, Tensor] | None

    task: ClassVar[str] = "sparse-recovery"

    def test_accuracy(self, outputs: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Percent of the held-out examples on the right side of the boundary, by name; nothing if none are."""
        if self.held_out is None:
            return {}
        inputs, labels = self.held_out
        return {"test_accuracy": 100 * float(((outputs(inputs) > BOUNDARY) == (labels > BOUNDARY)).double().mean())}


def two_digits(data: Dataset, width: int, rng: Generator) -> Problem:  # noqa: ARG001 - as `image`
    """The first `FIRST` training images of two digits, flat as the network reads them: the first digit is labelled 0,
    the second 1. Held out are all test images of the two."""
    first, second = TWO_DIGITS

    def part(images: Tensor, digits: Tensor, count: int | None) -> tuple[Tensor, Tensor]:
        chosen = ((digits == first) | (digits == second)).nonzero()[:count, 0]
        return data.prepare(images[chosen]).flatten(1).double(), (digits[chosen] == second).double()

    inputs, labels = part(data.train_inputs, data.train_labels, FIRST)
    return Problem(inputs, labels, part(data.test_inputs, data.test_labels, None))


def image(data: Dataset, width: int, rng: Generator) -> Problem:
    """The pixels of one test image, in [0, 1], by `width` Fourier features of their places.

    cos(2 pi B x) and sin(2 pi B x), x in [0, 1]^2 the middle of a pixel, B (width / 2, 2) normal with deviation
    `SIGMA`. Raises BadInput if `width` is odd or images are not square.
    """
    if width % 2:
        raise BadInput(f"{width} Fourier features", "come as pairs of cosine and sine", "Use an even first width")
    pixels = data.prepare(data.test_inputs[IMAGE : IMAGE + 1]).flatten().double()
    side = math.isqrt(len(pixels))
    if side**2 != len(pixels):
        raise BadInput(f"{data.name}", f"holds images of {len(pixels)} numbers, no square", "Use grey square images")
    middles = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    places = torch.cartesian_prod(middles, middles)
    angles = 2 * math.pi * SIGMA * places @ portable_normals((width // 2, 2), rng).double().T
    return Problem(torch.cat([angles.cos(), angles.sin()], 1), pixels, None)


PROBLEMS: dict[str, Callable[[Dataset, int, Generator], Problem]] = {"two-digits": two_digits, "image": image}


def known(problem: str) -> str:
    """The name, if there is such a problem. Raises ValueError if not."""
    if problem not in PROBLEMS:
        raise ValueError(f"problem '{problem}' is none of {', '.join(PROBLEMS)}")
    return problem


def problem_of(setting: Setting, name: str) -> Problem:
    """The problem of a cell's seed; the same for every analysis that looks at it. Raises BadInput without data."""
    if setting.data is None:
        raise BadInput(
            f"{setting.protocol.id}: data", "is none, and the analysis fits images", "Name an image data set"
        )
    _, width = shape_of(setting.protocol)
    return PROBLEMS[name](setting.data, width, setting.rng("features"))
