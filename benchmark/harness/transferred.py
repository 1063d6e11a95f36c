"""Networks that a protocol's methods take from another: `masks_from`. They are ordinary cells of the source protocol.

An inner harness of the source makes what is missing, in the same results folder: its records, masks and locks are
those of any run of the source, so workers share them, and a killed one goes on. Trained weights of source networks
stay in the work folder; where it was deleted they are trained again, to the bit where arithmetic is portable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Generator

from benchmark.harness.masks import FREE
from benchmark.harness.settings import Progress, Settings
from benchmark.harness.start import State, Weights, initial_weights
from benchmark.networks.registry import drawn_weight
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, source_cells, source_of, started_from
from benchmark.protocols.transfer import MasksFrom
from benchmark.pruning.interface import Masks
from benchmark.pruning.masks import full_masks, tensor_mask_digest
from benchmark.pruning.schedule import PruneCost
from benchmark.records.schema import ProtocolRef, SourceRef
from benchmark.records.store import Store
from benchmark.utils.seeding import portable_normals, stream

if TYPE_CHECKING:
    from benchmark.harness.harness import Harness

RANDOM = "transfer"
"""Purpose of the draw of a body that starts from new weights."""


def weights_digest(state: State) -> str:
    """sha256 of every name and the bytes of its values, by name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def disturbed(source: Protocol, weights: State, amount: float, rng: Generator) -> State:
    """Initial weights with normal noise on every prunable tensor, of `amount` times the deviation that its rule of
    initial values has (arXiv 1803.03635, Appendix F.7). The same `rng` gives the same directions for all amounts."""
    normals = torch.randn if source.recipe.arithmetic == "torch" else portable_normals
    rules, moved = source.network.initial_rules, dict(weights)
    for name in source.pruning.prunable:
        kind = source.network.tensors[name][0]
        if kind not in ("bias", "norm"):
            rule = rules.linear if kind == "linear" else rules.convolution
            moved[name] = weights[name] + amount * drawn_weight(rule, weights[name], rng, normals)
    return moved


def resampled(weights: State, masks: Masks, rng: Generator) -> State:
    """Weights whose masked tensors hold values drawn with replacement from what their mask leaves of them
    (arXiv 1803.03635, Appendix F.3); a tensor of which nothing is left stays."""
    drawn = dict(weights)
    for name, mask in masks.items():
        left = weights[name][mask]
        if len(left):
            drawn[name] = left[torch.randint(len(left), tuple(mask.shape), generator=rng)]
    return drawn


@dataclass(frozen=True)
class Transferred:
    """What a cell is given: mask, starting weights before the mask, what making the mask took, where all is from."""

    masks: Masks
    start: State
    cost: PruneCost
    source: SourceRef


class SourceNetworks:
    """The sources of one protocol. `harness_of(protocol, store, settings)`: makes the harness of a source.

    `progress`: raises where the lock of a cell was lost.
    """

    def __init__(
        self,
        protocol: Protocol,
        store: Store,
        settings: Settings,
        harness_of: Callable[[Protocol, Store, Settings], Harness],
        progress: Progress,
    ) -> None:
        self.protocol, self.store, self.settings = protocol, store, settings
        self._harness_of, self._progress = harness_of, progress
        self._harnesses: dict[str, Harness] = {}
        self._waiting: Cell | None = None
        self._given: tuple[Cell, Transferred] | None = None

    def ready(self, cell: Cell) -> bool:
        """Have what a cell takes on disk, made now if need be; False while another process makes it.

        Raises NeedFailed if it cannot be had, OutOfTime.
        """
        found = source_of(self.protocol, cell)
        if found is None:
            return True
        self._waiting, inner, network = cell, self._harness(found[0]), started_from(self.protocol, cell)
        return inner.obtain(found[1], network=False) and (network is None or inner.obtain(network))

    def given(self, cell: Cell) -> Transferred | None:
        """What a cell takes from its source, all of it on disk; None for methods without one. Raises NeedFailed."""
        if self._given is None or self._given[0] != cell:
            found = source_of(self.protocol, cell)
            if found is None:
                return None
            self._given = cell, self._take(cell, *found)
        return self._given[1]

    def _taken(self, cell: Cell) -> MasksFrom:
        taken = self.protocol.pruning_method(cell.method).masks_from
        assert taken is not None  # the cell has a source
        return taken

    def _take(self, cell: Cell, source: Protocol, of: Cell) -> Transferred:
        inner, taken = self._harness(source).masks, self._taken(cell)
        masks, cost = (full_masks(self.protocol.pruning.prunable), FREE) if of.method == DENSE else inner.make(of)
        own = initial_weights(self.protocol, cell.seed)
        weights, network = None, started_from(self.protocol, cell)
        if network is not None:
            body = inner.trained(Weights(network))
            weights = weights_digest(body)
        elif taken.reset == "theta0":
            body = initial_weights(source, cell.seed)
            if taken.noise:
                body = disturbed(source, body, taken.noise, stream(cell.seed, "noise", cell.level))
        elif taken.reset == "resampled":
            body = resampled(initial_weights(source, cell.seed), masks, stream(cell.seed, "resampled", cell.level))
        else:
            body = initial_weights(self.protocol, cell.seed, RANDOM)
        start = {name: own[name] if name.rpartition(".")[0] in taken.head else body[name] for name in own}
        named = SourceRef(
            protocol=ProtocolRef(id=source.id, version=source.version, digest=source.digest),
            method=of.method,
            level=of.level,
            reset=taken.reset,
            mask_sha256=tensor_mask_digest(masks),
            weights_sha256=weights,
        )
        return Transferred(masks, start, cost, named)

    def _harness(self, source: Protocol) -> Harness:
        if source.key not in self._harnesses:
            wanted = frozenset(
                cell
                for method in self.protocol.pruning_methods
                for each, cells in source_cells(self.protocol, method).items()
                if each.key == source.key
                for cell in cells
            )
            settings = self.settings.of_inner(wanted, self._train_progress)
            self._harnesses[source.key] = self._harness_of(source, self.store, settings)
        return self._harnesses[source.key]

    def _train_progress(self, _trained: Cell, done: int, total: int, latest: Mapping[str, float]) -> None:
        """Of a source network that is trained for the cell that waits for it."""
        if self._waiting is not None:
            self._progress(self._waiting, done, total, latest)
