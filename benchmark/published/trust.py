"""How far a published number can be trusted, and which numbers a verdict may rest on. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmark.spec.frozen import Frozen

SourceKind = Literal["primary-text", "primary-screenshot", "author-data", "author-post", "code", "secondary"]
"""The paper's text, a picture of its tables, files or posts of its authors, code, or somebody else's report."""

Status = Literal["read", "quoted", "unverified", "contradicted", "not-a-target"]
"""`read` in its source; `quoted` by the source from another paper; `unverified`; `contradicted` by another source or
place; `not-a-target`: read well, but known not to measure what it is labelled as."""


class Source(Frozen):
    """Where numbers were read."""

    id: str = Field(min_length=1)
    kind: SourceKind
    where: str = Field(min_length=1)


def why_no_target(source: Source, status: Status) -> str | None:
    """Why no verdict may rest on a number of this source and status; None if one may."""
    if source.kind == "secondary":
        return f"source '{source.id}' is secondary"
    return None if status == "read" else f"it is marked '{status}'"
