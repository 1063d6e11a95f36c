"""Training on images: augmentation against a slow copy of its definition, batch norm and its buffers, whole cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import scoring
from image_data import CROP, pictures
from image_networks import COMMON, OWN, network, prunable, spec
from torch import Tensor, nn

from benchmark.datasets import dataset as data_sets
from benchmark.datasets.augment import Preparation, augmentation_table
from benchmark.datasets.dataset import Dataset, Split, prepared, scoring_examples, split
from benchmark.harness.harness import Harness, Settings
from benchmark.networks import make
from benchmark.planning.plan import Job, plan
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import Cell
from benchmark.protocols.recipe import AugmentationSpec, EvaluationSpec, Recipe
from benchmark.records.store import Store
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import stream

SMALL: dict[str, Any] = {"input": (3, 8, 8), "classes": 4}


def slowly(image: Any, offset: Any, flip: bool, fields: dict[str, Any], fill: Any) -> Any:
    """One image padded with `fill` per channel, cropped and mirrored, in numpy."""
    margin, (channels, height, width) = fields["crop_padding"], image.shape
    padded = np.empty((channels, height + 2 * margin, width + 2 * margin), image.dtype)
    padded[:] = np.asarray(fill, image.dtype)[:, None, None]
    padded[:, margin : margin + height, margin : margin + width] = image
    if flip and fields["order"] == "flip-then-crop":
        padded = padded[:, :, ::-1]
    crop = padded[:, offset[0] : offset[0] + height, offset[1] : offset[1] + width]
    return crop[:, :, ::-1] if flip and fields["order"] == "crop-then-flip" else crop


@pytest.mark.parametrize("order", ["crop-then-flip", "flip-then-crop"])
@pytest.mark.parametrize("padded_with", ["black", "mean"])
def test_augmentation_is_its_definition(order: str, padded_with: str) -> None:
    fields = {**CROP, "order": order, "padded_with": padded_with}
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
    prepare = Preparation(mean, std, AugmentationSpec.model_validate(fields))
    stored = pictures().train_inputs
    offsets, flips = augmentation_table(prepare.augmentation, 0, 0, len(stored), stored.shape)  # type: ignore[arg-type]
    assert set(offsets.flatten().tolist()) == {0, 1, 2, 3, 4}
    assert 20 < int(flips.sum()) < 70
    got = prepare.augmented(stored, offsets, flips).numpy()
    fill = np.zeros(3) if padded_with == "black" else np.array(mean) * 255
    for i in range(len(stored)):
        image = slowly(stored[i].double().numpy(), offsets[i].tolist(), bool(flips[i]), fields, fill)
        expected = (image / 255 - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
        assert got[i] == pytest.approx(expected, abs=1e-5)
    unmoved = prepare.augmented(stored, torch.full_like(offsets, 2), torch.zeros_like(flips))
    assert torch.equal(unmoved, prepare(stored))


def test_tables_are_drawn_per_seed_and_epoch() -> None:
    fields = AugmentationSpec.model_validate(CROP)
    tables = [
        augmentation_table(fields, seed, epoch, 50, (3, 8, 8))[0] for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))
    ]
    assert torch.equal(tables[0], tables[3])
    assert not torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])
    flat = AugmentationSpec.model_validate({**CROP, "flip": "none"})
    assert not augmentation_table(flat, 0, 0, 50, (3, 8, 8))[1].any()


@pytest.mark.parametrize("floats", [False, True])
def test_scaling(floats: bool) -> None:
    """Bytes over 255; then minus mean, over std, per channel; floats without a mean are handed through."""
    stored = pictures().train_inputs
    given = stored.float() / 255 if floats else stored
    assert (Preparation()(given) is given) == floats
    assert torch.allclose(Preparation()(given), stored.float() / 255)
    scaled = Preparation((0.5, 0.4, 0.3), (0.2, 0.3, 0.1))(given)
    assert torch.allclose(scaled[:, 1], (stored[:, 1].float() / 255 - 0.4) / 0.3, atol=1e-6)
    flat = Preparation((0.1307,), (0.3081,))(given.flatten(1))
    assert torch.allclose(flat, (stored.flatten(1).float() / 255 - 0.1307) / 0.3081, atol=1e-5)


def test_every_image_by_its_own_mean_and_deviation() -> None:
    """In numpy, after a crop that brings black pixels in; an image of one colour is zero."""
    prepare = Preparation(augmentation=AugmentationSpec.model_validate(CROP), per_image=True)
    stored = pictures().train_inputs
    offsets, flips = torch.zeros(len(stored), 2, dtype=torch.int64), torch.zeros(len(stored), dtype=torch.bool)
    got = prepare.augmented(stored, offsets, flips).numpy()
    for i in range(5):
        image = slowly(stored[i].double().numpy(), (0, 0), False, CROP, np.zeros(3))
        assert got[i] == pytest.approx((image - image.mean()) / image.std(), abs=1e-4)
    assert not prepare(torch.full((1, 3, 8, 8), 77, dtype=torch.uint8)).any()


def test_pruners_see_scaled_images_without_augmentation() -> None:
    data = replace(pictures(), prepare=Preparation((0.5,) * 3, (0.2,) * 3, AugmentationSpec.model_validate(CROP)))
    chosen = scoring_examples(data, torch.arange(90), scoring(2), stream(0, "s"))
    everything = data.prepare(data.train_inputs)
    assert chosen.inputs.dtype == torch.float32
    assert all(any(torch.equal(x, y) for y in everything) for x in chosen.inputs)


def test_pruners_see_augmented_images_drawn_at_random() -> None:
    """Synaptic-Flow's convention: as many as classes times the number, whatever their class, cropped and flipped."""
    data = replace(pictures(), prepare=Preparation((0.5,) * 3, (0.2,) * 3, AugmentationSpec.model_validate(CROP)))
    how = scoring(5, draw="at-random-from-training-set", augmentation="as-in-training")
    rows = torch.arange(10, 90)
    draws = [scoring_examples(data, rows, how, stream(seed, "s")) for seed in range(20)]
    counts = [torch.bincount(draw.labels, minlength=4).tolist() for draw in draws]
    assert all(len(draw) == 20 for draw in draws)
    assert len({tuple(each) for each in counts}) > 10  # not balanced
    plain = [data.prepare(image[None])[0] for image in data.train_inputs]
    moved = sum(not any(torch.equal(x, y) for y in plain) for x in draws[0].inputs)
    assert moved > 15  # one in 50 is neither cropped nor flipped
    again = scoring_examples(data, rows, how, stream(0, "s"))
    assert torch.equal(again.inputs, draws[0].inputs)
    unmoved = scoring_examples(data, rows, scoring(5, draw="at-random-from-training-set"), stream(0, "s"))
    assert torch.equal(unmoved.labels, again.labels)
    assert all(any(torch.equal(x, y) for y in plain[10:]) for x in unmoved.inputs)


