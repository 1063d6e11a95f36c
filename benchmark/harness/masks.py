"""A cell's mask: read, cut from scores, or taken from the cell that it is a control of. Nothing is trained here.

The masks of a chain follow from the weights of the level before; they are kept in one file of nested masks, which is
only ever extended, by the process that has the lock of the chain's job. Trained weights are read from disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol as Interface

import torch
from torch import Generator, Tensor

from benchmark.datasets.dataset import Dataset, Examples, Split, scoring_examples, split
from benchmark.harness.acting import Acting
from benchmark.harness.learned import LearnedMask
from benchmark.harness.start import (
    Start,
    State,
    Weights,
    hook_of,
    initial_weights,
    learned_like,
    masked_like,
    scored_at,
    signed_constants,
    start_of,
    told_of,
    untrained,
)
from benchmark.plugins.load import make_hook, make_learner, make_own
from benchmark.plugins.registry import PluginSource, locate
from benchmark.plugins.sandbox.confinement import Limits
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, is_chain, title
from benchmark.protocols.methods import ControlSpec, MethodSpec
from benchmark.protocols.needs import OF_INITIAL, Needs, examples_of
from benchmark.pruning.interface import Masks, Plugin
from benchmark.pruning.masks import full_masks, masks_from_scores, shuffled
from benchmark.pruning.schedule import (
    PruneCost,
    Scored,
    Watcher,
    cut,
    cut_again,
    layer_groups,
    no_op,
    score_once,
    target_of,
)
from benchmark.pruning.scorer import DirectScorer, ScoredNetwork, Scorer, declared_needs
from benchmark.records.masks import NestedMasks
from benchmark.records.schema import SourceRef
from benchmark.records.store import Store
from benchmark.training.checkpoint import load_weights
from benchmark.training.hooks import Hook
from benchmark.training.learner import Learner
from benchmark.utils.errors import BadPruner, NeedFailed
from benchmark.utils.seeding import derived_seed, stream

FREE = PruneCost(0.0, 0, 0, 0)


@dataclass(frozen=True)
class Confinement:
    """Who runs in a process of its own, within which limits: plugins that are not of this repository, or `all`."""

    limits: Limits = Limits()  # noqa: RUF009 - frozen
    all: bool = False

    def confines(self, source: PluginSource) -> bool:
        """Whether this plugin runs in a process of its own."""
        return self.all or not source.of_this_repository


class GivenMask(Interface):
    """What a cell takes from another protocol; see `harness.transferred.Transferred`."""

    @property
    def masks(self) -> Masks:
        """The mask."""

    @property
    def start(self) -> State:
        """Weights before masking."""

    @property
    def cost(self) -> PruneCost:
        """What making the mask took."""

    @property
    def source(self) -> SourceRef:
        """Where all is from."""


def nothing_given(_cell: Cell) -> None:
    """What a cell takes whose protocol takes no masks of another one."""


def _registered_hook(name: str) -> PluginSource:
    return locate(name, kind="hook")


class MaskMaker:
    """Masks and starting weights of one protocol's cells.

    `dataset()` gives the data; `located(pruner)` the pruner's source, `located_hook(hook)` the hook's; `given(cell)`
    what a cell takes from another protocol, None for most.
    """

    def __init__(
        self,
        protocol: Protocol,
        store: Store,
        dataset: Callable[[], Dataset],
        located: Callable[[str], PluginSource],
        confinement: Confinement = Confinement(),
        located_hook: Callable[[str], PluginSource] = _registered_hook,
        given: Callable[[Cell], GivenMask | None] = nothing_given,
    ) -> None:
        self.protocol, self.store, self.confinement = protocol, store, confinement
        self._dataset, self._located, self._located_hook = dataset, located, located_hook
        self.given = given
        self._scores: dict[tuple[str, int], Scored] = {}

    def split(self, seed: int) -> Split:
        """Training and validation rows of a seed."""
        return split(self._dataset(), self.protocol.data.validation, seed)

    def start(self, cell: Cell) -> tuple[State, int]:
        """(weights before masking, update at which training starts). Raises NeedFailed if they are not on disk."""
        start = start_of(self.protocol, cell)
        given = self.given(cell)
        if given is not None and start == Start():  # a control that initialises again takes the mask alone
            return dict(given.start), start.first_step
        weights = self._weights(start, cell.seed)
        if cell.method != DENSE and self.protocol.pruning_method(cell.method).schedule.values == "signed-constant":
            weights = signed_constants(weights, self.protocol.pruning.prunable)
        return weights, start.first_step

    def _weights(self, start: Start, seed: int) -> State:
        return self._initial(seed, *start.purpose) if start.trained is None else self.trained(start.trained)

    def _initial(self, seed: int, *purpose: str | int) -> State:
        return initial_weights(self.protocol, seed, *purpose)

    def on_disk(self, weights: Weights) -> bool:
        """Whether weights are there, undamaged."""
        return load_weights(self._path(weights)) is not None

    def trained(self, weights: Weights) -> State:
        """Weights of a trained network, by parameter name. Raises NeedFailed if they are not on disk."""
        state = load_weights(self._path(weights))
        if state is None:
            name = f"{weights.network.method} {weights.network.name}"
            raise NeedFailed(name, f"has no weights '{weights.what}'", "Delete its record to redo it")
        return state

    def _path(self, weights: Weights) -> Path:
        return self.store.weights_path(self.protocol, weights.network, weights.what)

    def levels_on_disk(self, cell: Cell) -> int:
        """Down to which level the masks of a cell's chain are on disk, its own or its parent's; 0 without a chain."""
        return self._nested(cell).last_level if self.of_chain(cell) else 0

    def of_chain(self, cell: Cell) -> bool:
        """Whether a cell's mask is one of a chain's, its own or its parent's."""
        return cell.method != DENSE and is_chain(self.protocol, masked_like(self.protocol, cell).method)

    def _nested(self, cell: Cell) -> NestedMasks:
        like = masked_like(self.protocol, cell)
        return self.store.read_nested_masks(self.protocol, like.method, like.seed)

    def make(self, cell: Cell, watch: Watcher = no_op) -> tuple[Masks, PruneCost]:
        """The cell's mask and what pruning took.

        `watch` is told of every round of scoring, but for those of chains. Raises NeedFailed if trained weights that
        it follows from are not on disk, BadPruner if the plugin breaks its contract.
        """
        hook = hook_of(self.protocol, cell)
        if cell.method == DENSE or (hook and hook.starts == "dense"):
            return full_masks(self.protocol.pruning.prunable), FREE
        like, spec = masked_like(self.protocol, cell), self.protocol.method(cell.method)
        if (given := self.given(cell)) is not None:
            return self._shuffled(cell, given.masks), given.cost
        if learned_like(self.protocol, cell):
            return self._learned_mask(cell), FREE
        if isinstance(spec, ControlSpec) and spec.inverted is not None:
            return self._at_once(like, self.protocol.pruning_method(spec.of).inverted(spec.inverted), watch)
        if self.of_chain(cell):
            masks, cost = self._of_chain(like)
        else:
            masks, cost = self._at_once(like, self.protocol.pruning_method(like.method), watch)
        return self._shuffled(cell, masks), cost

    def _shuffled(self, cell: Cell, masks: Masks) -> Masks:
        """A mask in a random order within layers, if the cell's method says so."""
        spec = self.protocol.method(cell.method)
        if not isinstance(spec, ControlSpec) or spec.control != "shuffle":
            return masks
        rng = stream(cell.seed, "shuffle", spec.of, cell.level, cell.draw)
        return shuffled(masks, layer_groups(self.protocol.pruning), rng)

    def learned_path(self, cell: Cell) -> Path:
        """Where the mask is kept that a cell's learner has learned."""
        return self.store.weights_path(self.protocol, cell, "learned")

    def is_learned(self, cell: Cell) -> bool:
        """Whether the mask of a cell with a learner is on disk, undamaged."""
        return self._read(cell) is not None

    def _read(self, cell: Cell) -> LearnedMask | None:
        names, digest = tuple(self.protocol.pruning.prunable), self._learner_digest(cell)
        return LearnedMask.load(self.learned_path(cell), names, digest)

    def keep_learned(self, cell: Cell, learned: LearnedMask) -> None:
        """Write what was learned for a cell."""
        learned.save(self.learned_path(cell), self.store.work, self._learner_digest(cell))

    def _learner_digest(self, cell: Cell) -> str:
        return self._located(self.protocol.pruning_method(cell.method).pruner).digest

    def learned(self, cell: Cell) -> LearnedMask | None:
        """What was learned for a cell, or for the one whose mask it takes; None where nothing is learned.

        Raises NeedFailed if it is not on disk.
        """
        like = learned_like(self.protocol, cell)
        if like is None:
            return None
        found = self._read(like)
        if found is None:
            raise NeedFailed(f"{like.method} {like.name}", "has no learned mask", "Delete its record to learn it again")
        return found

    def learner(self, cell: Cell) -> Learner:
        """A new learner for a cell, told how many weights to leave. Raises BadInput or BadPruner."""
        spec = self.protocol.pruning_method(cell.method)
        learner = make_learner(self._located(spec.pruner), spec.parameters)
        learner.target = target_of(spec, self.protocol.pruning, self.protocol.level_table[cell.level])
        return learner

    def _learned_mask(self, cell: Cell) -> Masks:
        """The mask of a learner, or that of a control of one: shuffled, or cut from the ranking turned around."""
        learned, spec = self.learned(cell), self.protocol.method(cell.method)
        assert learned is not None  # the caller knows
        if isinstance(spec, ControlSpec) and spec.control == "invert":
            parent, pruning = self.protocol.pruning_method(cell.method), self.protocol.pruning
            target = target_of(parent, pruning, self.protocol.level_table[cell.level])
            groups = {str(place): list(names) for place, names in enumerate(target)}
            counts = {str(place): count for place, count in enumerate(target.values())}
            scores = {name: -ranks for name, ranks in learned.ranking.items()}
            return masks_from_scores(scores, full_masks(pruning.prunable), groups, counts, self._ties_seed(cell))
        return self._shuffled(cell, learned.masks)

    def hooks(self, cell: Cell) -> list[Hook]:
        """New hooks for one training of a cell, told what they have to leave. Raises BadInput or BadPruner."""
        spec = hook_of(self.protocol, cell)
        if spec is None or self.confined(cell, learns=False):
            return []
        hook = make_hook(self._located_hook(spec.name), spec.parameters)
        pruning, method = self.protocol.pruning, self.protocol.pruning_method(cell.method)
        hook.target = target_of(method, pruning, self.protocol.level_table[cell.level])
        hook.parent_facts = self._parent_facts(cell)
        recipe, examples = self.protocol.recipe, len(self.split(cell.seed).training)
        last_batch = 0 if recipe.last_partial_batch == "drop" else recipe.batch_size - 1
        try:
            list(hook.when(recipe, (examples + last_batch) // recipe.batch_size))
        except Exception as error:
            cause = f"does not fit this recipe ({error})"
            raise BadPruner(f"hook '{spec.name}'", cause, "Correct its parameters") from error
        return [hook]

    def acting(self, cell: Cell, learns: bool) -> PluginSource | None:
        """The hook that acts on a cell's training, or the learner of its mask; None if nobody does."""
        if learns:
            return self._located(self.protocol.pruning_method(cell.method).pruner)
        hook = hook_of(self.protocol, cell)
        return None if hook is None else self._located_hook(hook.name)

    def confined(self, cell: Cell, learns: bool) -> Acting | None:
        """Who acts so in a process of its own; None if nobody."""
        source = self.acting(cell, learns)
        if source is None or not self.confinement.confines(source):
            return None
        hook, method = None if learns else hook_of(self.protocol, cell), self.protocol.pruning_method(cell.method)
        target = target_of(method, self.protocol.pruning, self.protocol.level_table[cell.level])
        if hook is None:
            return Acting("learner", source, method.parameters, target, dict)
        return Acting("hook", source, hook.parameters, target, lambda: self._parent_facts(cell))

    def _parent_facts(self, cell: Cell) -> Mapping[str, float]:
        """What the hook has counted whose counts a cell's hook is given. Raises NeedFailed without its record."""
        parent = told_of(self.protocol, cell)
        if parent is None:
            return {}
        record = self.store.read(self.protocol, parent)
        if record is None or record.hook_facts is None:
            raise NeedFailed(title(parent), "has not counted what its control is to do", "Run it with --retry-failed")
        return record.hook_facts

    def _at_once(self, cell: Cell, spec: MethodSpec, watch: Watcher) -> tuple[Masks, PruneCost]:
        """A mask that follows from no other level's. `spec`: the cell's method, or that turned around."""
        weights = self._weights(scored_at(self.protocol, cell), cell.seed)
        if spec.schedule.scored == "once-for-all-levels":
            level = self.protocol.level_table[cell.level]
            return cut_again(
                self._scored(spec, cell, weights), spec, self.protocol.pruning, level, watch, self._ties_seed(cell)
            )
        return self._cut(spec, cell, weights, None, watch)

    def _of_chain(self, cell: Cell) -> tuple[Masks, PruneCost]:
        """A mask of a chain, with all before it that are not on disk yet."""
        nested = self._nested(cell)
        spec = self.protocol.pruning_method(cell.method)
        while nested.last_level < cell.level:
            following = Cell(cell.method, nested.last_level + 1, cell.seed)
            weights = self._weights(scored_at(self.protocol, following), cell.seed)
            known = {name: torch.from_numpy(mask) for name, mask in nested.mask(nested.last_level).items()}
            masks, cost = self._cut(spec, following, weights, known)
            arrays = {name: mask.numpy() for name, mask in masks.items()}
            nested = nested.extended(arrays, astuple(cost))
            self.store.write_nested_masks(self.protocol, cell.method, cell.seed, nested)
        seconds, *counted = nested.costs[cell.level]
        masks = {name: torch.from_numpy(mask) for name, mask in nested.mask(cell.level).items()}
        return masks, PruneCost(float(seconds), *map(int, counted))

    def _cut(
        self, spec: MethodSpec, cell: Cell, weights: State, before: Masks | None, watch: Watcher = no_op
    ) -> tuple[Masks, PruneCost]:
        rng = stream(cell.seed, "prune", cell.method, cell.level)
        with self._scorer(spec, cell.seed, weights, rng) as scorer:
            return cut(
                scorer,
                spec,
                self.protocol.pruning,
                self.protocol.level_table[cell.level],
                before,
                watch,
                self._ties_seed(cell),
            )

    def _ties_seed(self, cell: Cell) -> int | None:
        """Decides between equal scores where the protocol breaks ties at random: one order for a seed and method."""
        by_seed = self.protocol.pruning.ties == "random-by-seed"
        return derived_seed(cell.seed, "ties", cell.method) if by_seed else None

    def has_scores(self, cell: Cell) -> bool:
        """Whether the scores that serve all levels of the cell's method and seed are in memory."""
        return (cell.method, cell.seed) in self._scores

    def _scored(self, spec: MethodSpec, cell: Cell, weights: State) -> Scored:
        """The scores of all levels of a seed; those of the last seed asked for are kept."""
        if not self.has_scores(cell):
            self._scores.clear()
            with self._scorer(spec, cell.seed, weights, stream(cell.seed, "prune", cell.method)) as scorer:
                self._scores[cell.method, cell.seed] = score_once(scorer, spec, self.protocol.pruning)
        return self._scores[cell.method, cell.seed]

    @contextmanager
    def _scorer(self, spec: MethodSpec, seed: int, weights: State, rng: Generator) -> Iterator[Scorer]:
        """The pruner, with all that it is given: in this process, or confined in one of its own."""
        source, names = self._located(spec.pruner), tuple(self.protocol.pruning.prunable)
        if self.confinement.confines(source):
            from benchmark.plugins.sandbox.session import Session

            with Session(source, spec.parameters, self.confinement.limits) as session:
                needs = session.needs
                draw = partial(self._examples, needs, seed, count=spec.examples)
                scored, examples = self._scored_network(needs, seed, weights), draw()
                session.begin(self.protocol.network, names, scored, examples, rng, draw)
                yield session
        else:
            plugin: Plugin = make_own(source, spec.parameters)
            needs = declared_needs(plugin, spec.pruner)
            draw = partial(self._examples, needs, seed, count=spec.examples)
            scored, examples = self._scored_network(needs, seed, weights), draw()
            yield DirectScorer(plugin, spec.pruner, names, scored, examples, rng, draw)

    def _scored_network(self, needs: Needs, seed: int, weights: State) -> ScoredNetwork:
        """The network as it is scored, with its initial values if they are needed beside."""
        initial: State | None = None
        if needs in OF_INITIAL:
            drawn = self._initial(seed)
            initial = {name: self._precise(drawn[name]) for name in self.protocol.pruning.prunable}
        weights = {name: self._precise(tensor) for name, tensor in weights.items()}
        dataset = self._dataset()
        recipe = self.protocol.recipe if self.protocol.trains else None
        module, shape = untrained(self.protocol), dataset.input_shape
        network = ScoredNetwork(module, weights, shape, dataset.classes, initial, recipe, self.protocol.task)
        network.module.train(self.protocol.pruning.scoring.batch_norm == "train")
        return network

    def _examples(self, needs: Needs, seed: int, number: int = 1, count: int | None = None) -> Examples | None:
        """What a pruner declares it needs, and no more. `number`: of the round; each has a draw of its own, of which
        most pruners are given the first in all rounds. `count`: of examples, where the method says it."""
        shown = examples_of(needs)
        if shown is None:
            return None
        rng = stream(seed, "scoring examples", *(() if number == 1 else (number,)))
        scoring = self.protocol.pruning.scoring
        examples = scoring_examples(self._dataset(), self.split(seed).training, scoring, rng, count)
        inputs = self._precise(examples.inputs)
        return Examples(inputs, torch.full_like(examples.labels, -1) if shown == "inputs" else examples.labels)

    def _precise(self, tensor: Tensor) -> Tensor:
        """In float64 where arithmetic is portable, as it is otherwise.

        torch adds in another order on every kind of processor. In float32 two scores of a large layer change places by
        that; in float64 they would have to agree to some fifteen digits, at the place of the cut.
        """
        portable = self.protocol.recipe.arithmetic == "portable"
        return tensor.double() if portable and tensor.is_floating_point() else tensor
