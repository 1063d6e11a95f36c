"""Files of the results folder: whole or not at all, the same bytes for the same content, damage named."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import Cell
from benchmark.records.masks import NestedMasks
from benchmark.records.store import Store
from benchmark.training.checkpoint import load_weights, save_weights
from benchmark.utils.errors import BadInput, EnvironmentProblem
from benchmark.utils.files import write_atomically
from benchmark.utils.npz import pack, unpack

FAILURES = ["fsync", "replace", "open"]


def failing(number: int) -> Any:
    """A function that always raises OSError `number`."""

    def fail(*_arguments: Any, **_options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", FAILURES)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """Full disk, read-only folder: simulated, because the tests may run as root, for whom no folder is read-only."""
    path, work = tmp_path / "a" / "b.json", tmp_path / ".work"
    write_atomically(path, b"old", work)
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", failing(number))
    else:
        monkeypatch.setattr(Path, call, failing(number))
    with pytest.raises(EnvironmentProblem) as caught:
        write_atomically(path, b"new", work)
    monkeypatch.undo()
    assert caught.value.thing == str(path)
    assert os.strerror(number) in caught.value.cause
    assert caught.value.exit_code == 3
    assert path.read_bytes() == b"old"
    assert not list((work / "unfinished").iterdir())


def test_a_read_only_file_system_refuses_the_clean_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", failing(errno.EROFS))
    monkeypatch.setattr(Path, "unlink", failing(errno.EROFS))
    with pytest.raises(EnvironmentProblem, match="Read-only file system"):
        write_atomically(tmp_path / "r.json", b"new", tmp_path / ".work")


@pytest.mark.parametrize("blocked", ["results", "results/.work", "results/tests"])
def test_a_file_in_place_of_a_folder(tmp_path: Path, tiny_protocol: Protocol, blocked: str) -> None:
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text("in the way")
    store = Store(tmp_path / "results")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        store.write_nested_masks(tiny_protocol, "imp", 0, NestedMasks.dense(tiny_protocol.pruning.prunable))
    assert (tmp_path / blocked).read_text() == "in the way"


def test_a_lock_in_an_unwritable_folder(tmp_path: Path, tiny_protocol: Protocol) -> None:
    (tmp_path / "results").write_text("in the way")
    with (
        pytest.raises(EnvironmentProblem, match="cannot be written"),
        Store(tmp_path / "results").lock(tiny_protocol, "job", wait=False),
    ):
        pass


def test_a_lock_keeps_others_out_until_it_is_left(tmp_path: Path, tiny_protocol: Protocol) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    with one.lock(tiny_protocol, "job", wait=False) as mine:
        assert mine
        with other.lock(tiny_protocol, "job", wait=False) as theirs:
            assert not theirs
        with other.lock(tiny_protocol, "another job", wait=False) as theirs:
            assert theirs
    with pytest.raises(ZeroDivisionError), other.lock(tiny_protocol, "job", wait=False) as theirs:
        assert 1 // (not theirs)
    with one.lock(tiny_protocol, "job", wait=False) as mine:
        assert mine


ARRAYS = {"a": np.arange(6, dtype=np.uint8).reshape(2, 3), "b": np.asarray([0.5, -1.0], np.float32)}


def test_packing_is_deterministic_and_lossless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pack(ARRAYS)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert pack({name: np.asfortranarray(array.copy()) for name, array in ARRAYS.items()}) == first
    path = tmp_path / "x.npz"
    path.write_bytes(first)
    for found in (unpack(path), dict(np.load(path))):  # numpy alone reads it too
        assert list(found) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array)


def test_every_damaged_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Each byte of the file inverted in turn: BadInput naming the file, or the very same arrays."""
    whole, path, noticed = pack(ARRAYS), tmp_path / "x.npz", 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            found = unpack(path)
        except BadInput as error:
            noticed += error.thing == str(path)
        else:
            assert all(np.array_equal(array, ARRAYS[name.strip()]) for name, array in found.items() if name in ARRAYS)
    assert noticed > len(whole) / 3
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput):
            unpack(path)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.asarray([{"any": "object"}], dtype=object))
    with pytest.raises(BadInput):
        unpack(path)


