"""Image generators: the released sizes, what specs say of modules, batch norm of one image, sizes that cannot be."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.networks.layers import ImageNorm
from benchmark.networks.registry import make
from benchmark.protocols import load, parse
from benchmark.protocols.generators import DeepDecoderSpec, HourglassSpec
from benchmark.utils.errors import BadInput

SMALL = {"name": "hourglass", "input": (4, 16, 16), "image_channels": 3, "widths": (4, 6), "encoder_kernel": 5,
         "decoder_kernel": 3, "epsilon": 1e-5}  # fmt: skip
DECODER = {"name": "deep-decoder", "input": (4, 16, 16), "image_channels": 3, "width": 5, "layers": 3, "epsilon": 1e-5}


def test_the_released_sizes() -> None:
    """Parameters printed by the authors' notebooks; weights of either half as the released masks have them."""
    network = load("oes/pepper-512").network
    sizes = {name: torch.Size(shape).numel() for name, (_, shape) in network.tensors.items()}
    assert sum(sizes.values()) == 3_008_867
    convolutions = {name: size for name, size in sizes.items() if name.endswith("weight") and "norm" not in name}
    assert sum(size for name, size in convolutions.items() if name.startswith("down")) == 2_464_000
    assert sum(size for name, size in convolutions.items() if not name.startswith("down")) == 539_184
    assert sum(size for name, size in sizes.items() if name.endswith("norm.weight") or "norm_in.weight" in name) == 2096
    decoder = load("oes/decoder-pepper-512").network
    assert sum(torch.Size(shape).numel() for _, shape in decoder.tensors.values()) == 100_224


@pytest.mark.parametrize("fields", [SMALL, DECODER])
def test_spec_and_module_agree(fields: dict[str, Any]) -> None:
    """Names, shapes and order of parameters; multiply-adds counted at every convolution."""
    kind = HourglassSpec if fields["name"] == "hourglass" else DeepDecoderSpec
    spec = kind.model_validate(fields)
    module = make(spec)
    given = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    assert list(given.items()) == [(name, shape) for name, (_, shape) in spec.tensors.items()]
    counted, pixels = 0, {}
    names = {layer: name for name, layer in module.named_modules()}

    def count(layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal counted
        pixels[names[layer]] = output[0, 0].numel()
        counted += output[0, 0].numel() * sum(p.numel() for n, p in layer.named_parameters() if n == "weight")

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    assert module(torch.rand(1, *spec.input)).shape == (1, 3, 16, 16)
    assert counted == spec.multiply_adds
    assert sorted(pixels.values()) == sorted(spec.positions.values())
    assert spec.positions["final.weight"] == 16 * 16


def test_the_norm_of_one_image() -> None:
    """Untrained, the map of mean 0 and variance 1; after an update, what train mode gives of any image."""
    norm = ImageNorm(2, eps=1e-5)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, -1.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0]))
    image = 3 + 2 * torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = image * norm.weight[:, None, None] / (1 + 1e-5) ** 0.5 + norm.bias[:, None, None]
    torch.testing.assert_close(norm.eval()(image), expected)
    norm.train()(image)
    other = image.flip(-1) ** 2
    trained = norm(other)
    torch.testing.assert_close(norm.eval()(other), trained)


def test_sizes_that_cannot_be_halved() -> None:
    document = deepcopy(load("oes/lena-64").document)
    document["network"]["input"] = [32, 65, 64]
    with pytest.raises(BadInput, match=r"an image of 65 x 64 cannot be halved 3 times; cut it to multiples of 8"):
        parse(document, "odd.yaml")
    with pytest.raises(ValueError, match="too little noise"):
        DeepDecoderSpec.model_validate({**DECODER, "width": 65})
