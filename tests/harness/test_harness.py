"""The harness on the tiny protocol: what it measures, checked by recomputing masks and trainings by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.datasets.dataset import load, split
from benchmark.harness.harness import Harness, Settings
from benchmark.networks import build, initial_state
from benchmark.planning.plan import jobs
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, cells_of, method_names
from benchmark.pruning.masks import tensor_mask_digest as mask_digest
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.training.device import configure_cpu
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.files import sha256
from benchmark.utils.npz import unpack
from benchmark.utils.seeding import stream


@pytest.fixture(autouse=True)
def _as_workers_run() -> None:
    """Subnormals are flushed, as in every worker."""
    configure_cpu()


def finish(protocol: Protocol, root: Path, **settings: object) -> list[Record]:
    """Run whatever is not recorded yet, one job after another; all records."""
    store = Store(root)
    harness = Harness(protocol, store, Settings(data_root=root, **settings))  # type: ignore[arg-type]
    for job in jobs(protocol, method_names(protocol), store):
        assert harness.run(job)
    return store.records(protocol)


def prints(records: list[Record]) -> dict[str, str]:
    """Cell -> fingerprint."""
    return {f"{r.method.name} {r.cell}": r.fingerprint() for r in records}


@pytest.fixture
def whole(tiny_results: Path) -> Path:
    """A results folder in which everything was run in one go. Tests copy it before they change it."""
    return tiny_results


def every_cell(protocol: Protocol) -> list[Cell]:
    """All cells of the protocol."""
    return [cell for method in method_names(protocol) for cell in cells_of(protocol, method)]


def record_at(root: Path, protocol: Protocol, *cell: object) -> Record:
    """The finished record of a cell."""
    record = Store(root).read(protocol, Cell(*cell))  # type: ignore[arg-type]
    assert record is not None
    assert record.status == "finished"
    return record


def digest_at(root: Path, protocol: Protocol, *cell: object) -> str:
    """Digest of a cell's mask."""
    mask = record_at(root, protocol, *cell).mask
    assert mask is not None
    return mask.sha256


def test_every_cell_is_recorded_once_and_complete(whole: Path, tiny_protocol: Protocol) -> None:
    store = Store(whole)
    cells = every_cell(tiny_protocol)
    assert len(cells) == len(set(cells)) == 2 * 21
    assert len(store.records(tiny_protocol)) == len(cells)
    assert jobs(tiny_protocol, method_names(tiny_protocol), store) == []
    for cell in cells:
        record = store.read(tiny_protocol, cell)
        assert record is not None
        assert (record.status, record.reason) == ("finished", None)
        level = tiny_protocol.level_table[cell.level]
        assert (record.method.name, record.cell.seed, record.cell.draw) == (cell.method, cell.seed, cell.draw)
        assert record.mask is not None
        assert (record.mask.kept, record.cell.density_asked) == (level.kept, level.density)
        assert sum(layer.kept for layer in record.mask.layers.values()) == level.kept
        assert sha256(store.curves_path(tiny_protocol, cell).read_bytes()) == record.curves_sha256


def test_curves_and_records_tell_the_same(whole: Path, tiny_protocol: Protocol) -> None:
    store = Store(whole)
    for cell in every_cell(tiny_protocol):
        record, curves = (
            record_at(whole, tiny_protocol, *vars(cell).values()),
            unpack(store.curves_path(tiny_protocol, cell)),
        )
        assert record.measured is not None
        accuracies = record.measured.metrics["test_accuracy"]
        best = int(np.argmin(curves["validation_loss"]))
        tested = curves["test_steps"].tolist()
        assert accuracies.last == pytest.approx(curves["test_accuracy_percent"][-1], rel=1e-6)
        assert accuracies.best == pytest.approx(curves["test_accuracy_percent"].max(), rel=1e-6)
        assert record.measured.early_stop_step == curves["steps"][best]
        at_stop = curves["test_accuracy_percent"][tested.index(curves["steps"][best])]
        assert accuracies.early_stop == pytest.approx(at_stop, rel=1e-6)
        assert record.measured.value("validation_loss", "best") == pytest.approx(
            curves["validation_loss"][best], rel=1e-6
        )


@pytest.mark.parametrize(
    ("cell", "train_steps", "mask_steps", "first"),
    [
        ((DENSE, 0, 0), 20, 0, 0),
        (("imp", 1, 0), 20, 20, 0),
        (("imp", 3, 1), 20, 60, 0),
        (("imp+reinit", 3, 1, 1), 20, 60, 0),
        (("one-shot", 3, 0), 20, 20, 0),
        (("synflow", 4, 0), 20, 0, 0),
        (("imp-rewind", 2, 0), 14, 20 + 14, 6),
        (("fine-tune", 2, 0), 8, 20, 20),
    ],
)
def test_updates_are_counted(
    whole: Path, tiny_protocol: Protocol, cell: tuple[object, ...], train_steps: int, mask_steps: int, first: int
) -> None:
    record = record_at(whole, tiny_protocol, *cell)
    assert record.cost is not None
    assert (record.cost.train_steps, record.cost.mask_train_steps) == (train_steps, mask_steps)
    curves = unpack(Store(whole).curves_path(tiny_protocol, Cell(*cell)))  # type: ignore[arg-type]
    assert (curves["steps"][0], curves["steps"][-1]) == (first, first + train_steps)


