"""The harness's half of a confined training: what comes back is checked, taken over, and measured here.

The loop of `training.loop` runs in the harness as ever, with a group of its own, but its updates are made in the plugin
process (`ConfinedUpdates`), and one of this module's classes stands in for the hook or learner. After each stretch the
group takes over what came back, so that evaluations, checkpoints and the outcome are made from it by trusted code, on
data that the plugin process does not have.

What a hostile hook can do: return weights that it got in another way from the training examples, within the limits. A
learner's weights are the harness's own; of it nothing but masks, statistics of batch norm and a ranking is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmark.plugins.registry import PluginSource
from benchmark.plugins.sandbox.confinement import Limits
from benchmark.plugins.sandbox.conversation import Conversation
from benchmark.plugins.sandbox.training_process import AUGMENTATION
from benchmark.plugins.sandbox.wire import NO_REPLY, SLACK_BYTES, Advance, BeginTraining, Trained, Word, pack
from benchmark.protocols.network import NetworkSpec
from benchmark.protocols.recipe import Recipe
from benchmark.training.extra import MEMORY, VALUE
from benchmark.training.hooks import Hook, Run
from benchmark.training.kernels.engine import portable
from benchmark.training.learner import Learner
from benchmark.training.optim import named, under
from benchmark.training.replicas import Replica, ReplicaGroup, TrainingSetup, restore_after

STRIDE = 200  # updates between two chances to write a checkpoint
FLOATS = (torch.float32, torch.float64, torch.int64)  # of an optimizer's memory
Target = Mapping[tuple[str, ...], int]


@dataclass(frozen=True)
class Subject:
    """What is trained: one replica, the protocol's network and task, and how much of it the mask has to keep."""

    replica: Replica
    setup: TrainingSetup
    network: NetworkSpec
    task: str
    target: Target
    parent_facts: Mapping[str, float]


class ConfinedTraining(Conversation):
    """A hook or learner in a process of its own, with a whole training. See `Conversation`."""

    def __init__(
        self, plugin: PluginSource, parameters: Mapping[str, Any], limits: Limits, kind: Word, subject: Subject
    ) -> None:
        replica, recipe = subject.replica, subject.setup.recipe
        updates = replica.last_step - replica.first_step
        super().__init__(plugin, parameters, replace(limits, seconds=limits.seconds_for(updates)), kind,
                         kernels=portable(recipe, "cpu"))  # fmt: skip
        if self.loaded.kind != kind:
            raise self.ended(NO_REPLY)
        self._subject, self._recipe = subject, recipe
        self._within(self.limits.seconds)

    def begin(self, done: int | None, saved: Mapping[str, Tensor]) -> None:
        """Send the network, its training examples and, where a training goes on, what was `saved` after `done`."""
        subject, setup = self._subject, self._subject.setup
        replica, prepare = subject.replica, setup.dataset.prepare
        begin = BeginTraining(
            network=subject.network.model_dump_json(by_alias=True),
            recipe=self._recipe.model_dump_json(by_alias=True),
            evaluation=setup.evaluation.model_dump_json(by_alias=True),
            task=subject.task,
            augmentation=AUGMENTATION.dump_json(prepare.augmentation, by_alias=True).decode(),
            mean=prepare.mean,
            std=prepare.std,
            per_image=prepare.per_image,
            classes=setup.dataset.classes,
            tensors=tuple(replica.start),
            prunable=tuple(replica.masks),
            target=tuple(subject.target.items()),
            parent_facts=dict(subject.parent_facts),
            seed=replica.seed,
            first_step=replica.first_step,
            last_step=replica.last_step,
            done=done,
        )  # fmt: skip
        inputs, labels = setup.dataset.train_inputs.clone(), setup.dataset.train_labels.clone()
        if self.loaded.kind == "learner":  # hooks may ask for them
            inputs[replica.split.validation] = 0
            labels[replica.split.validation] = 0
        rows, held_out = replica.split.training.clone(), replica.split.validation.clone()
        tensors = {"inputs": inputs, "labels": labels, "rows": rows, "held_out": held_out}
        tensors |= {f"start.{name}": tensor.clone() for name, tensor in replica.start.items()}
        tensors |= {f"mask.{name}": mask.clone() for name, mask in replica.masks.items()}
        tensors |= {f"saved.{name}": tensor.detach().clone() for name, tensor in saved.items()}
        size = sum(tensor.numel() * tensor.element_size() for tensor in replica.start.values())
        self.longest = 16 * size + SLACK_BYTES * 4  # values, moments, masks, and what a hook remembers
        self._guarded_send(begin, pack(tensors))

    def advance(self, upto: int) -> tuple[dict[str, float], dict[str, Tensor]]:
        """(what the plugin counted, the network and all about it) after so many updates, unchecked."""
        reply, payload = self._ask(Advance(upto=upto), b"", Trained)
        return reply.facts, self._tensors(payload)

    def cpu_seconds(self) -> float:
        """Of the processor, that the plugin process has taken in all. Ends it."""
        end = self._end(0.0)
        return 0.0 if end is None else end.cpu_seconds


