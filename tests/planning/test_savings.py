"""What pruned weights save of an update's time: by hand, and against least squares of numpy."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.planning.cost import CostModel, Throughput, assumed, flops_per_step
from benchmark.planning.plan import expected_seconds
from benchmark.planning.savings import FIXED, NOTHING, SPARSE_BELOW, USUAL, Saving, density_of, fitted
from benchmark.protocols import load
from benchmark.protocols.cells import DENSE, Cell
from benchmark.records.schema import Record
from benchmark.records.store import Store

CORE, GPU = "cpu: Test", "cuda: Test"


def test_a_part_by_hand() -> None:
    """A tenth stays; at 0.375, half of the density from which layers are sparse, half of the rest: 0.1 + 0.45."""
    saving = Saving(0.1)
    assert saving.at(1.0) == saving.at(0.75) == 1.0
    assert saving.at(0.375) == pytest.approx(0.55)
    assert saving.at(0.0) == pytest.approx(0.1)
    assert NOTHING.at(0.01) == 1.0


def test_where_the_kernels_become_sparse() -> None:
    layout = pytest.importorskip("benchmark.training.kernels.layout")
    assert layout.DENSE_FROM == SPARSE_BELOW


@given(st.floats(1e-5, 10), st.lists(st.floats(0.01, 1), min_size=1, max_size=5, unique=True))
def test_what_is_usual_is_found_again(dense: float, densities: list[float]) -> None:
    """Whatever the unit of seconds, and if there is a single density: then nothing else is known."""
    found = fitted({d: [dense * USUAL.at(d)] for d in densities})
    assert found.fixed == pytest.approx(FIXED, abs=1e-6)
    assert fitted({densities[0]: [dense]}).fixed == pytest.approx(FIXED, abs=1e-6)


def test_a_fit_by_numpy() -> None:
    """Medians of each density, relative errors, and one row more that wants 8 % of the whole to be fixed."""
    seen = {1.0: [2.0, 2.2, 9.0], 0.3: [1.1], 0.03: [0.4, 0.5]}
    usual = {d: FIXED + (1 - FIXED) * min(1, d / 0.75) for d in seen}
    scale = median(median(values) / usual[d] for d, values in seen.items())
    rows = [[1 / m, min(1, d / 0.75) / m, 1.0] for d, m in ((1.0, 2.2), (0.3, 1.1), (0.03, 0.45))]
    rows.append([(1 - FIXED) / scale, -FIXED / scale, 0.0])
    table = np.array(rows)
    (a, b), *_ = np.linalg.lstsq(table[:, :2], table[:, 2], rcond=None)
    assert fitted(seen).fixed == pytest.approx(a / (a + b))


def test_records_overrule_what_is_usual() -> None:
    """Torch on a machine without numba saves nothing; seconds that grow as weights go are not believed."""
    densities = [1.0, 0.5, 0.2, 0.1, 0.05, 0.02]
    assert fitted({d: [3.0] for d in densities}).fixed > 0.9
    assert fitted({d: [0.3 + 0.7 * min(1, d / 0.75)] for d in densities}).fixed == pytest.approx(0.3, abs=0.03)
    assert 0 < fitted({d: [d**2] for d in densities}).fixed <= fitted({d: [2 - d] for d in densities}).fixed == 1.0


def _record(level: int, milliseconds: float, device: str = CORE) -> Record:
    """A committed record of lth/lenet-mnist, with another level and cost."""
    found = Store(Path(__file__).parents[2] / "results").records(load("lth/lenet-mnist"))[0]
    assert found.cost is not None
    seconds = milliseconds / 10
    cost = found.cost.model_copy(update={"train_steps": 100, "train_seconds": seconds, "train_cpu_seconds": seconds})
    return found.model_copy(
        update={
            "cell": found.cell.model_copy(update={"level": level}),
            "method": found.method.model_copy(update={"name": "imp" if level else DENSE}),
            "cost": cost,
            "provenance": found.provenance.model_copy(update={"device": device}),
        }
    )


def test_a_chain_gets_cheaper() -> None:
    """LeNet-300-100, all weights prunable. One dense record of 2 ms: 50,000 updates take 100 s, and at level 16, of
    which 2.8 % are left, 0.08 + 0.92 * 0.028 / 0.75 of it. A sparse record changes what is expected of others."""
    protocol = load("lth/lenet-mnist")
    level = protocol.level_table[16]
    assert density_of(protocol, "imp", 16) == pytest.approx(level.kept / 266_200)
    assert density_of(protocol, DENSE, 0) == density_of(load("rigl/lenet-mnist"), "gradual-magnitude", 2) == 1.0
    seconds = expected_seconds(protocol, [_record(0, 2.0)], device=CORE)
    assert seconds([Cell(DENSE, 0, 0)]) == pytest.approx(100)
    part = 0.08 + 0.92 * level.density / 0.75
    assert seconds([Cell("imp", 16, 0), Cell("imp", 1, 0)]) == pytest.approx(100 * (part + 1))
    slower = CostModel.learn({protocol: [_record(0, 2.0), _record(16, 2.0)]})
    assert slower.saving(protocol, CORE).at(level.density) > 2 * part
    assert slower.saving(protocol, "cpu: Another") == slower.saving(protocol, CORE)


def test_a_gpu_and_torch_save_nothing() -> None:
    portable, other = load("lth/lenet-mnist"), load("lth/lenet-mnist@1")
    model = CostModel.learn({portable: [_record(0, 2.0), _record(16, 1.0, GPU)]})
    assert model.saving(portable, GPU) == model.saving(other, CORE) == NOTHING
    assert model.seconds_per_step(portable, GPU) == pytest.approx(0.001)
    assert assumed(portable, CORE) == flops_per_step(portable) / 6e10
    assert assumed(other, CORE) == flops_per_step(other) / 3e10


def test_a_worker_counts_in_dense_updates() -> None:
    """A dense update is expected to take 1 s. A sparse training of 100 updates took 10 s, a tenth of which each was
    expected: the pace is as expected, and a dense network still takes 1 s an update."""
    protocol = load("lth/lenet-mnist")
    pace = Throughput(float, saving=Saving(0.1))
    density = protocol.level_table[16].density
    part = 0.1 + 0.9 * density / 0.75
    assert pace.dense_updates(protocol, Cell("imp", 16, 0), 100) == pytest.approx(100 * part)
    pace.measured(1, 100 * part / pace.dense_updates(protocol, Cell("imp", 16, 0), 100))
    assert pace.seconds([pace.dense_updates(protocol, Cell(DENSE, 0, 0), 50)]) == pytest.approx(50)
