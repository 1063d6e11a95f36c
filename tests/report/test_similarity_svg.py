"""Matrices of similarity: means over seeds, and a picture that says the numbers it was given."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmark.claims.observations import Observations
from benchmark.protocols import load
from benchmark.records.store import Store
from benchmark.report import similarity_svg as module
from benchmark.report.similarity_svg import Matrix, matrices, similarity_svg

PROTOCOL = load("svcca/lenet5-mnist")


def test_means_over_seeds_in_the_protocols_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def runs(_store: Store, _seen: Observations, method: str, level: int) -> list[dict[str, np.ndarray]]:
        if method == "floor":
            return [{"matrix": np.zeros((4, 4))}, {"matrix": np.ones((4, 4))}, {"svcca": np.ones(2)}]
        return [{"matrix": np.eye(4)}] if (method, level) == ("layers-random", 2) else []

    monkeypatch.setattr(module, "runs_of", runs)
    found = matrices(Store(tmp_path), Observations(PROTOCOL, []))
    assert [(matrix.name, matrix.seeds) for matrix in found] == [("floor", 2), ("layers-random, 90.0 %", 1)]
    assert found[0].values.tolist() == [[0.5] * 4] * 4
    assert matrices(Store(tmp_path), Observations(load("lth/lenet-mnist"), [])) == []


def test_the_picture_says_its_numbers() -> None:
    values = np.array([[1.0, 0.5, 0.25, -0.1]] * 4)
    svg = similarity_svg(PROTOCOL, [Matrix("a & b", values, 3), Matrix("other", values, 1)])
    root = ElementTree.fromstring(svg)
    name = "{http://www.w3.org/2000/svg}"
    squares = [each for each in root.iter(f"{name}rect") if each.get("class") == "s"]
    assert [square.get("fill-opacity") for square in squares[:4]] == ["1.00", "0.50", "0.25", "0.00"]
    spoken = [title.text for title in root.iter(f"{name}title")]
    assert {"a & b, 3 seeds", "other, 1 seed", "a & b: conv1 beside conv2: 0.500"} <= set(spoken)
    width, height = (float(root.get(side, "0")) for side in ("width", "height"))
    for square in squares:
        assert float(square.get("x", "0")) + float(square.get("width", "0")) < width
        assert float(square.get("y", "0")) + float(square.get("height", "0")) < height
