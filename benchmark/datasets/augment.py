"""From stored examples to what a network reads: scaled as the protocol says, cropped, resized and flipped
by drawn tables.

Which crop and flip each training image gets is drawn for a whole epoch, from the replica's own stream.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from benchmark.protocols.recipe import AugmentationSpec, ResizedCropSpec
from benchmark.utils.seeding import stream

ATTEMPTS = 10


def drawn(spec: AugmentationSpec, count: int, shape: Sequence[int], generator: Generator) -> tuple[Tensor, Tensor]:
    """What `count` images of a shape (..., height, width) go through: crops and flips (count,) bool.

    Crops are offsets (count, 2) int64 in 0..2 * padding; or, where they are resized, (count, 4) int64: first row, first
    column, height and width in the stored image.
    """
    if spec.resized is None:
        crops = torch.randint(0, 2 * spec.crop_padding + 1, (count, 2), generator=generator)
    else:
        crops = _boxes(spec.resized, count, shape[-2], shape[-1], generator)
    flips = torch.rand(count, generator=generator) < 0.5
    return crops, flips if spec.flip == "horizontal-half" else torch.zeros_like(flips)


def _boxes(spec: ResizedCropSpec, count: int, height: int, width: int, generator: Generator) -> Tensor:
    """Crops (count, 4): the first of ten that fit, or the whole image. float64, so that rounding is the formula's."""
    share, shape = torch.rand((2, count, ATTEMPTS), generator=generator, dtype=torch.float64)
    area = height * width * (spec.area[0] + (spec.area[1] - spec.area[0]) * share)
    low, high = map(math.log, spec.aspect)
    aspect = torch.exp(low + (high - low) * shape)
    sides = torch.stack([(area / aspect).sqrt().round(), (area * aspect).sqrt().round()], -1).long()
    whole = torch.tensor([height, width])
    fits = ((sides > 0) & (sides <= whole)).all(-1)
    first = fits.long().argmax(-1)  # 0 where none fits
    chosen = torch.where(fits.any(-1)[:, None], sides[torch.arange(count), first], whole)
    room = whole - chosen + 1
    corner = (torch.rand((count, 2), generator=generator, dtype=torch.float64) * room).long()
    return torch.cat([corner, chosen], 1)


