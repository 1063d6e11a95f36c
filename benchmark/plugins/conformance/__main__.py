"""The checks of one plugin file, in a confined process: `python -m benchmark.plugins.conformance FILE VALUES`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.plugins.child import Tell, respond
from benchmark.plugins.conformance.suite import examined
from benchmark.plugins.conformance.trainings import TrainingSubject, training_examined
from benchmark.plugins.conformance.trials import Subject
from benchmark.plugins.examine import hyper_parameters
from benchmark.plugins.load import from_file, kind_of_class
from benchmark.plugins.sandbox.confinement import Limits


def checked(path: Path, given: Mapping[str, str], tell: Tell) -> dict[str, Any]:
    """The report of all checks as JSON. Raises BadPruner or BadInput if the plugin cannot be made at all."""
    tell("import")
    found = from_file(path, kind=None)
    parameters = hyper_parameters(found, given)
    found.make(parameters)
    if kind_of_class(found.kind) != "pruner":
        return asdict(
            training_examined(TrainingSubject(found.kind, parameters), lambda check: tell(f"check '{check}'"))
        )
    return asdict(examined(Subject(found.kind, parameters), lambda check: tell(f"check '{check}'")))


if __name__ == "__main__":
    respond(checked, Limits())
