"""The plugin process's half of a confined training: the network, its training examples, and the hook or learner.

The same parts as in the harness's process make the updates (`training.loop.engine_for`), so the bits are the same. What
is not here: test examples, results, and any number that is believed.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial

from pydantic import TypeAdapter
from torch import Tensor, nn

from benchmark.datasets.augment import Preparation
from benchmark.datasets.dataset import Dataset, Split
from benchmark.networks import make
from benchmark.plugins.sandbox.confinement import MIB
from benchmark.plugins.sandbox.wire import Advance, BeginTraining, Trained, pack, receive, send, unpack
from benchmark.protocols.network import NetworkSpec
from benchmark.protocols.recipe import AugmentationSpec, EvaluationSpec, Recipe
from benchmark.tasks import load_task
from benchmark.training.hooks import Hook, Run, act
from benchmark.training.learner import Learner
from benchmark.training.learning import LearnedGroup
from benchmark.training.loop import engine_for
from benchmark.training.optim import under
from benchmark.training.replicas import Replica, ReplicaGroup, TrainingSetup, restore_after
from benchmark.training.step import Eager, Step, Updates

LARGEST = 64 * 1024 * MIB  # of what the harness sends; it is trusted
NETWORK: TypeAdapter[NetworkSpec] = TypeAdapter(NetworkSpec)
AUGMENTATION: TypeAdapter[AugmentationSpec | None] = TypeAdapter(AugmentationSpec | None)


def serve_training(channel: socket.socket, plugin: Hook) -> None:
    """Train with a hook or learner, as far as the harness asks, until it hangs up."""
    header, payload = receive(channel, LARGEST)
    training = _Training(BeginTraining.model_validate_json(header), unpack(payload), plugin)
    while True:
        header, _ = receive(channel, LARGEST)
        training.advance(Advance.model_validate_json(header).upto)
        facts = {name: float(value) for name, value in plugin.facts().items()}
        send(channel, Trained(facts=facts), pack(training.state()))


def network_of(spec: NetworkSpec, inputs: int | None) -> nn.Module:
    """An untrained network; an MLP may read only `inputs` features (None: all)."""
    return make(spec) if inputs is None else make(spec.reading(inputs))


class _Training:
    """One network, its updates, and who acts on it."""

    def __init__(self, begin: BeginTraining, tensors: Mapping[str, Tensor], plugin: Hook) -> None:
        recipe = Recipe.model_validate_json(begin.recipe)
        prepare = Preparation(begin.mean, begin.std, AUGMENTATION.validate_json(begin.augmentation), begin.per_image)
        inputs, labels = tensors["inputs"], tensors["labels"]
        data = Dataset("training", inputs, labels, inputs[:0], labels[:0], begin.classes, "", prepare)
        evaluation = EvaluationSpec.model_validate_json(begin.evaluation)  # never carried out here
        spec = NETWORK.validate_json(begin.network)
        setup = TrainingSetup(partial(network_of, spec), recipe, evaluation, data, load_task(begin.task))
        start = {name: tensors[f"start.{name}"] for name in begin.tensors}
        masks = {name: tensors[f"mask.{name}"] for name in begin.prunable}
        rows = Split(tensors["rows"], tensors["held_out"])
        replica = Replica(begin.seed, start, masks, rows, begin.last_step, begin.first_step)
        plugin.target, plugin.parent_facts = dict(begin.target), begin.parent_facts
        self.plugin, self.learned = plugin, None
        self.group: ReplicaGroup
        self.updates: Updates
        if isinstance(plugin, Learner):
            self.group = self.learned = LearnedGroup([replica], setup, [plugin])
            self.updates = Eager([step for step in self.learned.steps if isinstance(step, Step)])
        else:
            make_group, make_updates = engine_for(setup, None)
            self.group = make_group([replica], setup, True)
            self.updates = make_updates(self.group.steps)
        self.due = set(plugin.when(recipe, self.group.steps[0].tables.per_epoch))
        self.last, self.done = begin.last_step, begin.first_step
        if begin.done is None:
            self._act(self.done)
        else:
            self._resume(under("saved.", tensors), begin.done)

    def advance(self, upto: int) -> None:
        """Updates and acts, up to and with those at `upto`."""
        stops = {step for step in {*self.due, upto} if self.done < step <= upto}
        for stop in sorted(stops):
            while self.done < stop:
                after = min(stop, self.done + self.updates.stride)
                self.updates(self.done, after)
                self.done = after
            self._act(stop)

    def state(self) -> dict[str, Tensor]:
        """What `Trained` holds."""
        run = self._run()
        found = self.group.saved(0)
        for kind, held in (("mask", run.masks), ("frozen", run.frozen), ("hook", self.plugin.state())):
            found |= {f"{kind}.{name}": tensor.detach().clone() for name, tensor in held.items()}
        if self.learned is not None:
            found |= {f"shown.{name}": mask.detach().clone() for name, mask in self.learned.shown(0).items()}
            if self.done == self.last:
                ranking = self.learned.learned(0)[1]
                found |= {f"ranking.{name}": ranks.detach().float().clone() for name, ranks in ranking.items()}
        return found

    def _run(self) -> Run:
        return self.group.runs(self.done)[0]

    def _act(self, step: int) -> None:
        if step in self.due:
            self._with_run(lambda run: act(self.plugin, step, run))

    def _with_run(self, act: Callable[[Run], object]) -> None:
        run = self._run()
        act(run)
        if self.group.apply([run]):
            self.updates.changed()

    def _resume(self, saved: Mapping[str, Tensor], done: int) -> None:
        """Go on where a training was, as `training.loop` does."""
        self.done = done
        restore_after(done, self.group, [saved])

        def restored(run: Run) -> None:
            run.masks.update(under("mask.", saved))
            run.frozen.update(under("frozen.", saved))
            self.plugin.resume(under("hook.", saved), run)

        self._with_run(restored)
