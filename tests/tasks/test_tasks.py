"""Tasks: found by name without torch, and what classification computes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.func import vmap

from benchmark.protocols import load_all
from benchmark.tasks import TASKS, MetricSpec, load_task
from benchmark.utils.errors import BadInput


def test_every_protocol_has_a_task_that_is_there() -> None:
    for protocol in load_all():
        assert protocol.task in TASKS.names()
        named = protocol.document.get("task")
        assert named != "classification", "an unused field that was added later moves no digest"


@pytest.mark.parametrize("name", TASKS.names())
def test_a_task_declares_its_metrics(name: str) -> None:
    task = load_task(name)
    assert len(task.metric) == len(task.declared) > 0
    assert task.early_stop in task.metric
    assert all(spec.unit and spec.column for spec in task.declared)


def test_units_and_directions_are_read_without_torch() -> None:
    code = (
        "import sys; from benchmark.tasks import TASKS, load_task\n"
        "print([(s.unit, s.better) for n in TASKS.names() for s in load_task(n).declared])\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "('percent', 'higher')" in done.stdout


def test_a_name_that_is_near_a_task_is_told() -> None:
    with pytest.raises(BadInput, match="classification"):
        load_task("clasification")


@pytest.mark.parametrize(("better", "best"), [("higher", 3.0), ("lower", 1.0)])
def test_the_best_value_follows_the_direction(better: str, best: float) -> None:
    assert MetricSpec("m", "u", better, "m").best([2.0, 3.0, 1.0]) == best  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_classification_is_the_cross_entropy_in_float32_and_the_share_right(dtype: torch.dtype) -> None:
    task, rng = load_task("classification"), torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 4, generator=rng).to(dtype), torch.arange(50) % 4
    logits[0] = 0.0  # all equal: the first class is the answer
    wanted = -logits.float().log_softmax(1)[torch.arange(50), labels]
    right = sum(int(row.index(max(row)) == label) for row, label in zip(logits.tolist(), labels.tolist(), strict=True))
    loss, sums = task.loss(logits, labels), task.metrics(logits, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, wanted.mean())
    torch.testing.assert_close(sums["loss"], wanted.sum())
    assert int(sums["accuracy"]) == 100 * right


def test_metrics_of_stacked_replicas_are_each_ones_own() -> None:
    task, rng = load_task("classification"), torch.Generator().manual_seed(1)
    logits, labels = torch.randn(3, 20, 4, generator=rng), torch.randint(0, 4, (3, 20), generator=rng)
    together = vmap(task.metrics)(logits, labels)
    for number in range(3):
        alone = task.metrics(logits[number], labels[number])
        assert int(together["accuracy"][number]) == int(alone["accuracy"])
        torch.testing.assert_close(together["loss"][number], alone["loss"])


def test_sparse_recovery_is_the_squared_error_of_real_labels() -> None:
    task, rng = load_task("sparse-recovery"), torch.Generator().manual_seed(2)
    outputs, labels = torch.randn(3, 20, 1, generator=rng), torch.randn(3, 20, generator=rng)
    together = vmap(task.metrics)(outputs, labels)["loss"]
    for number in range(3):
        by_hand = sum((o - y) ** 2 for o, y in zip(outputs[number, :, 0], labels[number], strict=True))
        torch.testing.assert_close(together[number], by_hand)
        torch.testing.assert_close(task.loss(outputs[number], labels[number]), by_hand / 20)
    assert task.loss(outputs[0].bfloat16(), labels[0]).dtype == torch.float32
