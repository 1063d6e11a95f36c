"""What a protocol says of its analyses, where it measures those: which one, with what parameters, of which masks.

An analysis protocol holds pruning methods too, and controls: not to be recorded, but for analyses to be `of`. What they
look at is a protocol of its own, `Protocol.examined`: the same document without the analyses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from benchmark.utils.errors import did_you_mean
from benchmark.utils.registry import Registry
from benchmark.utils.strict_model import Frozen

if TYPE_CHECKING:
    from benchmark.protocols.protocol import Protocol


class AnalysisFacts:
    """What is known of an analysis without torch; the rest is `benchmark.analyses.analysis.Analysis`.

    `paper`: where it was published, in words. `units`: name of every number that it may give -> its unit. `in_updates`:
    its parameters that count updates of a training, which a dry run shortens. `makes_examples`: whether it makes those
    that networks read from the data set's, which then need not fit the network.
    """

    paper: ClassVar[str] = ""
    units: ClassVar[Mapping[str, str]]
    in_updates: ClassVar[tuple[str, ...]] = ()
    makes_examples: ClassVar[bool] = False


ANALYSES: Registry[type[AnalysisFacts]] = Registry(
    "analysis", "benchmark.analyses", besides=("analysis", "line", "setting", "similarity")
)
"""Every analysis by name, each in the module of that name."""


class AnalysisSpec(Frozen):
    """A method of an analysis protocol: one record for each level and seed.

    `of`: the pruning method whose masks or networks it looks at. Level 0 is the dense network, or what the analysis
    makes of no mask at all: its record is the analysis's own, and not shared by methods as dense networks are.
    """

    analysis: str
    parameters: dict[str, bool | int | float | str] = Field(default_factory=dict)
    of: str | None = None
    levels: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]

    draws: ClassVar[int] = 1
    is_chain: ClassVar[bool] = False
    shares_work: ClassVar[bool] = False
    hook: ClassVar[None] = None

    def measured_levels(self, last: int) -> tuple[int, ...]:  # noqa: ARG002
        """Levels at which it is measured, most wanted first."""
        return self.levels

    def check(self, name: str, protocol: Protocol) -> None:
        """There are such an analysis and such masks. `protocol`: what is examined. Raises ValueError."""
        if self.analysis not in ANALYSES:
            hint = did_you_mean(self.analysis, list(ANALYSES.names()))
            raise ValueError(f"methods.{name}: there is no analysis '{self.analysis}'. {hint}")
        if self.of is None:
            return
        if self.of not in protocol.methods:
            hint = did_you_mean(self.of, list(protocol.methods)) if protocol.methods else "There is none"
            raise ValueError(f"methods.{name}: of: '{self.of}' is not a pruning method of this protocol. {hint}")
        if missing := set(self.levels) - {0, *protocol.measured_levels(self.of)}:
            raise ValueError(f"methods.{name}: level {min(missing)} is not measured by {self.of}")
