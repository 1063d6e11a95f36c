"""torch's own CUDA code under this suite's loop, on a runtime that calculates nothing: `make test-gpu-shim`.

See tests/gpu_shim/runtime.cpp for what that can show. Numbers are the business of tests/training/test_captured_updates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gpu_shim
import pytest
import torch
from captured_trials import NETWORKS, Freezing, trial
from command_line import in_process
from replica_groups import Killed, recipe_of, replicas_of, resumable

from benchmark.perf.loops import Contender, updates
from benchmark.perf.workload import Workload
from benchmark.protocols import Protocol, load
from benchmark.training import cuda_graphs
from benchmark.training.cuda_graphs import Cuda, Replay, Work
from benchmark.training.device import cuda_settings
from benchmark.training.loop import on_device
from benchmark.training.replicas import GROUPS

pytestmark = pytest.mark.skipif(gpu_shim.library() is None, reason="NOT TESTED: run `make test-gpu-shim`")
STRATEGIES = pytest.mark.parametrize("strategy", ["stacked", "streams"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@STRATEGIES
@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_is_captured(tiny_protocol: Protocol, name: str, strategy: Any, precision: str) -> None:
    """Trained to the end with graphs, evaluations and partial batches; no capture was spoiled."""
    asked = trial(tiny_protocol, name, strategy, precision=precision)
    with gpu_shim.counted() as counts:
        outcomes = asked.longer(20).trained("cuda")
    assert [(o.failure, o.steps, o.replica_group) for o in outcomes] == [(None, 20, f"2 side by side, {strategy}")] * 2
    assert counts["graphs"] >= 2
    assert counts["launches"] > 10
    assert counts["spoiled"] == 0


@STRATEGIES
def test_hooks_act_between_graphs(tiny_protocol: Protocol, strategy: Any) -> None:
    """One that freezes, and so has updates captured anew. How many weights one would move is a number, so rubbish."""
    outcomes = trial(tiny_protocol, "conv-2", strategy, lambda _: [Freezing(10)]).longer(20).trained("cuda")
    assert all(outcome.failure is None and outcome.masks for outcome in outcomes)


@pytest.mark.parametrize("where", ["eagerly", "captured"])
@STRATEGIES
def test_out_of_memory_around_a_capture_halves_the_group(
    tiny_protocol: Protocol, monkeypatch: pytest.MonkeyPatch, strategy: Any, where: str
) -> None:
    """In a warm-up or in a capture, which is ended; memory is given back, and half as many are captured."""
    usual, scarce = getattr(Cuda, where), [True]

    def starving(work: Work) -> None:
        with gpu_shim.no_more_memory():
            work()
            torch.empty(2**30, device="cuda")  # more than warm-ups have left in the pool

    def short(device: Cuda, work: Work) -> Any:
        return usual(device, partial(starving, work) if scarce and scarce.pop() else work)

    trial(tiny_protocol, "resnet", strategy).trained("cuda")  # cuBLAS keeps a workspace for each stream
    monkeypatch.setattr(Cuda, where, short)
    before = torch.cuda.memory_allocated()
    outcomes = trial(tiny_protocol, "resnet", strategy).longer(20).trained("cuda")
    assert outcomes[0].replica_group == f"1 side by side, {strategy}; 2 did not fit into memory"
    assert [outcome.steps for outcome in outcomes] == [20, 20]
    assert not torch.cuda.is_current_stream_capturing()
    assert torch.cuda.memory_allocated() - before < 2**20


@STRATEGIES
def test_a_killed_group_goes_on(tiny_protocol: Protocol, tmp_path: Path, strategy: Any) -> None:
    arguments = ("resnet-20", replicas_of("resnet-20", 2), recipe_of(tiny_protocol), tiny_protocol, strategy, tmp_path)
    with pytest.raises(Killed):
        resumable(*arguments, 4, "cuda")
    assert [outcome.steps for outcome in resumable(*arguments, None, "cuda")] == [8, 8]


@STRATEGIES
def test_the_host_never_waits_between_stops(tiny_protocol: Protocol, strategy: Any) -> None:
    """Launches and tables of new epochs from pinned memory; no value comes back."""
    asked = trial(tiny_protocol, "conv-2", strategy).longer(60)
    setup = asked.setup()
    moved = type(setup)(setup.make_module, setup.recipe, setup.evaluation, on_device(setup.dataset, "cuda"))
    with cuda_settings("fp32"):
        replay = Replay.of(GROUPS[strategy](asked.replicas(), moved, False).steps)  # type: ignore[arg-type]
        replay(0, 20)
        with gpu_shim.counted() as counts:
            replay(20, 50)
    assert (counts["waits"], counts["to_host"], counts["eager"] > 0) == (0, 0, True)
    assert counts["to_device"] >= 10 * len(replay._steps), "ten epochs' tables"
    assert counts["pinned"] < 10, "pinned memory is used again"


def test_the_command_line_trains_side_by_side(tiny_path: Path, tmp_path: Path) -> None:
    """Dense networks, a chain's rounds, a pruner and a control in one process: groups that come and go, partial
    batches, evaluations between graphs and at minima, tables drawn ahead. No capture is spoiled or left unjoined."""
    asked = [f"{tiny_path}:{method}" for method in ("dense", "imp", "imp+reinit", "random", "one-shot")]
    with gpu_shim.counted() as counts:
        ended = in_process(
            "run", *asked, "--device", "cuda", "--executor", "in-process", "--results", str(tmp_path)
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "0 left" in ended.stdout
    assert counts["spoiled"] == 0
    assert counts["graphs"] > 5, "one or more of every group"
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("level-*_seed-*.json")]
    assert len(records) > 15
    assert {record["provenance"]["device"] for record in records} == {"cuda: counting shim"}


class Sizes:
    """Operations of one update of all networks, and what is reserved at most, of a protocol's speed run."""

    def __init__(self, name: str, strategy: Any, replicas: int, patch: pytest.MonkeyPatch) -> None:
        self.nodes = list[float]()
        captured = Cuda.captured

        def noted(device: Cuda, work: Any) -> Work:
            with gpu_shim.counted() as counts:
                launch = captured(device, work)
            self.nodes.append(counts["captured"] / work.args[1])
            return launch

        patch.setattr(Cuda, "captured", noted)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        with cuda_settings("fp32"):
            updates(Contender("engine", "cuda", replicas=replicas, strategy=strategy), Workload.of(load(name)), 0)(17)
        self.reserved = torch.cuda.max_memory_reserved()


