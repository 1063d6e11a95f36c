"""Which arithmetic a training gets: by protocol; what a machine without numba does and says; the cache of compiled
kernels that is poisoned, read-only or another version's."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from mlp_training import digest, network, recipe, replica, setup

from benchmark.training.kernels import cache, engine
from benchmark.training.loop import train

SPEC = network(33, 17, 9, 5)
PORTABLE, TORCH = recipe(), recipe(arithmetic="torch")


pytestmark = pytest.mark.usefixtures("asked_anew")


def trained(how: object) -> str:
    return digest(train([replica(SPEC)], setup(SPEC, how))[0].weights)  # type: ignore[arg-type]


def test_the_protocol_decides() -> None:
    assert engine.portable(PORTABLE, "cpu")
    assert not engine.portable(PORTABLE, "cuda")
    assert not engine.portable(TORCH, "cpu")
    assert engine.described(PORTABLE, "cpu") == f"portable-{engine.REVISION}"
    assert engine.described(PORTABLE, "cuda") == "torch (on cuda)"
    assert engine.described(TORCH, "cpu") is None
    assert trained(PORTABLE) != trained(TORCH)


@pytest.mark.parametrize(
    ("found", "says"), [(None, "numba is not installed"), ("0.59.1", "numba 0.59.1 is older than 0.61")]
)
def test_without_numba_torch_trains_and_says_so(found: str | None, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        assert name == "numba"
        if found is None:
            raise engine.PackageNotFoundError(name)
        return found

    plain = trained(TORCH)
    monkeypatch.setattr(engine, "version", version)
    with pytest.warns(UserWarning, match=f"portable arithmetic, but {says}: torch trains instead"):
        assert trained(PORTABLE) == plain
    assert engine.described(PORTABLE, "cpu") == f"torch ({says})"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trained(TORCH) == plain


LOADING = """
from benchmark.training.kernels import engine, cache, program
assert engine.missing() is None, engine.missing()
print(cache.folder(), sum(program.train.stats.cache_hits.values()))
"""


def loaded(**environment: str) -> tuple[str, int]:
    """Folder of the cache, and how often it was hit, in a process that needs the kernels."""
    done = subprocess.run(
        [sys.executable, "-c", LOADING], env={**os.environ, **environment}, capture_output=True, text=True, check=True,
        timeout=600,
    )  # fmt: skip
    folder, hits = done.stdout.split()
    return folder, int(hits)


@pytest.mark.slow
@pytest.mark.long
def test_the_cache_is_used_and_a_bad_one_only_costs_the_compile(tmp_path: Path) -> None:
    given = {"NUMBA_CACHE_DIR": str(tmp_path)}
    folder, hits = loaded(**given)
    assert Path(folder).is_relative_to(tmp_path / "lotterybench-kernels")
    assert (hits, loaded(**given)[1]) == (0, 1)
    indices, data = list(Path(folder).rglob("*.nbi")), list(Path(folder).rglob("*.nbc"))
    assert len(indices) == 2  # train and evaluate
    assert len(data) >= 2
    for path in indices:
        path.write_bytes(b"not an index")
    assert loaded(**given)[1] == 0  # compiled without it, and emptied
    assert loaded(**given)[1] == 0  # compiled into it
    assert loaded(**given)[1] == 1
    for path in Path(folder).rglob("*.nbc"):
        path.write_bytes(path.read_bytes()[:100])
    assert loaded(**given)[1] == 0


@pytest.mark.slow
@pytest.mark.long
def test_a_folder_that_cannot_be_written_only_costs_the_compile(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert loaded(NUMBA_CACHE_DIR=str(blocked)) == ("None", 0)


def test_the_folder_is_named_after_all_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numba would not see that a product changed which `train` has taken in."""
    from benchmark.training.kernels import cache

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    sources = tmp_path / "sources"
    sources.mkdir()
    monkeypatch.setattr(cache, "__file__", str(sources / "cache.py"))
    found = set()
    for text in ("one", "other"):
        (sources / "products.py").write_text(text)
        cache.folder.cache_clear()
        found.add(cache.folder())
    cache.folder.cache_clear()
    assert len(found) == 2


def test_one_process_compiles_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another waits for what it makes, for a while; then it goes on by itself."""
    lock = FileLock(tmp_path / "compiling.lock", timeout=0)
    with cache._one_at_a_time(tmp_path):
        with pytest.raises(Timeout):
            lock.acquire()
        monkeypatch.setattr(cache, "LONGEST_COMPILE", 0.05)
        with cache._one_at_a_time(tmp_path):
            pass
    with lock, cache._one_at_a_time(None):
        assert lock.is_locked
