"""An analysis whose numbers are known, and tiny protocols that measure it, with training and without."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import yaml
from mask_protocol import EACH, method

from benchmark.analyses import Analysis, Findings
from benchmark.analyses.setting import Setting
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import ANALYSES
from benchmark.protocols.cells import DENSE, Cell
from benchmark.utils.errors import BadInput


@ANALYSES.register("toy")
class Toy(Analysis):
    """`weights`: how many are not zero in the network, or in its mask. `drawn`: a number of the seed. `moved`: the
    distance between two trainings that differ in the order of examples. `factor` multiplies the first."""

    paper = "nobody"
    units: ClassVar[Mapping[str, str]] = {"weights": "count", "drawn": "share", "moved": "norm"}

    def __init__(self, factor: float = 1.0, lost: bool = False) -> None:
        if factor <= 0:
            raise ValueError("factor must be above 0")
        self.factor, self.lost = factor, lost

    def needs(self, protocol: Protocol, cell: Cell) -> tuple[Cell, ...]:
        of = protocol.analyses[cell.method].of
        if not protocol.examined.trains:
            return ()
        return (Cell(of if of and cell.level else DENSE, cell.level, cell.seed),)

    def measure(self, setting: Setting) -> Findings:
        drawn = float(torch.rand((), generator=setting.rng("toy")))
        if not setting.networks:
            of = setting.spec.of
            kept = sum(int(m.sum()) for m in setting.mask(of, setting.cell.level).values()) if of else 0
            return Findings({"weights": self.factor * kept, "drawn": drawn})
        (network,) = setting.networks.values()
        prunable = setting.protocol.pruning.prunable
        kept = sum(int((p != 0).sum()) for name, p in network.named_parameters() if name in prunable)
        mask = setting.mask(setting.examined.method, setting.cell.level)
        start, first = setting.start(setting.examined.method, setting.cell.level)
        again = setting.train(start, mask, first_step=first, steps=setting.protocol.recipe.steps - first)
        other = setting.train(start, mask, order="other")
        assert all(torch.equal(again.weights[name], value) for name, value in network.state_dict().items())
        moved = sum(float((again.weights[n] - other.weights[n]).norm()) for n in prunable)
        setting.progress(1, 1)
        return Findings(
            {"weights": self.factor * kept, "drawn": float("nan") if self.lost else drawn, "moved": moved},
            {"line": np.arange(3.0)},
            again.steps + other.steps,
            again.examples + other.examples,
        )


@ANALYSES.register("toy-refusing")
class Refusing(Analysis):
    """Measures nothing."""

    units: ClassVar[Mapping[str, str]] = {"weights": "count"}

    def measure(self, setting: Setting) -> Findings:
        raise BadInput(setting.protocol.id, "has a network of an odd size", "Take an even one")


def analysing(tiny: Protocol, **fields: Any) -> dict[str, Any]:
    """The tiny protocol as one that measures the toy, of trained networks."""
    document = copy.deepcopy(tiny.document)
    imp, random = document["methods"]["imp"], document["methods"]["random"]
    document["methods"] = {
        "imp": imp,
        "random": random,
        "toy": {"analysis": "toy", "parameters": {"factor": 2.0}, "levels": [0]},
        "toy-imp": {"analysis": "toy", "of": "imp", "levels": [0, 1, 3]},
    }
    document["statistics"]["margins"]["analysed"] = {"weights": 3.0, "moved": 0.5}
    return {**document, "id": "tests/analysis", "measures": "analysis", **fields}


def of_masks(tiny: Protocol, **fields: Any) -> dict[str, Any]:
    """The same of masks alone: nothing is trained and there is no data."""
    document = analysing(tiny)
    del document["recipe"], document["evaluation"]
    document["data"] = {"name": "none", "scaling": "as-generated", "validation": 0, "split": "none"}
    document["methods"] = {
        "magnitude": method("magnitude", EACH),
        "toy-magnitude": {"analysis": "toy", "of": "magnitude", "levels": [1, 4]},
    }
    document["statistics"]["margins"]["analysed"] = {"weights": 3.0}
    return {**document, "id": "tests/analysis-of-masks", **fields}


def written(document: dict[str, Any], folder: Path) -> Path:
    """A protocol file of a document."""
    path = folder / f"{document['id'].partition('/')[2]}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path
