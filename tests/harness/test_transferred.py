"""Networks that take masks and weights of another protocol's: what they start from, by hand, and what records say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transfer_protocols import source_document, taking, target_document, written

from benchmark.harness.dry_run import dry_run
from benchmark.harness.executors.executor import InProcess, WorkOrder
from benchmark.harness.harness import Harness, Settings
from benchmark.harness.start import Weights, initial_weights
from benchmark.planning.plan import Job, jobs, plan
from benchmark.planning.select import selection_of, with_sources
from benchmark.protocols import Protocol, load_file
from benchmark.protocols.cells import Cell, method_names
from benchmark.pruning.masks import tensor_mask_digest
from benchmark.records.schema import cell_of
from benchmark.records.store import Store
from benchmark.sharing.fsck import fsck
from benchmark.sharing.integrity import contradictions

BODY = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
HEAD = ("fc3.weight", "fc3.bias")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Protocol, Store]:
    """The whole target, for which its harness has made the source's networks."""
    folder = tmp_path_factory.mktemp("transfer")
    protocol, store = load_file(written(folder)), Store(folder / "results")
    harness = Harness(protocol, store, Settings(keep=lambda _cell: True))
    for job in jobs(protocol, method_names(protocol), store):
        assert harness.run(job)
    return protocol, store


def source_of(protocol: Protocol) -> Protocol:
    (source,) = protocol.mask_sources.values()
    return source


def test_masks_are_the_sources_and_starts_what_the_reset_says(ran: tuple[Protocol, Store]) -> None:
    protocol, store = ran
    source = source_of(protocol)
    inner, outer = (Harness(p, store, Settings()) for p in (source, protocol))
    nested = store.read_nested_masks(source, "imp", 0)
    own, first = initial_weights(protocol, 0), initial_weights(source, 0)
    dense, pruned = (inner.masks.trained(Weights(c)) for c in (Cell("dense", 0, 0), Cell("imp", 2, 0)))
    bodies = {"trained": dense, "theta0": first, "fine-tuned": pruned, "linear": dense}
    for name in protocol.methods:
        masks, _ = outer.masks.make(Cell(name, 2, 0))
        assert all((masks[tensor].numpy() == bits).all() for tensor, bits in nested.mask(2).items())
        start, step = outer.masks.start(Cell(name, 2, 0))
        assert step == 0
        assert all(torch.equal(start[tensor], own[tensor]) for tensor in HEAD)
        if name in bodies:
            assert all(torch.equal(start[tensor], bodies[name][tensor]) for tensor in BODY)
        else:
            assert not any(torch.equal(start[t], other[t]) for t in BODY[::2] for other in (dense, first, pruned, own))
    assert torch.equal(first["fc1.weight"], own["fc1.weight"])  # a seed draws the same network in both
    everything, _ = outer.masks.make(Cell("trained", 1, 0))
    assert all(bool(mask.all()) for mask in everything.values())


def test_records_name_the_source_and_its_mask(ran: tuple[Protocol, Store]) -> None:
    protocol, store = ran
    source = source_of(protocol)
    steps, retrained = source.recipe.steps, 6
    for record in store.records(protocol):
        assert not [*contradictions(protocol, record)]
        if record.method.name == "dense":
            assert record.source is None
            continue
        named, mask = record.source, record.mask
        assert named is not None
        assert mask is not None
        assert record.cost is not None
        level = {1: 0, 2: 2}[record.cell.level]
        assert (named.protocol.digest, named.level, named.mask_sha256) == (source.digest, level, mask.sha256)
        assert (named.weights_sha256 is None) == (record.method.name in {"theta0", "random"})
        own = retrained if record.method.name == "fine-tuned" else 0
        before = steps + retrained + own if level else (0 if named.weights_sha256 is None else steps)
        assert record.cost.mask_train_steps == before
        other = named.model_copy(update={"level": 1})
        assert [*contradictions(protocol, record.model_copy(update={"source": other}))]
    made = {cell_of(record) for record in store.records(source)}
    assert made == {Cell("dense", 0, 0), Cell("imp", 1, 0), Cell("imp", 2, 0)}


def test_frozen_layers_end_as_they_began(ran: tuple[Protocol, Store]) -> None:
    protocol, store = ran
    harness = Harness(protocol, store, Settings())
    for cell, moves in {Cell("linear", 2, 0): HEAD, Cell("trained", 2, 0): BODY + HEAD}.items():
        final = harness.masks.trained(Weights(cell))
        masks, _ = harness.masks.make(cell)
        start = harness.masks.start(cell)[0]
        masked = {name: start[name] * masks[name] if name in masks else start[name] for name in start}
        assert {name for name in start if not torch.equal(masked[name], final[name])} == set(moves)
        record = store.read(protocol, cell)
        assert record is not None
        if cell.method == "linear":
            assert record.hook_facts == {"parameters_trained": 36, "parameters_frozen": 344}


def test_a_fresh_clone_makes_the_source_again(ran: tuple[Protocol, Store], tmp_path: Path) -> None:
    """Records are there and weights are not: the same network comes out, and the source's records stay."""
    protocol, store = ran
    clone = Store(tmp_path)
    shutil.copytree(store.root, clone.root, ignore=shutil.ignore_patterns(".work"), dirs_exist_ok=True)
    cell = Cell("fine-tuned", 2, 0)
    before = clone.read(protocol, cell)
    assert before is not None
    clone.record_path(protocol, cell).unlink()
    kept = {r.fingerprint() for r in clone.records(source_of(protocol))}
    assert Harness(protocol, clone, Settings()).run(Job(protocol, (cell,)))
    again = clone.read(protocol, cell)
    assert again is not None
    assert again.fingerprint() == before.fingerprint()
    assert {r.fingerprint() for r in clone.records(source_of(protocol))} == kept


