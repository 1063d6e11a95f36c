"""Calling a pruner as the harness would: fresh instances, given what it declares, cut to exact counts.

What a process shares: random states and torch's settings, watched and put back.
"""

from __future__ import annotations

import importlib.util
import inspect
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.datasets.dataset import Examples
from benchmark.plugins.conformance.cases import Case
from benchmark.protocols.needs import Needs, examples_of
from benchmark.pruning.interface import MaskLearner, Masks, Network, Plugin, Pruner, ScoringRound
from benchmark.pruning.masks import fits, masks_from_scores, whole
from benchmark.pruning.schedule import whole_budgets
from benchmark.pruning.scorer import declared_needs
from benchmark.utils.errors import BadPruner


def settings() -> dict[str, Any]:
    """Settings of torch that change what others compute."""
    return {
        "default dtype": torch.get_default_dtype(),
        "gradient mode": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "default device": str(torch.get_default_device()),
    }


def random_states() -> dict[str, bytes]:
    """The states of the three global generators."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr(np.random.get_state()).encode() + np.random.get_state()[1].tobytes(),  # type: ignore[index]
        "random": repr(random.getstate()).encode(),
    }


def seed_everything(seed: int) -> None:
    """Seed the three global generators."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@contextmanager
def put_back() -> Iterator[None]:
    """Whatever happens inside, settings and random states are as before afterwards."""
    before = settings()
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_default_dtype(before["default dtype"])
        torch.set_grad_enabled(before["gradient mode"])
        torch.set_num_threads(before["threads"])
        torch.use_deterministic_algorithms(before["deterministic algorithms"])
        torch.autograd.set_detect_anomaly(before["anomaly detection"])
        torch.set_default_device(None if before["default device"] == "cpu" else before["default device"])
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


DENSITIES = (0.5, 0.2, 0.05)
Answer = dict[str, Tensor]
_number = count()


@dataclass(frozen=True)
class Subject:
    """A pruner class with its hyper-parameters."""

    kind: type[Plugin]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> Plugin:
        """A new instance, as for every mask."""
        return self.kind(**self.parameters)

    @property
    def scores(self) -> bool:
        """Whether it scores weights; else it learns the mask."""
        return issubclass(self.kind, Pruner)

    def reloaded(self) -> Subject:
        """The same pruner from a module executed anew, so with fresh globals; itself where there is no file."""
        source = inspect.getsourcefile(self.kind)
        if source is None or "<locals>" in self.kind.__qualname__:
            return self
        package = self.kind.__module__.rpartition(".")[0]
        name = f"{package + '.' if package else ''}_conformance_{next(_number)}"
        spec = importlib.util.spec_from_file_location(name, source)
        assert spec is not None  # the class came from that file
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules[name]
        return Subject(getattr(module, self.kind.__name__), self.parameters)


def given(plugin: Plugin, case: Case, dtype: torch.dtype = torch.float32, number: int = 1) -> Examples | None:
    """The examples that the harness hands over in a round: none, with labels of -1, or whole."""
    seed = number - 1 if plugin.fresh_examples else 0
    examples, shown = case.examples(dtype, seed), examples_of(needs_of(plugin))
    if shown == "labels":
        return examples
    return Examples(examples.inputs, torch.full_like(examples.labels, -1)) if shown == "inputs" else None


def needs_of(plugin: Plugin) -> Needs:
    """What it declares that it needs, in the one form. Raises Broken if it can be given no such thing."""
    try:
        return declared_needs(plugin, type(plugin).__name__)
    except BadPruner as error:
        raise Broken(error.fix, error.cause) from error


