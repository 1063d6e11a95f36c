"""Compiling the kernels, and where the machine code is kept so that it is made once.

The cache lies beside the environment that runs, else in the user's own cache folder; where neither can be written,
every process compiles anew, which costs seconds and nothing else. Its folder is named after the sources of all kernels
and the versions of compiler and Python: numba itself looks only at the file of the function that it compiles, and would
run an old product inside a new program. Within the folder numba keeps processors apart by name and features.

A cache that cannot be read (cut off, or written by something else) is emptied, or left alone if it is read-only.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import llvmlite
import numba
from filelock import FileLock
from numba.core.caching import NullCache

njit: Any = numba.njit
config: Any = numba.config
LONGEST_COMPILE = 120  # seconds that a process waits for another's
inner: Callable[[Any], Any] = partial(njit, error_model="numpy")
"""For functions that are compiled as part of others. No fast-math anywhere: it lets LLVM reorder sums."""


@lru_cache(maxsize=1)
def folder() -> Path | None:
    """Where compiled kernels are kept; None if nowhere."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {sys.version}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    given = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    for base in [Path(given)] if given else [Path(sys.prefix) / "var", Path(home)]:
        place = base / "lotterybench-kernels" / digest.hexdigest()[:16]
        if _writable(place) or _filled(place):
            return place
    return None


def _filled(place: Path) -> bool:
    """Whether a folder that cannot be written holds what an earlier process has compiled."""
    return any(place.rglob("*.nbi")) if place.is_dir() else False


def _writable(place: Path) -> bool:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def compiled(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function for one signature when its module is imported, or load it from the cache."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        options = {"nogil": True, "error_model": "numpy"}
        before, place = config.CACHE_DIR, folder()
        try:
            config.CACHE_DIR = "" if place is None else str(place)
            made = njit(cache=place is not None, **options)(function)
        except RuntimeError:  # numba finds no place of its own that suits it
            made = njit(**options)(function)
        finally:
            config.CACHE_DIR = before
        with _one_at_a_time(place):
            try:
                made.compile(signature)
            except Exception:
                made = _without(function, made, options)
                made.compile(signature)
        made.disable_compile()
        return made  # type: ignore[no-any-return]

    return decorate


@contextmanager
def _one_at_a_time(place: Path | None) -> Iterator[None]:
    """Of processes that begin together one compiles, and the others load what it has made.

    Where no lock can be had, in a folder that is only read or of a process that takes minutes, each goes on by itself.
    """
    with ExitStack() as stack:
        if place is not None:
            with suppress(OSError):  # of which a timeout is one
                stack.enter_context(FileLock(place / "compiling.lock", timeout=LONGEST_COMPILE))
        yield


def _without(function: Callable[..., Any], made: Any, options: dict[str, Any]) -> Any:
    """The function not yet compiled; its cache emptied for the next process, where that is allowed."""
    try:
        made._cache.flush()
    except Exception:
        made._cache = NullCache()
    return njit(**options)(function)
