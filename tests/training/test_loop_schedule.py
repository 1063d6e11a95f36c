"""When networks are evaluated, which rows make a batch, compaction, and runs that go wrong."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmark.datasets.dataset import Dataset, load, split
from benchmark.harness.record import curves_of
from benchmark.networks.mlp import Mlp
from benchmark.protocols import Protocol
from benchmark.protocols.recipe import EvaluationSpec, Recipe
from benchmark.tasks import load_task
from benchmark.tasks.classification import Classification
from benchmark.tasks.task import MetricSpec
from benchmark.training import replicas as replica_groups
from benchmark.training.batches import ReplicaExamples, Tables, batches_per_epoch
from benchmark.training.evaluate import CHUNK, History, Observed, Quality, evaluate
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.training.separate import Columns

WIDTHS = (12, 16, 8, 4)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """The synthetic points."""
    return load("synthetic", tmp_path)


def initial(scale: float = 0.3) -> dict[str, Tensor]:
    """Random weights."""
    rng = torch.Generator().manual_seed(0)
    return {n: torch.randn(p.shape, generator=rng) * scale for n, p in Mlp(WIDTHS).named_parameters()}


def ran(tiny: Protocol, dataset: Dataset, replica: Replica, recipe: dict[str, Any], **evaluation: Any) -> Outcome:
    """One replica under changed recipe and evaluation fields."""
    return train(
        [replica],
        TrainingSetup(
            lambda inputs: Mlp((inputs or 12, *WIDTHS[1:])),
            Recipe.model_validate({**tiny.recipe.model_dump(), **recipe}),
            EvaluationSpec.model_validate({**tiny.evaluation.model_dump(), **evaluation}),
            dataset,
        ),
    )[0]


def evaluation_of(**changes: Any) -> EvaluationSpec:
    """Evaluation fields with the rest filled in."""
    fields = {"first": 0, "every": 1, "test_every": 1, "test_at_validation_minima": False}
    return EvaluationSpec.model_validate({**fields, "reported": "last", "early_stop": "none", **changes})


@pytest.mark.parametrize(
    ("first", "every", "test_every", "total", "steps", "test_steps"),
    [
        (0, 5, 10, 20, (0, 5, 10, 15, 20), (0, 10, 20, 20)),
        (1, 3, 6, 10, (1, 4, 7, 10), (1, 7, 10)),
        (1, 3, 3, 9, (1, 4, 7), (1, 4, 7, 7)),  # the last update is not seen, as in the MNIST-1D notebook
        (0, 100, 100, 0, (0,), (0, 0)),
        (5, 2, 2, 3, (3,), (3, 3)),  # none is due: the end
    ],
)
def test_evaluation_steps(
    first: int, every: int, test_every: int, total: int, steps: tuple[int, ...], test_steps: tuple[int, ...]
) -> None:
    spec = evaluation_of(first=first, every=every, test_every=test_every)
    assert spec.steps(total) == steps
    assert set(spec.test_steps(total)) == set(test_steps)


def test_the_test_set_is_seen_at_minima_on_schedule_and_at_the_end(tiny_protocol: Protocol, dataset: Dataset) -> None:
    """A learning rate that makes the loss go up and down; the schedule is worked out from the validation losses."""
    replica = Replica(0, initial(), {}, split(dataset, 90, 0), 60)
    outcome = ran(tiny_protocol, dataset, replica, {"learning_rate": 0.3}, test_every=20)
    losses = [quality.loss for quality in outcome.history.validation]
    assert len(losses) == 31
    minima = {2 * i for i in range(31) if all(losses[i] < before for before in losses[:i])}
    assert 2 < len(minima) < 31
    assert outcome.history.test_steps == tuple(sorted(minima | {0, 20, 40, 60}))
    stop = outcome.history.early_stop()
    assert stop is not None
    assert (stop[0], stop[1].loss) == (2 * losses.index(min(losses)), min(losses))
    assert 0 < outcome.evaluation_cpu_seconds < outcome.cpu_seconds


class Agreement(Classification):
    """A task of three metrics, with the early stop where the highest share agrees."""

    declared = (MetricSpec("loss", "nats", "lower", "loss"), MetricSpec("error", "percent", "lower", "error"),
                MetricSpec("agreement", "share", "higher", "agreement"))  # fmt: skip
    early_stop = "agreement"


def test_a_task_says_what_early_stopping_watches() -> None:
    task = Agreement()
    assert (task.criterion(0.7), load_task("classification").criterion(0.7)) == (-0.7, 0.7)
    observed = Observed.of(1, task)
    improved = []
    for step, values in ((0, (1.0, 9.0, 0.2)), (5, (3.0, 9.0, 0.8)), (10, (2.0, 9.0, 0.8)), (15, (0.1, 9.0, 0.5))):
        observed.validated(step, torch.tensor([values], dtype=torch.float64))
        improved += observed.improved(step)
        observed.tested(step, torch.tensor([values], dtype=torch.float64), [True])
    assert improved == [True, True, False, False]
    history, bad = observed.history(0, (0, 5, 10, 15))
    stop = history.early_stop()
    assert bad is None
    assert stop is not None
    assert (stop[0], stop[2]["agreement"], stop[2]["error"], stop[2].loss) == (5, 0.8, 9.0, 3.0)
    with np.load(io.BytesIO(curves_of(history))) as curves:
        assert set(curves) == {"steps", "test_steps"} | {
            f"{part}_{column}" for part in ("test", "validation") for column in ("loss", "error", "agreement")
        }


def test_early_stop_is_the_first_of_equal_minima() -> None:
    def at(loss: float) -> Quality:
        return Quality(load_task("classification"), (loss, 50.0))

    history = History((0, 5, 10, 15), tuple(map(at, (2.0, 1.0, 3.0, 1.0))), (0, 5, 15), tuple(map(at, (9.0, 8.0, 7.0))))
    assert history.early_stop() == (5, at(1.0), at(8.0))
    assert History((0,), (), (0,), (at(1.0),)).early_stop() is None


def test_evaluation_in_chunks_is_the_mean_over_all() -> None:
    rng = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2 * CHUNK + 7, 5, generator=rng), torch.arange(2 * CHUNK + 7) % 5
    found = evaluate(lambda x: x, logits, labels, load_task("classification"))
    log_p = logits.double().log_softmax(1)
    assert found.loss == pytest.approx(-float(log_p[torch.arange(len(labels)), labels].mean()), rel=1e-6)
    right = sum(int(max(range(5), key=lambda c: row[c]) == label) for row, label in zip(logits, labels, strict=True))
    assert found["accuracy"] == pytest.approx(100 * right / len(labels), rel=1e-12)


def recipe_with(tiny: Protocol, size: int, order: str, partial: str) -> Recipe:
    """The tiny recipe with other batches."""
    changes = {"batch_size": size, "order": order, "last_partial_batch": partial}
    return Recipe.model_validate({**tiny.recipe.model_dump(), **changes})


def batches(recipe: Recipe, rows: Tensor, seed: int, first: int, last: int) -> list[Tensor]:
    """Row numbers of batches `first` to `last` - 1, as the updates read them."""
    dataset, found = load("synthetic", Path()), []
    tables = Tables(recipe, dataset, dataset.train_inputs, ReplicaExamples(rows, seed), first)
    for step in range(first, last):
        tables.open(step)
        found.append(tables.rows(tables.size(step)))
        tables.counter.add_(1)
    return found


@settings(deadline=None)  # a busy machine is not a failure
@given(rows=st.integers(1, 40), size=st.integers(1, 12), partial=st.sampled_from(["keep", "drop"]), seed=st.integers(0))
def test_an_epoch_sees_every_example_once(
    tiny_protocol: Protocol, rows: int, size: int, partial: str, seed: int
) -> None:
    numbers = torch.arange(100, 100 + rows)
    recipe = recipe_with(tiny_protocol, size, "shuffled-each-epoch", partial)
    whole, rest = divmod(rows, size)
    per_epoch = whole + (rest > 0 and partial == "keep")
    if per_epoch == 0:
        return
    assert batches_per_epoch(recipe, rows) == per_epoch
    seen = batches(recipe, numbers, seed, 0, 2 * per_epoch)
    assert len(seen) == 2 * per_epoch
    for epoch in (seen[:per_epoch], seen[per_epoch:]):
        assert [len(batch) for batch in epoch] == [size] * whole + [rest] * (per_epoch - whole)
        together = torch.cat(epoch).tolist()
        assert len(set(together)) == len(together) == (rows if partial == "keep" else whole * size)
        assert set(together) <= set(numbers.tolist())
    for first in range(2 * per_epoch):  # from any update on, the same batches follow
        again = batches(recipe, numbers, seed, first, 2 * per_epoch)
        assert all(torch.equal(a, b) for a, b in zip(again, seen[first:], strict=True))


def test_orders_differ_by_epoch_and_seed(tiny_protocol: Protocol) -> None:
    recipe = recipe_with(tiny_protocol, 50, "shuffled-each-epoch", "keep")
    rows = torch.arange(50)
    orders = [tuple(b.tolist()) for seed in (0, 1) for b in batches(recipe, rows, seed, 0, 3)]
    assert len(set(orders)) == 6


def test_stored_order_wraps(tiny_protocol: Protocol) -> None:
    keep = recipe_with(tiny_protocol, 4, "as-stored", "keep")
    seen = [batch.tolist() for batch in batches(keep, torch.arange(10), 0, 0, 5)]
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3], [4, 5, 6, 7]]
    drop = recipe_with(tiny_protocol, 4, "as-stored", "drop")
    assert [batch.tolist() for batch in batches(drop, torch.arange(10), 0, 1, 4)] == [
        [4, 5, 6, 7],
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]


def test_a_compacted_network_is_the_network(
    tiny_protocol: Protocol, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the five inputs that nothing reads: same weights and losses to rounding, dead columns exactly zero."""
    masks = {"fc1.weight": torch.ones(16, 12, dtype=torch.bool)}
    masks["fc1.weight"][:, [0, 3, 4, 7, 11]] = False
    masks["fc1.weight"][2, 1] = False
    replica = Replica(0, initial(), masks, split(dataset, 90, 0), 40, 0, (15,))
    widths = []
    init = Mlp.__init__
    monkeypatch.setattr(Mlp, "__init__", lambda self, w: (widths.append(w[0]), init(self, w))[1])
    small = ran(tiny_protocol, dataset, replica, {"weight_decay": 0.01})
    monkeypatch.setattr(replica_groups, "usable", lambda *_: False)
    large = ran(tiny_protocol, dataset, replica, {"weight_decay": 0.01})
    assert widths == [7, 12]
    for state, expected in ((small.weights, large.weights), (small.snapshots[15], large.snapshots[15])):
        assert {n: v.shape for n, v in state.items()} == {n: v.shape for n, v in expected.items()}
        assert all(torch.allclose(state[n], expected[n], rtol=1e-4, atol=1e-6) for n in state)
        assert not state["fc1.weight"][~masks["fc1.weight"]].any()
    for one, other in zip(small.history.validation, large.history.validation, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
    assert small.history.validation[-1] != small.history.validation[0]


@pytest.mark.parametrize("alive", [[], [0, 1, 2], [1]])
def test_columns_by_hand(alive: list[int]) -> None:
    mask = torch.zeros(2, 3, dtype=torch.bool)
    mask[1, alive] = True
    columns = Columns.of("w", {"w": mask})
    state = {"w": torch.arange(6.0).reshape(2, 3) * mask, "b": torch.ones(2)}
    shrunk = columns.shrink(state)
    assert columns.count == shrunk["w"].shape[1] == columns.inputs(torch.zeros(4, 3)).shape[1] == (len(alive) or 3)
    assert all(torch.equal(value, state[name]) for name, value in columns.restore(shrunk).items())


def test_divergence_is_a_failure_with_a_reason(tiny_protocol: Protocol, dataset: Dataset) -> None:
    replica = Replica(0, initial(), {}, split(dataset, 90, 0), 20)
    outcome = ran(tiny_protocol, dataset, replica, {"optimizer": "sgd", "learning_rate": 1e30})
    assert outcome.failure == "diverged: the loss is not finite after 2 updates"
    assert outcome.train is None
    assert outcome.steps == 2  # given up at the first evaluation that saw it


def test_divergence_after_the_last_evaluation_is_seen(tiny_protocol: Protocol, dataset: Dataset) -> None:
    replica = Replica(0, initial(1e18), {}, split(dataset, 90, 0), 1)
    bad = {"first": 5, "early_stop": "none", "test_at_validation_minima": False}
    start = Replica(0, initial(), {}, split(dataset, 90, 0), 3)
    outcome = ran(tiny_protocol, dataset, start, {"optimizer": "sgd", "learning_rate": 1e30}, every=10, test_every=10)
    assert outcome.history.steps == (0,)
    assert outcome.failure == "diverged: the loss is not finite after 3 updates"
    assert ran(tiny_protocol, dataset, replica, {}, **bad).failure is not None


def test_a_fine_tuning_shorter_than_the_evaluation_interval_is_evaluated_at_its_end(
    tiny_protocol: Protocol, dataset: Dataset
) -> None:
    replica = Replica(0, initial(), {}, split(dataset, 90, 0), 26, 21)
    outcome = ran(tiny_protocol, dataset, replica, {}, every=20, test_every=20)
    assert outcome.history.steps == outcome.history.test_steps == (26,)
    assert outcome.steps == 5
    assert math.isfinite(outcome.history.test[0].loss)


def test_no_training_at_all_is_evaluated_once(tiny_protocol: Protocol, dataset: Dataset) -> None:
    """A mask that keeps nothing: constant network, zero updates."""
    nothing = {n: torch.zeros(v.shape, dtype=torch.bool) for n, v in initial().items() if n.endswith("weight")}
    start = {n: v if n.endswith("weight") else torch.zeros_like(v) for n, v in initial().items()}
    outcome = ran(tiny_protocol, dataset, Replica(0, start, nothing, split(dataset, 90, 0), 0), {})
    assert (outcome.steps, outcome.failure, outcome.history.steps) == (0, None, (0,))
    assert outcome.history.test[0].loss == pytest.approx(math.log(4), rel=1e-6)
