"""The protocols that come with the package: locked, sourced, and what their papers say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.networks import build
from benchmark.protocols import (
    Protocol,
    available,
    earlier,
    load,
    load_all,
    load_earlier,
    lock,
    parse,
    protocols_folder,
)
from benchmark.protocols.levels import layerwise_counts
from benchmark.protocols.methods import ControlSpec
from benchmark.protocols.protocol import read_document
from benchmark.utils.errors import BadInput

IDS = available()


def test_the_two_protocols_are_there() -> None:
    assert {"lth/lenet-mnist", "mnist1d/mlp"} <= set(IDS)


@pytest.mark.parametrize("name", [*IDS, *earlier()])
def test_every_protocol_is_the_locked_one(name: str) -> None:
    why = lock.problem(load(name), lock.read())
    assert why is None, why


@pytest.mark.parametrize("name", IDS)
def test_the_lock_is_sha256_of_the_sorted_compact_document(name: str) -> None:
    """Recomputed here without `Protocol.digest`."""
    import hashlib

    protocol = load(name)
    text = json.dumps(protocol.document, sort_keys=True, separators=(",", ":"))
    assert lock.read()[f"{name}@{protocol.version}"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_version_is_loaded_by_its_key() -> None:
    assert load(load(IDS[0]).key) is load(IDS[0])
    for name in earlier():
        old, current = load(name), load(name.partition("@")[0])
        assert (old.key, old.id) == (name, current.id)
        assert old.version != current.version
        newer = max(old, current, key=lambda protocol: protocol.version)  # one may be locked before it is measured
        assert newer.changes, f"{newer.key} does not say what it mends of the version before"
    with pytest.raises(BadInput, match=r"protocol 'lth/lenet-mnist@99': there is no such version"):
        load("lth/lenet-mnist@99")


@pytest.mark.parametrize("name", IDS)
def test_an_edited_copy_is_told_how_to_do_it_properly(name: str) -> None:
    document: dict[str, Any] = read_document(protocols_folder() / f"{name}.yaml")
    document["title"] += ", edited"
    edited = parse(document, name)
    why = lock.problem(edited, lock.read())
    assert why is not None
    assert "edited after it was locked" in why
    free = max(int(key.partition("@")[2]) for key in lock.read() if key.startswith(f"{name}@")) + 1
    assert f"set version: {free} in {name}.yaml and run python -m benchmark.protocols.lock" in why
    document["version"] = free
    why = lock.problem(parse(document, name), lock.read())
    assert why is not None
    assert "not locked. Lock it: python -m benchmark.protocols.lock" in why


def test_lock_adds_versions_and_never_changes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "LOCK.json"
    monkeypatch.setattr(lock, "lock_path", lambda: path)
    lock.main()
    assert json.loads(path.read_text()) == {p.key: p.digest for p in (*load_earlier(), *load_all())}
    first = IDS[0]
    spoiled = {**lock.read(), load(first).key: "0" * 64}
    path.write_text(json.dumps(spoiled))
    with pytest.raises(SystemExit, match="edited after it was locked"):
        lock.main()
    assert json.loads(path.read_text()) == spoiled
    path.write_text("{")
    with pytest.raises(BadInput, match=r"LOCK\.json"):
        lock.read()


@pytest.mark.parametrize("name", IDS)
def test_every_source_names_a_field_or_a_method(name: str) -> None:
    protocol = load(name)
    for key in protocol.sources:
        value: Any = protocol.document
        head, _, rest = key.partition(".")
        parts = [head, rest] if head == "methods" else key.split(".")
        for part in parts:
            assert part in value, f"{name}: sources names '{key}', which is no field"
            value = value[part]


@pytest.mark.parametrize("name", IDS)
def test_prunable_tensors_are_the_networks(name: str) -> None:
    protocol = load(name)
    shapes = {n: tuple(p.shape) for n, p in build(protocol).named_parameters()}
    assert all(shapes[n] == shape for n, shape in protocol.pruning.prunable.items())


@pytest.mark.parametrize("name", IDS)
def test_controls_name_their_parents(name: str) -> None:
    protocol = load(name)
    for method, spec in protocol.methods.items():
        if isinstance(spec, ControlSpec):
            assert method.startswith(f"{spec.of}+")
            assert protocol.pruning_method(method) == protocol.methods[spec.of]


def test_lenet_is_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frankle & Carbin, Fig. 2 and section 2, by number."""
    monkeypatch.chdir("/")  # protocols come with the package, not with the folder one stands in
    protocol = load("lth/lenet-mnist")
    recipe = protocol.recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size, recipe.steps) == ("adam", 1.2e-3, 60, 50_000)
    assert protocol.data.validation == 5_000
    assert protocol.evaluation.steps(50_000) == tuple(range(0, 50_001, 100))
    assert protocol.evaluation.test_steps(50_000)[-1] == 50_000
    control = protocol.method("imp+reinit")
    assert isinstance(control, ControlSpec)
    assert control.draws == 1
    densities = {round(100 * protocol.level_table[level].density, 1) for level in control.levels}
    assert densities == {51.3, 32.9, 26.3, 21.1, 16.9, 13.5, 7.0, 3.6, 1.9}


def test_mnist1d_is_the_notebooks() -> None:
    """1,502 updates on stored order; evaluated after 1, 101, ..., 1501; 276,010 parameters, all prunable."""
    protocol: Protocol = load("mnist1d/mlp")
    assert protocol.evaluation.steps(protocol.recipe.steps) == tuple(range(1, 1502, 100))
    assert protocol.evaluation.test_steps(protocol.recipe.steps)[-1] == 1501
    assert sum(protocol.pruning.layer_sizes.values()) == 276_010 == 40 * 500 + 500 + 500 * 500 + 500 + 5000 + 10
    assert len(protocol.level_table) == 100


def test_random_masks_of_mnist1d_differ_from_the_notebook_by_two_weights_at_most() -> None:
    """What the protocol's comment says: totals equal int(sparsity * size), 76 levels with a layer off by one or two."""
    protocol = load("mnist1d/mlp")
    sizes = protocol.pruning.layer_sizes
    off = 0
    for level in protocol.level_table[1:]:
        ours = layerwise_counts(sizes, level.kept, {})
        notebook = {name: size - size * level.index // 99 for name, size in sizes.items()}
        assert sum(ours.values()) == sum(notebook.values())
        assert max(abs(ours[name] - notebook[name]) for name in sizes) <= 2
        off += ours != notebook
    assert off == 76


def test_synflows_vgg_has_the_layers_of_the_released_logs() -> None:
    """14 tensors, 14,761,664 weights, 10^0.25 to 10^6 in steps of 10^0.25; a million times fewer leave 15."""
    from benchmark.claims import papers as published

    protocol = load("synflow/vgg16-cifar100-masks")
    rows = [r for r in published.results("synflow", "layers") if (r.method, r.x) == ("random", 1.0)]
    sizes = [int(dict(r.labels)["size"]) for r in rows if r.column == "density"]
    assert list(protocol.pruning.layer_sizes.values()) == sizes
    kept = [level.kept for level in protocol.level_table[1:]]
    assert kept == [round(14_761_664 * 10 ** (-i / 4)) for i in range(1, 25)]
    assert kept[-1] == 15
    assert not protocol.trains
