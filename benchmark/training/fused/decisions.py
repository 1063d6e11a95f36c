"""On which devices batch norm and ReLU are fused: where `lotterybench speed` has shown that it gains, and nowhere else.

`decisions.yaml` holds what was measured, a line for each device, strategy and precision. It changes the order of sums,
so a record says that it was on, and no device has it on by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.utils.errors import BadInput
from benchmark.utils.strict_yaml import load_file

PATH = Path(__file__).parent / "decisions.yaml"
GAIN = 1.05  # updates a second with it over those without; what is below is noise
WORDS = "batch norm and ReLU fused"
FIELDS = {"device", "strategy", "precision", "gain", "measured"}


@cache
def _measured(path: Path) -> Mapping[tuple[str, str, str], float]:
    """Gains by device, strategy and precision. Raises BadInput for an entry that is not whole."""
    entries: Any = load_file(path)["measured"]
    for entry in entries:
        if set(entry) != FIELDS or not isinstance(entry["gain"], float):
            raise BadInput(f"{path}: {entry}", f"an entry has the fields {', '.join(sorted(FIELDS))}", "Complete it")
    return {(e["device"], e["strategy"], e["precision"]): e["gain"] for e in entries}


def fused_on(device: str, strategy: str, precision: str, path: Path = PATH) -> bool:
    """Whether batch norms are fused there; `device`: CUDA's name of it."""
    return _measured(path).get((device, strategy, precision), 0.0) >= GAIN