def test_graphs_of_resnet_20_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted: a stack's update is 247 operations however many it trains, a network's on a stream 227."""
    assert set(Sizes("missingmark/resnet20-cifar10", "stacked", 4, monkeypatch).nodes) <= set(range(281))
    assert max(Sizes("missingmark/resnet20-cifar10", "streams", 4, monkeypatch).nodes) / 4 <= 230


def test_graphs_share_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet-20, 64 side by side: 45 GiB were reserved when each graph had a pool of its own.

    Counted: 14.5 GiB with all three graphs; 18.0 where the partial batch is warmed up in other memory than theirs.
    """
    found = Sizes("missingmark/resnet20-cifar10", "stacked", 64, monkeypatch)
    assert len(found.nodes) == 3, "one and ten updates of whole batches, and the partial one's"
    assert found.reserved <= 16 * 2**30


def test_a_stream_that_stays_away_is_what_the_shim_catches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a fork that is not joined, and a wait inside. Without them the same capture is made."""

    def not_joined(device: Cuda, works: Sequence[Work]) -> None:
        stream = device._streams[0]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            works[0]()

    x = torch.zeros(3, device="cuda")
    work: Callable[[], object] = lambda: x.add_(1)  # noqa: E731
    device = Cuda(1)
    device.captured(lambda: device.beside([work]))  # type: ignore[list-item]
    with pytest.raises(RuntimeError, match="captur"):
        Cuda(1).captured(lambda: (work(), torch.cuda.synchronize()))  # type: ignore[arg-type,return-value]
    with monkeypatch.context() as patch:
        patch.setattr(cuda_graphs.Cuda, "beside", not_joined)
        with pytest.raises(RuntimeError, match="unjoined"):
            Cuda(1).captured(lambda: device.beside([work]))  # type: ignore[list-item]
    # torch 2.11: memory would not be given back any more, nor anything captured.
    torch.cuda.empty_cache()
    device.captured(lambda: device.beside([work]))  # type: ignore[list-item]
