"""Asking a plugin: the interface the schedule engine sees, and the implementation that calls the plugin directly.

The direct implementation serves this repository's pruners, and what runs inside the confined process of a third
party's (`plugins.sandbox`), unit tests and an author's debugger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol, TypeVar

import torch
from torch import Generator, Tensor, nn

from benchmark.datasets.dataset import Examples
from benchmark.protocols.needs import PARTS, Needs, canonical_needs
from benchmark.protocols.recipe import Recipe
from benchmark.pruning.interface import Cost, MaskLearner, Masks, Network, Plugin, Pruner, Scores, ScoringRound
from benchmark.pruning.sparse import Copied, Masked
from benchmark.utils.errors import BadPruner

Answer = TypeVar("Answer")
Kind = Literal["scores", "masks"]


@dataclass(frozen=True)
class ScoredNetwork:
    """What is pruned: a module, the values its parameters have when scored, and the shape of the task."""

    module: nn.Module
    state: Mapping[str, Tensor]
    input_shape: tuple[int, ...]
    classes: int
    initial: Mapping[str, Tensor] | None = None  # of the prunable parameters, if the values are trained and both wanted
    recipe: Recipe | None = None  # by which the final network will be trained, if it is
    task: str = "classification"


Draw = Callable[[int], Examples | None]
"""The examples of a round (from 1), for a pruner that wants other ones in each."""


class Scorer(Protocol):
    """A plugin that is ready to be asked about one subject. Every method raises BadPruner if it breaks its contract.

    What comes back is unchecked: the schedule engine validates it and decides the mask.
    """

    @property
    def kind(self) -> Kind:
        """Whether it gives scores or whole masks."""
        ...

    @property
    def cost(self) -> Cost:
        """Passes and examples so far."""
        ...

    def scores(self, masks: Masks, at: ScoringRound | None = None) -> Scores:
        """Scores of the subject under `masks`, one round: `at`; None if they serve all densities."""
        ...

    def masks(self, masks: Masks, density: float) -> Masks:
        """A learned mask inside `masks`."""
        ...

    def budgets(self, kept: int) -> dict[str, float]:
        """How many of `kept` weights each prunable tensor keeps, by the pruner."""
        ...


def kind_of(plugin: Plugin, pruner: str) -> Kind:
    """What a plugin gives. Raises BadPruner if it is of neither kind."""
    if isinstance(plugin, Pruner):
        return "scores"
    if isinstance(plugin, MaskLearner):
        return "masks"
    raise BadPruner(f"pruner '{pruner}'", "is neither a Pruner nor a MaskLearner", "Subclass one of them")


def declared_needs(plugin: Plugin, pruner: str) -> Needs:
    """What a pruner declares that it needs, in the one form. Raises BadPruner if it can be given no such thing."""
    needs = canonical_needs(plugin.needs)
    if needs is None:
        raise BadPruner(
            f"pruner '{pruner}'", f"needs {plugin.needs!r}", f"Declare one of, or a set of: {', '.join(PARTS)}"
        )
    return needs


def wants_fresh(plugin: Plugin, pruner: str) -> bool:
    """Whether each round is given another draw of examples. Raises BadPruner if it does not say so plainly."""
    if not isinstance(plugin.fresh_examples, bool):
        raise BadPruner(f"pruner '{pruner}'", f"fresh_examples is {plugin.fresh_examples!r}", "Declare True or False")
    return plugin.fresh_examples


class DirectScorer:
    """Calls the plugin in this process. `names`: the prunable tensors, in tie order.

    `examples`: of the first round, and of all, unless the plugin wants fresh ones and `draw` gives them.
    """

    def __init__(
        self,
        plugin: Plugin,
        pruner: str,
        names: tuple[str, ...],
        subject: ScoredNetwork,
        examples: Examples | None,
        rng: Generator,
        draw: Draw | None = None,
    ) -> None:
        self._draw = draw if wants_fresh(plugin, pruner) else None
        self._plugin, self._pruner, self._names = plugin, pruner, names
        self._subject, self._examples, self._rng = subject, examples, rng
        self._own = {name: tensor.clone() for name, tensor in subject.module.state_dict().items()}
        self._versions = _versions(subject.module)
        self._calls = 0
        self.kind = kind_of(plugin, pruner)
        self.cost = Cost()

    def scores(self, masks: Masks, at: ScoringRound | None = None) -> Scores:
        """See `Scorer`."""
        plugin, network, examples = self._plugin, self._view(masks, at), self._examples
        assert isinstance(plugin, Pruner)
        if self._draw is not None and at is not None and at.number > 1:
            examples = self._draw(at.number)
        return self._guarded(network, lambda: plugin.score(network, examples, self._rng))

    def masks(self, masks: Masks, density: float) -> Masks:
        """See `Scorer`."""
        plugin, network = self._plugin, self._view(masks, ScoringRound(1, 1, density, density))
        assert isinstance(plugin, MaskLearner)
        return self._guarded(network, lambda: plugin.learn(network, self._examples, density, self._rng))

    def budgets(self, kept: int) -> dict[str, float]:
        """See `Scorer`."""
        plugin = self._plugin
        if not isinstance(plugin, Pruner):
            raise BadPruner(f"pruner '{self._pruner}'", "makes whole masks, not budgets", "Use allocation: global")
        shapes = {name: tuple(self._subject.state[name].shape) for name in self._names}
        with self._failing():
            return {str(name): float(budget) for name, budget in plugin.budgets(shapes, kept).items()}

    def _view(self, masks: Masks, at: ScoringRound | None) -> Network:
        """Read-only mappings: a plugin that put its own tensors in their place would escape the comparison below."""
        state = self._subject.state
        others = {name: tensor.clone() for name, tensor in state.items() if name not in self._names}
        return Network(
            self._subject.module,
            Masked(self._names, state, masks),
            MappingProxyType(others),
            Copied(masks),
            self._subject.input_shape,
            self._subject.classes,
            self.cost,
            Copied(self._subject.initial) if self._subject.initial is not None else None,
            at,
            self._subject.recipe,
            self._subject.task,
        )

    def _guarded(self, network: Network, call: Callable[[], Answer]) -> Answer:
        """Run the plugin; refuse if it raised, or changed a weight, a buffer or the module in place.

        The module's own tensors bear the same names as the weights it is scored at: both are watched.
        """
        self._calls += 1
        with self._failing():
            answer = call()
        weights, state = network.weights, self._subject.state
        assert isinstance(weights, Masked)
        shown = [*((tensor, weights.make(name)) for name, tensor in weights.made.items())]
        shown += [(tensor, state[name]) for name, tensor in network.others.items()]
        shown += self._module_tensors()
        if not all(_same_bits(tensor, as_it_was) for tensor, as_it_was in shown):
            raise BadPruner(
                f"pruner '{self._pruner}'", "changed weights in place", "Work on copies: w.clone(), not w.mul_()"
            )
        return answer

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Whatever the plugin raises becomes BadPruner."""
        try:
            yield
        except BadPruner:
            raise
        except (Exception, SystemExit) as error:
            raise BadPruner(
                f"pruner '{self._pruner}'",
                f"raised {type(error).__name__}: {error}",
                "Correct the pruner, then run again with --retry-failed",
            ) from error

    def _module_tensors(self) -> list[tuple[Tensor, Tensor]]:
        """The module's own tensors to compare now, each with its copy: in calls 1, 2, 4, 8, ..., or after a change.

        No score rests on them, and to look at all of them is a tenth of a late round on a large network. Between those
        calls torch's count of changes is enough, which misses only what is written past torch.
        """
        module = self._subject.module
        if self._calls & (self._calls - 1) and _versions(module) == self._versions:
            return []
        return [(tensor, self._own[name]) for name, tensor in module.state_dict().items()]


def _versions(module: nn.Module) -> list[int]:
    """How often each of a module's tensors was changed in place, as torch counts it."""
    return [tensor._version for tensor in (*module.parameters(), *module.buffers())]


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Unlike ==, a NaN equals itself here. For numbers of a whole number of bytes: all that torch holds.

    torch compares number by number: eight bytes at a time are eight times as fast as one.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    flat, like = (tensor.detach().contiguous().flatten() for tensor in (one, other))
    whole = torch.int64 if flat.nbytes % 8 == 0 and flat.data_ptr() % 8 == like.data_ptr() % 8 == 0 else torch.uint8
    return torch.equal(flat.view(whole), like.view(whole))