def recipe_of(tiny: Protocol, **changes: Any) -> Recipe:
    """SGD with momentum on batches of 16."""
    sgd = {"optimizer": "sgd", "learning_rate": 0.05, "batch_size": 16, "steps": 12}
    return Recipe.model_validate({**tiny.recipe.model_dump(), **sgd, **changes})


def go(tiny: Protocol, data: Dataset, recipe: Recipe, fields: Any, *replicas: Replica) -> list[Outcome]:
    """Train networks of one specification."""
    when = EvaluationSpec.model_validate({**tiny.evaluation.model_dump(), "every": 4, "test_every": 4})
    return train(list(replicas), TrainingSetup(lambda _: make(fields), recipe, when, data))


def masks_of(module: nn.Module, seed: int) -> dict[str, Tensor]:
    """About half of every convolution and linear weight."""
    rng = stream(seed, "mask")
    return {n: torch.rand(module.get_parameter(n).shape, generator=rng) < 0.5 for n in prunable(module)}


DROPOUT = {"rate": 0.5, "after": "pools-and-hidden-linear-layers"}


@pytest.mark.parametrize(("name", "changes"), [("resnet-20", SMALL), ("conv-2", {**SMALL, "dropout": DROPOUT})])
def test_replicas_are_independent_and_resume_with_buffers(tiny_protocol: Protocol, name: str, changes: Any) -> None:
    """Augmentation, dropout and batch norm: alone, in company and going on from a snapshot give the same bits."""
    data = replace(pictures(), prepare=Preparation((0.5,) * 3, (0.2,) * 3, AugmentationSpec.model_validate(CROP)))
    fields, recipe, rows = spec(name, **changes), recipe_of(tiny_protocol), split(data, 20, 0)
    module, start = network(name, **changes)
    masks = masks_of(module, 0)
    first = Replica(0, start, masks, rows, 12, 0, (7,))
    second = Replica(1, network(name, 1, **changes)[1], masks_of(module, 1), rows, 12)
    torch.manual_seed(1)
    alone = go(tiny_protocol, data, recipe, fields, first)[0]
    torch.manual_seed(2)
    again = go(tiny_protocol, data, recipe, fields, second, first)[1]
    rest = go(tiny_protocol, data, recipe, fields, Replica(0, alone.snapshots[7], masks, rows, 12, 7))[0]
    assert set(alone.weights) == set(start)
    for outcome in (again, rest):
        assert all(torch.equal(alone.weights[n], outcome.weights[n]) for n in start)
    assert alone.history.validation[-1].loss < alone.history.validation[0].loss
    assert alone.failure is None
    assert not any(alone.weights[n][~mask].any() for n, mask in masks.items())
    if name == "resnet-20":
        assert int(alone.weights["bn.num_batches_tracked"]) == 12
        assert not torch.equal(alone.weights["bn.running_mean"], alone.snapshots[7]["bn.running_mean"])


