"""A protocol that measures masks and trains nothing."""

from __future__ import annotations

import copy
from typing import Any

from benchmark.protocols import Protocol

ONCE = {"rounds": 1, "scores": "initial", "restart": 0, "scored": "once-for-all-levels"}


EACH = {"rounds": 1, "scores": "initial", "restart": 0}


LINEAR = {"rounds": 5, "scores": "initial", "restart": 0, "curve": "linear"}


def method(pruner: str, schedule: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"pruner": pruner, "allocation": "global", "schedule": schedule, "levels": "all", **more}


def analysis(tiny: Protocol, **fields: Any) -> dict[str, Any]:
    """The tiny protocol as one that trains nothing."""
    document = copy.deepcopy(tiny.document)
    del document["recipe"], document["evaluation"]
    document |= {
        "id": "tests/masks",
        "measures": "masks",
        "data": {"name": "synthetic", "scaling": "as-generated", "validation": 0, "split": "none"},
        "seeds": [0, 1],
        "methods": {
            "magnitude": method("magnitude", ONCE),
            "smallest": method("magnitude", ONCE, keep="lowest"),
            "random": method("random", EACH),
            "synflow": method("synflow", {**EACH, "rounds": 10}),
            "synflow-linear": method("synflow", LINEAR),
            "snip": method("snip", ONCE),
        },
    }
    return {**document, **fields}