def answer(
    plugin: Plugin,
    network: Network,
    examples: Examples | None,
    density: float = 0.2,
    rng: int | torch.Generator = 0,
    at: ScoringRound | None = None,
) -> Answer:
    """What score() or learn() returns, checked for names and shapes. `at`: the round; else the only one. Raises
    Broken."""
    network = replace(network, round=at or ScoringRound(1, 1, density, density))
    generator = torch.Generator().manual_seed(rng) if isinstance(rng, int) else rng
    try:
        if isinstance(plugin, MaskLearner):
            result = plugin.learn(network, examples, density, generator)
        else:
            assert isinstance(plugin, Pruner)
            result = plugin.score(network, examples, generator)
    except (Exception, SystemExit) as error:
        raise Broken("an answer", f"{type(error).__name__}: {error}") from error
    if not isinstance(result, dict):
        raise Broken("a dict of name -> tensor", type(result).__name__)
    if isinstance(plugin, Pruner):
        result = {n: _whole(scores, network.masks[n]) if n in network.masks else scores for n, scores in result.items()}
    wanted = {name: tuple(weight.shape) for name, weight in network.weights.items()}
    shapes = {name: tuple(t.shape) if isinstance(t, Tensor) else type(t).__name__ for name, t in result.items()}
    for name in (*wanted, *shapes):
        if shapes.get(name) != wanted.get(name):
            raise Broken(f"'{name}': {wanted.get(name, 'not returned')}", f"{shapes.get(name, 'not returned')}")
    return result


def _whole(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores of what is kept, in their places; anything else as it is."""
    return whole(scores, mask) if isinstance(scores, Tensor) and fits(scores, mask) else scores


def cut(subject: Subject, result: Answer, before: Masks, kept: int) -> Masks:
    """The mask of an answer: scores cut to `kept` weights among those of `before`, globally or by the pruner's budgets
    where all of these are left; a learned mask as it is. Raises Broken for scores or budgets that cannot be.
    """
    if not subject.scores:
        return result
    if wrong := [name for name, scores in result.items() if not bool(torch.isfinite(scores).all())]:
        raise Broken("finite scores to cut", f"NaN or infinite ones for '{wrong[0]}'")
    plugin = subject.make()
    if isinstance(plugin, Pruner) and plugin.allocation == "by-pruner":
        counts = _budgets(plugin, before, kept)
        if all(counts[name] <= int(mask.sum()) for name, mask in before.items()):
            return masks_from_scores(result, before, {name: [name] for name in before}, counts)
    return masks_from_scores(result, before, {"all": list(before)}, {"all": kept})


def _budgets(plugin: Pruner, masks: Masks, kept: int) -> dict[str, int]:
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    try:
        sizes = {name: mask.numel() for name, mask in masks.items()}
        return whole_budgets(plugin.budgets(shapes, kept), sizes, kept, type(plugin).__name__)
    except BadPruner as error:
        raise Broken(error.fix, error.cause) from error
    except Exception as error:
        raise Broken(f"budgets of {kept} weights", f"{type(error).__name__}: {error}") from error


def rounds(subject: Subject, case: Case, seed: int = 0, weights: int = 0) -> Iterator[Masks]:
    """Masks after each round of growing sparsity. `seed`: of the generator; `weights`: of the initial weights.

    One instance and one generator serve all rounds of a mask, as in the harness. Raises Broken.
    """
    plugin, generator = subject.make(), torch.Generator().manual_seed(seed)
    masks = case.full_masks()
    for number, density in enumerate(DENSITIES, start=1):
        kept = round(density * size(masks))
        network, examples = case.network(weights, masks), given(plugin, case, number=number)
        at = ScoringRound(number, len(DENSITIES), density, DENSITIES[-1])
        masks = cut(subject, answer(plugin, network, examples, density, generator, at), masks, kept)
        yield masks


def size(masks: Masks) -> int:
    """Number of prunable weights."""
    return sum(mask.numel() for mask in masks.values())


def same(first: Answer, second: Answer) -> bool:
    """Equal to the bit, NaN included."""
    return first.keys() == second.keys() and all(
        torch.equal(torch.nan_to_num(value.double()), torch.nan_to_num(second[name].double()))
        for name, value in first.items()
    )


def attempt(call: Callable[[], Answer]) -> Answer | Broken:
    """What a call returns or how it fails."""
    try:
        return call()
    except Broken as broken:
        return broken


class Broken(Exception):
    """A check cannot go on: expected, seen."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}, seen {seen}")
        self.expected, self.seen = expected, seen
