"""What a regression check found. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """`agreed`: what was compared and is the same; `reasons`: what is not, in words; `notes`: what could not be
    compared, and why."""

    agreed: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Take over what another check found."""
        self.agreed += other.agreed
        self.reasons += other.reasons
        self.notes += other.notes
