"""Instability to SGD noise: error along the line between two copies that differ in the order of examples only.

Frankle et al. 2020 (arXiv 1912.05671), Section 2: train a network for k updates, then two copies of it to the end with
different samples of SGD noise (order of examples, augmentation); its linear interpolation instability is the highest
error on the straight line between the copies minus the mean error of the two. Below 2 points it is called stable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.line import barrier, metrics_along, shares
from benchmark.analyses.setting import Setting
from benchmark.datasets.dataset import Dataset
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import ANALYSES
from benchmark.protocols.cells import DENSE, Cell
from benchmark.tasks import load_task
from benchmark.training.evaluate import chunk_of
from benchmark.training.loop import on_device
from benchmark.utils.errors import BadInput

Examples = dict[str, tuple[Tensor, Tensor]]


@ANALYSES.register("instability")
class Instability(Analysis):
    """Of the dense network (level 0), or of `of` at a level, whose mask and rewound weights both copies start from.

    The first copy is the network that the harness trains anyway, in its seed's own order; the second goes through the
    examples in another. `step`: k; a pruning method must rewind to it. `points`: evenly spaced on the line, both ends
    among them. `train_examples`: as many of the training set, drawn once a seed, for the error on it; 0 for all.
    With batch norm the running statistics are interpolated like weights.
    """

    paper = "Frankle et al. 2020, Linear Mode Connectivity and the Lottery Ticket Hypothesis, arXiv 1912.05671"
    units: ClassVar[Mapping[str, str]] = {
        "test_error_barrier": "points",
        "train_error_barrier": "points",
        "test_error": "percent",
        "train_error": "percent",
        "test_loss_barrier": "nats",
        "train_loss_barrier": "nats",
        "disagreement": "percent",
        "distance": "share",
    }

    in_updates: ClassVar[tuple[str, ...]] = ("step",)

    def __init__(self, step: int = 0, points: int = 30, train_examples: int = 10000) -> None:
        if step < 0 or points < 2 or train_examples < 0:
            raise ValueError(f"step {step}, points {points}, train_examples {train_examples}: at least 0, 2 and 0")
        self.step, self.points, self.train_examples = step, points, train_examples

    def needs(self, protocol: Protocol, cell: Cell) -> tuple[Cell, ...]:
        """The first copy. Raises BadInput where nothing is classified, or a method rewinds to another step."""
        spec, thing = protocol.analyses[cell.method], f"{protocol.id}: methods.{cell.method}"
        if not protocol.examined.trains or protocol.task != "classification":
            raise BadInput(thing, "measures errors of trained networks", "Name a protocol that trains classifiers")
        if self.step >= protocol.recipe.steps:
            raise BadInput(thing, f"step {self.step} is not before the last of {protocol.recipe.steps}", "Correct it")
        if spec.of is None or cell.level == 0:
            return (Cell(DENSE, 0, cell.seed),)
        schedule = protocol.examined.pruning_method(spec.of).schedule
        if (schedule.restart, schedule.weights) != (self.step, "rewound"):
            raise BadInput(thing, f"has step {self.step}, but {spec.of} does not rewind to it", "Give both one step")
        return (Cell(spec.of, cell.level, cell.seed),)

    def measure(self, setting: Setting) -> Findings:
        """The numbers of `units`; curves `train_error`, `test_error` (points,) and losses along the line, `place`.

        `disagreement`: of test examples that the copies classify differently; `distance`: L2, between the copies, over
        the mean of how far each went from the state at `step`.
        """
        data, (one,) = on_device(self._data(setting), setting.device), setting.networks.values()
        start, updates, examples = self._start(setting)
        mask = setting.mask(setting.examined.method, setting.cell.level)
        copy = setting.train(start, mask, order="second copy", first_step=self.step)
        other = setting.network()
        other.load_state_dict(copy.weights)
        one, other = one.to(setting.device).eval(), other.to(setting.device).eval()
        chosen = self._examples(setting, data)
        places = shares(self.points)
        curves = metrics_along(one, other, places.tolist(), data, load_task("classification"), chosen)
        lines = {"place": places}
        for part in chosen:
            lines |= {f"{part}_error": 100.0 - curves[f"{part}_accuracy"], f"{part}_loss": curves[f"{part}_loss"]}
        numbers = {f"{name}_barrier": barrier(line) for name, line in lines.items() if name != "place"}
        ends = {f"{part}_error": float((lines[f"{part}_error"][0] + lines[f"{part}_error"][-1]) / 2) for part in chosen}
        apart = {"disagreement": disagreement(one, other, data), "distance": distance(one, other, start, mask)}
        one.to("cpu")
        return Findings({**numbers, **ends, **apart}, lines, updates + copy.steps, examples + copy.examples)

    def _data(self, setting: Setting) -> Dataset:
        assert setting.data is not None  # networks were trained on it
        return setting.data

    def _start(self, setting: Setting) -> tuple[dict[str, Tensor], int, int]:
        """The state at `step`, before the mask, and what training up to it took, if it had to be made."""
        start, first = setting.start(setting.examined.method, setting.cell.level)
        if first == self.step:
            return start, 0, 0
        early = setting.train(start, steps=self.step)
        return early.weights, early.steps, early.examples

    def _examples(self, setting: Setting, data: Dataset) -> Examples:
        rows = setting.split().training
        if 0 < self.train_examples < len(rows):
            rows = rows[torch.randperm(len(rows), generator=setting.rng("training examples"))[: self.train_examples]]
        rows = rows.to(data.train_labels.device)
        train = (data.train_inputs[rows], data.train_labels[rows])
        return {"train": train, "test": (data.test_inputs, data.test_labels)}


@torch.no_grad()
def disagreement(one: nn.Module, other: nn.Module, data: Dataset) -> float:
    """Percent of the test examples on which the two networks name different classes."""
    chunk = chunk_of(data.test_inputs.dim() == 4, data.test_inputs.device.type)
    differ = 0
    for part in torch.split(data.test_inputs, chunk):
        inputs = data.prepare(part)
        differ += int((one(inputs).argmax(1) != other(inputs).argmax(1)).sum())
    return 100.0 * differ / len(data.test_inputs)


def distance(one: nn.Module, other: nn.Module, start: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> float:
    """L2 distance of all parameters between two networks, over the mean of their distances from the masked start."""
    ends = [{name: p.detach().cpu().double() for name, p in module.named_parameters()} for module in (one, other)]
    begun = {name: (start[name] * mask[name] if name in mask else start[name]).double() for name in ends[0]}

    def apart(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
        return math.sqrt(sum(float((a[name] - b[name]).square().sum()) for name in a))

    travelled = (apart(ends[0], begun) + apart(ends[1], begun)) / 2
    return apart(ends[0], ends[1]) / travelled if travelled else float("nan")
