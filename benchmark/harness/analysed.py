"""Cells of analyses: the networks and masks that they look at are made, then they are measured, then recorded.

What is examined is a protocol of its own (`Protocol.examined`), run by an ordinary harness into a scratch folder below
the results', `.work/networks`: its records are of no interest, but its weights, masks, locks and checkpoints are those
of any run, so several workers share what they train, and a killed one goes on. Final networks that some analysis
needs are kept there; delete the folder to be rid of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchmark.analyses import Analysis, Findings, checked, load_analysis
from benchmark.analyses.setting import Copy, Setting
from benchmark.datasets.dataset import Dataset, prepared
from benchmark.harness.settings import Progress, Settings
from benchmark.harness.start import State, initial_weights, untrained
from benchmark.planning.priority import cells_for_one_seed
from benchmark.plugins.registry import module_digest
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, cells_of, learning_steps, train_steps
from benchmark.protocols.recipe import DATASETS, Recipe
from benchmark.pruning.interface import Masks
from benchmark.pruning.masks import full_masks
from benchmark.records.store import Store
from benchmark.tasks import load_task
from benchmark.training import checkpoint
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.hooks import Hook
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.seeding import derived_seed
from benchmark.utils.signals import with_safe_points

if TYPE_CHECKING:
    from benchmark.harness.harness import Harness


@dataclass(frozen=True)
class Analysed:
    """What one cell gave, for its record. `updates_before`: of the networks that it was given, and of those that led to
    them."""

    findings: Findings
    units: Mapping[str, str]
    seconds: float
    cpu_seconds: float
    updates_before: int


class AnalysisCells:
    """The analyses of one protocol.

    `harness_of(protocol, store, settings)`: makes the harness of what is examined. `progress`: raises
    where the lock of a cell was lost.
    """

    def __init__(
        self,
        protocol: Protocol,
        store: Store,
        settings: Settings,
        dataset: Callable[[], Dataset],
        harness_of: Callable[[Protocol, Store, Settings], Harness],
        progress: Progress,
    ) -> None:
        self.protocol, self.store, self.settings = protocol, store, settings
        self._dataset, self._harness_of, self._progress = dataset, harness_of, progress
        self._measuring: Cell | None = None

    def analysis(self, cell: Cell) -> Analysis:
        """A new instance for a cell. Raises BadInput."""
        return load_analysis(self.protocol.analyses[cell.method])

    def measure(self, cell: Cell) -> Analysed:
        """Measure one cell, and train before what it needs. Raises NeedFailed if that failed, BadInput, OutOfTime."""
        analysis, self._measuring = self.analysis(cell), cell
        needs, looked_at = analysis.needs(self.protocol, cell), _LookedAt(self.protocol.examined)
        networks = {needed: self._network(needed) for needed in needs}
        for needed in needs:
            looked_at.network(needed)
        started, cpu_started = time.perf_counter(), time.process_time()
        findings = checked(analysis, analysis.measure(self._setting(cell, networks, looked_at)))
        return Analysed(
            findings,
            analysis.units,
            time.perf_counter() - started,
            time.process_time() - cpu_started,
            looked_at.updates,
        )

    def forget(self, cell: Cell) -> None:
        """Delete the checkpoints of what a cell's analysis trained itself: it is recorded."""
        for path in self._checkpoint_path(cell, "").parent.glob(f"{cell.name}.analysis-*.safetensors"):
            path.unlink(missing_ok=True)

    @cached_property
    def _examined(self) -> Harness:
        settings = self.settings.of_inner(self._kept, self._train_progress)
        return self._harness_of(self.protocol.examined, Store(self.store.work / "networks"), settings)

    @cached_property
    def _kept(self) -> frozenset[Cell]:
        """Every network that a cell of the protocol needs."""
        every = (cell for name in self.protocol.analyses for cell in cells_of(self.protocol, name))
        return frozenset(needed for cell in every for needed in self.analysis(cell).needs(self.protocol, cell))

    def _network(self, cell: Cell) -> nn.Module:
        """A finished network, trained now if need be."""
        module = untrained(self.protocol)
        module.load_state_dict(self._examined.final_weights(cell))
        return module.eval()

    def _setting(self, cell: Cell, networks: Mapping[Cell, nn.Module], looked_at: _LookedAt) -> Setting:
        has_data = DATASETS.get(self.protocol.data.name).has_examples

        def mask(method: str, level: int) -> Masks:
            if method == DENSE or level == 0:
                return full_masks(self.protocol.pruning.prunable)
            looked_at.mask(Cell(method, level, cell.seed))
            return self._examined.made_mask(Cell(method, level, cell.seed))

        def start(method: str, level: int) -> tuple[State, int]:
            of = Cell(method if level else DENSE, level, cell.seed)
            self._examined.ensure_networks(of)
            return self._examined.masks.start(of)

        return Setting(
            protocol=self.protocol,
            cell=cell,
            spec=self.protocol.analyses[cell.method],
            data=self._dataset() if has_data else None,
            networks=networks,
            device=self.settings.device,
            network=partial(self._initial, cell.seed),
            mask=mask,
            start=start,
            train=partial(self._train, cell),
            train_once=partial(self._train_once, cell),
            of_seed=lambda seed: self._setting(replace(cell, seed=seed), networks, looked_at),
            split=lambda: self._examined.masks.split(cell.seed),
            progress=lambda done, total: self._progress(cell, done, total, {}),
            data_of=self._data_of,
        )

    def _data_of(self, name: str) -> Dataset:
        spec = self.protocol.data.model_copy(update={"name": name})
        return prepared(self.protocol.model_copy(update={"data": spec}), self.settings.data_root)

    def _initial(self, seed: int) -> nn.Module:
        module = untrained(self.protocol)
        module.load_state_dict({**module.state_dict(), **initial_weights(self.protocol, seed)})
        return module

    def _train(  # noqa: PLR0913, PLR0917 - those of Train
        self,
        cell: Cell,
        start: Mapping[str, Tensor],
        masks: Masks | None = None,
        order: str | None = None,
        steps: int | None = None,
        first_step: int = 0,
        snapshots: Sequence[int] = (),
        module: nn.Module | None = None,
        hooks: Callable[[], Sequence[Hook]] | None = None,
        data: Dataset | None = None,
        recipe: Recipe | None = None,
    ) -> Outcome:
        """See `analyses.setting.Train`. `recipe`: in place of the protocol's."""
        protocol, placement = self.protocol, self.settings.placement
        seed = cell.seed if order is None else derived_seed(cell.seed, "analysis", "order", order)
        last = protocol.recipe.steps if steps is None else first_step + steps
        if masks is None:
            masks = full_masks(protocol.pruning.prunable) if module is None else {}
        split = self._examined.masks.split(cell.seed)
        replica = Replica(seed, dict(start), masks, split, last, first_step, tuple(snapshots))
        make = partial(untrained, protocol) if module is None else partial(_copy, module)
        # The project's own kernels know the protocol's networks only.
        other = recipe is not None
        recipe = recipe or protocol.recipe
        recipe = recipe if module is None else recipe.model_copy(update={"arithmetic": "torch"})
        setup = TrainingSetup(make, recipe, protocol.evaluation, data or self._dataset(), load_task(protocol.task))
        words = [protocol.digest, torch.__version__, str(cell), str(order), f"{first_step} to {last}", str(placement)]
        words += [] if module is None else [repr(module)]
        words += [repr(recipe)] if other else []
        words += [] if hooks is None else [_identity(hook) for hook in hooks()]
        words += [] if data is None else [data.digest]
        of = checkpoint.digest_of(words, replica.start, replica.masks)
        path = self._checkpoint_path(cell, of[:16])
        file = CheckpointFile(path, self.store.work, of, self.settings.checkpoint_seconds)
        with with_safe_points():
            acting = None if hooks is None else (lambda _number: hooks())
            (outcome,) = train(
                [replica], setup, lambda _, *seen: self._progress(cell, *seen), placement, [file], acting
            )
        return outcome

    def _train_once(
        self,
        cell: Cell,
        start: Mapping[str, Tensor],
        masks: Masks | None = None,
        weight_decay: float | None = None,
        order: str | None = None,
    ) -> Copy:
        """See `analyses.setting.TrainOnce`. Two workers that ask at once train it both, to the same bits."""
        recipe = self.protocol.recipe
        if weight_decay is not None:
            recipe = recipe.model_copy(update={"weight_decay": weight_decay})
        masks = full_masks(self.protocol.pruning.prunable) if masks is None else masks
        words = [self.protocol.digest, torch.__version__, str(cell.seed), repr(recipe)]
        words += [str(self.settings.placement)] + ([order] if order else [])
        of = checkpoint.digest_of(words, start, masks)
        path = self.store.weights_path(self.protocol, Cell("copies", cell.level, cell.seed), of[:16])
        kept = checkpoint.load_weights(path)
        if kept is not None:
            steps, examples = kept.pop("took").tolist()
            return Copy(kept, steps, examples)
        made = self._train(cell, start, masks, order=order, recipe=recipe)
        if made.failure is None:
            took = torch.tensor([made.steps, made.examples])
            checkpoint.save_weights(path, {**made.weights, "took": took}, self.store.work)
        return Copy(made.weights, made.steps, made.examples, made.failure)

    def _checkpoint_path(self, cell: Cell, of: str) -> Path:
        return self.store.weights_path(self.protocol, cell, f"analysis-{of}")

    def _train_progress(self, _network: Cell, done: int, total: int, latest: Mapping[str, float]) -> None:
        """Of a network that is trained for the cell that is being measured."""
        if self._measuring is not None:
            self._progress(self._measuring, done, total, latest)


