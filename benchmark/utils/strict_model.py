"""The base of every section of a protocol, and how sections grow without moving old digests. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """Immutable, strict (no coercion from text), and closed (an unknown field is an error)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; what was worked out for the original (`cached_property`) does not hold for the copy."""
        copied = super().model_copy(update=update, deep=deep)
        for name in [name for name in copied.__dict__ if name not in type(self).model_fields]:
            del copied.__dict__[name]
        return copied


Count = Annotated[int, Field(ge=0, le=2**53)]
"""How many of something."""


class _Added:
    """The type of `ADDED`, which is its only instance."""

    def __repr__(self) -> str:
        return "ADDED"


ADDED: Final = _Added()
"""Marks a field that a section got after protocols were locked: `nesterov: Annotated[bool, ADDED] = False`.

A protocol's digest covers every field, defaults included. A field added later is left out of the document while it
holds its default, so protocols that do not use it keep their digest, and those that use it get another one. Its
default must therefore mean exactly what the code did before there was the field.
"""


def without_unused(value: Any, dumped: Any) -> Any:
    """`dumped`, the JSON form of `value`, without the fields marked `ADDED` that hold their default, at any depth."""
    if isinstance(value, BaseModel):
        kept = {}
        for name, field in type(value).model_fields.items():
            own = getattr(value, name)
            if ADDED in field.metadata and own == field.get_default(call_default_factory=True):
                continue
            key = field.alias or name
            kept[key] = without_unused(own, dumped[key])
        return kept
    if isinstance(value, dict):
        return {key: without_unused(item, dumped[key]) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_unused(item, other) for item, other in zip(value, dumped, strict=True)]
    return dumped


def flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything below `name` in a document that is not itself a mapping."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(f"{name}.{key}", inner)
    else:
        yield name, value
