"""Splits, scoring examples, and the data sets that are generated rather than fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import scoring
from hypothesis import given
from hypothesis import strategies as st

from benchmark.datasets import mnist1d
from benchmark.datasets.dataset import Dataset, load, scoring_examples, split
from benchmark.protocols import Protocol
from benchmark.protocols.recipe import Recipe
from benchmark.training.batches import batches_per_epoch
from benchmark.utils.errors import BadInput, EnvironmentProblem
from benchmark.utils.seeding import stream


def made(rows: int, classes: int = 3) -> Dataset:
    """Examples whose only input is their own row number."""
    inputs, labels = torch.arange(rows, dtype=torch.float32)[:, None], torch.arange(rows) % classes
    return Dataset("made", inputs, labels, inputs[:1], labels[:1], classes, "digest")


@given(rows=st.integers(2, 60), data=st.data(), seed=st.integers(0, 99))
def test_splits_are_disjoint_and_complete(rows: int, data: st.DataObject, seed: int) -> None:
    held_out = data.draw(st.integers(1, rows - 1))
    parts = split(made(rows), held_out, seed)
    assert len(parts.validation) == held_out
    assert sorted(parts.training.tolist() + parts.validation.tolist()) == list(range(rows))
    again = split(made(rows), held_out, seed)
    assert torch.equal(parts.training, again.training)
    assert torch.equal(parts.validation, again.validation)


def test_another_seed_is_another_split() -> None:
    seen = {tuple(sorted(split(made(100), 10, seed).validation.tolist())) for seed in range(10)}
    assert len(seen) == 10
    everywhere = torch.cat([split(made(100), 10, seed).validation for seed in range(200)])
    assert len(set(everywhere.tolist())) == 100  # no row is beyond the split's reach


def test_without_validation_the_stored_order_stays() -> None:
    parts = split(made(10), 0, 3)
    assert parts.training.tolist() == list(range(10))
    assert len(parts.validation) == 0


def test_a_validation_set_that_leaves_nothing_to_train_on_is_refused() -> None:
    for held_out in (10, 11):
        with pytest.raises(BadInput, match=r"data\.validation"):
            split(made(10), held_out, 0)


def test_a_batch_larger_than_the_data_with_partial_batches_dropped_is_refused(tiny_protocol: Protocol) -> None:
    fields = {**tiny_protocol.recipe.model_dump(), "batch_size": 11}
    drop = Recipe.model_validate({**fields, "last_partial_batch": "drop"})
    with pytest.raises(BadInput, match=r"recipe\.batch_size"):
        batches_per_epoch(drop, 10)
    assert batches_per_epoch(Recipe.model_validate({**fields, "last_partial_batch": "keep"}), 10) == 1


def test_scoring_examples_are_balanced_and_only_from_training_rows() -> None:
    data = made(90)
    rows = split(data, 30, 1).training
    examples = scoring_examples(data, rows, scoring(5), stream(1, "scoring examples"))
    chosen = examples.inputs.flatten().int().tolist()
    assert len(examples) == len(set(chosen)) == 15
    assert torch.bincount(examples.labels).tolist() == [5, 5, 5]
    assert set(chosen) <= set(rows.tolist())
    assert examples.labels.tolist() == [row % 3 for row in chosen]
    other = scoring_examples(data, rows, scoring(5), stream(2, "scoring examples"))
    assert other.inputs.flatten().tolist() != examples.inputs.flatten().tolist()
    drawn = [
        scoring_examples(data, rows, scoring(5), stream(s, "x")).inputs.flatten().int().tolist() for s in range(60)
    ]
    assert {row for each in drawn for row in each} == set(rows.tolist())


def test_a_class_with_too_few_examples_is_refused() -> None:
    with pytest.raises(BadInput, match=r"examples_per_class"):
        scoring_examples(made(9), torch.arange(9), scoring(4), stream(0, "x"))


def test_mnist1d_is_the_published_data_set(tmp_path: Path) -> None:
    """Shapes and class balance of arXiv 2011.14439; the digest is the pinned one and covers every array."""
    data = load("mnist1d", tmp_path)
    assert data.train_inputs.shape == (4000, 40)
    assert data.test_inputs.shape == (1000, 40)
    assert data.digest == mnist1d.DIGEST
    assert data.classes == 10
    assert torch.bincount(torch.cat([data.train_labels, data.test_labels])).tolist() == [500] * 10
    assert data.train_inputs.dtype == torch.float32


@pytest.mark.parametrize("array", ["x", "y", "x_test", "y_test"])
def test_mnist1d_made_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: str, generated: dict[str, Any]
) -> None:
    altered = {name: values.copy() for name, values in generated.items()}
    altered[array].flat[7] += 1e-5 if array.startswith("x") else 1
    monkeypatch.setattr(mnist1d, "generate", lambda: altered)
    with pytest.raises(EnvironmentProblem, match=r"mnist1d: generated digest .*, expected .*pip install"):
        mnist1d.Mnist1d().read(tmp_path)


def test_mnist1d_may_differ_by_the_generators_own_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generated: dict[str, Any]
) -> None:
    """1e-15 apart, as between numpy versions."""
    shaken = {name: values + (1e-15 if name.startswith("x") else 0) for name, values in generated.items()}
    monkeypatch.setattr(mnist1d, "generate", lambda: shaken)
    assert mnist1d.Mnist1d().read(tmp_path)[4] == mnist1d.DIGEST


@pytest.fixture(scope="module")
def generated() -> dict[str, Any]:
    """The arrays of the mnist1d package, made once."""
    return mnist1d.generate()


def test_synthetic_points_can_be_learned_and_never_change(tmp_path: Path) -> None:
    """Nearest class centre of the training part is right for most of the test part."""
    data = load("synthetic", tmp_path)
    assert (tuple(data.train_inputs.shape), tuple(data.test_inputs.shape)) == ((400, 12), (200, 12))
    centres = np.stack([data.train_inputs[data.train_labels == c].numpy().mean(0) for c in range(4)])
    nearest = ((data.test_inputs.numpy()[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (nearest == data.test_labels.numpy()).mean() > 0.8
    assert data.digest.startswith("ab7f75b744ab8eb6")
