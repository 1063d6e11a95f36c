"""CUDA graphs imitated on a CPU, with their values: what a captured update would calculate, and what must not be in it.

As on a GPU, capturing runs nothing, and a launch repeats the very operations on the very addresses. Memory that a graph
allocates is filled with rubbish between launches, because graphs share it. So a number that was baked in, a tensor that
was replaced instead of written, and a value that lives on in a graph's memory all give other results than an eager
update. What a capture refuses is refused by name: waiting for a value, drawing from a generator, copying from the host.
And branches that run side by side may not touch what another writes.

What this cannot show: tensors on the wrong device, what CUDA's kernels do with them, and the rules of streams and
memory; `tests/gpu_shim` is for those. A host value that is read without an operation (`tolist`, `numpy`) shows only in
the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmark.training.cuda_graphs import Replay, Work
from benchmark.training.step import Step

aten = torch.ops.aten
FROM_HOST = (aten.lift_fresh.default, aten.lift_fresh_copy.default)
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
UNSAID = {aten.native_batch_norm.default: (3, 4)}  # arguments that are written though the schema does not say so


class NotToBeCaptured(Exception):
    """What a capture on CUDA would refuse, or what would give other numbers there."""


def refusal(func: Any, args: Any) -> str | None:
    """Why an operation may not be captured; None if it may."""
    if func in FROM_HOST:
        return "copies from the host"
    if func in INDEXING:  # by a mask, the host waits for the number of its ones
        masks = [t for t in args[1] if isinstance(t, Tensor) and t.dtype in (torch.bool, torch.uint8)]
        return "makes the host wait" if masks else None
    if torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags:
        return "makes the host wait"
    return "draws from a generator" if torch.Tag.nondeterministic_seeded in func.tags else None


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _whole(tensor: Tensor) -> Tensor:
    """All of the memory that a tensor is a part of."""
    return torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    found = [args[place] for place in UNSAID.get(func, ())]
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found.append(args[place] if place < len(args) else kwargs.get(argument.name))
    return _tensors(found)


@dataclass
class Branch:
    """Addresses that one of several works side by side reads and writes."""

    read: set[int] = field(default_factory=set)
    written: set[int] = field(default_factory=set)


class Tape(TorchDispatchMode):
    """Operations as they were called, with the tensors that they read and gave."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.branches: list[Branch] = []
        self._own: dict[int, Tensor] = {}  # memory that the graph allocates; held, so that no address is used twice
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # other memory that is written, and what it held

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (why := refusal(func, args)) is not None:
            raise NotToBeCaptured(f"{func} {why}")
        written = _written(func, args, kwargs)
        for tensor in written:
            if _address(tensor) not in self._own:
                self._before.setdefault(_address(tensor), (_whole(tensor), _whole(tensor).clone()))
        out = func(*args, **kwargs)
        read = {_address(tensor) for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(out):
            if _address(tensor) not in read:
                self._own.setdefault(_address(tensor), tensor)
        if self.branches:
            self.branches[-1].read |= read
            self.branches[-1].written |= {_address(tensor) for tensor in written}
        self.operations.append((func, args, kwargs, out))
        return out

    def ended(self) -> None:
        """The capture is over: nothing ran. Raises NotToBeCaptured if branches are in each other's way."""
        for whole, copy in self._before.values():
            whole.copy_(copy)
        for place, one in enumerate(self.branches):
            for other in self.branches[:place]:
                if one.written & (other.read | other.written) or one.read & other.written:
                    raise NotToBeCaptured("branches that run side by side write the same memory")
        self._spoil()

    def launch(self) -> None:
        """Repeat everything, where it was."""
        with torch.no_grad():
            for func, args, kwargs, out in self.operations:
                again = func(*args, **kwargs)
                for there, value in zip(_tensors(out), _tensors(again), strict=True):
                    if _address(there) != _address(value):
                        there.copy_(value)
        self._spoil()

    def _spoil(self) -> None:
        for tensor in self._own.values():
            whole = _whole(tensor)
            whole.fill_(torch.nan if whole.is_floating_point() else 1 if whole.dtype.itemsize == 1 else 2**30)


class Imitation:
    """A device whose graphs are tapes. `log`: (updates in a graph, launches of it); see `Capturing`."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []
        self._recording: Tape | None = None

    def beside(self, works: Sequence[Work]) -> None:
        """See `Capturing`: one after another, each as a branch of its own."""
        for work in works:
            if self._recording is not None:
                self._recording.branches.append(Branch())
            work()

    def eagerly(self, work: Work) -> None:
        """See `Capturing`: there is one memory."""
        work()

    def captured(self, work: Work) -> Work:
        """See `Capturing`."""
        tape = self._recording = Tape()
        try:
            with tape:
                work()
        finally:
            self._recording = None
        tape.ended()
        self.tapes.append(tape)
        return tape.launch


class Replayed(Replay):
    """`Replay` on an imitated device; `log`: the launches, as (examples in a batch, updates)."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.imitation, self.log = Imitation(), list[tuple[int, int]]()
        super().__init__(steps, self.imitation)

    def _some(self, size: int, most: int) -> int:
        count = super()._some(size, most)
        self.log.append((size, count))
        return count