def test_evaluation_uses_running_statistics_and_whole_images(tiny_protocol: Protocol) -> None:
    """The recorded loss is that of the returned network in eval mode on images as stored, in any batching."""
    prepare = Preparation((0.5,) * 3, (0.2,) * 3, AugmentationSpec.model_validate(CROP))
    data = replace(pictures(), prepare=prepare)
    fields, rows = spec("resnet-20", **SMALL), Split(torch.arange(90), torch.arange(0))
    start = network("resnet-20", **SMALL)[1]
    outcome = go(tiny_protocol, data, recipe_of(tiny_protocol), fields, Replica(0, start, {}, rows, 12))[0]
    module = make(fields)
    module.load_state_dict(outcome.weights)
    module.eval()
    each = torch.cat([module(prepare(x[None])) for x in data.test_inputs]).detach()
    loss = torch.nn.functional.cross_entropy(each, data.test_labels)
    assert outcome.history.test[-1].loss == pytest.approx(float(loss), rel=1e-4)
    everything = module(prepare(data.train_inputs)).detach()
    assert outcome.train is not None
    expected = torch.nn.functional.cross_entropy(everything, data.train_labels)
    assert outcome.train.loss == pytest.approx(float(expected), rel=1e-4)


def test_training_reads_augmented_batches(tiny_protocol: Protocol) -> None:
    """One update by hand: the first batch of the order stream, cropped by the augment stream's table."""
    prepare = Preparation(None, None, AugmentationSpec.model_validate(CROP))
    data = replace(pictures(), prepare=prepare)
    fields, rows = spec("conv-2", **SMALL), Split(torch.arange(90), torch.arange(0))
    module, start = network("conv-2", **SMALL)
    outcome = go(tiny_protocol, data, recipe_of(tiny_protocol), fields, Replica(5, start, {}, rows, 1))[0]
    batch = torch.randperm(90, generator=stream(5, "order", 0))[:16]
    offsets, flips = augmentation_table(prepare.augmentation, 5, 0, 90, (3, 8, 8))  # type: ignore[arg-type]
    seen = [
        slowly(data.train_inputs[row].double().numpy() / 255, offsets[i].tolist(), bool(flips[i]), CROP, np.zeros(3))
        for i, row in enumerate(batch.tolist())
    ]
    x = torch.from_numpy(np.stack(seen)).float()
    torch.nn.functional.cross_entropy(module(x), data.train_labels[batch]).backward()
    for n, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(outcome.weights[n], start[n] - 0.05 * parameter.grad, atol=1e-6), n


