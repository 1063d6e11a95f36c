"""The kernels compiled for other processors than the one at hand, in processes of their own.

A test module says what it trains in its `main`, by `tell`, and is run again for every target.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

TARGETS = {
    "haswell": "+avx,+avx2,+fma,+bmi,+bmi2,+sse4.2,-avx512f,-avx512vl",
    "znver4": "+avx,+avx2,+fma,+bmi,+bmi2,+sse4.2,+avx512f,+avx512vl,+avx512bw,+avx512dq,+avx512cd",
    "skylake-avx512": "+avx,+avx2,+fma,+bmi,+bmi2,+sse4.2,+avx512f,+avx512vl,+avx512bw,+avx512dq,+avx512cd",
    "x86-64": "+sse2,-avx,-avx2,-fma,-avx512f",
}


def features_here() -> set[str]:
    """What the processor can do, in the kernel's words."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    return set(next((line for line in words.splitlines() if line.startswith("flags")), "").split())


def tell(function: Any, trained: Callable[[], Mapping[str, str]]) -> None:
    """Print what `trained` gives and which registers the machine code of a compiled function uses; with an argument on
    the command line, nothing is trained."""
    text = "".join(function.inspect_asm().values())
    uses = {word: word in text for word in ("%zmm", "%ymm", "vfmadd", "fmaf")}
    print(json.dumps({"uses": uses, "digests": trained() if len(sys.argv) == 1 else None}))


def in_process(module: str, *arguments: str, **environment: str) -> Any:
    """What the `main` of a test module prints in another process."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, module, *arguments], env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def compiled_for(target: str, module: str, folder: Path) -> Any:
    """What a test module trains when it is compiled for a target, whose instructions are seen to be used. The test is
    skipped where this processor lacks them. Compiled code goes into `folder`, unless a cache is given."""
    runs = not target.endswith(("znver4", "skylake-avx512")) or {"avx512f", "avx512vl"} <= features_here()
    cache = {} if "NUMBA_CACHE_DIR" in os.environ else {"NUMBA_CACHE_DIR": str(folder)}
    only = () if runs else ("compile",)
    found = in_process(module, *only, NUMBA_CPU_NAME=target, NUMBA_CPU_FEATURES=TARGETS[target], **cache)
    uses = found["uses"]
    assert uses["%zmm"] == ("avx512" in TARGETS[target].replace("-avx512", ""))
    assert uses["%ymm"] == uses["vfmadd"] == (target != "x86-64")
    assert uses["fmaf"] == (target == "x86-64")
    if not runs:
        pytest.skip(f"NOT RUN: compiled for {target}, whose instructions this processor lacks")
    return found["digests"]
