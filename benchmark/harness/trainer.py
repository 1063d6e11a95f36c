"""How a harness trains what is prepared: alike networks side by side, confined ones each in a process, with their
checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from benchmark.datasets.dataset import Dataset
from benchmark.harness.acting import Acting, train_confined
from benchmark.harness.masks import MaskMaker
from benchmark.harness.settings import Prepared, Progress, Settings
from benchmark.harness.start import hook_of, untrained
from benchmark.protocols import Protocol
from benchmark.protocols.recipe import Recipe
from benchmark.records.store import Store
from benchmark.tasks import load_task
from benchmark.training.checkpoint import CheckpointFile, digest_of
from benchmark.training.kernels.engine import described
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, TrainingSetup
from benchmark.utils.signals import with_safe_points


class Trainer:
    """Trains networks of one protocol with the one loop. `dataset()` gives the data, `masks` the hooks and learners.

    `progress`: raises where the lock of a cell was lost.
    """

    def __init__(
        self,
        protocol: Protocol,
        store: Store,
        settings: Settings,
        dataset: Callable[[], Dataset],
        masks: MaskMaker,
        progress: Progress,
    ) -> None:
        self.protocol, self.store, self.settings = protocol, store, settings
        self._dataset, self._masks, self._progress = dataset, masks, progress

    def train(self, ready: Sequence[Prepared]) -> list[Outcome]:
        """Train prepared cells: one after another on the CPU, side by side on another device if by one recipe."""
        outcomes: dict[int, Outcome] = {}
        for place, each in enumerate(ready):
            if (acting := self._masks.confined(each.cell, each.learns)) is not None:
                outcomes[place] = self._confined(each, acting)
        others = [n for n in range(len(ready)) if n not in outcomes]
        for learns, recipe in dict.fromkeys((ready[n].learns, ready[n].recipe) for n in others):
            places = [n for n in others if (ready[n].learns, ready[n].recipe) == (learns, recipe)]
            found = self._alike([ready[n] for n in places], recipe, learns)
            outcomes |= dict(zip(places, found, strict=True))
        return [outcomes[place] for place in range(len(ready))]

    def _setup(self, recipe: Recipe) -> TrainingSetup:
        protocol, make = self.protocol, partial(untrained, self.protocol)
        return TrainingSetup(make, recipe, protocol.evaluation, self._dataset(), load_task(protocol.task))

    def _confined(self, each: Prepared, acting: Acting) -> Outcome:
        with with_safe_points():
            return train_confined(
                self.protocol,
                acting,
                each.replica,
                self._setup(each.recipe),
                self.settings.confinement.limits,
                self.settings.placement,
                lambda _, *seen: self._progress(each.cell, *seen),
                [self._checkpoint(each)],
            )

    def _alike(self, ready: Sequence[Prepared], recipe: Recipe, learns: bool) -> list[Outcome]:
        hooked = not learns and any(hook_of(self.protocol, each.cell) for each in ready)
        hooks = (lambda number: self._masks.hooks(ready[number].cell)) if hooked else None
        learners = (lambda number: self._masks.learner(ready[number].cell)) if learns else None
        with with_safe_points():
            return train(
                [each.replica for each in ready],
                self._setup(recipe),
                lambda number, *seen: self._progress(ready[number].cell, *seen),
                self.settings.placement,
                [self._checkpoint(each) for each in ready],
                hooks,
                learners,
            )

    def _checkpoint(self, ready: Prepared) -> CheckpointFile:
        cell, replica = ready.cell, ready.replica
        words = [self.protocol.digest, torch.__version__, str(cell), f"{replica.first_step} to {replica.last_step}"]
        words += [str(self.settings.placement)] if self.settings.placement else []
        words += [arithmetic] if (arithmetic := described(self.protocol.recipe, self.settings.device)) else []
        words += ["learns a mask"] if ready.learns else []
        acting = self._masks.acting(cell, ready.learns)
        words += [acting.digest] if acting else []  # of a hook or learner that was edited, nothing is gone on with
        of = digest_of(words, replica.start, replica.masks)
        path = self.store.weights_path(self.protocol, cell, "checkpoint")
        return CheckpointFile(path, self.store.work, of, self.settings.checkpoint_seconds)
