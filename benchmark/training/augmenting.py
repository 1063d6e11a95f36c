"""Which crop and flip each training image gets: tables drawn per epoch from the replica's own stream."""

from __future__ import annotations

from torch import Tensor

from benchmark.datasets.preparing import drawn
from benchmark.spec.data import AugmentationSpec
from benchmark.streams import stream


def augmentation_table(spec: AugmentationSpec, seed: int, epoch: int, examples: int) -> tuple[Tensor, Tensor]:
    """(offsets (examples, 2) int64 in 0..2 * padding, flips (examples,) bool) of one epoch.

    Row i is for the i-th example in the epoch's order. A function of (seed, epoch), so any step can be resumed at,
    and methods of one seed see the same augmented images.
    """
    return drawn(spec, examples, stream(seed, "augment", epoch))
