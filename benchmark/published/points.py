"""Which cells a rule speaks of: a method at some levels. Level 0 is the dense network. No torch."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from benchmark.spec.frozen import Frozen


class Span(Frozen):
    """Every level from `first` to `last`."""

    first: int = Field(ge=0)
    last: int = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"last {self.last} is below first {self.first}")
        return self


Levels = Annotated[tuple[int, ...], Field(min_length=1)] | Span


def listed(levels: Levels) -> tuple[int, ...]:
    """Levels one by one."""
    return tuple(range(levels.first, levels.last + 1)) if isinstance(levels, Span) else levels


class Points(Frozen):
    """A method at some levels. Level 0 of any method is the dense network."""

    method: str
    levels: Levels = (0,)

    @property
    def cells(self) -> tuple[tuple[str, int], ...]:
        """(method, level) pairs."""
        return tuple((self.method if level else "dense", level) for level in listed(self.levels))
