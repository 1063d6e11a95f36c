"""How a batch's examples reach the kernels: as bytes or floats the same numbers, whatever is left out or missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmark.datasets.augment import Preparation
from benchmark.training.kernels import program
from benchmark.training.kernels.group import as_bytes
from benchmark.training.kernels.layout import Layout, Shape

UNIT, STANDARDISED = Preparation(), Preparation((0.1307,), (0.3081,))
ROWS, NONE, FLOATS = 37, np.zeros(0, np.uint8), np.array([0, 1], np.float32)


def gathered(data: Any, codes: Any, scale: Any, used: Any, order: Any, first: int, count: int, lanes: int) -> Any:
    """(features, lanes) of a batch, from examples of 40 features."""
    work = np.full(len(used) * lanes, 7.0, np.float32)
    program.gather(work, 0, used, 0, len(used), data, codes, scale, 40, order, first, count, lanes)
    return work.reshape(len(used), lanes)


@pytest.mark.parametrize("prepare", [UNIT, STANDARDISED], ids=["unit", "standardised"])
@pytest.mark.parametrize("held", ["floats", "bytes"])
@pytest.mark.parametrize(
    ("used", "first", "count", "lanes"),
    [
        (range(40), 3, 24, 24),
        (range(40), 30, 7, 24),
        ([*range(8, 16), *range(24, 32)], 0, 13, 16),
        ([*range(32, 40), 1, 5, 6], 5, 20, 24),
        (range(5), 0, 8, 8),
        (range(40), 11, 0, 8),
    ],
)
def test_a_batch_is_what_indexing_gives(
    prepare: Preparation, held: str, used: Any, first: int, count: int, lanes: int
) -> None:
    stored = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (ROWS, 40)).astype(np.uint8))
    floats = prepare(stored).numpy()
    found = as_bytes(stored.flatten().numpy(), floats.ravel(), prepare)
    assert found is not None
    given = (np.zeros(0, np.float32), *found) if held == "bytes" else (floats.ravel(), NONE, FLOATS)
    order, features = np.random.default_rng(1).permutation(ROWS), np.array(used)
    made = gathered(*given, features, order, first, count, lanes)
    assert np.array_equal(made[:, :count], floats[order[first : first + count]][:, features].T)
    assert not made[:, count:].any()


@pytest.mark.parametrize("prepare", [UNIT, STANDARDISED, Preparation((0.5,), (0.25,))], ids=str)
def test_every_byte_gives_its_float(prepare: Preparation) -> None:
    """Also of data sets that hold a byte over 255: no byte is another one's, and none is rounded otherwise."""
    stored = torch.arange(256, dtype=torch.uint8).reshape(32, 8)
    for form in (stored, stored.float() / 255):
        found = as_bytes(form.numpy(), prepare(form).numpy(), prepare)
        assert found is not None
        assert found[0].ravel().tolist() == list(range(256))
    codes, scale = found
    made = np.full(8 * 32, 7.0, np.float32)
    rows = np.arange(32)
    program.gather(made, 0, rows[:8], 0, 8, np.zeros(0, np.float32), codes.ravel(), scale, 8, rows, 0, 32, 32)
    assert np.array_equal(made.reshape(8, 32).T, prepare(stored).numpy())


@pytest.mark.parametrize(
    ("stored", "prepare"),
    [
        (np.array([0.5, 0.1], np.float32), UNIT),
        (np.array([-1.0, 1.0], np.float32), UNIT),
        (np.array([np.nan, 1.0], np.float32), UNIT),
        (np.array([0, 255, 3], np.uint8), Preparation((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))),
        (np.array([0, 255, 3], np.uint8), Preparation(per_image=True)),
    ],
)
def test_other_numbers_stay_floats(stored: Any, prepare: Preparation) -> None:
    floats = stored.astype(np.float32) if stored.dtype != np.uint8 else np.array([0.0, 1.0, 0.3], np.float32)
    assert as_bytes(stored, floats, prepare) is None


def test_what_is_read_comes_in_eights_that_have_a_weight() -> None:
    mask = np.zeros((3, 29), np.bool_)
    mask[0, 3] = mask[2, 26] = mask[1, 28] = True
    layout = Layout(Shape((29, 3)), {"fc1.weight": mask}, 8)
    assert layout.index[layout.used : layout.used + layout.features].tolist() == [*range(8), *range(24, 29)]
