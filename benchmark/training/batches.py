"""What makes up each batch: tables drawn once an epoch, a function of (seed, epoch), so any step can be resumed at.

An update reads its row of the tables by a counter that lives on the device. So the same update can be run eagerly or
be replayed from a captured CUDA graph, which may hold neither a random generator nor a number from the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.datasets.augment import augmentation_table
from benchmark.datasets.dataset import Dataset
from benchmark.protocols.recipe import Recipe
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import stream


def batches_per_epoch(recipe: Recipe, examples: int) -> int:
    """Optimizer updates per pass over `examples` training examples. Raises BadInput if there is none."""
    keep = recipe.last_partial_batch == "keep"
    if not keep and recipe.batch_size > examples:
        raise BadInput(
            f"recipe.batch_size {recipe.batch_size}",
            f"there are {examples} training examples, and last_partial_batch is drop",
            "Take smaller batches or keep the last one",
        )
    return -(-examples // recipe.batch_size) if keep else examples // recipe.batch_size


@dataclass(frozen=True)
class ReplicaExamples:
    """Where one replica's examples come from: `rows` (m,) of the training set, in the orders of `seed`."""

    rows: Tensor
    seed: int

    def tables(self, recipe: Recipe, dataset: Dataset, epoch: int) -> dict[str, Tensor]:
        """All that is random in one epoch: order (m,), crops (m, 2 or 4) and flips (m,), dropout (updates, 2)."""
        order = self.rows
        if recipe.order == "shuffled-each-epoch":
            order = order[torch.randperm(len(order), generator=stream(self.seed, "order", epoch))]
        updates = batches_per_epoch(recipe, len(order))
        words = torch.randint(0, 2**32, (updates, 2), generator=stream(self.seed, "dropout", epoch))
        tables = {"order": order, "dropout": words}
        if dataset.prepare.augmentation is not None:
            spec, shape = dataset.prepare.augmentation, dataset.input_shape
            crops, flips = augmentation_table(spec, self.seed, epoch, len(order), shape)
            tables |= {"crops": crops, "flips": flips}
        return tables


_DRAWING = ThreadPoolExecutor(1, "drawing tables")  # its thread starts with the first draw ahead


def draws_ahead(device: torch.device) -> bool:
    """Whether tables are drawn while the device is busy. A CPU has no core to spare for it."""
    return device.type == "cuda"


class Ahead:
    """Tables by epoch, those of the next one drawn in a thread as soon as an epoch is taken.

    `draw`: all tables of an epoch; called in a thread it has to draw from generators of its own. `last`: the last epoch
    that will be asked for. On CUDA they lie in pinned memory, so that copying them makes nobody wait.
    """

    def __init__(self, draw: Callable[[int], dict[str, Tensor]], last: int) -> None:
        self._draw, self._last, self._pinned = draw, last, torch.cuda.is_available()
        self._drawing: tuple[int, Future[dict[str, Tensor]]] | None = None

    def __call__(self, epoch: int) -> dict[str, Tensor]:
        """The tables of an epoch. Raises what drawing them raised."""
        drawing, self._drawing = self._drawing, None
        tables = drawing[1].result() if drawing and drawing[0] == epoch else self._drawn(epoch)
        if epoch < self._last:
            self._drawing = epoch + 1, _DRAWING.submit(self._drawn, epoch + 1)
        return tables

    def _drawn(self, epoch: int) -> dict[str, Tensor]:
        tables = self._draw(epoch)
        return {name: table.pin_memory() for name, table in tables.items()} if self._pinned else tables