@dataclass(frozen=True)
class Preparation:
    """Scaling and augmentation of one protocol. Bytes become pixel / 255; `mean` and `std` are per channel.

    `per_image`: instead, each image by its own mean and deviation over all of its values, as TensorFlow's
    per_image_standardization: the deviation is at least 1 / sqrt(values) in units of a byte, for images of one colour.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    augmentation: AugmentationSpec | None = None
    per_image: bool = False

    def __call__(self, stored: Tensor) -> Tensor:
        """Examples (n, ...) as float32. Floats without a mean come back as they are, uncopied."""
        floats = stored if stored.is_floating_point() else stored.to(torch.float32).div_(255)
        if self.per_image:
            return _by_itself(floats)
        if self.mean is None or self.std is None:
            return floats
        shape = (floats.dim(), floats.dtype, floats.device)
        return (floats - _per_channel(self.mean, *shape)) / _per_channel(self.std, *shape)

    def augmented(self, stored: Tensor, crops: Tensor, flips: Tensor) -> Tensor:
        """Cropped and flipped images as float32.

        `stored`: (n, channels, h, w); `crops` and `flips` as `drawn` gives them. Every image is gathered once, or four
        times where it is resized, whatever its draw, so a batch costs the same on every device and needs no loop.
        """
        spec = self.augmentation
        assert spec is not None  # the caller draws tables only where the protocol augments
        return (
            self._shifted(spec, stored, crops, flips) if spec.resized is None else self._resized(stored, crops, flips)
        )

    def _shifted(self, spec: AugmentationSpec, stored: Tensor, offsets: Tensor, flips: Tensor) -> Tensor:
        """Crops of the images' own size; `offsets`: (n, 2), row and column of the corner in the padded image."""
        margin, (count, _, height, width) = spec.crop_padding, stored.shape
        images = stored if spec.padded_with == "black" else self(stored)
        images = pad(images, (margin,) * 4)
        along = torch.arange(width, device=stored.device)
        rows = offsets[:, :1] + torch.arange(height, device=stored.device)
        columns = offsets[:, 1:] + along
        if spec.order == "crop-then-flip":
            mirrored = offsets[:, 1:] + along.flip(0)
        else:
            mirrored = width + 2 * margin - 1 - columns
        columns = torch.where(flips[:, None], mirrored, columns)
        each = torch.arange(count, device=stored.device)
        cropped = images[each[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (n, h, w, channels)
        cropped = cropped.permute(0, 3, 1, 2).contiguous()
        return self(cropped) if spec.padded_with == "black" else cropped

    def _resized(self, stored: Tensor, boxes: Tensor, flips: Tensor) -> Tensor:
        """Crops `boxes` (n, 4) enlarged to the images' size, then flipped.

        Bilinear, pixels as areas: the centre of output pixel y is (y + 1/2) h / H - 1/2 in a crop of h rows, and beyond
        the outermost centres the crop goes on as at its edge. As torchvision on PIL images, but for PIL's rounding to
        bytes: a crop is never larger than what it is enlarged to, so nothing is averaged away.
        """
        floats = stored if stored.is_floating_point() else stored.to(torch.float32).div_(255)
        (_, channels, height, width), (top, left, rows, columns) = stored.shape, boxes.unbind(1)
        upper, lower, down = _between(top, rows, height, torch.zeros_like(flips))
        first, second, along = _between(left, columns, width, flips)
        wide = (-1, channels, -1, width)
        h = floats.gather(2, upper[:, None, :, None].expand(wide))
        h = torch.lerp(h, floats.gather(2, lower[:, None, :, None].expand(wide)), down[:, None, :, None])
        tall = (-1, channels, height, -1)
        at_first = h.gather(3, first[:, None, None, :].expand(tall))
        at_second = h.gather(3, second[:, None, None, :].expand(tall))
        return self(torch.lerp(at_first, at_second, along[:, None, None, :]))


def _between(start: Tensor, size: Tensor, pixels: int, mirrored: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each of so many output pixels along one side, of n crops: the two stored pixels that it lies between, and
    how far it is from the first (n, pixels). `start`, `size`: (n,) of the crop; `mirrored`: (n,), whether it is turned.
    """
    places = torch.arange(pixels, device=start.device)
    places = torch.where(mirrored[:, None], places.flip(0), places)
    centre = ((places + 0.5) * (size[:, None] / pixels) - 0.5).clamp(min=0)
    low = torch.minimum(centre.long(), size[:, None] - 1)
    high = torch.minimum(low + 1, size[:, None] - 1)
    return start[:, None] + low, start[:, None] + high, (centre - low).to(torch.float32)


def _by_itself(images: Tensor) -> Tensor:
    """Every image (n, ...) minus its mean, over its deviation."""
    own = tuple(range(1, images.dim()))
    centred = images - images.mean(own, keepdim=True)
    least = 1 / (255 * math.sqrt(images[0].numel())) if len(images) else 1.0
    return centred / centred.square().mean(own, keepdim=True).sqrt().clamp(min=least)


@lru_cache(maxsize=32)
def _per_channel(values: tuple[float, ...], dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One value per channel, shaped for (n, channels, ...).

    Made once: a captured CUDA graph may not copy from the host.
    """
    return torch.tensor(values, dtype=dtype, device=device).reshape((1, -1, 1, 1) if dim == 4 else (1, -1))


def augmentation_table(
    spec: AugmentationSpec, seed: int, epoch: int, examples: int, shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Crops and flips of one epoch, of images of a shape, as `drawn` gives them.

    Row i is for the i-th example in the epoch's order. A function of (seed, epoch), so any step can be resumed at,
    and methods of one seed see the same augmented images.
    """
    return drawn(spec, examples, shape, stream(seed, "augment", epoch))