def _identity(hook: Hook) -> str:
    """A hook's code and its plain parameters: training with another is no continuation of a checkpoint."""
    plain = {name: value for name, value in vars(hook).items() if isinstance(value, int | float | str | bool)}
    return f"{type(hook).__name__} {module_digest(hook)} {sorted(plain.items())}"


def _copy(module: nn.Module, inputs: int | None) -> nn.Module:
    assert inputs is None  # only the protocol's own networks leave out inputs that no weight reads
    return deepcopy(module)


class _LookedAt:
    """Counts the updates behind the networks and masks that a cell was given, each network once."""

    def __init__(self, examined: Protocol) -> None:
        self._examined, self._cells, self._masks = examined, set[Cell](), set[Cell]()

    def network(self, cell: Cell) -> None:
        """A final network, with all that led to it."""
        self._cells.update(cells_for_one_seed(self._examined, [(cell.method, cell.level)]))

    def mask(self, cell: Cell) -> None:
        """A mask: what led to it, learning included, without its own network."""
        behind = cells_for_one_seed(self._examined, [(cell.method, cell.level)])
        self._cells.update(c for c in behind if (c.method, c.level) != (cell.method, cell.level))
        self._masks.add(cell)

    @property
    def updates(self) -> int:
        """Of weights and of scores."""
        trained = sum(train_steps(self._examined, c) for c in self._cells)
        return trained + sum(learning_steps(self._examined, c) for c in self._cells | self._masks)
