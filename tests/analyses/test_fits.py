"""Hard thresholding and magnitude pruning on digits and on an image: the problems by hand, the analyses end to end."""

from __future__ import annotations

import math

import pytest
import torch
from fitted import SIDE, digits, measured

from benchmark.analyses import load_analysis
from benchmark.analyses.recovery.fits import Problem, image, two_digits
from benchmark.datasets.dataset import Dataset, prepared
from benchmark.protocols import Protocol, load, parse
from benchmark.protocols.analysis import AnalysisSpec
from benchmark.utils.errors import BadInput


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_two_digits_by_hand() -> None:
    data = digits()
    problem = two_digits(data, SIDE**2, rng())
    assert problem.labels.tolist() == [0.0, 1.0] * 6  # 4, 9, 4, 9, ... as stored
    assert torch.equal(problem.inputs[3], data.train_inputs[19].double())
    assert problem.held_out is not None
    assert len(problem.held_out[1]) == 220
    right = problem.test_accuracy(lambda inputs: inputs[:, 3 * SIDE])  # of 9, row 3 is bright
    assert right == {"test_accuracy": 100.0}
    assert problem.test_accuracy(lambda inputs: torch.zeros(len(inputs))) == {"test_accuracy": 50.0}
    assert Problem(problem.inputs, problem.labels, None).test_accuracy(torch.sum) == {}


def test_an_image_by_its_places() -> None:
    """Pairs of features lie on the unit circle, and turn by the same angle from pixel to pixel."""
    data = digits()
    problem = image(data, 8, rng())
    assert torch.equal(problem.labels, data.test_inputs[1000].double())
    cosines, sines = problem.inputs[:, :4], problem.inputs[:, 4:]
    assert torch.allclose(cosines**2 + sines**2, torch.ones(SIDE**2, 4, dtype=torch.float64))
    angles = torch.atan2(sines, cosines).reshape(SIDE, SIDE, 4)
    turns = (angles[:, 1:] - angles[:, :-1]) % (2 * math.pi)
    assert torch.allclose(turns, turns[:1, :1].expand_as(turns))
    with pytest.raises(BadInput, match="come as pairs"):
        image(data, 7, rng())
    with pytest.raises(BadInput, match="no square"):
        image(
            Dataset("d", data.train_inputs, data.train_labels, data.test_inputs[:, :35], data.test_labels, 10, ""),
            8,
            rng(),
        )


def small(of: str, width: int) -> Protocol:
    document = load(of).document
    changed = {
        "id": "tests/fit",
        "network": {**document["network"], "widths": [width, 4, 1]},
        "pruning": {**document["pruning"], "prunable": {"fc1.weight": [4, width]}},
        "levels": {"rule": "listed", "densities": [16 / (4 * width), 4 / (4 * width)]},
    }
    return parse({**document, **changed}, "small.yaml")


def test_digits_are_told_apart_by_few_weights() -> None:
    protocol = small("iht/digits-mnist", SIDE**2)
    numbers, curves, gradients = measured(protocol, 1, "iht-fit", problem="two-digits", steps=30)
    assert numbers["test_accuracy"] == 100.0
    assert gradients == 30 * 11
    assert curves["psnr"][-1] == numbers["psnr"]
    assert curves["objective"][-1, -1] < curves["objective"][0, 0]
    few, _, _ = measured(protocol, 2, "iht-fit", problem="two-digits", steps=30)
    assert few["psnr"] < numbers["psnr"]  # with a quarter of the weights the fit is worse
    imp, curves, updates = measured(protocol, 1, "imp-fit", problem="two-digits", updates=60, learning_rate=0.02)
    assert imp["test_accuracy"] > 95.0
    assert curves["weights_left"][[0, -1]].tolist() == [148, 16]  # 4 x 36 + 4 at first
    assert updates == 60 * len(curves["round"])


def test_an_image_is_fitted_better_with_more_steps() -> None:
    protocol = small("iht/image-mnist", 8)
    one, _, _ = measured(protocol, 1, "iht-fit", problem="image", steps=1)
    many, _, _ = measured(protocol, 1, "iht-fit", problem="image", steps=40)
    assert many["psnr"] > one["psnr"]
    assert set(many) == {"psnr", "dead_units"}
    imp, _, _ = measured(protocol, 2, "imp-fit", problem="image", updates=5)
    assert set(imp) == {"psnr"}


def test_what_cannot_be_fitted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="problem 'digits' is none of two-digits, image"):
        load_analysis(AnalysisSpec(analysis="iht-fit", parameters={"problem": "digits"}, levels=(1,)))
    with pytest.raises(BadInput, match="1 at least"):
        load_analysis(AnalysisSpec(analysis="imp-fit", parameters={"problem": "image", "updates": 0}, levels=(1,)))
    protocol = load("iht/image-mnist")
    monkeypatch.setattr("benchmark.datasets.dataset.load", lambda *_: digits())
    assert prepared(protocol, None).classes == 10  # type: ignore[arg-type] - the network need not fit
    with pytest.raises(BadInput, match="network: reads"):
        prepared(load("svcca/lenet-mnist"), None)  # type: ignore[arg-type]
