"""A portable protocol through the whole harness: what its records say, and that a second run repeats them."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_once import run_all
from tiny_protocol import written

from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.protocols.protocol import load_file
from benchmark.records.store import Store
from benchmark.training.kernels import engine


@pytest.fixture
def portable(tmp_path: Path) -> Protocol:
    """The tiny protocol, trained by the kernels."""
    return load_file(written(tmp_path, 1, {"precision: fp32": "precision: fp32\n  arithmetic: portable"}))


@pytest.mark.usefixtures("asked_anew")
def test_records_name_the_arithmetic_and_repeat(
    portable: Protocol, tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert portable.digest != tiny_protocol.digest
    for name in ("first", "again"):
        run_all(portable, tmp_path / name, ["dense", "imp"])
    first, again = (Store(tmp_path / name) for name in ("first", "again"))
    for cell in [Cell("dense", 0, 0), *(Cell("imp", level, 0) for level in (1, 2))]:
        record, repeated = first.read(portable, cell), again.read(portable, cell)
        assert record is not None
        assert repeated is not None
        assert record.provenance.arithmetic == f"portable-{engine.REVISION}"
        assert record.status == "finished"
        assert record.fingerprint() == repeated.fingerprint()
    monkeypatch.setattr(engine, "missing", lambda: "numba is not installed")
    for answer in (engine.portable, engine.described):  # of this process, which knew better
        answer.cache_clear()
    with pytest.warns(UserWarning, match="torch trains instead"):
        run_all(portable, tmp_path / "without", ["dense"])
    without, record = (Store(tmp_path / name).read(portable, Cell("dense", 0, 0)) for name in ("without", "first"))
    assert record is not None
    assert without is not None
    assert without.provenance.arithmetic == "torch (numba is not installed)"
    assert without.fingerprint() != record.fingerprint()
