"""What the suite holds of a paper: its statements, and its claims with the rules that decide them."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal, Self, Union

from pydantic import Field, JsonValue, model_validator

from benchmark.claims.rules.base import RULES, Rule
from benchmark.claims.tables import Source, Status, why_no_target
from benchmark.protocols.protocol import Paper
from benchmark.utils.errors import did_you_mean
from benchmark.utils.strict_model import Frozen

if TYPE_CHECKING:
    AnyRule = Rule
else:
    # Every rule there is: pydantic picks the class by the word under `rule:`.
    AnyRule = Annotated[Union[tuple(RULES.all().values())], Field(discriminator="rule")]  # noqa: UP007


class PublishedPaper(Paper):
    """A paper, with what of it was read."""

    venue: str | None = None
    versions_read: str | None = Field(default=None, description="versions and parts that were seen")


class Statement(Frozen):
    """Something that a paper states."""

    id: str = Field(pattern=r"^[a-z0-9]+-[a-z0-9-]+$")
    statement: str
    source: str = Field(description="section, figure or table")
    read_from: str | None = Field(default=None, description="id of a source")
    also_read_from: str | None = Field(default=None, description="id of a second, independent source that agrees")
    status: Status = "read"
    setting: str | None = Field(default=None, description="id of a setting in results/<key>.yaml")
    metric: str | None = Field(default=None, description="what `value` counts, with its unit")
    value: JsonValue = Field(default=None, description="the numbers as the paper gives them, in the unit of `metric`")
    tolerance: float | None = Field(default=None, gt=0, description="as the source states it, in the unit of `metric`")
    note: str | None = None


class OwnData(Frozen):
    """Numbers of the paper itself, or released with it, that contradict its statement: with them, what deviates here
    is no failure to reproduce."""

    checks: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1, description="those contradicted, from 1")
    evidence: str = Field(min_length=1, description="the numbers, and where they stand")


class Claim(Statement):
    """One checkable statement of a paper. It holds only if every check does."""

    protocol: str = Field(description="id of the protocol that decides it")
    version: int = Field(default=1, gt=0, description="of that protocol, for which the rule was written")
    family: str | None = Field(
        default=None, description="section that it is corrected with; by default the one that `source` begins with"
    )
    after: str | None = Field(
        default=None, description="id of the claim of its family that must hold before this one is tested"
    )
    part_of: str | None = Field(default=None, description="id of the divided statement that this is a part of")
    stated_by: Literal["paper", "suite"] = Field(
        default="paper",
        description="suite: derived from the paper, or asked of networks that it does not train; counted apart",
    )
    published: str = Field(description="the number or ordering as the paper gives it, in words for reports")
    read_from: str = Field(description="id of a source")
    checks: tuple[AnyRule, ...] = Field(min_length=1)
    own_data: OwnData | None = None

    @property
    def section(self) -> str:
        """The claims of one protocol and section are corrected together: Section 3.1 is of Section 3."""
        if self.family is not None:
            return self.family
        found = re.match(r"(?:Section|Appendix|Table|Fig\.|Figure) [A-Z0-9]+|Abstract", self.source)
        return found[0] if found else self.source

    @cached_property
    def cells(self) -> dict[str, tuple[tuple[str, int], ...]]:
        """Protocol id -> (method, level) pairs that the claim rests on, sorted; its own protocol first."""
        by_protocol: dict[str, set[tuple[str, int]]] = {self.protocol: set()}
        for rule in self.checks:
            by_protocol[self.protocol].update(rule.needed_cells)
            if rule.other_protocol:
                protocol, points = rule.other_protocol
                by_protocol.setdefault(protocol, set()).update(points.cells)
        return {protocol: tuple(sorted(cells)) for protocol, cells in by_protocol.items()}


class NotDecided(Statement):
    """A statement that no protocol of the suite decides, and why."""

    reason: str = Field(min_length=1)


class Fact(Frozen):
    """Raw published values of one metric at one level, beside the claims."""

    protocol: str
    method: str
    level: int = Field(ge=0)
    values: tuple[float, ...]


class Published(Frozen):
    """What the suite holds of one paper, but for its result tables (`benchmark.claims.tables`)."""

    schema_: Literal["lotterybench/published/1"] = Field(alias="schema")
    paper: PublishedPaper
    sources: tuple[Source, ...] = Field(min_length=1)
    densities: dict[str, dict[int, float]] = Field(
        default_factory=dict,
        description="protocol -> level -> the density as the paper prints it; these levels are shown in reports",
    )
    facts: tuple[Fact, ...] = ()
    claims: tuple[Claim, ...] = ()
    divided: tuple[Statement, ...] = Field(
        default=(), description="statements on several settings; claims that are `part_of` them decide each on its own"
    )
    not_decided: tuple[NotDecided, ...] = ()

    @property
    def statements(self) -> tuple[Statement, ...]:
        """Everything, parts of divided statements included: claims, divided statements, then what is not decided."""
        return (*self.claims, *self.divided, *self.not_decided)

    @property
    def whole_statements(self) -> tuple[Statement, ...]:
        """What the paper states, each statement once: `statements` without the parts."""
        return tuple(s for s in self.statements if getattr(s, "part_of", None) is None)

    @property
    def with_a_rule(self) -> int:
        """How many of the whole statements a rule decides, in one piece or in parts."""
        return len(self.whole_statements) - len(self.not_decided)

    def source(self, key: str) -> Source:
        """The source of this id, which exists in a validated file. Raises KeyError otherwise."""
        return {source.id: source for source in self.sources}[key]

    @model_validator(mode="after")
    def _ids(self) -> Self:
        for what, ids in (
            ("claim id", [s.id for s in self.statements]),
            ("source id", [s.id for s in self.sources]),
        ):
            if twice := {name for name in ids if ids.count(name) > 1}:
                raise ValueError(f"{what} '{min(twice)}' stands twice")
        known = [source.id for source in self.sources]
        for statement in self.statements:
            for name in (statement.read_from, statement.also_read_from):
                if name is not None and name not in known:
                    raise ValueError(f"{statement.id}: read_from '{name}' is no source. {did_you_mean(name, known)}")
        return self

    @model_validator(mode="after")
    def _parts(self) -> Self:
        whole, parts = [s.id for s in self.divided], {claim.part_of for claim in self.claims if claim.part_of}
        for name in sorted(parts - set(whole)):
            raise ValueError(f"part_of '{name}' is no divided statement. {did_you_mean(name, whole)}")
        for name in whole:
            if name not in parts:
                raise ValueError(f"{name}: no claim is part_of this divided statement")
        return self

    @model_validator(mode="after")
    def _own_data(self) -> Self:
        for claim in self.claims:
            if claim.own_data and max(claim.own_data.checks) > len(claim.checks):
                raise ValueError(f"{claim.id}: own_data names check {max(claim.own_data.checks)}")
        return self

    @model_validator(mode="after")
    def _gates(self) -> Self:
        known = {claim.id: claim for claim in self.claims}
        for claim in self.claims:
            passed = [claim.id]
            while (gate := known[passed[-1]].after) is not None:
                if gate not in known or gate in passed:
                    raise ValueError(f"{claim.id}: after '{gate}' is no earlier claim of its family")
                passed.append(gate)
            if claim.after is not None:
                first = known[claim.after]
                if (first.protocol, first.section) != (claim.protocol, claim.section):
                    raise ValueError(f"{claim.id}: after '{first.id}' is of {first.section}, not of {claim.section}")
        return self

    @model_validator(mode="after")
    def _claims_rest_on_trusted_sources(self) -> Self:
        for claim in self.claims:
            if why := why_no_target(self.source(claim.read_from), claim.status):
                raise ValueError(f"{claim.id}: {why}, so no rule may rest on it; list it under not_decided")
        return self
