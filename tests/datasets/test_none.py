"""Protocols of masks without a data set: data-free pruners run, others are told why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmark.datasets.dataset import prepared
from benchmark.harness.harness import Harness, Settings
from benchmark.protocols import Protocol, load, parse
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput

NAME = "synflow/vgg11-tiny-disconnection"


def with_method(pruner: str) -> Protocol:
    methods = {"it": {"pruner": pruner, "allocation": "global", "levels": [4],
                      "schedule": {"rounds": 1, "scores": "initial", "restart": 0}}}  # fmt: skip
    return parse({**load(NAME).document, "id": "tests/none", "methods": methods}, "none.yaml")


def test_no_rows_of_the_shape_that_the_network_reads(tmp_path: Path) -> None:
    data = prepared(load(NAME), tmp_path)
    assert data.train_inputs.shape == data.test_inputs.shape == (0, 3, 64, 64)
    assert (len(data.train_labels), data.classes) == (0, 200)


def test_a_mask_without_data_is_the_largest_weights(tmp_path: Path) -> None:
    """Against a sort of the initial weights, by hand."""
    protocol = with_method("magnitude")
    masks = Harness(protocol, Store(tmp_path), Settings()).masks
    cell = Cell("it", 4, 10)
    state, _ = masks.start(cell)
    weights = torch.cat([state[name].abs().flatten() for name in protocol.pruning.prunable])
    asked = round(0.1 * len(weights))
    threshold = weights.sort(descending=True).values[asked - 1]
    made = torch.cat([mask.flatten() for mask in masks.make(cell)[0].values()])
    assert int(made.sum()) == asked
    assert bool((weights[made] >= threshold).all())


def test_a_pruner_that_asks_for_examples_is_refused(tmp_path: Path) -> None:
    masks = Harness(with_method("snip"), Store(tmp_path), Settings()).masks
    with pytest.raises(BadInput, match=r"data: the data set 'none' holds no examples.*Name a data set"):
        masks.make(Cell("it", 4, 10))


def test_nothing_can_be_trained_on_it() -> None:
    with pytest.raises(BadInput, match="'none' has no test set"):
        parse({**load("mnist1d/mlp").document, "data": load(NAME).document["data"]}, "trained.yaml")
