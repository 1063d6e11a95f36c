"""Denoising by an untrained generator: the one training label is the noisy image, the one test label the clean one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmark.tasks.task import TASKS, MetricSpec, Task

if TYPE_CHECKING:
    from torch import Tensor


@TASKS.register("denoising")
class Denoising(Task):
    """Mean squared error of the sigmoid of the outputs, in float32 or wider, and the PSNR that it means: dB.

    PSNR = -10 log10(mean squared error), for images in [0, 1] (`data_range` 1). No validation image: early stopping is
    what the methods do without, so the best PSNR against the clean image is the peak, which nobody could stop at.

    `outputs`: (n, channels, height, width), before the sigmoid; `labels`: images of that shape, in [0, 1].
    """

    declared = (
        MetricSpec("loss", "squared error", "lower", "loss"),
        MetricSpec("psnr", "dB", "higher", "psnr"),
    )
    early_stop = "loss"

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """() mean squared error over images, channels and pixels."""
        return ((_image(outputs) - labels) ** 2).mean()

    def metrics(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Sums over images of the mean squared error of each, and of its PSNR."""
        errors = ((_image(outputs) - labels) ** 2).mean((-3, -2, -1))
        return {"loss": errors.sum(-1), "psnr": (-10 * errors.log10()).sum(-1)}


def _image(outputs: Tensor) -> Tensor:
    return (outputs if outputs.element_size() >= 4 else outputs.float()).sigmoid()
