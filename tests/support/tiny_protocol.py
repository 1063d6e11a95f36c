"""The tests' tiny protocol with more seeds or longer trainings, written into a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

TINY = Path(__file__).parent / "protocols" / "tiny.yaml"


def written(folder: Path, seeds: int, changes: Mapping[str, str]) -> Path:
    """Its copy `many.yaml` with so many seeds, and each text of `changes` replaced, one after another."""
    text = TINY.read_text()
    for old, new in {"seeds: [0, 1]": f"seeds: {list(range(seeds))}", **changes}.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "many.yaml"
    path.write_text(text)
    return path
