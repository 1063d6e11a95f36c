"""The checks of one plugin file, in a confined process of their own: `python -m benchmark.conformance FILE VALUES`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.isolation.limits import Limits
from benchmark.plugin_child import Tell, respond
from benchmark.plugin_facts import hyper_parameters
from benchmark.registry import from_file
from benchmark.testing import Subject, examined


def checked(path: Path, given: Mapping[str, str], tell: Tell) -> dict[str, Any]:
    """The report of all checks as JSON. Raises BadPruner or BadInput if the pruner cannot be made at all."""
    tell("import")
    found = from_file(path)
    parameters = hyper_parameters(found, given)
    found.make(parameters)
    return asdict(examined(Subject(found.kind, parameters), lambda check: tell(f"check '{check}'")))


if __name__ == "__main__":
    respond(checked, Limits())
