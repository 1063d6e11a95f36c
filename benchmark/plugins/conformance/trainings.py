"""Checks of hooks and learners: short trainings of tiny networks, by the loop that trains every network.

On the command line `lotterybench check my_hook.py` makes them in a confined process; in an author's own tests
`training_report(MyHook)` gives the same report.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.datasets.dataset import Dataset, Split
from benchmark.networks import make
from benchmark.plugins.conformance.cases import Case, cases
from benchmark.plugins.conformance.checks import Finding, Report
from benchmark.protocols.recipe import EvaluationSpec, Recipe
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.hooks import CountsLeft, Hook
from benchmark.training.learner import Learner
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.seeding import stream

UPDATES, STOP = 40, 20
RECIPE = Recipe.model_validate(
    {
        "optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0, "batch_size": 16,
        "order": "shuffled-each-epoch", "last_partial_batch": "keep", "steps": UPDATES, "precision": "fp32",
    }
)  # fmt: skip
EVALUATION = EvaluationSpec(
    first=0, every=STOP, test_every=STOP, test_at_validation_minima=False, reported="last", early_stop="none"
)
NETWORKS = ("mlp", "conv-2")
WHY = {
    "trains": "a training that ends in an error is a failed record",
    "exact density": "methods are compared at equal counts of weights",
    "same seed, same bits": "a number that cannot be repeated cannot be verified",
    "goes on where it stopped": "a killed training is resumed from `state` and `resume`, and must not show it",
    "weights stay": "a learner may change scores only; the harness refuses any other",
}


@dataclass(frozen=True)
class TrainingSubject:
    """A hook or learner class with its hyper-parameters."""

    kind: type[Hook]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def learns(self) -> bool:
        """Whether it learns a mask; else it acts while weights are trained."""
        return issubclass(self.kind, Learner)

    @property
    def beside_the_point(self) -> frozenset[str]:
        """Checks that are not made: weights move where no mask is learned, and a density may be an outcome."""
        moving = frozenset[str]() if self.learns else frozenset({"weights stay"})
        return moving | {"exact density"} if issubclass(self.kind, CountsLeft) else moving

    def make(self, case: Case) -> Hook:
        """A new instance, told to leave half of each tensor."""
        plugin = self.kind(**self.parameters)
        plugin.target = {(name,): mask.numel() // 2 for name, mask in case.full_masks().items()}
        return plugin


class _Stopped(Exception):
    """The training is stopped here, as a killed process would."""


class _InMemory(CheckpointFile):
    """A checkpoint that no file holds: what is checked here may write nowhere."""

    def __init__(self) -> None:
        super().__init__(Path("checkpoint"), Path(), "conformance", 0.0)
        self.held: dict[str, Tensor] | None = None

    def load(self) -> dict[str, Tensor] | None:
        """See `CheckpointFile`."""
        return self.held

    def save(self, state: Mapping[str, Tensor]) -> None:
        """See `CheckpointFile`."""
        self.held = {name: tensor.clone() for name, tensor in state.items()}


def training_report(kind: type[Hook], **parameters: Any) -> Report:
    """All checks of a hook or learner class."""
    return training_examined(TrainingSubject(kind, parameters))


def training_examined(subject: TrainingSubject, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Run all checks on all networks; `tell` hears the name of each check before it is made."""
    started, found = time.perf_counter(), list[Finding]()
    names = [name for name in WHY if name not in subject.beside_the_point]
    for case in (case for case in cases() if case.name in NETWORKS):
        tell("trains")
        try:
            whole = trained(subject, case)
        except Exception as error:
            seen = f"{type(error).__name__}: {error}"
            found.append(Finding("trains", case.name, True, f"{UPDATES} updates", seen, WHY["trains"]))
            continue
        if whole.failure:
            found.append(Finding("trains", case.name, True, f"{UPDATES} updates", whole.failure, WHY["trains"]))
        for name, look in LOOKS.items():
            if name in names:
                tell(name)
                found += [Finding(name, case.name, True, *words, WHY[name]) for words in look(subject, case, whole)]
    return Report(tuple(found), tuple(names), NETWORKS, time.perf_counter() - started)


