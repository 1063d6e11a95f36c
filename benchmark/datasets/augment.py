"""From stored examples to what a network reads: scaled as the protocol says, cropped and flipped by drawn tables.

Which crop and flip each training image gets is drawn for a whole epoch, from the replica's own stream.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from benchmark.protocols.recipe import AugmentationSpec
from benchmark.utils.seeding import stream


def drawn(spec: AugmentationSpec, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """What `count` images go through: offsets (count, 2) int64 in 0..2 * padding, flips (count,) bool."""
    offsets = torch.randint(0, 2 * spec.crop_padding + 1, (count, 2), generator=generator)
    flips = torch.rand(count, generator=generator) < 0.5
    return offsets, flips if spec.flip == "horizontal-half" else torch.zeros_like(flips)


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

    def augmented(self, stored: Tensor, offsets: Tensor, flips: Tensor) -> Tensor:
        """Cropped and flipped images as float32.

        `stored`: (n, channels, h, w); `offsets`: (n, 2), row and column of the crop's corner in the padded image, 0
        to 2 * padding; `flips`: (n,), bool. Every image is gathered once, whatever its draw, so a batch costs the
        same on every device and needs no loop.
        """
        spec = self.augmentation
        assert spec is not None  # the caller draws tables only where the protocol augments
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


def augmentation_table(spec: AugmentationSpec, seed: int, epoch: int, examples: int) -> tuple[Tensor, Tensor]:
    """(offsets (examples, 2) int64 in 0..2 * padding, flips (examples,) bool) of one epoch.

    Row i is for the i-th example in the epoch's order. A function of (seed, epoch), so any step can be resumed at,
    and methods of one seed see the same augmented images.
    """
    return drawn(spec, examples, stream(seed, "augment", epoch))
