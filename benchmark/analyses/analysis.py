"""The contract of an analysis, and the registry that finds one by name.

An analysis lives in `benchmark/analyses/<name>.py`, underscores for hyphens, under `@ANALYSES.register("<name>")`;
nothing else names it. Torch is imported with it, not with this module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.utils.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from benchmark.datasets.dataset import Dataset


class Analysis(ABC):
    """A function of finished networks. Without state: one instance serves every protocol.

    `paper`: where it was published, in words. `units`: the unit of every kind of number that `measure` gives, by the
    part of its name before the first "/".
    """

    paper: ClassVar[str] = ""
    units: ClassVar[Mapping[str, str]]

    @abstractmethod
    def needs(self, protocol: Protocol) -> tuple[Cell, ...]:
        """The cells whose final networks `measure` is given; none if the analysis does not apply to the protocol."""

    @abstractmethod
    def measure(self, networks: Mapping[Cell, nn.Module], data: Dataset) -> dict[str, float]:
        """Finite numbers by name: "<kind>/<of what>".

        `networks`: masked networks on one device, by cell; some of `needs`, for cells may have failed. They must come
        back as they were. `data`: with the test set, on the same device.
        """


ANALYSES: Registry[type[Analysis]] = Registry("analysis", "benchmark.analyses", besides=("analysis",))


def load_analysis(name: str) -> Analysis:
    """The analysis of that name. Raises BadInput, with the nearest name, if there is none."""
    return ANALYSES.get(name)()
