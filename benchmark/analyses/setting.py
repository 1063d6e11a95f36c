"""What an analysis is given of one cell: data, networks, masks, random streams, and the one loop to train with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol as Interface

from torch import Generator, Tensor, nn

from benchmark.datasets.dataset import Dataset, Split
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import AnalysisSpec
from benchmark.protocols.cells import DENSE, Cell
from benchmark.pruning.interface import Masks
from benchmark.training.hooks import Hook
from benchmark.training.replicas import Outcome
from benchmark.utils.seeding import stream

State = dict[str, Tensor]


class Train(Interface):
    """Trains one network by the protocol's recipe, on the device of the run, with the harness's one loop."""

    def __call__(  # noqa: PLR0913, PLR0917 - each one is asked by some analysis
        self,
        start: Mapping[str, Tensor],
        masks: Masks | None = None,
        order: str | None = None,
        steps: int | None = None,
        first_step: int = 0,
        snapshots: Sequence[int] = (),
        module: nn.Module | None = None,
        hooks: Callable[[], Sequence[Hook]] | None = None,
        data: Dataset | None = None,
    ) -> Outcome:
        """The outcome of updates `first_step` + 1 to `first_step` + `steps` of the recipe.

        `start`: weights before masking, every parameter and buffer by name. `masks`: None for the whole network.
        `order`: names another order of examples, and other draws of augmentation and dropout, than the seed's own,
        which is None. `steps`: None for all up to the recipe's last. `snapshots`: updates after which weights are kept,
        in the outcome's `snapshots`. `hooks`: makes new ones, that act on this training. `data`: other examples than
        the protocol's, as many (`Setting.data_of`). A training that diverged has a `failure`. It is resumed where it
        was killed.
        """
        ...


@dataclass(frozen=True)
class Copy:
    """A network that was trained to the recipe's last update: its weights, and what the training took. `failure`: why
    it was given up, if it was."""

    weights: State
    steps: int
    examples: int
    failure: str | None = None


class TrainOnce(Interface):
    """Trains as `Train` does, once for all cells of the protocol that ask for the same: copies are kept in the work
    folder."""

    def __call__(
        self,
        start: Mapping[str, Tensor],
        masks: Masks | None = None,
        weight_decay: float | None = None,
        order: str | None = None,
    ) -> Copy:
        """The network after the whole recipe. `weight_decay`: in place of the recipe's. `order`: see `Train`."""
        ...


@dataclass(frozen=True)
class Setting:
    """One cell of an analysis protocol, ready to be measured.

    `data_of(name)`: another data set, on the CPU, of the same shapes, prepared as the protocol says.
    `density`, `counts`: of the level; weights that layerwise pruning leaves there, by layer (what each tensor keeps is
    the mask's). `data`: on the CPU; None where `data.name` is none. `networks`: what `needs` asked for, masked, in eval
    mode, on the CPU. `device`: where `train` trains. `network()`: a new one with the seed's initial weights.
    `mask(method, level)`: of a pruning method of the protocol, for this seed; level 0 keeps everything. `start(method,
    level)`: the weights before masking and the update that the final training of that cell starts from.
    `of_seed(seed)`: the same cell with another seed of the protocol. `progress(done, total)`: to be told now and then,
    in any unit.
    """

    protocol: Protocol
    cell: Cell
    spec: AnalysisSpec
    data: Dataset | None
    networks: Mapping[Cell, nn.Module]
    device: str
    network: Callable[[], nn.Module]
    mask: Callable[[str, int], Masks]
    start: Callable[[str, int], tuple[State, int]]
    train: Train
    train_once: TrainOnce
    of_seed: Callable[[int], Setting]
    split: Callable[[], Split]
    progress: Callable[[int, int], None]
    data_of: Callable[[str], Dataset]

    @property
    def seed(self) -> int:
        """The cell's."""
        return self.cell.seed

    @property
    def density(self) -> float:
        """Fraction of the prunable weights that remain at the cell's level."""
        return self.protocol.level_table[self.cell.level].density

    @property
    def counts(self) -> Mapping[str, int]:
        """Weights that layerwise pruning leaves at the cell's level, by layer."""
        return self.protocol.level_table[self.cell.level].counts

    @property
    def examined(self) -> Cell:
        """The cell that the analysis is of: its `of` at its level; level 0 is the dense network."""
        return Cell(self.spec.of if self.spec.of and self.cell.level else DENSE, self.cell.level, self.cell.seed)

    def rng(self, *purpose: str | int) -> Generator:
        """A new generator of the seed for one purpose; the same for all levels and analyses."""
        return stream(self.seed, "analysis", *purpose)
