"""Labels drawn at random for the training set, and how many examples a method scores."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.datasets.dataset import Dataset, prepared, random_labels, scoring_examples
from benchmark.protocols import Protocol, load, parse
from benchmark.protocols.methods import Scoring
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import stream


def made(labels: Tensor) -> Dataset:
    """One pixel an example, its row."""
    inputs = torch.arange(len(labels)).float()[:, None]
    return Dataset("made", inputs, labels, inputs, labels, int(labels.max()) + 1, "digest")


def test_classes_are_even_and_say_nothing_of_the_images() -> None:
    labels, order = random_labels(60_000, 10), torch.arange(60_000)
    assert torch.bincount(labels).tolist() == [6000] * 10
    assert torch.equal(labels, random_labels(60_000, 10))
    assert labels[:10].tolist() == [1, 7, 9, 8, 6, 2, 4, 7, 9, 1], "what committed records were trained on"
    true = order % 10  # as sorted or periodic as labels can be
    agreed = (labels == true).sum().item()
    assert abs(agreed - 6000) < 4 * (60_000 * 0.1 * 0.9) ** 0.5


def changed(protocol: Protocol, **data: Any) -> Protocol:
    document = copy.deepcopy(protocol.document)
    document["data"] |= data
    return parse(document, "tiny")


def test_a_protocol_draws_them_for_the_training_set_alone(tiny_protocol: Protocol, tmp_path: Any) -> None:
    true = prepared(tiny_protocol, tmp_path)
    drawn = prepared(changed(tiny_protocol, labels="random-on-training-set"), tmp_path)
    assert torch.equal(drawn.train_labels, random_labels(len(true.train_labels), true.classes))
    assert not torch.equal(drawn.train_labels, true.train_labels)
    assert torch.equal(drawn.test_labels, true.test_labels)
    assert torch.equal(drawn.train_inputs, true.train_inputs)
    assert drawn.classes == true.classes
    assert changed(tiny_protocol, labels="true").digest == tiny_protocol.digest


def test_images_are_no_labels_to_draw() -> None:
    with pytest.raises(BadInput, match="labels: true"):
        changed(load("oes/pepper-64"), labels="random-on-training-set")


SCORING = Scoring(
    examples_per_class=10, draw="at-random-from-training-set", augmentation="none", batch="all-at-once",
    batch_norm="network-has-none", biases="not-scored",
)  # fmt: skip


def test_a_larger_batch_contains_the_smaller_ones() -> None:
    data, rows = made(torch.arange(300) % 3), torch.arange(100, 300)

    def chosen(count: int | None) -> list[int]:
        examples = scoring_examples(data, rows, SCORING, stream(1, "scoring examples"), count)
        return examples.inputs.flatten().int().tolist()

    assert [len(chosen(count)) for count in (1, 5, 200, None)] == [1, 5, 200, 30]
    assert chosen(200)[:5] == chosen(5)
    assert chosen(5)[:1] == chosen(1)
    assert chosen(None) == chosen(30)
    assert set(chosen(200)) == set(range(100, 300))
    with pytest.raises(BadInput, match="examples 201"):
        chosen(201)


@pytest.mark.parametrize(
    ("scoring", "method", "says"),
    [
        ({"draw": "balanced-from-training-set"}, {"examples": 5}, "drawn at random"),
        ({"draw": "at-random-from-training-set"}, {"examples": 0}, "greater than 0"),
    ],
)
def test_a_method_that_says_how_many(
    tiny_protocol: Protocol, scoring: dict[str, Any], method: dict[str, Any], says: str
) -> None:
    document = copy.deepcopy(tiny_protocol.document)
    document["pruning"]["scoring"] |= scoring
    document["methods"]["snip"] |= method
    with pytest.raises(BadInput, match=says):
        parse(document, "tiny")


def test_figure_3_scores_what_it_says() -> None:
    """The batch of 100 is the ordinary one: ten examples a class at random from all."""
    protocol = load("snip/lenet-300-100-batches-mnist")
    counts = {name: spec.examples for name, spec in protocol.pruning_methods.items()}
    assert counts == {"snip-1": 1, "snip-10": 10, "snip": 100, "snip-1000": 1000, "snip-10000": 10_000}
    assert protocol.pruning.scoring.examples_per_class * protocol.network.outputs == counts["snip"]
