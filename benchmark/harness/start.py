"""What a cell starts from: its split, its initial or rewound weights, and its mask.

Everything is asked for recursively: a ticket's mask needs the weights trained one level before, and so on down to
the dense network. Whatever is on disk already ends the recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

from benchmark.datasets.dataset import Dataset, Examples, Split, scoring_examples, split
from benchmark.networks import build, initial_state, make
from benchmark.planning.plan import Job
from benchmark.plugins.registry import PluginSource
from benchmark.plugins.sandbox.confinement import Limits
from benchmark.plugins.sandbox.session import Session
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, is_chain
from benchmark.protocols.methods import ControlSpec, MethodSpec, Needs
from benchmark.pruning.interface import Masks
from benchmark.pruning.masks import full_masks, shuffled
from benchmark.pruning.schedule import PruneCost, Scored, Watcher, cut, cut_again, layer_groups, no_op, score_once
from benchmark.pruning.scorer import ScoredNetwork
from benchmark.records.store import Store
from benchmark.utils.errors import Unavailable
from benchmark.utils.seeding import derived_seed, stream

State = dict[str, Tensor]
FREE = PruneCost(0.0, 0, 0, 0)


class Tickets:
    """Masks and starting weights of one protocol's cells.

    `dataset()` gives the data; `found(pruner)` the pruner's source; `trained(cell, what)` the weights a cell ended
    with, or those kept at `step-<k>`, training it where they are not on disk. Each mask's pruner runs in a
    process of its own, within `limits`.
    """

    def __init__(
        self,
        protocol: Protocol,
        store: Store,
        dataset: Callable[[], Dataset],
        found: Callable[[str], PluginSource],
        trained: Callable[[Cell, str], State],
        limits: Limits,
    ) -> None:
        self.protocol, self.store, self.limits = protocol, store, limits
        self._dataset, self._found, self.trained = dataset, found, trained
        self._scores: dict[tuple[str, int], Scored] = {}

    def split(self, seed: int) -> Split:
        """Training and validation rows of a seed."""
        return split(self._dataset(), self.protocol.data.validation, seed)

    def initial(self, seed: int, *purpose: str | int) -> State:
        """Initial weights of a seed, or other ones for another purpose."""
        generator = stream(seed, *(purpose or ("init",)))
        return initial_state(self.module(None), self.protocol.network, generator, self.protocol.recipe.arithmetic)

    def module(self, inputs: int | None) -> nn.Module:
        """An untrained network of the protocol; an MLP may read only `inputs` features (None: all)."""
        return build(self.protocol) if inputs is None else make(self.protocol.network.reading(inputs))

    def start(self, cell: Cell) -> tuple[State, int]:
        """(weights before masking, update at which training starts) of a cell."""
        if cell.method == DENSE:
            return self.initial(cell.seed), 0
        spec = self.protocol.method(cell.method)
        if isinstance(spec, ControlSpec) and spec.control == "reinitialise":
            return self.initial(cell.seed, "reinit", cell.draw), 0
        schedule = self.protocol.pruning_method(cell.method).schedule
        if schedule.restart == "trained" or schedule.weights == "kept":
            steps = self.protocol.recipe.steps
            return self.trained(
                self._before(cell), "final"
            ), steps if schedule.restart == "trained" else schedule.restart
        if schedule.restart == 0:
            return self.initial(cell.seed), 0
        return self.trained(Cell(DENSE, 0, cell.seed), f"step-{schedule.restart}"), schedule.restart

    def _before(self, cell: Cell) -> Cell:
        """The cell whose last weights this one goes on from: the level before of a chain, else the dense network."""
        spec = self.protocol.method(cell.method)
        of = spec.of if isinstance(spec, ControlSpec) else cell.method
        chain = is_chain(self.protocol, of) and cell.level > 1
        return Cell(of, cell.level - 1, cell.seed) if chain else Cell(DENSE, 0, cell.seed)

    def masks(self, cell: Cell, watch: Watcher = no_op) -> tuple[Masks, PruneCost]:
        """The cell's mask and what pruning took. Raises Unavailable if another process is making it.

        `watch` is told of every round of scoring, but for those of chains and controls.
        """
        if cell.method == DENSE:
            return full_masks(self.protocol.pruning.prunable), FREE
        spec = self.protocol.method(cell.method)
        if isinstance(spec, ControlSpec):
            masks, cost = self._parent_masks(spec, cell)
            if spec.control == "shuffle":
                rng = stream(cell.seed, "shuffle", spec.of, cell.level, cell.draw)
                masks = shuffled(masks, layer_groups(self.protocol.pruning), rng)
            return masks, cost
        if is_chain(self.protocol, cell.method):
            return self._chain_masks(cell)
        own = self.protocol.pruning.scoring.weights == "those-trained"
        scored = self.initial(cell.seed) if own else self.initial(cell.seed, "scored weights")
        if spec.schedule.scores == "trained":
            scored = self.trained(Cell(DENSE, 0, cell.seed), "final")
        if spec.schedule.scored == "once-for-all-levels":
            level = self.protocol.level_table[cell.level]
            ties = self._ties_seed(cell)
            return cut_again(self._scored(spec, cell, scored), spec, self.protocol.pruning, level, watch, ties)
        return self._prune(spec, cell, scored, None, watch)

    def _parent_masks(self, spec: ControlSpec, cell: Cell) -> tuple[Masks, PruneCost]:
        parent = Cell(spec.of, cell.level, cell.seed)
        if not is_chain(self.protocol, spec.of):
            return self.masks(parent)
        if self.store.read_nested_masks(self.protocol, spec.of, cell.seed).last_level >= cell.level:
            return self._chain_masks(parent)
        chain = Job(self.protocol, (parent,))
        with self.store.lock(self.protocol, chain.name, wait=False) as mine:
            if not mine:
                raise Unavailable
            return self._chain_masks(parent)

    def _chain_masks(self, cell: Cell) -> tuple[Masks, PruneCost]:
        nested = self.store.read_nested_masks(self.protocol, cell.method, cell.seed)
        while nested.last_level < cell.level:
            level = nested.last_level + 1
            before = Cell(cell.method, level - 1, cell.seed)
            trained = self.trained(before if level > 1 else Cell(DENSE, 0, cell.seed), "final")
            spec = self.protocol.pruning_method(cell.method)
            known = {name: torch.from_numpy(mask) for name, mask in nested.mask(level - 1).items()}
            masks, cost = self._prune(spec, Cell(cell.method, level, cell.seed), trained, known)
            arrays = {name: mask.numpy() for name, mask in masks.items()}
            numbers = (cost.seconds, cost.forward_passes, cost.backward_passes, cost.examples_seen)
            nested = nested.extended(arrays, numbers)
            self.store.write_nested_masks(self.protocol, cell.method, cell.seed, nested)
        seconds, forward, backward, seen = nested.costs[cell.level]
        masks = {name: torch.from_numpy(mask) for name, mask in nested.mask(cell.level).items()}
        return masks, PruneCost(float(seconds), int(forward), int(backward), int(seen))

    def _prune(
        self, spec: MethodSpec, cell: Cell, scored: State, before: Masks | None, watch: Watcher = no_op
    ) -> tuple[Masks, PruneCost]:
        rng = stream(cell.seed, "prune", cell.method, cell.level)
        with self._session(spec, cell.seed, scored, rng) as session:
            level = self.protocol.level_table[cell.level]
            return cut(session, spec, self.protocol.pruning, level, before, watch, self._ties_seed(cell))

    def _ties_seed(self, cell: Cell) -> int | None:
        """Decides between equal scores where the protocol breaks ties at random: one order for a seed and method."""
        by_seed = self.protocol.pruning.ties == "random-by-seed"
        return derived_seed(cell.seed, "ties", cell.method) if by_seed else None

    def has_scores(self, cell: Cell) -> bool:
        """Whether the scores that serve all levels of the cell's method and seed are in memory."""
        return (cell.method, cell.seed) in self._scores

    def _scored(self, spec: MethodSpec, cell: Cell, state: State) -> Scored:
        """The scores of all levels of a seed; those of the last seed asked for are kept."""
        if (cell.method, cell.seed) not in self._scores:
            self._scores.clear()
            with self._session(spec, cell.seed, state, stream(cell.seed, "prune", cell.method)) as session:
                self._scores[cell.method, cell.seed] = score_once(session, spec, self.protocol.pruning)
        return self._scores[cell.method, cell.seed]

    @contextmanager
    def _session(self, spec: MethodSpec, seed: int, scored: State, rng: Generator) -> Iterator[Session]:
        """The pruner in a process of its own, with all that it is given."""
        with Session(self._found(spec.pruner), spec.parameters, self.limits) as session:
            examples = self._examples(session.needs, seed)
            subject = ScoredNetwork(self.module(None), scored, self._dataset().input_shape, self._dataset().classes)
            subject.module.train(self.protocol.pruning.scoring.batch_norm == "train")
            session.begin(self.protocol.network, tuple(self.protocol.pruning.prunable), subject, examples, rng)
            yield session

    def _examples(self, needs: Needs, seed: int) -> Examples | None:
        """What a pruner declares it needs, and no more."""
        if needs not in ("inputs", "labels"):
            return None
        rng = stream(seed, "scoring examples")
        scoring = self.protocol.pruning.scoring
        examples = scoring_examples(self._dataset(), self.split(seed).training, scoring, rng)
        if needs == "inputs":
            return Examples(examples.inputs, torch.full_like(examples.labels, -1))
        return examples
