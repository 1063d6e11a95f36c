"""A generated image of 16 x 16 pixels with noise, and a protocol that denoises it in a few updates."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.datasets.source import DataSource, digest_of
from benchmark.protocols import load
from benchmark.protocols.recipe import DATASETS

if TYPE_CHECKING:
    from benchmark.datasets.source import Arrays

SIDE, CHANNELS = 16, 4


@DATASETS.register("tiny-image")
class TinyImage(DataSource):
    """Two flat halves, noise of 0.1, an input of four channels."""

    name = "tiny-image"
    generated = labels_are_images = True

    def read(self, root: Path) -> Arrays:  # noqa: ARG002
        rng = np.random.RandomState(0)
        clean = np.full((1, 3, SIDE, SIDE), 0.3, np.float32)
        clean[..., SIDE // 2 :] = 0.7
        noisy = (clean + 0.1 * rng.standard_normal(clean.shape)).clip(0, 1).astype(np.float32)
        given = (0.1 * rng.random_sample((1, CHANNELS, SIDE, SIDE))).astype(np.float32)
        return given, noisy, given, clean, digest_of(given, noisy, clean)


@DATASETS.register("tiny-turned")
class TinyTurned(TinyImage):
    """The same image and noise, a quarter turned."""

    name = "tiny-turned"

    def read(self, root: Path) -> Arrays:
        given, noisy, _, clean, _ = super().read(root)
        noisy, clean = (np.ascontiguousarray(np.rot90(image, axes=(2, 3))) for image in (noisy, clean))
        return given, noisy, given, clean, digest_of(given, noisy, clean)


def denoising(steps: int = 30) -> dict[str, Any]:
    """The document of oes/pepper-64 with a network of 1,139 parameters: the learned mask beside others at 60 %."""
    document = deepcopy(load("oes/pepper-64").document)
    document["id"], document["data"]["name"] = "tests/denoising", "tiny-image"
    document["network"] |= {"input": [CHANNELS, SIDE, SIDE], "widths": [4], "encoder_kernel": 5}
    document["pruning"]["prunable"] = "parameters"
    document["recipe"]["steps"] = steps
    document["evaluation"] |= {"first": 10, "every": 10, "test_every": 10}
    document["levels"]["densities"] = [0.6]
    for spec in document["methods"].values():
        if spec["levels"] not in ([0], "all"):
            spec["levels"] = [1]
        if spec.get("parameters", {}).get("image"):
            spec["parameters"]["image"] = "tiny-turned"
        if spec.get("learning"):
            spec["learning"]["steps"] = steps
    document["methods"]["synflow"]["schedule"]["rounds"] = 3
    document["seeds"] = [0]
    document["statistics"] |= {"rules": 1, "looks": []}
    document["statistics"]["margins"]["seed_sd_multiple"] = 2.0
    return document
