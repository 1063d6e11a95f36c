"""Which arithmetic a training gets, and what its record says of it.

The protocol decides, never what happens to be installed: `arithmetic: portable` means the kernels on a CPU. Where they
cannot run (no numba, or one too old; another device) the training goes by torch, and its record says so, because
its bits are then those of that machine.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from benchmark.protocols.recipe import Recipe

OLDEST = (0, 61)  # the first numba for numpy 2 and Python 3.13
REVISION = 1
"""Raised with any change of the kernels that moves bits. Part of what records and checkpoints say."""


@lru_cache(maxsize=1)
def missing() -> str | None:
    """Why the kernels cannot run on this machine; None if they can."""
    try:
        found = version("numba")
    except PackageNotFoundError:
        return "numba is not installed"
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST:
        return f"numba {found} is older than {'.'.join(map(str, OLDEST))}"
    try:
        from benchmark.training.kernels import program  # noqa: F401 - compiles, or loads what was compiled
    except Exception as error:
        return f"numba {found} does not compile the kernels ({type(error).__name__}: {error})"
    return None


@lru_cache
def portable(recipe: Recipe, device: str) -> bool:
    """Whether a training on `device` goes by the kernels. Warns once if it should and cannot."""
    if recipe.arithmetic != "portable" or device != "cpu":
        return False
    if (why := missing()) is not None:
        warnings.warn(
            f"The protocol asks for portable arithmetic, but {why}: torch trains instead, and the bits are this "
            "machine's. Install numba to repeat records bit for bit",
            stacklevel=2,
        )
        return False
    return True


@lru_cache
def described(recipe: Recipe, device: str) -> str | None:
    """What provenance says of the arithmetic: `portable-<revision>`, or torch and why; None where torch was asked."""
    if recipe.arithmetic != "portable":
        return None
    if device != "cpu":
        return f"torch (on {device})"
    return f"torch ({why})" if (why := missing()) is not None else f"portable-{REVISION}"
