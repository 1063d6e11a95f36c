"""What checks found. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One failure, or a note that fails nothing: what was expected, what was seen, and why it matters."""

    check: str
    network: str
    failed: bool
    expected: str
    seen: str
    why: str

    def __str__(self) -> str:
        word = "FAILED" if self.failed else "note"
        return (
            f"{word}: {self.check}, on {self.network}\n"
            f"  expected  {self.expected}\n  seen      {self.seen}\n  why       {self.why}"
        )


@dataclass(frozen=True)
class Report:
    """What all checks found on all networks. `seconds`: wall time."""

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    networks: tuple[str, ...]
    seconds: float

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Findings that make the pruner unfit for a run."""
        return tuple(finding for finding in self.findings if finding.failed)


class Broken(Exception):
    """A check cannot go on: expected, seen."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}, seen {seen}")
        self.expected, self.seen = expected, seen
