"""A source and a target on synthetic points, as files: the target takes masks and weights of the source's chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from benchmark.protocols.protocol import read_document

TINY = Path(__file__).parent / "protocols" / "tiny.yaml"
PRUNABLE = {"fc1.weight": [16, 12], "fc2.weight": [8, 16]}
INITIAL = {"rounds": 1, "scores": "initial", "restart": 0}
HEAD = {"name": "freeze", "parameters": {"trained": "fc3"}}


def source_document(**changes: Any) -> dict[str, Any]:
    """`imp`, fine-tuned level after level, whose body is pruned: half, then a quarter of its weights stay."""
    document: dict[str, Any] = read_document(TINY)
    chain = {"rounds": "levels", "scores": "trained", "restart": "trained", "retrain_steps": 6}
    document |= {
        "id": "tests/source",
        "pruning": document["pruning"] | {"prunable": PRUNABLE, "layer_rates": {}},
        "levels": {"rule": "listed", "densities": [0.5, 0.25]},
        "methods": {"imp": {"pruner": "magnitude", "allocation": "global", "schedule": chain, "levels": "all"}},
    }
    return document | changes


def taking(reset: str, **more: Any) -> dict[str, Any]:
    """A method of the target. `more`: of `masks_from`, or `hook`."""
    hook = {"hook": more.pop("hook")} if "hook" in more else {}
    taken = {"protocol": "source.yaml", "method": "imp", "reset": reset, "head": ["fc3"], **more}
    return {
        "pruner": "magnitude",
        "allocation": "global",
        "schedule": INITIAL,
        "masks_from": taken,
        "levels": "all",
        **hook,
    }


def target_document(**changes: Any) -> dict[str, Any]:
    """All weights, and the source's last level; every reset, the head alone and all layers trained."""
    methods = {
        "trained": taking("trained"),
        "theta0": taking("theta0"),
        "random": taking("random"),
        "fine-tuned": taking("fine-tuned"),
        "linear": taking("trained", hook=HEAD),
    }
    document = source_document(id="tests/target", levels={"rule": "listed", "densities": [1.0, 0.25]}, methods=methods)
    return document | {"seeds": [0], **changes}


def written(folder: Path, source: dict[str, Any] | None = None, target: dict[str, Any] | None = None) -> Path:
    """Both as files of a folder; the target's path."""
    for name, document in {"source": source or source_document(), "target": target or target_document()}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder / "target.yaml"
