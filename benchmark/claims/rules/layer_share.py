"""A share of the weights that is counted from the protocol: no network is trained for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from benchmark.claims.evidence import Evidence, Item, Scale
from benchmark.claims.observations import Observations
from benchmark.claims.rules.base import RULES, Rule
from benchmark.claims.rules.cells import Points
from benchmark.claims.statistics import Estimate
from benchmark.protocols import Protocol
from benchmark.utils.errors import did_you_mean


@RULES.register("layer-share")
class LayerShare(Rule):
    """The share of the prunable weights that lie in `layers`, in percent, is the published one to its last digit.

    Counted from the protocol alone: nothing is left to chance. `digit`: what one unit of the last printed digit is
    worth.
    """

    rule: Literal["layer-share"]
    layers: tuple[str, ...] = Field(min_length=1)
    published: float = Field(ge=0, le=100)
    digit: float = Field(default=1.0, gt=0)
    metric: Literal["layer-share"] = "layer-share"

    @property
    def points(self) -> tuple[Points, ...]:
        """Nothing is measured."""
        return ()

    @property
    def scale(self) -> Scale:
        """Percent of the weights."""
        return "percent"

    def misfits(self, protocol: Protocol) -> Iterator[str]:
        """The layers must be the protocol's."""
        known = list(protocol.pruning.layer_sizes)
        for layer in self.layers:
            if layer not in known:
                yield f"{protocol.id} has no layer '{layer}'. {did_you_mean(layer, known)}"

    def evaluate(self, observations: Observations, others: Mapping[str, Observations] | None = None) -> Evidence:
        """Of the protocol's layers, whatever was measured."""
        sizes = observations.protocol.pruning.layer_sizes
        share = 100 * sum(sizes[layer] for layer in self.layers) / sum(sizes.values())
        half = self.digit / 2
        item = Item("", Estimate(share, 0.0, 1.0, 1), self.published - half, self.published + half)
        return Evidence((item,), self.scale, (), (), exact=True)

    def statement(self, protocol: Protocol) -> str:
        """What is counted, in one sentence."""
        return f"the share of the weights in {', '.join(self.layers)} is {self.published:g} %, to the last digit"
