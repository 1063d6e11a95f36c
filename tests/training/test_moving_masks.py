"""Masks that move while a network is trained: SET, RigL, gradual magnitude, by hand and through the harness."""

from __future__ import annotations

from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from baselines.gradual_magnitude import GradualMagnitude
from baselines.rigl import RigL
from baselines.set import Set
from benchmark.api import Run
from benchmark.harness.harness import Harness, Settings
from benchmark.planning.plan import Job, plan
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store
from benchmark.training.hooks import moved_mask
from benchmark.utils import strict_yaml


def run_of(weight: Tensor, mask: Tensor, inputs: Tensor, labels: Tensor) -> Run:
    """A linear network at a step, as a hook sees it."""
    network = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    network.weight.data = weight * mask
    return Run(network, {"weight": mask}, {}, cross_entropy, lambda: (inputs, labels),
               lambda _purpose: torch.Generator().manual_seed(0))  # fmt: skip


def test_a_move_by_hand() -> None:
    """Of four weights the two smallest go; of the others, those two among them, the two highest come."""
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]], dtype=torch.bool)
    drop = torch.tensor([[5.0, 1.0, 4.0], [2.0, 0.0, 0.0]])
    grow = torch.tensor([[9.0, 3.0, 9.0], [0.5, 2.0, 1.0]])
    moved = moved_mask(mask, drop, grow, 0.5)
    assert moved.int().tolist() == [[1, 1, 1], [0, 1, 0]]  # the weight of 1.0 grew again, that of 2.0 did not


