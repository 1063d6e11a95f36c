"""A training that is killed and resumed, at any update and as often as one likes, ends with the bits of one go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.datasets.dataset import prepared, split
from benchmark.harness.harness import Harness, Settings
from benchmark.networks import build, initial_state
from benchmark.planning.plan import Job
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import DENSE, Cell
from benchmark.pruning.masks import full_masks
from benchmark.records.store import Store
from benchmark.training import checkpoint as module
from benchmark.training import loop
from benchmark.training.checkpoint import CheckpointFile, Checkpoints, digest_of, load_weights, updates_done
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils import signals as stopping
from benchmark.utils.errors import EnvironmentProblem
from benchmark.utils.seeding import stream


class Killed(Exception):
    """As a power cut: nothing is tidied up."""


def adam(document: dict[str, Any]) -> None:
    """As it is."""


def momentum(document: dict[str, Any]) -> None:
    document["recipe"] |= {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.05}


def _train(protocol: Protocol, folder: Path, every: int, kill_after: int | None = None) -> Outcome:
    """One dense training with a pruned first layer, kept after every `every` updates, dying at an update."""
    data = prepared(protocol, folder)
    masks = full_masks(protocol.pruning.prunable)
    masks["fc1.weight"][:, 3:9] = False
    start = initial_state(build(protocol), protocol.network, stream(0, "init"))
    replica = Replica(0, start, masks, split(data, protocol.data.validation, 0), protocol.recipe.steps, 0, (6,))
    file = CheckpointFile(
        folder / "kept.safetensors", folder / ".work", digest_of([protocol.digest], start, masks), every
    )

    def module_of(inputs: int | None) -> torch.nn.Module:
        return _network(protocol, inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Checkpoints", _counting(kill_after))
        return train(
            [replica], TrainingSetup(module_of, protocol.recipe, protocol.evaluation, data), checkpoints=[file]
        )[0]


def _counting(kill_after: int | None) -> type[Checkpoints]:
    """Checkpoints whose clock says how many safe points there were, and that die after an update."""

    class Counting(Checkpoints):
        def __init__(self, files: Sequence[CheckpointFile]) -> None:
            super().__init__(files)
            self.offers, self._saved = 0, 0.0

        def offer(self, state: Any) -> None:
            self.offers += 1
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module.time, "monotonic", lambda: float(self.offers))
                super().offer(state)
            if self.offers == kill_after:
                raise Killed

    return Counting


def _network(protocol: Protocol, inputs: int | None) -> torch.nn.Module:
    from benchmark.networks import make

    widths = protocol.network.model_dump()["widths"]
    spec = protocol.network.model_copy(update={"widths": (inputs or widths[0], *widths[1:])})
    return make(spec)


def same(one: Outcome, other: Outcome) -> bool:
    """Bit for bit, all but the seconds."""
    tensors = [(one.weights, other.weights), *((one.snapshots[s], other.snapshots[s]) for s in one.snapshots)]
    equal = all(torch.equal(a[name], b[name]) for a, b in tensors for name in a)
    parts = [(o.history, o.train, o.steps, o.examples, o.failure, set(o.snapshots)) for o in (one, other)]
    return equal and parts[0] == parts[1]


@pytest.mark.parametrize("change", [adam, momentum])
def test_killed_at_an_update(tmp_path: Path, tiny_protocol: Protocol, change: Callable[[Any], None]) -> None:
    document = tiny_protocol.model_dump(mode="json", by_alias=True)
    change(document)
    protocol = parse(document, "changed")
    whole = _train(protocol, tmp_path / "whole", every=1000)
    assert not (tmp_path / "whole" / "kept.safetensors").exists()
    for every in (1, 3):
        for update in (1, 2, 6, 8, 19):  # of 20; an epoch ends after 8, a snapshot is due after 6
            folder = tmp_path / f"{every}-{update}"
            with pytest.raises(Killed):
                _train(protocol, folder, every, kill_after=update)
            assert (folder / "kept.safetensors").exists() == (update >= every)
            assert same(_train(protocol, folder, every), whole)


def test_it_does_resume(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """From the kept update, not from the start: kept weights that were changed show in the result."""
    whole = _train(tiny_protocol, tmp_path / "whole", every=1000)
    with pytest.raises(Killed):
        _train(tiny_protocol, tmp_path, 1, kill_after=19)
    found = load_weights(tmp_path / "kept.safetensors")
    assert found is not None
    assert updates_done(found) == 19
    from benchmark.training.checkpoint import save_weights

    found["module.fc3.bias"] += 1.0
    save_weights(tmp_path / "kept.safetensors", found, tmp_path / ".work")
    assert not same(_train(tiny_protocol, tmp_path, 1), whole)


@pytest.mark.parametrize("damage", [b"", b"not safetensors", None])
def test_a_damaged_or_foreign_checkpoint_is_not_read(
    tmp_path: Path, tiny_protocol: Protocol, damage: bytes | None
) -> None:
    whole = _train(tiny_protocol, tmp_path / "whole", every=1000)
    other = parse({**tiny_protocol.model_dump(mode="json", by_alias=True), "version": 2}, "other")
    with pytest.raises(Killed):
        _train(other, tmp_path, 1, kill_after=10)
    if damage is not None:
        (tmp_path / "kept.safetensors").write_bytes(damage)
    assert same(_train(tiny_protocol, tmp_path, 1000), whole)


def test_a_full_disk_stops_no_training(
    tmp_path: Path, tiny_protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _train(tiny_protocol, tmp_path / "whole", every=1000)

    def full(*_: object) -> None:
        raise EnvironmentProblem("the disk", "is full", "Free space")

    monkeypatch.setattr(module, "save_weights", full)
    with pytest.warns(UserWarning, match="the disk: is full"):
        assert same(_train(tiny_protocol, tmp_path, 5), whole)


def test_the_harness_resumes_and_tidies_up(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """Killed between two checkpoints, the record is that of an undisturbed training, and no checkpoint is left."""
    cell = Cell(DENSE, 0, 0)
    job = Job(tiny_protocol, (cell,))
    seen: list[int] = []

    def die(_cell: Cell, done: int, *_: object) -> None:
        seen.append(done)
        if done == 12 and seen.count(12) == 1:
            raise Killed

    settings = Settings(data_root=tmp_path, checkpoint_seconds=0.0, on_progress=die)
    store = Store(tmp_path / "killed")
    with pytest.raises(Killed):
        Harness(tiny_protocol, store, settings).run(job)
    assert Harness(tiny_protocol, store, settings).run(job)
    assert seen == [0, 2, 4, 6, 8, 10, 12, 12, 14, 16, 18, 20], "it began again, or it left something out"
    whole = Store(tmp_path / "whole")
    Harness(tiny_protocol, whole, Settings(data_root=tmp_path)).run(job)
    first, second = (each.read(tiny_protocol, cell) for each in (store, whole))
    assert first is not None
    assert second is not None
    assert first.fingerprint() == second.fingerprint()
    assert not list(store.work.glob("**/*checkpoint*"))


ASKED = """
import signal, sys, time
from benchmark.utils import signals as stopping
stopping.on_signals(signal.SIGTERM)
with stopping.with_safe_points():
    print("ready", flush=True)
    while not stopping.asked():
        time.sleep(0.01)
    print("saved", flush=True)
    stopping.stop_if_asked()
print("not stopped")
"""


def test_a_request_to_stop_waits_for_a_safe_point() -> None:
    process = subprocess.Popen([sys.executable, "-c", ASKED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGTERM)
    assert process.communicate()[0] == "saved\n"
    assert process.returncode == 128 + signal.SIGTERM


def test_asked_outside_a_training_it_stops_at_once() -> None:
    code = ASKED.replace("with stopping.with_safe_points():", "if True:")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    assert process.communicate()[0] == ""
    assert process.returncode == 128 + signal.SIGTERM


def test_nobody_has_asked() -> None:
    assert not stopping.asked()
    stopping.stop_if_asked()