@given(levels=st.lists(st.integers(0, 4), min_size=6, max_size=6), costs=st.integers(0, 99))
def test_survival_holds_every_nested_mask(levels: list[int], costs: int) -> None:
    """Built level by level from masks, it gives back each of them; checked against the plain definition."""
    lived = np.asarray(levels).reshape(2, 3)
    nested = NestedMasks.dense({"w": (2, 3)})
    for level in range(1, 5):
        nested = nested.extended({"w": lived >= level}, (0.5 * level, level, 2 * level, costs))
    assert nested.last_level == 4
    for level in range(5):
        assert np.array_equal(nested.mask(level)["w"], lived >= level)
    assert nested.costs[3].tolist() == [1.5, 3, 6, costs]


def test_survival_on_disk(tmp_path: Path, tiny_protocol: Protocol) -> None:
    store, shapes = Store(tmp_path), tiny_protocol.pruning.prunable
    assert store.read_nested_masks(tiny_protocol, "imp", 0).last_level == 0
    rng = np.random.default_rng(0)
    masks = {name: rng.random(shape) < 0.5 for name, shape in shapes.items()}
    nested = NestedMasks.dense(shapes).extended(masks, (0.25, 1, 2, 3))
    store.write_nested_masks(tiny_protocol, "imp", 0, nested)
    content = store.nested_masks_path(tiny_protocol, "imp", 0).read_bytes()
    store.write_nested_masks(tiny_protocol, "imp", 0, nested)
    assert store.nested_masks_path(tiny_protocol, "imp", 0).read_bytes() == content
    found = store.read_nested_masks(tiny_protocol, "imp", 0)
    assert found.costs.tolist() == nested.costs.tolist()
    for name in shapes:
        assert np.array_equal(found.mask(1)[name], masks[name])
        assert found.mask(0)[name].all()
    assert store.read_nested_masks(tiny_protocol, "imp", 1).last_level == 0  # another seed


def test_masks_of_another_network_are_refused(tmp_path: Path, tiny_protocol: Protocol) -> None:
    store = Store(tmp_path)
    path = store.nested_masks_path(tiny_protocol, "imp", 0)
    path.parent.mkdir(parents=True)
    for arrays in ({"fc1.weight": np.zeros((2, 2), np.uint8), "costs": np.zeros((1, 4))}, {"costs": np.zeros((1, 4))}):
        path.write_bytes(pack(arrays))
        with pytest.raises(BadInput, match="does not fit protocol tests/tiny@1"):
            store.read_nested_masks(tiny_protocol, "imp", 0)


def test_weights_between_rounds(tmp_path: Path) -> None:
    """Exact, never a pickle; damaged or missing means: make them again."""
    path, state = tmp_path / "w.safetensors", {"a": torch.randn(3, 4).T, "b": torch.tensor([float("nan"), -0.0])}
    save_weights(path, state, tmp_path / ".work")
    found = load_weights(path)
    assert found is not None
    assert all(torch.equal(found[n].view(torch.int32), v.contiguous().view(torch.int32)) for n, v in state.items())
    path.write_bytes(path.read_bytes()[:-3])
    assert load_weights(path) is None
    path.write_bytes(b"")
    assert load_weights(path) is None
    assert load_weights(tmp_path / "missing") is None


@pytest.fixture
def edited(tiny_protocol: Protocol) -> Protocol:
    """The tiny protocol with another learning rate under the same name and version."""
    document = tiny_protocol.model_dump(mode="json", by_alias=True)
    document["recipe"]["learning_rate"] = 0.02
    return parse(document, "edited")


def test_masks_of_another_digest_are_ignored(tmp_path: Path, tiny_protocol: Protocol, edited: Protocol) -> None:
    """A chain must not go on from the masks of an edited protocol; masks without a digest are taken as they are."""
    store, shapes = Store(tmp_path), tiny_protocol.pruning.prunable
    nested = NestedMasks.dense(shapes).extended({n: np.zeros(s, np.bool_) for n, s in shapes.items()}, (0, 0, 0, 0))
    store.write_nested_masks(tiny_protocol, "imp", 0, nested)
    assert store.read_nested_masks(tiny_protocol, "imp", 0).last_level == 1
    assert store.read_nested_masks(edited, "imp", 0).last_level == 0
    store.nested_masks_path(edited, "imp", 0).write_bytes(pack({**nested.last_kept, "costs": nested.costs}))
    assert store.read_nested_masks(edited, "imp", 0).last_level == 1


def test_scratch_weights_belong_to_one_digest(tmp_path: Path, tiny_protocol: Protocol, edited: Protocol) -> None:
    cell = Cell("imp", 1, 0)
    assert Store(tmp_path).weights_path(tiny_protocol, cell, "final") != Store(tmp_path).weights_path(
        edited, cell, "final"
    )