def protocol_of(tiny: Protocol, name: str, **changes: Any) -> Protocol:
    """The tiny protocol's methods on 8x8 pictures that stand in for CIFAR-10."""
    family = {**COMMON, **OWN[name.split("-", maxsplit=1)[0]], **SMALL, **changes, "name": name}
    norm = "batch_norm" in family
    document = tiny.model_dump(mode="json", by_alias=True)
    shapes = {n: list(make(spec(name, **SMALL)).get_parameter(n).shape) for n in prunable(make(spec(name, **SMALL)))}
    document["network"] = family
    document["data"] = {"name": "cifar10", "scaling": "standardised", "mean": [0.5] * 3, "std": [0.2] * 3}
    document["data"] |= {"validation": 20, "split": "random-by-seed", "augmentation": CROP}
    document["recipe"] |= {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "batch_size": 16, "steps": 10}
    document["pruning"] |= {"prunable": shapes, "layer_rates": {}}
    document["pruning"]["rewound"] = "weights-biases-and-batch-norm" if norm else "weights-and-biases"
    document["pruning"]["scoring"]["batch_norm"] = "train" if norm else "network-has-none"
    document["evaluation"]["every"] = document["evaluation"]["test_every"] = 5
    document["methods"] = {n: document["methods"][n] for n in ("imp", "imp-rewind", "snip", "synflow", "fine-tune")}
    return parse(document, "pictures")


@pytest.mark.parametrize("name", [pytest.param("resnet-20", marks=pytest.mark.long), "conv-2"])
def test_whole_cells(tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Dense, a chain, rewinding to step 6, pruning at initialization and fine-tuning, through harness and store."""
    monkeypatch.setattr(data_sets, "load", lambda *_: pictures())
    protocol = protocol_of(tiny_protocol, name)
    store = Store(tmp_path)
    assert sum(item.seconds for item in plan([(protocol, "dense"), (protocol, "imp")], store)) > 0
    harness = Harness(protocol, store, Settings(data_root=tmp_path))
    cells = [Cell("dense", 0, 0), Cell("imp", 1, 0), Cell("imp", 2, 0), Cell("imp-rewind", 1, 0)]
    for cell in (*cells, Cell("snip", 3, 0), Cell("synflow", 4, 0), Cell("fine-tune", 2, 0)):
        harness.run(Job(protocol, (cell,)))
        record = store.read(protocol, cell)
        assert record is not None
        assert (record.status, record.reason) == ("finished", None)
        assert record.mask is not None
        assert record.mask.kept == protocol.level_table[cell.level].kept
    again = Harness(protocol, Store(tmp_path / "again"), Settings(data_root=tmp_path))
    again.run(Job(protocol, (Cell("imp", 2, 0),)))
    first, second = (s.read(protocol, Cell("imp", 2, 0)) for s in (store, again.store))
    assert first is not None
    assert second is not None
    assert first.fingerprint() == second.fingerprint()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network": {"input": [3, 16, 16]}}, "reads (3, 16, 16)"),
        ({"network": {"classes": 10}}, "has 10 classes"),
        ({"data": {"mean": [0.5], "std": [0.2]}}, "3 channel"),
    ],
)
def test_a_network_that_does_not_fit_its_data_is_refused(
    tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Any, says: str
) -> None:
    monkeypatch.setattr(data_sets, "load", lambda *_: pictures())
    document = protocol_of(tiny_protocol, "resnet-20").model_dump(mode="json", by_alias=True)
    for section, fields in changes.items():
        document[section] |= fields
    with pytest.raises(BadInput) as caught:
        prepared(parse(document, "pictures"), tmp_path)
    assert says in str(caught.value)
