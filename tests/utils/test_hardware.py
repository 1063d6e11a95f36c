"""What this machine offers workers: one thread each, a GPU each, and its name as records say it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.planning.cost import kind, this_device
from benchmark.utils import hardware as devices

TWO = """#!/bin/sh
case "$*" in
  -L) echo 'GPU 0: Test 9000 (UUID: GPU-a)'; echo '  MIG 1g.10gb Device 0: (UUID: MIG-c)'
      echo 'GPU 1: Test 9000 (UUID: GPU-b)' ;;
  *--query-gpu=name*) echo 'Test 9000'; echo 'Test 9000' ;;
esac
"""


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose driver tells of two."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(TWO)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices.gpu_name.cache_clear()
    yield
    devices.gpu_name.cache_clear()


@pytest.mark.usefixtures("two_gpus")
def test_workers_share_the_gpus_in_turn() -> None:
    shares = [devices.share_of(worker, devices.gpus()) for worker in range(3)]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["GPU-a", "GPU-b", "GPU-a"]
    assert all(share["OMP_NUM_THREADS"] == "1" for share in shares)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_has_the_name_that_records_have() -> None:
    assert this_device("cuda") == "cuda: Test 9000"
    assert kind(this_device("cuda")) == "cuda"
    assert kind(this_device()) == "cpu"


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("chosen", "ids"), [("1", ("1",)), ("", ()), ("-1", ()), ("GPU-a, GPU-b", ("GPU-a", "GPU-b"))])
def test_only_the_gpus_that_were_chosen(monkeypatch: pytest.MonkeyPatch, chosen: str, ids: tuple[str, ...]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert devices.gpus() == ids


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices.gpu_name.cache_clear()
    assert devices.gpus() == ()
    assert devices.gpu_name() is None
    assert "CUDA_VISIBLE_DEVICES" not in devices.share_of(0, ())
    assert this_device("cuda") == "cuda: unknown"
    devices.gpu_name.cache_clear()
