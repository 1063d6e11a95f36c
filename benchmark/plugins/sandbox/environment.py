"""The environment variables of every process that runs a plugin. No torch."""

from __future__ import annotations

from collections.abc import Mapping

# The same processor features and libraries as the harness, or the bits differ; nothing else of its environment.
KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "ATEN_", "MKL_", "DNNL_", "ONEDNN_", "OMP_", "KMP_", "GOMP_")
OWN = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/dev/shm",
    "TMPDIR": "/dev/shm",
    "USER": "plugin",
    "PYTHONHASHSEED": "0",  # sets are in the same order in every run
    "PYTHONDONTWRITEBYTECODE": "1",
    "CUDA_VISIBLE_DEVICES": "",  # pruners score on the CPU; its driver would start threads
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def environment(harness: Mapping[str, str]) -> dict[str, str]:
    """The environment of the template and so of every plugin."""
    return {**{name: value for name, value in harness.items() if name.startswith(KEPT)}, **OWN}
