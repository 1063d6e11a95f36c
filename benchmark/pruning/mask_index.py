"""Where masks keep entries, looked for once: a look at every entry takes as long as a product of what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

Places = NDArray[np.int64]
NARROW = 0.25  # density below which taking places out of those that are known beats looking again

_known: Any = WeakIdKeyDictionary()  # mask -> (its version, places)


def places(mask: Tensor) -> Places:
    """(kept,) places of what a boolean mask keeps, in the flat tensor, in order. Not to be changed.

    Known while the mask lives. A change in place is seen as far as torch counts it; the harness makes none.
    """
    found = _found(mask)
    if found is None:
        found = np.flatnonzero(mask.numpy())  # torch.nonzero takes ten times as long
        _remember(mask, found)
    return found


def count(mask: Tensor) -> int:
    """How many entries a boolean mask keeps."""
    found = _found(mask)
    return int(np.count_nonzero(mask.numpy())) if found is None else len(found)


def _found(mask: Tensor) -> Places | None:
    version, found = _known.get(mask, (-1, None))
    return None if found is None or version != mask._version else found


def _remember(mask: Tensor, found: Places) -> None:
    if not mask.is_inference():  # torch counts no changes of these
        _known[mask] = mask._version, found


def only(mask: Tensor, kept: Places) -> Tensor:
    """A mask of the same shape that keeps the entries at places `kept`, in order, and no others."""
    narrower = mask.new_zeros(mask.shape)
    narrower.view(-1).numpy()[kept] = True
    _remember(narrower, kept)
    return narrower


def without(mask: Tensor, dropped: Places, among: NDArray[np.intp] | None = None) -> Tensor:
    """A mask that keeps what `mask` does but for the entries at places `dropped`.

    `among`: where these stand in `places(mask)`, if that is known.
    """
    narrower = mask.clone(memory_format=torch.contiguous_format)
    narrower.view(-1).numpy()[dropped] = False
    if among is not None and len(before := places(mask)) < NARROW * mask.numel():
        _remember(narrower, np.delete(before, among))
    return narrower
