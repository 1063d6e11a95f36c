"""Small image data sets and their augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmark.datasets.dataset import Dataset

CROP: dict[str, Any] = {
    "crop_padding": 2,
    "padded_with": "black",
    "flip": "horizontal-half",
    "order": "crop-then-flip",
}


def pictures(count: int = 90, seed: int = 0) -> Dataset:
    """8x8 colour noise around four class pictures, stored as bytes."""
    rng = np.random.default_rng(seed)
    centres, labels = rng.integers(0, 256, (4, 3, 8, 8)), np.arange(count + 40) % 4
    noisy = (centres[labels] * 0.4 + rng.integers(0, 256, (len(labels), 3, 8, 8)) * 0.6).astype(np.uint8)
    x, y = torch.from_numpy(noisy), torch.from_numpy(labels)
    return Dataset("pictures", x[:count], y[:count], x[count:], y[count:], 4, "digest")
