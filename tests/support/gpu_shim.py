"""The Python side of the counting CUDA runtime: what it counted, its memory, and operations that it has no kernels for.

Import it before anything runs on the device. See runtime.cpp for what the shim can and cannot show.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

# In the order of shim.h.
COUNTS = ("eager", "captured", "replayed", "launches", "graphs", "waits", "to_device", "to_host", "pinned", "spoiled")
WORKSPACE = 64 * 2**20  # bytes that a convolution asks for besides, about what cuDNN does


@cache
def library() -> ctypes.CDLL | None:
    """The preloaded runtime; None where this process runs without it."""
    preloaded = ctypes.CDLL(None)
    if not hasattr(preloaded, "shim_count"):
        return None
    preloaded.shim_count.restype = ctypes.c_long
    preloaded.shim_used.restype = ctypes.c_size_t
    preloaded.shim_limit.argtypes = [ctypes.c_size_t]
    return preloaded


def counts() -> dict[str, int]:
    """All that was counted since the process began."""
    shim = library()
    assert shim is not None
    return {name: shim.shim_count(place) for place, name in enumerate(COUNTS)}


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """A dictionary that holds, afterwards, what was counted inside."""
    before, found = counts(), dict[str, int]()
    yield found
    found.update({name: value - before[name] for name, value in counts().items()})


@contextmanager
def no_more_memory(spare: int = 0) -> Iterator[None]:
    """Inside, the device has `spare` bytes more than are taken now."""
    shim = library()
    assert shim is not None
    shim.shim_limit(shim.shim_used() + spare)
    try:
        yield
    finally:
        shim.shim_limit(139 * 2**30)


def install() -> None:
    """Give convolutions and batch norms an operation each, and answers to what the host asks about values.

    What is read from the device is zeros: torch would refuse a learning rate for that, and trainings be given up.
    """
    operations = torch.library.Library("aten", "IMPL")
    for name, kernel in KERNELS.items():
        operations.impl(name, kernel, "CUDA")
    install.keeps = operations  # type: ignore[attr-defined]

    def answering(usual: Callable[..., Any], answer: Callable[..., Any]) -> Callable[..., Any]:
        def asked(tensor: Tensor, *rest: Any, **named: Any) -> Any:
            known = answer(tensor, *rest) if tensor.is_cuda else None
            return usual(tensor, *rest, **named) if known is None else known

        return asked

    for name, answer in ANSWERS.items():
        setattr(Tensor, name, answering(getattr(Tensor, name), answer))


def _beside_zero(answer: bool) -> Callable[..., bool | None]:
    """Of a single number compared with 0.0, as optimizers compare their learning rate."""
    return lambda tensor, other: answer if tensor.dim() == 0 and isinstance(other, float) and other == 0.0 else None


ANSWERS: dict[str, Callable[..., Any]] = {
    "__ge__": _beside_zero(True),
    "__lt__": _beside_zero(False),
    "all": lambda _mask, *rest: None if rest else torch.zeros((), dtype=torch.bool),  # it leaves something out
    "isfinite": lambda losses: torch.ones(losses.shape, dtype=torch.bool),
}


def _layout(*tensors: Tensor) -> torch.memory_format:
    last = any(
        t.is_contiguous(memory_format=torch.channels_last) and not t.is_contiguous() for t in tensors if t.dim() == 4
    )
    return torch.channels_last if last else torch.contiguous_format


def _new(shape: Any, like: Tensor, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    """One operation that gives such a tensor."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout).zero_()


def _convolution(
    x: Tensor, weight: Tensor, padding: Any, stride: Any, dilation: Any, _groups: int, *_settings: Any
) -> Tensor:
    layout = _layout(x, weight)
    x, weight = (t.contiguous(memory_format=layout) for t in (x, weight))
    sides = [
        (x.shape[n + 2] + 2 * padding[n] - dilation[n] * (weight.shape[n + 2] - 1) - 1) // stride[n] + 1 for n in (0, 1)
    ]
    torch.empty(WORKSPACE, dtype=torch.uint8, device=x.device)
    return _new((len(x), len(weight), *sides), x, layout)


def _convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor | None, ...]:
    layout, wanted = _layout(x, weight), rest[-1]
    gradient.contiguous(memory_format=layout)
    torch.empty(WORKSPACE, dtype=torch.uint8, device=x.device)
    shapes: tuple[Any, ...] = (x.shape, weight.shape, (len(weight),))
    layouts = (layout, layout, torch.contiguous_format)
    return tuple(_new(s, x, lay) if want else None for s, lay, want in zip(shapes, layouts, wanted, strict=True))


def _batch_norm(x: Tensor, weight: Tensor, *_rest: Any) -> tuple[Tensor, ...]:
    statistics = [torch.empty(len(weight), dtype=weight.dtype, device=x.device) for _ in range(2)]
    reserve = torch.empty(0, dtype=torch.uint8, device=x.device)
    return (_new(x.shape, x, _layout(x)), *statistics, reserve)


def _batch_norm_backward(x: Tensor, gradient: Tensor, weight: Tensor, *_rest: Any) -> tuple[Tensor, ...]:
    gradient.contiguous(memory_format=_layout(x))
    return (_new(x.shape, x, _layout(x)), torch.empty_like(weight), torch.empty_like(weight))


KERNELS: dict[str, Callable[..., Any]] = {
    "cudnn_convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "cudnn_batch_norm": _batch_norm,
    "cudnn_batch_norm_backward": _batch_norm_backward,
}
