"""Committed records come out again: code that moves a headline number is noticed here, before any reader is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.data_root import data_root, needs_download
from benchmark.harness import Harness, Settings
from benchmark.plan import Job
from benchmark.protocol import load
from benchmark.provenance import cpu_name, packages
from benchmark.records import Cell, Record
from benchmark.store import Store

REPOSITORY = Path(__file__).parent.parent


def measured_again(protocol_id: str, cell: Cell, tmp_path: Path) -> tuple[Record, Record]:
    """(committed, measured here now) records of one cell. Masks of the committed chain are used, not retrained."""
    protocol, committed = load(protocol_id), Store(REPOSITORY / "results")
    first = committed.read(protocol, cell)
    assert first is not None, f"{cell} of {protocol_id} is not committed"
    here = Store(tmp_path)
    masks = committed.survival_path(protocol, cell.method, cell.seed)
    if masks.exists():
        copy = here.survival_path(protocol, cell.method, cell.seed)
        copy.parent.mkdir(parents=True)
        copy.write_bytes(masks.read_bytes())
    Harness(protocol, here, Settings()).run(Job(protocol, (cell,)))
    again = here.read(protocol, cell)
    assert again is not None
    return first, again


def agree(first: Record, again: Record, points: float) -> None:
    """Bit for bit on the processor and versions of the first record, else within `points` of last test accuracy."""
    assert first.measured is not None
    assert again.measured is not None
    assert again.mask == first.mask
    same = first.provenance.device == f"cpu: {cpu_name()}" and first.provenance.packages == packages()
    if same and first.fingerprint() == again.fingerprint():
        return
    # A processor of one name can be of two kinds, so other bits are allowed, other results are not.
    difference = again.measured.test_accuracy_percent.last - first.measured.test_accuracy_percent.last
    assert abs(difference) <= points


@pytest.mark.parametrize("cell", [Cell("dense", 0, 0), Cell("imp", 91, 0), Cell("random", 91, 0)], ids=str)
def test_mnist1d(cell: Cell, tmp_path: Path) -> None:
    """5 points: three times the spread between the published trials of one round (1.6 points, pooled)."""
    agree(*measured_again("mnist1d/mlp", cell, tmp_path), points=5.0)


@pytest.mark.data
@pytest.mark.slow
def test_lenet_dense(tmp_path: Path) -> None:
    """The full 50,000 updates of a committed dense network."""
    if needs_download("mnist", data_root()):
        pytest.skip("MNIST is not under LOTTERYBENCH_DATA")
    agree(*measured_again("lth/lenet-mnist", Cell("dense", 0, 0), tmp_path), points=0.5)
