"""The harness's end of a plugin process that makes one mask: asked in rounds, a `Scorer` like any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

import torch
from torch import Generator, Tensor

from benchmark.datasets.dataset import Examples
from benchmark.plugins.registry import PluginSource
from benchmark.plugins.sandbox.confinement import Limits
from benchmark.plugins.sandbox.conversation import Conversation
from benchmark.plugins.sandbox.wire import NO_REPLY, SLACK_BYTES, Answer, Begin, Round, mask_bits, pack
from benchmark.protocols.needs import OF_PRUNERS, Needs
from benchmark.protocols.network import NetworkSpec
from benchmark.pruning.interface import Cost, Masks, Scores, ScoringRound
from benchmark.pruning.scorer import Draw, Kind, ScoredNetwork


class Session(Conversation):
    """A pruner in a process of its own, loaded; then, after `begin`, a `Scorer`. See `Conversation`."""

    kind: Kind

    def __init__(self, pruner: PluginSource, parameters: Mapping[str, Any], limits: Limits) -> None:
        super().__init__(pruner, parameters, limits)
        self.cost = Cost()
        self._prunable: tuple[str, ...] = ()
        if self.loaded.kind not in ("scores", "masks") or self.loaded.needs not in OF_PRUNERS:
            raise self.ended(NO_REPLY)
        self.kind = "masks" if self.loaded.kind == "masks" else "scores"
        self.needs: Needs = self.loaded.needs
        self._draw: Draw | None = None

    def begin(
        self,
        network: NetworkSpec,
        prunable: tuple[str, ...],
        subject: ScoredNetwork,
        examples: Examples | None,
        rng: Generator,
        draw: Draw | None = None,
    ) -> None:
        """Send what is to be pruned: `network` with the subject's values, `examples`, and the generator's state.

        `draw`: gives those of later rounds, for a pruner that wants other ones in each.
        """
        self._draw = draw if self.loaded.fresh_examples else None
        tensors: dict[str, Tensor] = {f"state.{name}": tensor for name, tensor in subject.state.items()}
        tensors |= {f"initial.{name}": tensor for name, tensor in (subject.initial or {}).items()}
        if examples is not None:
            tensors |= {"inputs": examples.inputs, "labels": examples.labels}
        tensors["generator"] = rng.get_state()
        self._prunable = prunable
        self._within(self.limits.seconds)
        self.longest = SLACK_BYTES + sum(8 * subject.state[name].numel() for name in prunable)  # float64 at most
        begin = Begin(
            network=network.model_dump_json(by_alias=True),
            recipe=None if subject.recipe is None else subject.recipe.model_dump_json(by_alias=True),
            task=subject.task,
            train_mode=subject.module.training,
            input_shape=subject.input_shape,
            classes=subject.classes,
            tensors=tuple(subject.state),
            prunable=prunable,
        )
        self._guarded_send(begin, pack(tensors))

    def scores(self, masks: Masks, at: ScoringRound | None = None) -> Scores:
        """See `Scorer`."""
        fresh = None
        if self._draw is not None and at is not None and at.number > 1:
            fresh = self._draw(at.number)
        asked = Round(density=None, at=None if at is None else astuple(at), fresh=fresh is not None)
        examples = b"" if fresh is None else pack({"inputs": fresh.inputs, "labels": fresh.labels})
        return self._round(asked, mask_bits(masks, self._prunable) + examples)

    def masks(self, masks: Masks, density: float) -> Masks:
        """See `Scorer`."""
        return self._round(Round(density=density), mask_bits(masks, self._prunable))

    def budgets(self, kept: int) -> dict[str, float]:
        """See `Scorer`."""
        numbers = self._round(Round(density=None, budget=kept), b"")
        if any(number.numel() != 1 or number.dtype != torch.float64 for number in numbers.values()):
            raise self.ended("sent budgets that are no numbers")
        return {name: float(number) for name, number in numbers.items()}

    def _round(self, asked: Round, about: bytes) -> dict[str, Tensor]:
        reply, payload = self._ask(asked, about, Answer)
        self.cost = Cost(reply.forward_passes, reply.backward_passes, reply.examples_seen, reply.inner_steps)
        given = self._tensors(payload)
        known = {name: given[name] for name in self._prunable if name in given}  # in the network's order
        return {**known, **given}