def trained(
    subject: TrainingSubject, case: Case, checkpoint: CheckpointFile | None = None, stop: int | None = None
) -> Outcome:
    """One short training. `stop`: after which evaluation it is stopped, by an exception."""

    def progress(_number: int, done: int, *_: Any) -> None:
        if done == stop:
            raise _Stopped

    start = case.network().module.state_dict()
    kept = case.full_masks() if subject.learns else _halves(case)
    replica = Replica(0, dict(start), kept, Split(torch.arange(96), torch.arange(96, 112)), UPDATES)
    setup = TrainingSetup(lambda _inputs: make(case.spec), RECIPE, EVALUATION, _data(case))
    files = [] if checkpoint is None else [checkpoint]
    with torch.random.fork_rng(devices=[]):
        if subject.learns:
            made = train([replica], setup, progress, checkpoints=files, learners=lambda _: _learner(subject, case))
        else:
            made = train([replica], setup, progress, checkpoints=files, hooks=lambda _: [subject.make(case)])
    return made[0]


def _learner(subject: TrainingSubject, case: Case) -> Learner:
    plugin = subject.make(case)
    assert isinstance(plugin, Learner)
    return plugin


@cache
def _data(case: Case) -> Dataset:
    """112 training and 16 test examples of four classes."""
    parts = [case.examples(seed=seed) for seed in range(7)]
    inputs = torch.cat([part.inputs for part in parts]).repeat(1, *([1] * len(case.input_shape)))[:128]
    labels = torch.cat([part.labels for part in parts])[:128]
    return Dataset("conformance", inputs[:112], labels[:112], inputs[112:], labels[112:], 4, "conformance")


def _halves(case: Case) -> dict[str, Tensor]:
    masks = {}
    for name, mask in case.full_masks().items():
        order = torch.randperm(mask.numel(), generator=stream(0, "conformance mask", name))
        masks[name] = (order < mask.numel() // 2).reshape(mask.shape)
    return masks


def _exact(_subject: TrainingSubject, _case: Case, whole: Outcome) -> Iterator[tuple[str, str]]:
    for name, mask in (whole.masks or {}).items():
        wanted, kept = mask.numel() // 2, int(mask.sum())
        if kept != wanted:
            yield f"{wanted} weights left in '{name}', as `self.target` says", str(kept)


def _same(subject: TrainingSubject, case: Case, whole: Outcome) -> Iterator[tuple[str, str]]:
    torch.manual_seed(1)  # global generators are not the plugin's
    random.seed(1)
    np.random.seed(1)
    yield from _differs(whole, trained(subject, case), "the same numbers as in the first training")


def _goes_on(subject: TrainingSubject, case: Case, whole: Outcome) -> Iterator[tuple[str, str]]:
    checkpoint = _InMemory()
    try:
        trained(subject, case, checkpoint, STOP)
    except _Stopped:
        yield from _differs(whole, trained(subject, case, checkpoint), "the numbers of a training that was not stopped")


def _stays(_subject: TrainingSubject, case: Case, whole: Outcome) -> Iterator[tuple[str, str]]:
    start, masks = case.network().module.state_dict(), whole.masks or {}
    for name, value in start.items():
        expected = value * masks[name] if name in masks else value
        if not torch.equal(expected, whole.weights[name]):
            yield f"'{name}' as it was drawn", "other values"


def _differs(one: Outcome, other: Outcome, expected: str) -> Iterator[tuple[str, str]]:
    """The first thing in which two trainings differ."""
    for kind, first, second in (("weights", one.weights, other.weights), ("mask", one.masks, other.masks)):
        for name, tensor in (first or {}).items():
            if not torch.equal(tensor, (second or {}).get(name, torch.empty(0))):
                yield expected, f"other {kind} in '{name}'"
                return
    if (one.hook_facts or {}) != (other.hook_facts or {}):
        yield expected, f"other counts: {one.hook_facts} and {other.hook_facts}"


Look = Callable[[TrainingSubject, Case, Outcome], Iterator[tuple[str, str]]]
LOOKS: dict[str, Look] = {
    "exact density": _exact,
    "same seed, same bits": _same,
    "goes on where it stopped": _goes_on,
    "weights stay": _stays,
}
