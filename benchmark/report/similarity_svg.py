"""Matrices of similarity: every layer of one network beside every layer of another, shaded. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from benchmark.claims.observations import Observations
from benchmark.protocols import Protocol
from benchmark.protocols.cells import density_text
from benchmark.records.store import Store
from benchmark.report.analysis_curves import runs_of
from benchmark.report.svg import chart

COMPARING = "feature-maps"
CELL, GAP, LEFT, TOP, IN_A_ROW = 40, 28, 90, 96, 4
DARKER = 0.6  # similarities above it are written in the paper's colour


@dataclass(frozen=True)
class Matrix:
    """Mean over seeds of one method's similarities at one level: rows are the reference's layers, columns its own."""

    name: str
    values: NDArray[np.float64]
    seeds: int


def matrices(store: Store, seen: Observations) -> list[Matrix]:
    """What was measured of a protocol's feature maps, methods as it has them, levels from dense to sparse.

    Raises one of `benchmark.utils.npz`'s errors for curves that cannot be read.
    """
    found = []
    for method, spec in seen.protocol.analyses.items():
        for level in sorted(spec.levels) if spec.analysis == COMPARING else ():
            runs = [run["matrix"].astype(np.float64) for run in runs_of(store, seen, method, level) if "matrix" in run]
            if runs:
                name = f"{method}, {density_text(seen.protocol, level)}" if level else method
                found.append(Matrix(name, np.mean(runs, axis=0), len(runs)))
    return found


def similarity_svg(protocol: Protocol, found: list[Matrix]) -> str:
    """The picture: one square a matrix, a similarity of 1 darkest, each written as hundredths."""
    layers = list(protocol.pruning.layer_sizes)
    side = CELL * len(layers)
    rows = -(-len(found) // IN_A_ROW)
    width = LEFT + min(len(found), IN_A_ROW) * (side + GAP)
    height = TOP + rows * (side + GAP + 30) + 10
    body = ['<text class="f" x="16" y="46">linear CKA, hundredths: layers of the reference down, its own across</text>']
    for number, matrix in enumerate(found):
        x = LEFT + (number % IN_A_ROW) * (side + GAP)
        y = TOP + (number // IN_A_ROW) * (side + GAP + 30)
        body += _square(matrix, layers, x, y, named=number % IN_A_ROW == 0)
    return chart(f"{protocol.id}: similarity of layers", (max(width, 520), height), body, _rules)


def _square(matrix: Matrix, layers: list[str], x: int, y: int, named: bool) -> list[str]:
    seeds = f"{matrix.seeds} seed{'s' * (matrix.seeds > 1)}"
    lines = [f'<text x="{x}" y="{y - 10}">{escape(matrix.name)}<title>{escape(matrix.name)}, {seeds}</title></text>']
    for row, layer in enumerate(layers):
        middle = y + row * CELL + CELL // 2 + 4
        lines += [f'<text class="f e" x="{x - 8}" y="{middle}">{escape(layer)}</text>'] if named else []
        for column, across in enumerate(layers):
            value = float(np.clip(matrix.values[row, column], 0.0, 1.0))
            place = f'x="{x + column * CELL}" y="{y + row * CELL}" width="{CELL - 1}" height="{CELL - 1}"'
            spoken = f"{matrix.name}: {layer} beside {across}: {value:.3f}"
            lines.append(f'<rect class="s" {place} fill-opacity="{value:.2f}"><title>{escape(spoken)}</title></rect>')
            kind = "n m o" if value > DARKER else "n m"
            lines.append(
                f'<text class="{kind}" x="{x + column * CELL + CELL // 2}" y="{middle}">{100 * value:.0f}</text>'
            )
    return lines


def _rules(of: Mapping[str, str]) -> str:
    return f".s{{fill:{of['reproduced']};stroke:{of['line']}}}.o{{fill:{of['paper']}}}"
