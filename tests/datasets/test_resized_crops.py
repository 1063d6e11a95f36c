"""Crops of random size and shape, enlarged: against one image and one pixel at a time, PIL, and the law they have."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmark.datasets.augment import Preparation, augmentation_table, drawn
from benchmark.protocols.recipe import AugmentationSpec
from benchmark.utils.seeding import stream

RESIZED: dict[str, Any] = {
    "crop_padding": 0, "padded_with": "black", "flip": "horizontal-half", "order": "crop-then-flip",
    "resized": {"area": [0.1, 1.0], "aspect": [0.8, 1.25]},
}  # fmt: skip
SPEC = AugmentationSpec.model_validate_json(json.dumps(RESIZED))
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)


def slowly(image: NDArray[np.float64], box: list[int], flip: bool) -> NDArray[np.float64]:
    """One image (channels, h, w), pixel by pixel: weights of a tent around each output pixel's place in the crop."""
    top, left, rows, columns = box
    crop = image[:, top : top + rows, left : left + columns]
    out = np.empty_like(image)
    height, width = image.shape[1:]
    for y in range(height):
        for x in range(width):
            down, along = (y + 0.5) * rows / height - 0.5, (x + 0.5) * columns / width - 0.5
            near = [max(0.0, 1 - abs(down - row)) for row in range(-1, rows + 1)]
            beside = [max(0.0, 1 - abs(along - column)) for column in range(-1, columns + 1)]
            out[:, y, x] = sum(
                a * b * crop[:, min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)]
                for row, a in zip(range(-1, rows + 1), near, strict=True) if a
                for column, b in zip(range(-1, columns + 1), beside, strict=True) if b
            )  # fmt: skip
    return out[:, :, ::-1] if flip else out


def test_a_batch_is_its_images_one_by_one() -> None:
    stored = torch.randint(0, 256, (12, 3, 9, 8), dtype=torch.uint8, generator=stream(0, "pixels"))
    prepare = Preparation(MEAN, STD, SPEC)
    crops, flips = augmentation_table(SPEC, 0, 0, len(stored), stored.shape)
    crops[0], crops[1] = torch.tensor([3, 2, 1, 1]), torch.tensor([0, 0, 9, 8])  # one pixel, and the whole
    got = prepare.augmented(stored, crops, flips)
    assert got.shape == stored.shape
    for i, image in enumerate(stored.double().numpy()):
        cropped = slowly(image / 255, crops[i].tolist(), bool(flips[i]))
        expected = (cropped - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
        assert got[i].numpy() == pytest.approx(expected, abs=1e-4)
    whole = torch.tensor([[0, 0, 9, 8]]).expand(len(stored), 4)
    assert torch.equal(prepare.augmented(stored, whole, torch.zeros(12, dtype=torch.bool)), prepare(stored))


def test_it_is_what_pil_makes_of_the_crop() -> None:
    images = pytest.importorskip("PIL.Image")
    stored = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8, generator=stream(1, "pixels"))
    crops, _ = drawn(SPEC, 8, stored.shape, stream(1, "crops"))
    got = Preparation(augmentation=SPEC).augmented(stored, crops, torch.zeros(8, dtype=torch.bool))
    for image, (top, left, rows, columns), mine in zip(stored, crops.tolist(), got, strict=True):
        box = (left, top, left + columns, top + rows)
        theirs = images.fromarray(image.permute(1, 2, 0).numpy()).crop(box).resize((64, 64), images.Resampling.BILINEAR)
        assert np.abs(mine.permute(1, 2, 0).numpy() * 255 - np.asarray(theirs)).max() < 1.01  # rounded twice


def test_crops_have_the_law_that_is_stated() -> None:
    crops, flips = drawn(SPEC, 20_000, (3, 64, 64), stream(0, "augment"))
    top, left, rows, columns = crops.double().unbind(1)
    assert bool(((crops >= 0).all(1) & (top + rows <= 64) & (left + columns <= 64)).all())
    assert 9700 < int(flips.sum()) < 10_300
    share, aspect = rows * columns / 64**2, columns / rows
    assert bool(((share > 0.09) & (aspect > 0.75) & (aspect < 1.34)).all())
    small = (share > 0.15) & (share < 0.55)  # every shape fits there, so nothing was drawn again
    # Evenly in area: as many between .15 and .35 as up to .55; the logarithm of the aspect is centred on 0.
    below = (share[small] < 0.35).double().mean().item()
    assert below == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(int(small.sum())))
    logs = aspect[small].log()
    even = 2 * math.log(1.25) / math.sqrt(12)
    assert logs.std().item() == pytest.approx(even, rel=0.05)
    assert abs(logs.mean().item()) < 4 * even / math.sqrt(len(logs))
    assert (top[small] / (64 - rows[small])).mean().item() == pytest.approx(0.5, abs=0.02)
    assert (left[small] / (64 - columns[small])).mean().item() == pytest.approx(0.5, abs=0.02)
    assert 0 < (share == 1).double().mean().item() < 0.05


def test_an_image_is_taken_whole_where_nothing_fits() -> None:
    flat = SPEC.model_copy(update={"resized": SPEC.resized.model_copy(update={"area": (1.0, 1.0)})})  # type: ignore[union-attr]
    crops, _ = drawn(flat, 200, (3, 8, 64), stream(0, "augment"))  # no crop of that area is as wide as high
    assert crops.tolist() == [[0, 0, 8, 64]] * 200


def test_tables_are_drawn_per_seed_and_epoch() -> None:
    tables = [
        augmentation_table(SPEC, seed, epoch, 50, (3, 64, 64))[0] for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))
    ]
    assert torch.equal(tables[0], tables[3])
    assert not torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"crop_padding": 4}, "crop_padding: 0"),
        ({"order": "flip-then-crop"}, "order: crop-then-flip"),
        ({"resized": {"area": (0.5, 1.1), "aspect": (0.8, 1.25)}}, "more than there is"),
        ({"resized": {"area": (0.5, 0.1), "aspect": (0.8, 1.25)}}, "lowest first"),
        ({"resized": {"area": (0.1, 1.0), "aspect": (1.1, 1.25)}}, "a range around 1"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        AugmentationSpec.model_validate({**SPEC.model_dump(), **change})
