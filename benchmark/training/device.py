"""The device that networks are trained on: its name in records, whether it is there, and how it calculates.

`cpu_settings` and `cuda_settings` are what every number is made under.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from benchmark.records.provenance import cpu_name
from benchmark.utils.errors import EnvironmentProblem


def device_name(device: str) -> str:
    """A device (cpu or cuda) with its maker's name for it."""
    return f"cpu: {cpu_name()}" if device == "cpu" else f"{device}: {torch.cuda.get_device_name()}"


def capability() -> str:
    """The instructions that torch's own kernels take on this processor, ATEN_CPU_CAPABILITY considered: AVX2, ..."""
    return torch.backends.cpu.get_cpu_capability()


def driver(device: str) -> str | None:
    """The CUDA version that torch was built with; None on the CPU."""
    return None if device == "cpu" else f"CUDA {torch.version.cuda}"


def require_device(device: str) -> None:
    """Raise EnvironmentProblem if a device was asked for that is not there."""
    if device == "cuda":
        many_queues()
    if device == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem("--device cuda", "torch sees no CUDA device", "Leave it out to use the CPU")


def arithmetic(precision: str, device: str = "cpu") -> AbstractContextManager[object]:
    """Around a forward pass: bf16 is autocast (weights, optimizer and losses stay fp32).

    tf32 is a mode of CUDA's matrix products; on any other device it is fp32, and records say so (`described`).
    """
    return torch.autocast(device, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def described(precision: str, device: str = "cpu") -> str:
    """What a record's provenance says about a precision asked for on `device`."""
    if precision == "tf32" and device != "cuda":
        return f"fp32 (tf32 asked, which {device} has not)"
    return precision


def channels_last(precision: str, device: str) -> bool:
    """Whether convolutions of a network on a stream of its own keep their weights in channels_last.

    cuDNN's tensor core kernels read it without reordering. In fp32, without tensor cores, its kernels for the usual
    order are the better ones. Stacked networks are grouped convolutions, which have fewer kernels for it.
    """
    return device == "cuda" and precision in {"bf16", "tf32"}


@contextmanager
def cuda_settings(precision: str) -> Iterator[None]:
    """How CUDA multiplies in forward and backward passes; the caller's settings come back afterwards.

    cuDNN's convolutions would use TF32 by default, so fp32 has to be said. Shapes are fixed, so cuDNN may time kernels.
    """
    parts = [getattr(torch.backends, name) for name in ("cuda", "cudnn")]
    settings = [parts[0].matmul, parts[1].conv, parts[1].rnn]
    before, benchmark = [each.fp32_precision for each in settings], torch.backends.cudnn.benchmark
    try:
        _set_tf32(["tf32" if precision == "tf32" else "ieee"] * 3)
        torch.backends.cudnn.benchmark = True
        yield
    finally:
        _set_tf32(before)
        torch.backends.cudnn.benchmark = benchmark


def _set_tf32(said: Sequence[str]) -> None:
    """What matrix products, convolutions and recurrent layers do with fp32.

    torch has an older flag beside these, and refuses to read any of them by its old name where they disagree: cuDNN's
    covers recurrent layers too, which no network here has.
    """
    product, convolution, recurrent = said
    torch.backends.cuda.matmul.allow_tf32 = product == "tf32"
    torch.backends.cudnn.allow_tf32 = convolution == "tf32"
    torch.backends.cuda.matmul.fp32_precision = product
    torch.backends.cudnn.conv.fp32_precision = convolution  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = recurrent  # type: ignore[attr-defined]


NO_MEMORY = (
    "out of memory",  # the runtime's own, as a graph is instantiated or a library sets up
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # no memory for cuBLAS's handle
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine",  # cuDNN: none whose workspace could be had
)


def no_memory(error: BaseException | None) -> bool:
    """Whether this, or what it hides, says that the device's memory did not suffice.

    torch's allocator has an exception for it; CUDA, cuBLAS and cuDNN say it in words. What goes wrong while a capture
    is ended hides why it was.
    """
    while error is not None:
        words = str(error).lower()
        if isinstance(error, torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(phrase.lower() in words for phrase in NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def many_queues() -> None:
    """Ask the driver, before it is first used, for as many queues as there are branches of a graph, and some more.

    Its default is eight: kernels of further branches would wait for those in front of them.
    """
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
KEPT = 1 << 30  # bytes


def configure_cpu() -> None:
    """One thread, and subnormal numbers as zero: decayed Adam moments would otherwise slow every step."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of what it freed; whether it could be asked for.

    glibc gives blocks of megabytes back to the kernel at every free. A step of Conv-2 that gets its activations anew,
    zeroed page by page, takes about a fifth longer. Other C libraries do as they do.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))


@contextmanager
def cpu_settings() -> Iterator[None]:
    """The thread count and rounding that records are made under; the caller's thread count comes back afterwards."""
    threads = torch.get_num_threads()
    configure_cpu()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
