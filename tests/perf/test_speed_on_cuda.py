"""`speed` on a GPU measures honestly: shown on a CPU, where nothing is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from imitated_graphs import Replayed
from torch import Tensor

from benchmark.datasets.dataset import random_dataset
from benchmark.perf import device, loops, rates
from benchmark.perf.loops import Contender, capture_all, updates
from benchmark.perf.rates import rates_of
from benchmark.perf.workload import Workload
from benchmark.protocols import load_file
from benchmark.training import loop


@pytest.fixture
def partial(tiny_path: Path) -> Workload:
    """The tiny protocol with 190 random examples: four batches of 40 and one of 30."""
    protocol = load_file(tiny_path)
    return Workload(protocol, random_dataset(protocol, 190))


class Idle:
    """A contender's processes that do nothing; how many contenders live at once."""

    alive: ClassVar[int] = 0
    most: ClassVar[int] = 0
    peak_bytes: int | None = 2**30

    def __init__(self, contender: Contender, _protocol: str) -> None:
        self.contender = contender
        Idle.alive += 1
        Idle.most = max(Idle.most, Idle.alive)

    def turn(self, _seconds: float) -> tuple[float, float]:
        return 2.0, 1.0

    def stop(self) -> None:
        Idle.alive -= 1


@pytest.mark.parametrize(("where", "most"), [("cuda", 1), ("cpu", 3)])
def test_on_a_gpu_one_contender_lives_at_a_time(monkeypatch: pytest.MonkeyPatch, where: str, most: int) -> None:
    """All together would take more memory than it has; on a CPU they take turns."""
    monkeypatch.setattr(rates, "_Running", Idle)
    Idle.alive = Idle.most = 0
    found = rates_of([Contender("engine", where, replicas=n) for n in (1, 2, 4)], "any", 0.1, 2)
    assert (Idle.most, Idle.alive) == (most, 0)
    assert [rate.contender.replicas for rate in found] == [1, 2, 4]
    assert {rate.peak_bytes for rate in found} == {2**30}


def test_all_graphs_are_captured_before_the_first_turn(partial: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the batch that ends an epoch would come last, in the fourth. Then training begins."""
    made: list[Replayed] = []

    def replayed(steps: Sequence[Any]) -> Replayed:
        made.append(Replayed(steps))
        return made[-1]

    monkeypatch.setattr(loop, "Eager", replayed)
    go = updates(Contender("engine", replicas=2), partial, 0)
    steps = made[0]._steps
    capture_all(steps, made[0])
    assert {int(step.tables.counter) for step in steps} == {0}
    captured = len(made[0].imitation.tapes)
    assert captured == 2
    go(27)
    assert len(made[0].imitation.tapes) == captured
    assert {int(step.tables.counter) for step in steps} == {27}


def test_the_plain_loop_has_the_engines_precision(partial: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = partial.protocol.recipe.model_copy(update={"precision": "bf16"})
    asked = replace(partial, protocol=partial.protocol.model_copy(update={"recipe": recipe}))
    products: list[torch.dtype] = []
    cross_entropy = loops.cross_entropy

    def noted(outputs: Tensor, labels: Tensor) -> Tensor:
        assert outputs.grad_fn is not None
        products.append(outputs.grad_fn.next_functions[0][0]._input_metadata[0].dtype)
        return cross_entropy(outputs, labels)

    monkeypatch.setattr(loops, "cross_entropy", noted)
    updates(Contender("in-memory"), asked, 0)(2)
    assert products == [torch.bfloat16] * 2


def test_the_ceiling_of_bf16_times_no_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    multiplied: list[torch.dtype] = []
    product = torch.mm

    def noted(a: Tensor, b: Tensor) -> Tensor:
        assert not torch.is_autocast_enabled("cpu")
        multiplied.append(a.dtype)
        return product(a, b)

    monkeypatch.setattr(torch, "mm", noted)
    monkeypatch.setitem(device.SIDE, "cpu", 16)
    monkeypatch.setitem(device.COPIED_BYTES, "cpu", 1024)
    for precision in ("bf16", "fp32"):
        device.ceiling("cpu", precision, 1)
    assert multiplied == [torch.bfloat16] * 2 + [torch.float32] * 2
