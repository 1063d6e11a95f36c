"""Which machine made a record, as far as bits hang on it. No torch.

"AMD EPYC" is the name of processors of several generations under virtualisation, and one processor rounds otherwise by
other instructions, of which a library takes its choice. So a machine is its family, model and stepping, its vector
instructions, those that torch uses, its caches (by which libraries choose the blocks they add in), and the variables
that move any of these.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import Field

from benchmark.utils.strict_model import Frozen

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
