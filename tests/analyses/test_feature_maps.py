"""Feature maps and matrices of layers: by a slow computation beside, and the analysis on untrained networks."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from benchmark.analyses import load_analysis
from benchmark.analyses.feature_maps import MATRIX_IMAGES, cka, maps
from benchmark.analyses.setting import Setting
from benchmark.analyses.similarity import Layer, linear_cka
from benchmark.datasets.dataset import random_dataset, split
from benchmark.networks.registry import make
from benchmark.protocols import Protocol, load
from benchmark.protocols.analysis import AnalysisSpec
from benchmark.protocols.cells import DENSE, Cell
from benchmark.utils.errors import BadInput

LENET5 = load("svcca/lenet5-mnist")


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return make(LENET5.network).eval()


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_maps_against_convolutions_one_image_at_a_time() -> None:
    net, images = network(0), torch.rand(7, 784)
    found = maps(net, LENET5, images, rng())
    first, second = found.sampled
    assert (first.shape, second.shape, len(found.grams)) == ((7, 20), (7, 50), 4)
    state, places = dict(net.named_parameters()), torch.randint(24 * 24, (7,), generator=rng())
    whole = []
    for image, place, channels in zip(images, places, first, strict=True):
        out = conv2d(image.reshape(1, 1, 28, 28), state["conv1.weight"], state["conv1.bias"]).clamp_min(0)[0]
        assert channels.tolist() == pytest.approx(out[:, place // 24, place % 24].tolist(), abs=1e-6)
        whole.append(out.flatten().detach().double())
    other = torch.stack(whole)
    assert cka(found.grams[0], found.grams[0]) == pytest.approx(1.0)
    expected = linear_cka(Layer.of(net(images).detach().double()), Layer.of(other))  # by features, not by images
    assert cka(found.grams[-1], found.grams[0]) == pytest.approx(expected, abs=1e-5)


def test_no_more_images_than_the_matrix_takes() -> None:
    found = maps(network(0), LENET5, torch.rand(MATRIX_IMAGES + 5, 784), rng())
    assert {tuple(gram.shape) for gram in found.grams} == {(MATRIX_IMAGES, MATRIX_IMAGES)}
    assert len(found.sampled[1]) == MATRIX_IMAGES + 5
    assert cka(torch.zeros(3, 3), torch.eye(3)) == 0.0


def measured(reference: str, examined: int) -> tuple[dict[str, float], dict[str, Any]]:
    """The analysis of one random network beside another, on random images."""
    parameters: dict[str, Any] = {"reference": reference, "examples": 600}  # `needs`, which asks for more, is not asked
    spec = AnalysisSpec(analysis="feature-maps", of="random", parameters=parameters, levels=(2,))
    cell, data = Cell("layers-random", 2, 2500), random_dataset(LENET5, 700)
    networks = {Cell("random", 2, 2500): network(examined), Cell(DENSE, 0, 2500): network(0)}
    networks |= {Cell(DENSE, 0, 2501): network(1)}

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is trained or masked")

    rest = dict.fromkeys((each.name for each in fields(Setting)), never)
    own = {"protocol": LENET5, "cell": cell, "spec": spec, "data": data, "networks": networks}
    setting = Setting(**{**rest, **own, "split": lambda: split(data, 0, 2500)})
    found = load_analysis(spec).measure(setting)
    return dict(found.numbers), dict(found.curves)


def test_a_network_beside_itself_another_and_shuffled_rows() -> None:
    same, curves = measured("dense", 0)
    assert [same[name] for name in ("svcca", "mean_cca", "pwcca", "linear_cka")] == pytest.approx([1.0] * 4)
    assert same["accuracy_lost"] == 0.0
    assert curves["layer"].tolist() == [1.0, 2.0]
    assert np.diag(curves["matrix"]) == pytest.approx(np.ones(4))
    assert curves["matrix"] == pytest.approx(curves["matrix"].T)
    floor, shuffled = measured("shuffled", 0)
    assert floor["mean_cca"] < 0.35  # some sqrt(50 / 600)
    assert shuffled["matrix"].max() < 0.7  # of few images with many places, more than none
    other, _ = measured("dense", 1)
    independent, beside = measured("independent", 1)
    assert floor["mean_cca"] < other["mean_cca"] < 1.0
    assert independent["mean_cca"] == pytest.approx(1.0)  # the next seed's dense network is the examined one here
    assert np.diag(beside["matrix"]) == pytest.approx(np.ones(4))


def test_what_cannot_be_compared_is_refused() -> None:
    def needs(level: int, of: Protocol = LENET5, **parameters: Any) -> tuple[Cell, ...]:
        spec = AnalysisSpec(analysis="feature-maps", of="random", parameters=parameters, levels=(level,))
        changed = of.model_copy(update={"measures": "analysis", "methods": {**of.methods, "x": spec}})
        return load_analysis(spec).needs(changed, Cell("x", level, 2500))

    assert needs(2) == (Cell("random", 2, 2500), Cell(DENSE, 0, 2500))
    assert needs(2, reference="independent")[-1] == Cell(DENSE, 0, 2501)
    with pytest.raises(BadInput, match="4999 images are too few for 50 channels"):
        needs(2, examples=4999)
    with pytest.raises(BadInput, match="earlier is of the dense network"):
        needs(2, reference="earlier")
    with pytest.raises(BadInput, match="lenet-300-100 has none"):
        needs(2, load("svcca/lenet-mnist"))
    with pytest.raises(BadInput, match="no ReLU behind its convolutions"):
        needs(2, load("snip/lenet-5-caffe-mnist"))
