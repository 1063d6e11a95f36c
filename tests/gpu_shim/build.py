"""Builds the counting CUDA runtime: `python tests/gpu_shim/build.py FOLDER` prints the library's path.

Needs g++ and the headers of the CUDA runtime. torch's CUDA build depends on the wheel that has most of them; the rest
comes from `nvidia-cuda-crt` of the same version, which pip fetches into FOLDER. Where something is missing it says so
on stderr and ends with exit code 77, as test programs do that cannot run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("runtime.cpp", "device.cpp", "libraries.cpp")
SONAME = "-Wl,-soname,libcuda.so.1"  # so that whoever opens the driver by its name finds this, which is loaded
CANNOT_RUN = 77
RUNTIME, REST = "nvidia-cuda-runtime", "nvidia-cuda-crt"


class Missing(Exception):
    """What the shim cannot be built without."""


def headers(folder: Path) -> list[Path]:
    """Folders of the CUDA runtime's headers. Raises Missing."""
    try:
        runtime = distribution(RUNTIME)
    except PackageNotFoundError as error:
        raise Missing(f"{RUNTIME} is not installed: this torch is not built for CUDA") from error
    found = [Path(str(file.locate())).parent for file in runtime.files or () if file.name == "cuda_runtime_api.h"]
    if not found:
        raise Missing(f"{RUNTIME} {runtime.version} has no headers")
    own = found[0]
    if (own / "crt" / "host_defines.h").exists():
        return [own]
    unpacked = folder / f"{REST}-{runtime.version}"
    if not unpacked.exists():
        _fetch(f"{REST}=={runtime.version}", folder, unpacked)
    return [own, next(unpacked.rglob("host_defines.h")).parents[1]]


def _fetch(wanted: str, folder: Path, unpacked: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = next(folder.glob(f"{REST.replace('-', '_')}-*.whl"), None)
    if done.returncode or wheel is None:
        raise Missing(f"pip cannot fetch {wanted}: {(done.stderr.strip() or 'no wheel').splitlines()[-1]}")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)


def build(folder: Path) -> Path:
    """The library, built anew where a source is newer. Raises Missing."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise Missing("there is no g++")
    folder.mkdir(parents=True, exist_ok=True)
    library, sources = folder / "libcuda.so.1", [HERE / name for name in SOURCES]
    newest = max(path.stat().st_mtime for path in [*sources, HERE / "shim.h"])
    if library.exists() and library.stat().st_mtime > newest:
        return library
    include = [f"-I{place}" for place in headers(folder)]
    command = [compiler, "-O1", "-fPIC", "-shared", "-Wall", SONAME, "-o", str(library), *map(str, sources), *include]
    done = subprocess.run([*command, "-ldl", "-lpthread"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"g++ cannot build it: {done.stderr.strip()[:2000]}")
    return library


if __name__ == "__main__":
    try:
        print(build(Path(sys.argv[1]).absolute()))
    except Missing as why:
        print(f"NOT TESTED: CUDA code on the counting runtime: {why}", file=sys.stderr)
        sys.exit(CANNOT_RUN)