class _Sent:
    """What the plugin process said of the hook or learner in it, since the last stretch of updates."""

    def __init__(self, updates: ConfinedUpdates) -> None:
        self.updates = updates

    def facts(self) -> Mapping[str, int | float]:
        """See `Hook`."""
        return self.updates.facts

    def state(self) -> Mapping[str, Tensor]:
        """See `Hook`: kept in checkpoints and given back, never looked at."""
        return self.updates.remembered

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:  # noqa: ARG002
        """See `Hook`."""
        self.updates.remembered = dict(state)

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:  # noqa: ARG002
        """See `Hook`: at the beginning, to begin."""
        return (self.updates.first,)


class SentHook(_Sent, Hook):
    """Stands in for a hook in another process."""

    def at(self, step: int, run: Run) -> None:
        """See `Hook`: what the hook over there has done before the first update."""
        values, masks, frozen = self.updates.begun(step)
        run.network.load_state_dict({**run.network.state_dict(), **values})
        run.masks.update(masks)
        run.frozen.update(frozen)


class SentLearner(_Sent, Learner):
    """Stands in for a learner in another process: its masks are those that were sent."""

    def first_scores(self, weight: Tensor, rng: torch.Generator) -> Tensor:  # noqa: ARG002
        """See `Learner`: drawn over there."""
        return torch.zeros_like(weight)

    def mask(self, scores: Mapping[str, Tensor], left: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        """See `Learner`."""
        return self.updates.shown

    def ranking(self, scores: Mapping[str, Tensor], left: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        """See `Learner`."""
        return self.updates.ranking

    def recorded_mask(self, scores: Mapping[str, Tensor], left: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        """See `Learner`: exactly the target, or `ConfinedUpdates` has refused it."""
        return {name: mask.bool() for name, mask in self.updates.shown.items()}

    def at(self, step: int, run: Run) -> None:
        """See `Hook`."""
        run.masks.update(self.updates.begun(step)[1])


class ConfinedUpdates:
    """Updates that a plugin process makes. See `Updates`; the loop takes `hook`, or `learner`, for what acts there.

    Raises BadPruner if what comes back is no state of this network under masks of the asked density.
    """

    stride = STRIDE

    def __init__(self, training: ConfinedTraining, subject: Subject, kind: Word) -> None:
        self.training, self.first = training, subject.replica.first_step
        self._subject, self._learns, self._begun = subject, kind == "learner", False
        self._last = subject.replica.last_step
        self.hook, self.learner = SentHook(self), SentLearner(self)
        self.facts, self.remembered = dict[str, float](), dict[str, Tensor]()
        ones = {name: torch.ones_like(mask, dtype=torch.float32) for name, mask in subject.replica.masks.items()}
        self.shown, self.ranking = ones, dict(ones)
        self.group: ReplicaGroup | None = None

    def of(self, group: ReplicaGroup) -> ConfinedUpdates:
        """With the group that takes over what comes back."""
        self.group = group
        return self

    def changed(self) -> None:
        """See `Updates`."""

    def begun(self, step: int) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Begin over there: (weights and buffers, masks, frozen entries) when the plugin has acted before the first
        update."""
        self.training.begin(None, {})
        self._begun = True
        found = self._checked(*self.training.advance(step), step)
        return (under("module.", found), under("mask.", found), under("frozen.", found))

    def __call__(self, first: int, last: int) -> None:
        """See `Updates`."""
        assert self.group is not None
        if not self._begun:
            run = self.group.runs(first)[0]
            saved = {**self.group.saved(0), **named("mask.", run.masks), **named("frozen.", run.frozen)}
            self.training.begin(first, {**saved, **named("hook.", self.remembered)})
            self._begun = True
        self._take_over(self._checked(*self.training.advance(last), last), last)

    def _take_over(self, found: Mapping[str, Tensor], done: int) -> None:
        assert self.group is not None
        try:
            restore_after(done, self.group, [found])
            run = self.group.runs(done)[0]
            run.masks.update(under("mask.", found))
            run.frozen.clear()
            run.frozen.update(under("frozen.", found))
            self.group.apply([run])
        except (KeyError, ValueError, RuntimeError, TypeError, IndexError) as error:
            raise self.training.ended("sent a state that is none of this network's") from error

    def _checked(self, facts: Mapping[str, float], sent: Mapping[str, Tensor], done: int) -> dict[str, Tensor]:
        """What was sent, all of it of the names, shapes and types that a network of this protocol has."""
        start, masks = self._subject.replica.start, self._subject.replica.masks
        parts = {kind: under(f"{kind}.", sent) for kind in ("module", "mask", "frozen", "optimizer", "hook")}
        self._look("module", parts["module"], start, None)
        self._look("mask", parts["mask"], masks, torch.bool)
        self._look("frozen", parts["frozen"], {n: start[n] for n in parts["frozen"] if n in start}, torch.bool)
        trained = list(masks if self._learns else start)
        self._look_at_memory(parts["optimizer"], [start[name].shape for name in trained])
        if self._learns:
            self._look_at_learner(sent, masks, done)
            parts["module"] |= {n: start[n] for n in start if not _is_statistic(n)}
        else:
            moved = any(_not_zero(parts["module"][n][~m]) for n, m in parts["mask"].items())
            if moved:
                raise self.training.ended("sent weights outside its mask that are not zero")
            if done == self._last:
                self._look_at_target(parts["mask"])
        self.facts, self.remembered = dict(facts), parts.pop("hook")
        known = {f"{kind}.{name}": tensor for kind, held in parts.items() for name, tensor in held.items()}
        return known | named("scores.", under("scores.", sent)) | self._extra(sent)

    def _extra(self, sent: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters that the hook brings along, and the optimizer's memory of them: handed back to it, no more."""
        found = {name: tensor for name, tensor in sent.items() if name.startswith((VALUE, MEMORY))}
        most = 4 * sum(tensor.numel() for tensor in self._subject.replica.start.values())
        if any(t.dtype not in FLOATS for t in found.values()) or sum(t.numel() for t in found.values()) > most:
            raise self.training.ended("sent parameters of its own that are no numbers, or more than four networks'")
        return found

    def _look(self, kind: str, held: Mapping[str, Tensor], like: Mapping[str, Tensor], dtype: Any) -> None:
        alike = (list(held) and set(held) == set(like)) or (not held and not like)
        if not alike or any(t.shape != like[n].shape or t.dtype != (dtype or like[n].dtype) for n, t in held.items()):
            raise self.training.ended(f"sent {kind} tensors that are none of this network's")

    def _look_at_memory(self, held: Mapping[str, Tensor], shapes: Sequence[torch.Size]) -> None:
        by_place = {str(place): shape for place, shape in enumerate(shapes)}
        for name, tensor in held.items():
            own = tensor.shape == by_place.get(name.partition(".")[0])
            if tensor.dtype not in FLOATS or not (own or tensor.numel() <= 2):
                raise self.training.ended("sent an optimizer's state that is none of this network's")

    def _look_at_learner(self, sent: Mapping[str, Tensor], masks: Mapping[str, Tensor], done: int) -> None:
        """Masks to measure with are from 0 to 1; at the end they are masks of the target, and have a ranking."""
        last = done == self._last
        shown = under("shown.", sent)
        self._look("mask", shown, masks, torch.bool if last else torch.float32)
        self._look("score", under("scores.", sent), masks, torch.float32)
        if not all(bool(((mask >= 0) & (mask <= 1)).all()) for mask in shown.values()):
            raise self.training.ended("sent masks that are not from 0 to 1")
        if last:
            ranking = under("ranking.", sent)
            self._look("ranking", ranking, masks, torch.float32)
            self._look_at_target(shown)
            self.ranking = ranking
        self.shown = shown

    def _look_at_target(self, masks: Mapping[str, Tensor]) -> None:
        for names, count in self._subject.target.items():
            kept = sum(int(masks[name].sum()) for name in names)
            if kept != count:
                raise self.training.ended(f"left a mask of {kept} weights where {count} are asked for")


def _not_zero(values: Tensor) -> bool:
    """Whether any is another number than zero; what is no number has diverged, and is measured as that."""
    return bool(((values != 0) & ~values.isnan()).any())


def _is_statistic(name: str) -> bool:
    """Whether a name is of batch norm's running statistics, which no optimizer trains."""
    return name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")
