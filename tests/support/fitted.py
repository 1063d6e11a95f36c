"""Small images of ten digits, and an analysis of them measured without the harness."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from benchmark.analyses import load_analysis
from benchmark.analyses.setting import Setting
from benchmark.datasets.dataset import Dataset
from benchmark.harness.start import initial_weights
from benchmark.networks.registry import make
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import AnalysisSpec
from benchmark.protocols.cells import Cell

SIDE = 6


def digits(examples: int = 60) -> Dataset:
    """Images of 6 x 6 pixels: of digit c, row c % 6 is bright and the others noise."""
    rng = torch.Generator().manual_seed(0)

    def part(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(count) % 10
        images = 0.1 * torch.rand(count, SIDE, SIDE, generator=rng)
        images[torch.arange(count), labels % SIDE] += 0.8
        return images.flatten(1), labels

    return Dataset("digits", *part(examples), *part(1100), 10, "")


def measured(protocol: Protocol, level: int, analysis: str, **parameters: Any) -> tuple[dict[str, float], Any, int]:
    """Numbers, curves and updates of an analysis of the first seed on `digits`."""
    spec = AnalysisSpec(analysis=analysis, parameters=parameters, levels=(level,))

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is trained by the loop or masked")

    def network() -> torch.nn.Module:
        module = make(protocol.network)
        module.load_state_dict(initial_weights(protocol, 0))
        return module

    cell = Cell("x", level, protocol.seeds[0])
    done = lambda *_: None  # noqa: E731
    rest = dict.fromkeys((each.name for each in fields(Setting)), never)
    own = {"protocol": protocol, "cell": cell, "spec": spec, "data": digits(), "network": network, "progress": done}
    setting = Setting(**{**rest, **own})
    found = load_analysis(spec).measure(setting)
    return dict(found.numbers), found.curves, found.updates
