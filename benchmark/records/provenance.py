"""Who made a record, with what: commit, packages, device."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmark.records.machine import this_machine
from benchmark.records.schema import Provenance

PACKAGES = ("torch", "torchvision", "numpy", "mnist1d")
SOURCES = ("benchmark", "baselines", "pyproject.toml")


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@lru_cache(maxsize=1)
def commit() -> tuple[str | None, bool | None]:
    """(commit, whether the sources differ from it); (None, None) outside a git checkout."""
    head = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", *SOURCES)
    return head, (None if head is None or changes is None else bool(changes))


def cpu_name() -> str:
    """The processor's model name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def packages() -> dict[str, str]:
    """Versions of the packages that numbers depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


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