def test_pruning_costs(whole: Path, tiny_protocol: Protocol) -> None:
    """20 examples (5 of each of 4 classes) for SNIP and GraSP, ten rounds of one example for SynFlow."""
    for method, level, expected in (
        ("snip", 3, (1, 1, 20)),
        ("grasp", 3, (1, 2, 20)),
        ("synflow", 4, (10, 10, 10)),
        ("imp", 3, (0, 0, 0)),
    ):
        cost = record_at(whole, tiny_protocol, method, level, 0).cost
        assert cost is not None
        assert (cost.prune_forward_passes, cost.prune_backward_passes, cost.prune_examples) == expected


def trained(
    protocol: Protocol, root: Path, seed: int, start: dict[str, Tensor], masks: dict[str, Tensor], **rest: object
) -> Outcome:
    """One training, straight through the engine."""
    data = load("synthetic", root)
    widths = protocol.network.widths[1:]
    replica = Replica(seed, start, masks, split(data, protocol.data.validation, seed), **{"last_step": 20, **rest})  # type: ignore[arg-type]
    make = type(build(protocol))
    module = lambda inputs: make((inputs or 12, *widths))  # noqa: E731
    return train([replica], TrainingSetup(module, protocol.recipe, protocol.evaluation, data))[0]


def largest(weights: dict[str, Tensor], alive: dict[str, Tensor], counts: dict[str, int]) -> dict[str, Tensor]:
    """Masks of the `counts[layer]` largest surviving weights of each layer, by Python's sort."""
    masks = {}
    for name, mask in alive.items():
        values, places = weights[name].abs().flatten().tolist(), mask.flatten().nonzero().flatten().tolist()
        kept = sorted(places, key=lambda i: (-values[i], i))[: counts[name.removesuffix(".weight")]]
        masks[name] = torch.zeros(mask.numel(), dtype=torch.bool)
        masks[name][kept] = True
        masks[name] = masks[name].reshape(mask.shape)
    return masks


def test_chains_one_shot_and_fine_tuning_by_hand(whole: Path, tiny_protocol: Protocol) -> None:
    """Train, prune, reset, train ... written out; masks and accuracies equal the records'."""
    start = initial_state(build(tiny_protocol), tiny_protocol.network, stream(1, "init"))
    alive = {name: torch.ones(shape, dtype=torch.bool) for name, shape in tiny_protocol.pruning.prunable.items()}
    table = tiny_protocol.level_table
    dense = trained(tiny_protocol, whole, 1, start, alive, snapshots=(6,))
    assert check(whole, tiny_protocol, (DENSE, 0, 1), dense, alive)
    once = largest(dense.weights, alive, dict(table[3].one_shot_counts or {}))
    assert check(whole, tiny_protocol, ("one-shot", 3, 1), trained(tiny_protocol, whole, 1, start, once), once)
    tuned = largest(dense.weights, alive, dict(table[2].one_shot_counts or {}))
    tuning = trained(tiny_protocol, whole, 1, dense.weights, tuned, first_step=20, last_step=28)
    assert check(whole, tiny_protocol, ("fine-tune", 2, 1), tuning, tuned)
    for method, first, begin, levels in (("imp", 0, start, 4), ("imp-rewind", 6, dense.snapshots[6], 2)):
        masks, outcome = alive, dense
        for level in range(1, levels + 1):
            masks = largest(outcome.weights, masks, dict(table[level].counts))
            outcome = trained(tiny_protocol, whole, 1, begin, masks, first_step=first)
            assert check(whole, tiny_protocol, (method, level, 1), outcome, masks)


def check(root: Path, protocol: Protocol, cell: tuple[object, ...], outcome: Outcome, masks: dict[str, Tensor]) -> bool:
    """Whether a cell's record has this mask and these results, to the bit."""
    measured = record_at(root, protocol, *cell).measured
    assert measured is not None
    assert outcome.train is not None
    history = outcome.history
    assert digest_at(root, protocol, *cell) == mask_digest(masks)
    assert measured.last("test_accuracy") == history.test[-1]["accuracy"]
    assert measured.last("train_loss") == outcome.train.loss
    return measured.last("test_loss") == history.test[-1].loss


def test_controls(whole: Path, tiny_protocol: Protocol) -> None:
    """Reinitialised: the ticket's mask, other weights for every draw. Shuffled: its counts per layer, other places."""
    for seed in (0, 1):
        for level in (1, 3):
            ticket = digest_at(whole, tiny_protocol, "imp", level, seed)
            drawn = [record_at(whole, tiny_protocol, "imp+reinit", level, seed, draw) for draw in (0, 1)]
            losses = {record_at(whole, tiny_protocol, "imp", level, seed).measured.last("train_loss")}  # type: ignore[union-attr]
            for record in drawn:
                assert record.mask is not None
                assert record.measured is not None
                assert record.mask.sha256 == ticket
                losses.add(record.measured.last("train_loss"))
            assert len(losses) == 3
        for parent in ("imp", "random"):
            own, control = (record_at(whole, tiny_protocol, m, 3, seed).mask for m in (parent, f"{parent}+shuffle"))
            assert own is not None
            assert control is not None
            assert control.layers == own.layers
            assert control.sha256 != own.sha256


def test_masks_of_a_chain_are_nested_and_those_of_the_records(whole: Path, tiny_protocol: Protocol) -> None:
    for method, levels in (("imp", 4), ("imp-rewind", 2)):
        nested = Store(whole).read_nested_masks(tiny_protocol, method, 0)
        assert nested.last_level == levels
        for level in range(1, levels + 1):
            masks = {name: torch.from_numpy(mask) for name, mask in nested.mask(level).items()}
            assert mask_digest(masks) == digest_at(whole, tiny_protocol, method, level, 0)
            before = nested.mask(level - 1)
            assert all(not (mask.numpy() & ~before[name]).any() for name, mask in masks.items())