@given(st.integers(1, 40), st.integers(0, 40), st.floats(0, 1), st.integers(0, 10**6))
def test_a_move_keeps_the_count_and_the_largest(size: int, kept: int, share: float, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    kept = min(kept, size)
    mask = torch.zeros(size, dtype=torch.bool)
    mask[torch.randperm(size, generator=rng)[:kept]] = True
    drop, grow = torch.rand(2, size, generator=rng)
    moved = moved_mask(mask, drop, grow, share)
    stay = kept - int(share * kept)
    largest = set(sorted(mask.nonzero().flatten().tolist(), key=lambda place: -float(drop[place]))[:stay])
    assert int(moved.sum()) == kept
    assert largest <= set(moved.nonzero().flatten().tolist())


def test_rigl_grows_where_the_gradient_is_largest() -> None:
    """Against d loss / d W = (softmax - onehot)^T x / n, which counts what the mask hides."""
    rng = torch.Generator().manual_seed(1)
    weight, inputs = torch.randn(3, 6, generator=rng), torch.randn(20, 6, generator=rng)
    labels = torch.randint(0, 3, (20,), generator=rng)
    mask = torch.rand(3, 6, generator=rng) < 0.4
    run = run_of(weight, mask, inputs, labels)
    hook = RigL(every=1, until=10, share=0.5)
    hook.last = 10
    outputs = inputs @ (weight * mask).T
    error = outputs.softmax(1) - nn.functional.one_hot(labels, 3)
    slope = (error.T @ inputs / 20).abs()
    expected = moved_mask(mask, (weight * mask).abs(), slope, 0.5 * (1 + cos(pi * 3 / 10)) / 2)
    hook.at(3, run)
    assert torch.equal(run.masks["weight"], expected)
    assert not torch.equal(expected, mask)
    assert hook.facts() == {
        "mask_moves": 1, "dense_gradients": 1, "weights_ever_left": int((mask | expected).sum()),
    }  # fmt: skip


def test_set_draws_anew() -> None:
    """Which weights grow is a matter of the generator, and of nothing else."""
    mask = torch.zeros(10, 100, dtype=torch.bool)
    mask[:, :20] = True
    nothing = torch.zeros(1)
    found = []
    for seed in (0, 0, 1):
        run = run_of(torch.ones(10, 100), mask, nothing, nothing)
        run.rng = lambda _purpose, seed=seed: torch.Generator().manual_seed(seed)
        hook = Set(every=1, until=10, share=0.3, anneal="constant")
        hook.last = 10
        hook.at(1, run)
        found.append(run.masks["weight"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert int((found[0] & mask).sum()) >= 140  # 60 of 200 went, and few of these came back


def test_gradual_pruning_follows_the_cube() -> None:
    """100 weights to 20 between updates 0 and 4: 20 + 80 (1 - t/4)^3 are left."""
    weight = torch.arange(100.0).reshape(1, 100)
    hook = GradualMagnitude(begin=0, end=4, every=1)
    hook.target = {("weight",): 20}
    run = run_of(weight, torch.ones(1, 100, dtype=torch.bool), weight, weight)
    counts = []
    for step in range(5):
        hook.at(step, run)
        counts.append(int(run.masks["weight"].sum()))
    assert counts == [100, round(20 + 80 * 0.421875), 30, round(20 + 80 * 0.015625), 20]
    assert run.masks["weight"].flatten().nonzero().flatten().tolist() == list(range(80, 100))


HOOKS: dict[str, Any] = {
    "set": {"name": "set", "parameters": {"every": 3, "until": 15, "share": 0.5}},
    "rigl": {"name": "rigl", "parameters": {"every": "epoch", "until": 15}},
    "by-sign": {"name": "set-by-sign", "parameters": {"every": 3, "until": 15, "after": 1}},
    "gmp": {"name": "gradual-magnitude", "parameters": {"begin": 2, "end": 12, "every": 5}, "starts": "dense"},
}


def with_hooks(tiny_path: Path, **changes: Any) -> Protocol:
    """The tiny protocol with these methods only, each from a random mask."""
    document = strict_yaml.load_file(tiny_path)
    schedule = {"rounds": 1, "scores": "initial", "restart": 0}
    common = {"pruner": "random", "allocation": "layerwise", "schedule": schedule, "levels": [3]}
    document["methods"] = {name: {**common, "hook": {**hook, **changes}} for name, hook in HOOKS.items()}
    document["seeds"], document["sources"] = [0], {}
    return parse(document, "tiny")


@pytest.fixture(scope="module")
def moved(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Harness, list[Job]]:
    """Each method run once."""
    protocol, store = with_hooks(tiny_path), Store(tmp_path_factory.mktemp("moved"))
    harness = Harness(protocol, store, Settings())
    jobs = [planned.job for planned in plan([(protocol, name) for name in HOOKS], store)]
    for job in jobs:
        assert harness.run(job)
    return harness, jobs


def test_a_record_holds_the_mask_at_the_end(moved: tuple[Harness, list[Job]]) -> None:
    harness, _ = moved
    protocol = harness.protocol
    level = protocol.level_table[3]
    for name in HOOKS:
        cell = Cell(name, 3, 0)
        record = harness.store.read(protocol, cell)
        assert record is not None
        assert record.mask is not None
        assert record.method.hook is not None
        assert record.method.hook.name == HOOKS[name]["name"]
        assert record.mask.kept == level.kept
        assert {layer: count.kept for layer, count in record.mask.layers.items()} == level.one_shot_counts
    facts = {name: record.hook_facts for name in HOOKS if (record := harness.store.read(protocol, Cell(name, 3, 0)))}
    assert facts["gmp"] is None
    assert facts["set"] is not None
    assert facts["set"]["mask_moves"] == 5  # after updates 3, 6, 9, 12, 15
    assert facts["rigl"] is not None
    assert facts["rigl"]["dense_gradients"] == facts["rigl"]["mask_moves"] == 1  # eight updates an epoch: after 8
    assert facts["set"]["weights_ever_left"] > level.kept


def test_a_killed_training_goes_on_with_its_mask(moved: tuple[Harness, list[Job]], tmp_path: Path) -> None:
    """Stopped after 10 of 20 updates by a full stop of the process, and resumed: the same record."""
    harness, jobs = moved

    class Killed(Exception):
        pass

    def killed(_cell: Cell, done: int, *_: object) -> None:
        if done == 10:
            raise Killed

    store = Store(tmp_path)
    for job in jobs:
        with pytest.raises(Killed):
            Harness(harness.protocol, store, Settings(checkpoint_seconds=0, on_progress=killed)).run(job)
        assert list(store.work.rglob("*checkpoint*"))
        assert Harness(harness.protocol, store, Settings()).run(job)
        first, second = (s.read(harness.protocol, job.cells[0]) for s in (harness.store, store))
        assert first is not None
        assert second is not None
        assert (first.fingerprint(), first.hook_facts) == (second.fingerprint(), second.hook_facts)


def test_parameters_that_a_hook_does_not_take(tiny_path: Path, tmp_path: Path) -> None:
    protocol = with_hooks(tiny_path, parameters={"sparsity": 0.5})
    store = Store(tmp_path)
    (job,) = [planned.job for planned in plan([(protocol, "set")], store)]
    Harness(protocol, store, Settings()).run(job)
    record = store.read(protocol, job.cells[0])
    assert record is not None
    assert "cannot be made with" in str(record.reason)


def test_pruning_that_ends_after_the_training(tiny_path: Path, tmp_path: Path) -> None:
    protocol = with_hooks(tiny_path, parameters={"begin": 0, "end": 21})
    store = Store(tmp_path)
    (job,) = [planned.job for planned in plan([(protocol, "gmp")], store)]
    Harness(protocol, store, Settings()).run(job)
    record = store.read(protocol, job.cells[0])
    assert record is not None
    assert "pruning ends at update 21, the training at 20" in str(record.reason)


def test_a_hook_needs_a_mask_at_initialization(tiny_path: Path) -> None:
    document = strict_yaml.load_file(tiny_path)
    document["methods"]["imp"]["hook"] = HOOKS["set"]
    with pytest.raises(Exception, match="a hook needs a mask at initialization"):
        parse(document, "tiny")
