"""The contract of an analysis, and how one is found by name.

An analysis lives in `benchmark/analyses/<name>.py`, underscores for hyphens, under `@ANALYSES.register("<name>")`;
nothing else names it. Torch is imported with it, not with this module.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.plugins.registry import PluginSource, module_digest
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import ANALYSES, AnalysisFacts, AnalysisSpec
from benchmark.protocols.cells import Cell
from benchmark.utils.errors import BadInput
from benchmark.utils.npz import pack

if TYPE_CHECKING:
    from benchmark.analyses.setting import Setting


@dataclass(frozen=True)
class Findings:
    """What an analysis found in one cell.

    `numbers`: finite, by names of the analysis's `units`. `curves`: arrays kept beside the record. `updates`,
    `examples`: of what the analysis trained itself; seconds are the harness's.
    """

    numbers: Mapping[str, float]
    curves: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    updates: int = 0
    examples: int = 0

    def packed(self) -> bytes | None:
        """The .npz beside the record; None without curves."""
        return pack({name: np.asarray(curve) for name, curve in self.curves.items()}) if self.curves else None

    @property
    def failure(self) -> str | None:
        """Why these are no findings: numbers that are not finite; None if all are."""
        lost = [name for name, value in self.numbers.items() if not math.isfinite(value)]
        return f"diverged: {', '.join(lost)} not finite" if lost else None


class Analysis(AnalysisFacts, ABC):
    """Turns finished networks or masks into named numbers. Its parameters are typed arguments of `__init__`: bool, int,
    float or str.

    One instance measures one cell, and may be asked before any data or network is there. What it raises as a
    `LotterybenchError` ends the run, as a mistake of the protocol does; numbers that are not finite make a failed
    record.
    """

    def needs(self, protocol: Protocol, cell: Cell) -> tuple[Cell, ...]:  # noqa: ARG002
        """Cells of `protocol.examined` whose final networks `measure` is given as `Setting.networks`.

        The harness trains what is not in its weights cache, with its one loop, and whatever those follow from.
        """
        return ()

    def plugins(self) -> tuple[PluginSource, ...]:
        """Plugins that it runs: the record's digest covers their code too."""
        return ()

    @abstractmethod
    def measure(self, setting: Setting) -> Findings:
        """What it finds. Everything that it is given must come back as it was."""


def load_analysis(spec: AnalysisSpec) -> Analysis:
    """The analysis that a protocol names, with its parameters. Raises BadInput: no such one, or not its parameters."""
    kind = ANALYSES.get(spec.analysis)
    thing = f"analysis '{spec.analysis}'"
    if not issubclass(kind, Analysis):
        raise BadInput(thing, "is no complete Analysis", "Subclass it and define measure()")
    try:
        inspect.signature(kind).bind(**spec.parameters)
        return kind(**spec.parameters)
    except (TypeError, ValueError) as error:
        raise BadInput(
            thing, f"cannot be made with {spec.parameters} ({error})", f"It takes {inspect.signature(kind)}"
        ) from error


def digest_of(analysis: Analysis) -> str:
    """sha256 of the code of an analysis's module, comments and docstrings aside, and of the plugins that it runs."""
    own = module_digest(analysis)
    others = [plugin.digest for plugin in analysis.plugins()]
    return sha256("".join([own, *others]).encode()).hexdigest() if others else own


def checked(analysis: Analysis, findings: Findings) -> Findings:
    """The findings, if their names are those that the analysis declares. Raises BadInput if not."""
    name = type(analysis).__name__
    if unknown := sorted(findings.numbers.keys() - analysis.units.keys()):
        raise BadInput(f"analysis {name}", f"gave '{unknown[0]}', which has no unit", "Add it to its units")
    if not findings.numbers:
        raise BadInput(f"analysis {name}", "gave no number", "Give at least one")
    return findings
