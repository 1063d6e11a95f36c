"""Who made a record, with what: commit, packages, device, and the machine as far as bits hang on it. No torch.

"AMD EPYC" is the name of processors of several generations under virtualisation, and one processor rounds otherwise by
other instructions, of which a library takes its choice. So a machine is its family, model and stepping, its vector
instructions, those that torch uses, its caches (by which libraries choose the blocks they add in), and the variables
that move any of these.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from pydantic import Field

from benchmark.utils.strict_model import ADDED, Count, Frozen

PACKAGES = ("torch", "torchvision", "numpy", "mnist1d")
SOURCES = ("benchmark", "baselines", "pyproject.toml")
OWN_FILE = "benchmark/records/provenance.py"
CPUINFO = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
PREFIXES = ("ATEN_", "MKL_", "ONEDNN_", "DNNL_", "OMP_", "CUBLAS_", "TORCH_BLAS_", "NVIDIA_TF32_")
NO_MATTER = ("_NUM_THREADS", "_VERBOSE")  # records hold the number of threads that there were
INSTRUCTIONS = ("avx", "fma", "f16c", "bmi", "sse4", "amx", "asimd", "sve", "bf16")


class Machine(Frozen):
    """`capability`: the instructions that torch's own kernels take. `environment`: of the process that measured."""

    vendor: str | None
    family: str | None
    model: str | None
    stepping: str | None
    instructions: str
    capability: str | None
    caches: str = Field(description="level, kind and size of each of core 0")
    environment: dict[str, str]


class Origin(Frozen):
    """Who made the record, with what: the part that both schemas spell alike."""

    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,64}$")] | None
    dirty: bool | None
    python: str
    packages: dict[str, str]
    platform: str
    device: str
    driver: str | None
    threads: Count
    precision: str
    data_digest: str
    finished_utc: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")


class Provenance(Origin):
    """Who made the record, with what."""

    replica_group: Annotated[str | None, ADDED] = Field(
        default=None, description="how it was trained beside others, if it was"
    )
    arithmetic: Annotated[str | None, ADDED] = Field(
        default=None, description="what trained, where the protocol asks for portable arithmetic"
    )
    machine: Annotated[Machine | None, ADDED] = Field(
        default=None, description="what bits hang on; of records made before there was this, it is not known"
    )


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@lru_cache(maxsize=1)
def commit() -> tuple[str | None, bool | None]:
    """(commit, whether the sources differ from it); (None, None) outside a git checkout of this project.

    An installed copy may lie inside the checkout of another one, whose commit says nothing of it.
    """
    if _git("ls-files", "--error-unmatch", "--", OWN_FILE) is None:
        return None, None
    head = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", *SOURCES)
    return head, (None if head is None or changes is None else bool(changes))


def cpu_name() -> str:
    """The processor's model name, as the system tells it."""
    return _processor(CPUINFO).get("model name") or platform.processor() or platform.machine()


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = []
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def packages() -> dict[str, str]:
    """Versions of the packages that numbers depend on, as this process found them when it first asked."""
    return dict(_versions())


def provenance(
    precision: str,
    data_digest: str,
    threads: int,
    device: str,
    driver: str | None,
    replica_group: str | None = None,
    arithmetic: str | None = None,
    capability: str | None = None,
) -> Provenance:
    """Provenance of a record finished now on this machine.

    `device` and `driver`: as `training.device` names them. `replica_group`: how it was trained beside others.
    `arithmetic`: what trained, where the protocol asks for portable arithmetic. `capability`: the instructions that
    torch's kernels take here.
    """
    head, dirty = commit()
    return Provenance(
        commit=head,
        dirty=dirty,
        python=platform.python_version(),
        packages=packages(),
        platform=f"{platform.system()}-{platform.machine()}",
        device=device,
        driver=driver,
        threads=threads,
        precision=precision,
        data_digest=data_digest,
        finished_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        replica_group=replica_group,
        arithmetic=arithmetic,
        machine=this_machine(capability),
    )


def moving_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that may change which instructions and blocks libraries take."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if name.startswith(PREFIXES) and not name.endswith(NO_MATTER) and value.isprintable()
    }


def this_machine(capability: str | None) -> Machine:
    """This machine now. `capability`: as torch names it; None where torch does no arithmetic."""
    facts = _processor(CPUINFO)
    flags = facts.get("flags", facts.get("Features", "")).split()
    return Machine(
        vendor=facts.get("vendor_id", facts.get("CPU implementer")),
        family=facts.get("cpu family", facts.get("CPU architecture")),
        model=facts.get("model", facts.get("CPU part")),
        stepping=facts.get("stepping", facts.get("CPU revision")),
        instructions=" ".join(sorted(flag for flag in flags if flag.startswith(INSTRUCTIONS))),
        capability=capability,
        caches=_caches(CACHES),
        environment=moving_variables(os.environ),
    )


@cache
def _processor(path: Path) -> dict[str, str]:
    """Fields of the first processor that the kernel describes; none on another system."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


@cache
def _caches(folder: Path) -> str:
    try:
        indices = sorted(folder.glob("index*"))
        return ", ".join(
            " ".join((i / name).read_text().strip() for name in ("level", "type", "size")) for i in indices
        )
    except OSError:
        return ""
