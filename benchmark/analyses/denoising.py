"""Denoising by a pruned generator: how well it ends, how well it could have ended, and where its weights are.

An untrained network that has more weights than the image has numbers first learns the image, then the noise; the paper
asks whether the right few weights cannot learn the noise (Ghosh et al. 2024, arXiv 2406.05288).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.setting import Setting
from benchmark.datasets.dataset import Dataset
from benchmark.protocols.analysis import ANALYSES
from benchmark.pruning.interface import Masks

ENCODER, DECODER = ("down",), ("up", "final")
"""How the names of convolutions begin in either half of the hourglass."""


@ANALYSES.register("denoising")
class Denoising(Analysis):
    """Trains the network under the mask by the protocol's recipe and follows its PSNR against the clean image.

    `image`: a data set with another image, to which the mask of the protocol's own is transferred, weights initial.

    `psnr_final`: after the last update; `psnr_peak`: the best of all evaluations, at `peak_step`; `psnr_drop`: what
    the last is below that. `psnr_noisy`: of the noisy image itself. Densities of convolution weights, without biases
    and batch norm, whose first values make masking them cheap: of a shift or bias that is 0, or that batch norm takes
    away again. Level 0 is the whole network. Beside the record: PSNR by update, `density` of every convolution in the
    network's order, and `image`, (3, height, width) bytes, what the network gives at the end.
    """

    paper = "Ghosh et al. 2024, Optimal Eye Surgeon, arXiv 2406.05288"
    units: ClassVar[Mapping[str, str]] = {
        "psnr_final": "dB",
        "psnr_peak": "dB",
        "psnr_drop": "dB",
        "peak_step": "updates",
        "psnr_noisy": "dB",
        "encoder_density": "fraction",
        "decoder_density": "fraction",
        "decoder_to_encoder": "ratio",
        "scale_density": "fraction",
        "weights": "weights",
    }

    def __init__(self, image: str = "") -> None:
        self.image = image

    def measure(self, setting: Setting) -> Findings:
        """The numbers; curves of PSNR by update, and the last image."""
        of, level = setting.spec.of or "dense", setting.cell.level
        data = setting.data_of(self.image) if self.image else setting.data
        assert data is not None  # the task has labels
        masks = setting.mask(of, level)
        start, first = setting.start(of, level)
        outcome = setting.train(start, masks, first_step=first, data=data)
        if outcome.failure:
            return Findings({"psnr_final": np.nan}, updates=outcome.steps, examples=outcome.examples)
        steps = np.array(outcome.history.test_steps)
        psnr = np.array([quality["psnr"] for quality in outcome.history.test])
        peak = int(psnr.argmax())
        numbers = {
            "psnr_final": float(psnr[-1]),
            "psnr_peak": float(psnr[peak]),
            "psnr_drop": float(psnr[peak] - psnr[-1]),
            "peak_step": float(steps[peak]),
            "psnr_noisy": _psnr_of_noise(data),
            **densities(masks),
        }
        curves: dict[str, NDArray[Any]] = {
            "step": steps.astype(np.int32),
            "psnr": psnr.astype(np.float32),
            "density": by_layer(masks),
            "image": _image(setting.network(), outcome.weights, data),
        }
        return Findings(numbers, curves, outcome.steps, outcome.examples)


def densities(masks: Masks) -> dict[str, float]:
    """Kept shares of the encoder's and the decoder's convolution weights and of batch norm's scales, and all that is
    kept. What a network does not have is left out, and so is the ratio where nothing of the encoder is kept."""
    weights = {name: mask for name, mask in masks.items() if name.endswith("weight")}
    convolutions = {name: mask for name, mask in weights.items() if mask.dim() == 4}
    shares = {
        "encoder_density": _share([mask for name, mask in convolutions.items() if name.startswith(ENCODER)]),
        "decoder_density": _share([mask for name, mask in convolutions.items() if name.startswith(DECODER)]),
        "scale_density": _share([mask for name, mask in weights.items() if name not in convolutions]),
    }
    found = {name: share for name, share in shares.items() if share is not None}
    if encoder := found.get("encoder_density"):
        found["decoder_to_encoder"] = found["decoder_density"] / encoder
    return found | {"weights": float(sum(int(mask.sum()) for mask in masks.values()))}


def by_layer(masks: Masks) -> NDArray[np.float32]:
    """(convolutions,) kept share of each one's weights, in the network's order."""
    return np.array([float(mask.float().mean()) for mask in masks.values() if mask.dim() == 4], np.float32)


def _share(masks: list[Tensor]) -> float | None:
    size = sum(mask.numel() for mask in masks)
    return sum(int(mask.sum()) for mask in masks) / size if size else None


def _psnr_of_noise(data: Dataset) -> float:
    return float(-10 * ((data.train_labels - data.test_labels) ** 2).double().mean().log10())


@torch.no_grad()
def _image(module: nn.Module, weights: Mapping[str, Tensor], data: Dataset) -> NDArray[np.uint8]:
    """(channels, height, width) of the output of a network with these weights on its input."""
    module.load_state_dict({name: tensor.cpu() for name, tensor in weights.items()})
    image: NDArray[np.uint8] = (module.eval()(data.test_inputs)[0].sigmoid() * 255).round().byte().numpy()
    return image