def test_another_process_at_the_source_is_waited_for(ran: tuple[Protocol, Store], tmp_path: Path) -> None:
    protocol, source, store = ran[0], source_of(ran[0]), Store(tmp_path)
    harness, job = Harness(protocol, store, Settings()), Job(protocol, (Cell("theta0", 2, 0),))
    chain = Job(source, (Cell("imp", 2, 0),))
    with store.lock(source, chain.name, wait=False) as lease:
        assert lease is not None
        assert not harness.run(job)  # to be come back to
        assert not store.records(protocol)
    assert harness.run(job)


def test_a_failed_source_fails_what_takes_from_it(tmp_path: Path) -> None:
    wild = source_document()
    wild["recipe"] |= {"optimizer": "sgd", "learning_rate": 1e30}
    protocol, store = load_file(written(tmp_path, wild)), Store(tmp_path / "results")
    cell = Cell("trained", 2, 0)
    assert Harness(protocol, store, Settings()).run(Job(protocol, (cell,)))
    record = store.read(protocol, cell)
    assert record is not None
    assert record.status == "failed"
    assert "is needed and failed" in str(record.reason)


def test_workers_do_the_source_first_and_keep_what_is_taken(ran: tuple[Protocol, Store], tmp_path: Path) -> None:
    """A worker gets both protocols by a file, as Slurm's do; the same records as from the target's harness."""
    store = Store(tmp_path / "results")
    path = written(tmp_path)
    planned = plan(with_sources(selection_of([f"{path}:fine-tuned"])), store)
    order = WorkOrder(tuple(planned), store.root)
    order.save(tmp_path / "plan.json")
    heard: list[str] = []
    InProcess().execute(
        WorkOrder.load(tmp_path / "plan.json"),
        lambda message: heard.append(message.fields["name"]) if message.event == "recorded" else None,
    )
    assert [name.split()[0] for name in heard] == ["tests/source"] * 6 + ["tests/target"] * 2
    source = source_of(ran[0])
    assert {w.name.split(".")[0] for w in store.weights_path(source, Cell("imp", 2, 0), "final").parent.iterdir()} >= {
        "level-02_seed-0"
    }
    here, there = (s.read(ran[0], Cell("fine-tuned", 2, 0)) for s in (store, ran[1]))
    assert here is not None
    assert there is not None
    assert here.fingerprint() == there.fingerprint()


def test_a_dry_run_shortens_the_source_too(tmp_path: Path) -> None:
    tried = dry_run(load_file(written(tmp_path)), "linear", 2)
    assert (tried.updates, tried.mask) == (2, "320 of 320 weights")


def test_the_digest_of_a_mask_is_of_its_bits(ran: tuple[Protocol, Store]) -> None:
    protocol, store = ran
    masks, _ = Harness(protocol, store, Settings()).masks.make(Cell("theta0", 2, 0))
    record = store.read(source_of(protocol), Cell("imp", 2, 0))
    assert record is not None
    assert record.mask is not None
    assert record.mask.sha256 == tensor_mask_digest(masks)


def test_fsck_holds_a_mask_against_the_sources_record(
    ran: tuple[Protocol, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol, store = ran
    copy = Store(tmp_path)
    shutil.copytree(store.root, copy.root, ignore=shutil.ignore_patterns(".work"), dirs_exist_ok=True)
    monkeypatch.setattr("benchmark.sharing.fsck._every_protocol", lambda _found: [source_of(protocol), protocol])
    assert not fsck(copy).wrong
    cell = Cell("linear", 2, 0)
    record = copy.read(protocol, cell)
    assert record is not None
    assert record.source is not None
    other = record.source.model_copy(update={"mask_sha256": "0" * 64})
    copy.record_path(protocol, cell).write_text(record.model_copy(update={"source": other}).dumps())
    (line,) = fsck(copy).wrong
    assert line.startswith(str(copy.record_path(protocol, cell)))
    assert "its source tests/source@1 imp level 2, seed 0 has another mask" in line


def test_controls_take_the_mask_and_shuffle_or_start_anew(tmp_path: Path) -> None:
    own = {"of": "trained", "draws": 1, "levels": [2]}
    methods = {
        "trained": taking("trained"),
        "trained+reinit": {**own, "control": "reinitialise"},
        "trained+shuffle": {**own, "control": "shuffle"},
    }
    protocol = load_file(written(tmp_path, None, target_document(methods=methods)))
    harness = Harness(protocol, Store(tmp_path / "results"), Settings())
    cells = {name: Cell(name, 2, 0) for name in methods}
    assert harness.sources is not None
    assert harness.sources.ready(cells["trained"])
    masks = {name: harness.masks.make(cell)[0]["fc1.weight"] for name, cell in cells.items()}
    starts = {name: harness.masks.start(cell)[0]["fc1.weight"] for name, cell in cells.items()}
    assert torch.equal(masks["trained"], masks["trained+reinit"])
    assert not torch.equal(masks["trained"], masks["trained+shuffle"])
    assert masks["trained"].sum() == masks["trained+shuffle"].sum()
    assert torch.equal(starts["trained"], starts["trained+shuffle"])
    assert not torch.equal(starts["trained"], starts["trained+reinit"])
