"""What a CPU can show of captures: streams that are joined, one pool of memory, graphs that fork once, small ones."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from imitated_graphs import Imitation
from torch import Tensor

from benchmark.training import cuda_graphs
from benchmark.training.cuda_graphs import BRANCHES, Cuda, Replay

# Streams and captures that only take notes.


class Noted:
    """torch.cuda's streams and graphs, replaced: who waited for whom, and how each capture was asked for."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.waits: list[tuple[str, str]] = []
        self.captures: list[dict[str, Any]] = []
        self.pools: list[object] = []  # that warm-ups ran in
        self.here, names = "main", iter("abcdefghijklmnopqrstuvwxyz")
        noted = self

        class Stream:
            def __init__(self, name: str = "") -> None:
                self.name = name or next(names)

            def wait_stream(self, other: Stream) -> None:
                noted.waits.append((self.name, other.name))

        class Graph:
            def replay(self) -> None:
                """Nothing was captured."""

        class Pool:
            id = (0, 1)

        @contextmanager
        def use_pool(pool: Pool) -> Iterator[None]:
            noted.pools.append(pool.id)
            yield

        @contextmanager
        def stream(_stream: Stream) -> Iterator[None]:
            yield

        @contextmanager
        def graph(_graph: Graph, **asked: Any) -> Iterator[None]:
            noted.captures.append({**asked, "collecting": gc.isenabled()})
            yield

        replaced = {
            "Stream": Stream, "current_stream": lambda: Stream("main"), "stream": stream, "graph": graph,
            "CUDAGraph": Graph, "MemPool": Pool, "use_mem_pool": use_pool,
        }  # fmt: skip
        for name, value in replaced.items():
            patch.setattr(torch.cuda, name, value)
        made = cuda_graphs._streams.__wrapped__()
        patch.setattr(cuda_graphs, "_streams", lambda: made)


def fails() -> None:
    raise torch.OutOfMemoryError("no memory left")


def test_streams_are_joined_where_a_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that began, and no other: CUDA refuses to wait for a stream that is no part of the capture."""
    noted = Noted(monkeypatch)
    with pytest.raises(torch.OutOfMemoryError, match="no memory left"):
        Cuda(3).beside([lambda: None, fails, lambda: None])
    assert noted.waits == [("a", "main"), ("b", "main"), ("main", "a"), ("main", "b")]


def test_graphs_share_one_pool_and_nothing_is_collected_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are drawn in a thread meanwhile, so a capture must not forbid other threads the driver."""
    noted = Noted(monkeypatch)
    device = Cuda(1)
    for _ in range(2):
        device.captured(lambda: None)
    assert noted.captures[0] == noted.captures[1], "a pool of its own"
    assert noted.captures[0]["pool"] == (0, 1)
    assert noted.captures[0]["capture_error_mode"] == "thread_local"
    assert noted.captures[0]["collecting"] is False
    assert gc.isenabled()


def test_a_warm_up_has_the_memory_of_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it in this thread, backward passes too: else that of another batch size comes on top of the graphs'."""
    noted, threads = Noted(monkeypatch), list[int]()

    class Noting(torch.autograd.Function):
        @staticmethod
        def forward(_ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
            assert not torch._C._is_multithreading_enabled()
            threads.append(threading.get_ident())
            return gradients[0]

    device, x = Cuda(1), torch.ones(1, requires_grad=True)
    device.eagerly(lambda: Noting.apply(x).backward())  # type: ignore[no-untyped-call]
    assert noted.pools == [(0, 1)]
    assert threads == [threading.get_ident()]


@pytest.mark.long
def test_no_branch_is_the_stream_that_captures_begin_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many groups came before: torch hands out its 32 streams in turn."""
    noted = Noted(monkeypatch)
    for _ in range(40):
        device = Cuda(BRANCHES)
        device.captured(lambda: None)
    begin = noted.captures[-1]["stream"]
    assert begin.name not in {stream.name for stream in device._streams}
    assert len({stream.name for stream in device._streams}) == BRANCHES


class Counting:
    """A step function that counts; epochs of 50 equal batches."""

    def __init__(self) -> None:
        self.done, self.tables = 0, self
        self.per_epoch = 50

    def __call__(self, _size: int) -> None:
        self.done += 1

    def open(self, step: int) -> None:
        """Nothing to draw."""

    def size(self, _step: int) -> int:
        return 4


@pytest.mark.parametrize(("count", "long"), [(1, 10), (3, 10), (4, 10), (8, 5), (20, 2), (64, 1)])
def test_a_graph_forks_once_and_stays_small(count: int, long: int) -> None:
    """Ten updates of one network, at most forty of all, on sixteen branches at most; every network is updated."""

    class Noting(Imitation):
        forks: list[int] = []  # noqa: RUF012 - of this test alone

        def beside(self, works: Sequence[Callable[[], None]]) -> None:
            self.forks.append(len(works))
            super().beside(works)

    steps, device = [Counting() for _ in range(count)], Noting()
    replay = Replay(steps, device)  # type: ignore[arg-type]
    assert replay.long == long
    replay(0, 3 + 2 * long)
    # Three to warm up, one capture; here a launch repeats operations, of which there are none.
    assert {step.done for step in steps} == {3 + long}
    assert device.forks == [min(count, BRANCHES)] * 4