class Tables:
    """The tables of the epoch at hand, on the data's device, and the counter that says which update is next.

    One source gives batches (size, ...); a list of sources gives stacked ones (replicas, size, ...). `stored`: training
    examples as the data set, or a compacted form of it, holds them. `last`: the update that training ends before.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        stored: Tensor,
        source: ReplicaExamples | Sequence[ReplicaExamples],
        first: int = 0,
        last: int = 0,
    ) -> None:
        self.recipe, self.dataset, self.stored = recipe, dataset, stored
        self.sources = [source] if isinstance(source, ReplicaExamples) else list(source)
        self.lead = () if isinstance(source, ReplicaExamples) else (len(self.sources),)
        self.examples = len(self.sources[0].rows)
        self.per_epoch = batches_per_epoch(recipe, self.examples)
        self.counter = torch.full((1,), first, dtype=torch.int64, device=stored.device)
        self._within = torch.arange(recipe.batch_size, device=stored.device)
        self._epoch, self._now = -1, dict[str, Tensor]()
        self._tables: Callable[[int], dict[str, Tensor]] = self._drawn
        if draws_ahead(stored.device):
            self._tables = Ahead(self._drawn, (last - 1) // self.per_epoch)

    def size(self, step: int) -> int:
        """Examples in the batch of update `step`."""
        left = self.examples - step % self.per_epoch * self.recipe.batch_size
        return min(left, self.recipe.batch_size)

    def open(self, step: int) -> None:
        """Have the tables of the epoch of update `step` in place; always at the same addresses."""
        epoch = step // self.per_epoch
        if epoch == self._epoch:
            return
        for name, table in self._tables(epoch).items():
            if name in self._now:
                self._now[name].copy_(table, non_blocking=True)
            else:
                self._now[name] = table.to(self.stored.device, copy=True)
        self._epoch = epoch

    def _drawn(self, epoch: int) -> dict[str, Tensor]:
        drawn = [source.tables(self.recipe, self.dataset, epoch) for source in self.sources]
        return {n: torch.stack([each[n] for each in drawn]) for n in drawn[0]} if self.lead else drawn[0]

    @property
    def order(self) -> Tensor:
        """(*lead, m) row numbers of the whole epoch that is open, batch after batch."""
        return self._now["order"]

    def rows(self, size: int) -> Tensor:
        """(*lead, size) row numbers of the batch that the counter points at."""
        return self._now["order"].index_select(-1, self._places(size))

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """(inputs, labels) of that batch, ready for the network."""
        places, prepare = self._places(size), self.dataset.prepare
        rows = self._now["order"].index_select(-1, places)
        stored = self.stored[rows.flatten()]
        if prepare.augmentation is None:
            inputs = prepare(stored)
        else:
            crops = self._now["crops"].index_select(-2, places)
            crops = crops.reshape(-1, crops.shape[-1])
            inputs = prepare.augmented(stored, crops, self._now["flips"].index_select(-1, places).flatten())
        return inputs.reshape(*rows.shape, *inputs.shape[1:]), self.dataset.train_labels[rows]

    def coming(self, done: int, ahead: int = 0) -> tuple[Tensor, Tensor]:
        """The batch of the update `ahead` after update `done`; where the epoch ends, from its first batch on again."""
        epoch, place = divmod(done, self.per_epoch)
        step = epoch * self.per_epoch + (place + ahead) % self.per_epoch
        self.open(step)
        pointed_at = self.counter.clone()
        self.counter.fill_(step)
        found = self.batch(self.size(step))
        self.counter.copy_(pointed_at)
        return found

    def held_out(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(inputs, labels) of validation examples, ready for the network and not augmented. Raises BadInput if there
        are none."""
        if not len(rows):
            raise BadInput("a hook", "asks for validation examples, and none are held out", "Set data.validation")
        rows = rows.to(self.stored.device)
        return self.dataset.prepare(self.stored[rows]), self.dataset.train_labels[rows]

    def dropout_words(self) -> Tensor:
        """(*lead, 2) random words that this update's dropped units follow from."""
        return self._now["dropout"].index_select(-2, self.counter % self.per_epoch).squeeze(-2)

    def _places(self, size: int) -> Tensor:
        return self.counter % self.per_epoch * self.recipe.batch_size + self._within[:size]
