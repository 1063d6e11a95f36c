"""Hooks and learners of third parties, confined with the whole training of their cells: the same bits, and no trust."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mask_protocol import method
from plugin_files import SMALL

from benchmark.harness.acting import Acting, train_confined
from benchmark.harness.harness import Harness, Settings
from benchmark.harness.masks import Confinement
from benchmark.planning.plan import jobs
from benchmark.plugins.registry import locate
from benchmark.plugins.sandbox.confinement import MIB, Limits
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import Cell
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.training.loop import Placement
from benchmark.utils.errors import BadInput

BASELINES = Path(__file__).parents[2] / "baselines"
INITIAL = {"rounds": 1, "scores": "initial", "restart": 0}
METHODS: dict[str, Any] = {
    "popup": method("edge-popup", {**INITIAL, "training": "none"}, levels=[2], allocation="layerwise",
                    learning={"steps": 16}),
    "moving": method("random", INITIAL, levels=[2], hook={"name": "rigl", "parameters": {"every": 3, "until": 15}}),
}  # fmt: skip
LIMITS = replace(SMALL, start_seconds=120.0, seconds=120.0, memory_bytes=2048 * MIB)


@pytest.fixture(scope="module")
def protocol(tiny_protocol: Protocol) -> Protocol:
    document = copy.deepcopy(tiny_protocol.document)
    return parse({**document, "id": "tests/confined", "seeds": [0], "methods": METHODS}, "confined.yaml")


def records(protocol: Protocol, root: Path, methods: list[str], **settings: Any) -> dict[str, Record]:
    """Records of some methods at level 2, seed 0."""
    harness = Harness(protocol, Store(root), Settings(confinement=Confinement(LIMITS), **settings))
    for job in jobs(protocol, methods, harness.store):
        assert harness.run(job)
    found = {name: harness.store.read(protocol, Cell(name, 2, 0)) for name in methods}
    return {name: record for name, record in found.items() if record is not None}


def test_the_same_bits_as_in_the_harness_s_process(protocol: Protocol, tmp_path: Path) -> None:
    """Edge-popup and RigL, copied into files of a third party: masks, curves, counts and figures are the same."""
    own = records(protocol, tmp_path / "own", ["popup", "moving"])
    plugins = {"edge-popup": tmp_path / "popup.py", "rigl": tmp_path / "moving.py"}
    shutil.copy(BASELINES / "edge_popup.py", plugins["edge-popup"])
    shutil.copy(BASELINES / "rigl.py", plugins["rigl"])
    assert all(not locate(n, plugins, k).of_this_repository for n, k in (("edge-popup", "pruner"), ("rigl", "hook")))
    theirs = records(protocol, tmp_path / "theirs", ["popup", "moving"], plugins=plugins)
    for name in ("popup", "moving"):
        assert theirs[name].status == "finished", theirs[name].reason
        for field in ("mask", "measured", "curves_sha256", "hook_facts"):
            assert getattr(theirs[name], field) == getattr(own[name], field), (name, field)
        assert theirs[name].cost.train_steps == own[name].cost.train_steps
    assert own["moving"].hook_facts is not None
    assert own["moving"].hook_facts["mask_moves"] > 1


def test_a_stopped_training_goes_on_with_what_its_hook_remembers(protocol: Protocol, tmp_path: Path) -> None:
    """Stopped at an evaluation and begun again in another process: the record of one that was not stopped."""
    plugins = {"edge-popup": tmp_path / "popup.py", "rigl": tmp_path / "moving.py"}
    shutil.copy(BASELINES / "edge_popup.py", plugins["edge-popup"])
    shutil.copy(BASELINES / "rigl.py", plugins["rigl"])
    whole = records(protocol, tmp_path / "whole", ["popup", "moving"], plugins=plugins)

    def stop(_cell: Cell, done: int, *_: Any) -> None:
        if done == 10:
            raise KeyboardInterrupt

    root, given = tmp_path / "stopped", {"plugins": plugins, "checkpoint_seconds": 0.0}
    for name in ("popup", "moving"):
        with pytest.raises(KeyboardInterrupt):
            records(protocol, root, [name], on_progress=stop, **given)
        again = records(protocol, root, [name], **given)[name]
        for field in ("mask", "measured", "curves_sha256", "hook_facts"):
            assert getattr(again, field) == getattr(whole[name], field), (name, field)


BRINGS = """
import torch
from benchmark.api import Hook
class Theirs(Hook):
    moves_masks = False
    def when(self, recipe, updates_per_epoch): return (0, recipe.steps)
    def at(self, step, run):
        if step == 0:
            self.begin(run)
        else:
            run.extra_parameters.clear()
    def begin(self, run):
        self.leaf, loss = torch.nn.Parameter(torch.zeros(3)), run.loss
        run.extra_parameters["pulled"] = self.leaf
        run.loss = lambda outputs, labels: loss(outputs, labels) + (self.leaf - 1).square().sum()
    def facts(self): return {"pulled_to": float(self.leaf.sum())}
    def resume(self, state, run): self.begin(run)
"""


@pytest.mark.long
def test_parameters_of_its_own_go_on_too(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """With the optimizer's memory of them, which this process only hands on."""
    document = copy.deepcopy(tiny_protocol.document)
    document["recipe"]["arithmetic"] = "torch"
    methods = {"pulls": method("random", INITIAL, levels=[2], hook={"name": "set"})}
    pulling = parse({**document, "id": "tests/pulling", "seeds": [0], "methods": methods}, "pulling.yaml")
    (tmp_path / "pulls.py").write_text(BRINGS)
    given: dict[str, Any] = {"plugins": {"set": tmp_path / "pulls.py"}, "checkpoint_seconds": 0.0}
    whole = records(pulling, tmp_path / "whole", ["pulls"], **given)["pulls"]

    def stop(_cell: Cell, done: int, *_: Any) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records(pulling, tmp_path / "stopped", ["pulls"], on_progress=stop, **given)
    again = records(pulling, tmp_path / "stopped", ["pulls"], **given)["pulls"]
    assert (whole.status, again.status) == ("finished", "finished"), (whole.reason, again.reason)
    assert whole.hook_facts == again.hook_facts
    assert whole.hook_facts is not None
    assert whole.hook_facts["pulled_to"] > 0
    assert whole.measured == again.measured


COUNTS = """
import torch
from benchmark.api import Hook
class Counts(Hook):
    moves_masks = False
    calls = 0
    def when(self, recipe, updates_per_epoch): return range(recipe.steps)
    def at(self, step, run): self.calls += ONE
    def state(self): return {"calls": torch.tensor(self.calls)}
    def resume(self, state, run): self.calls = int(state["calls"])
    def facts(self): return {"calls": float(self.calls)}
"""


@pytest.mark.parametrize("one", [1, 1000])
def test_of_an_edited_hook_nothing_is_gone_on_with(tiny_protocol: Protocol, tmp_path: Path, one: int) -> None:
    """Stopped after ten updates, whose checkpoint an edited file must not go on from; the same file does."""
    methods = {"counts": method("random", INITIAL, levels=[2], hook={"name": "set"})}
    document = copy.deepcopy(tiny_protocol.document)
    counting = parse({**document, "id": "tests/counting", "seeds": [0], "methods": methods}, "counting.yaml")
    path, reached = tmp_path / "counts.py", list[int]()
    given: dict[str, Any] = {"plugins": {"set": path}, "checkpoint_seconds": 0.0}

    def stop(_cell: Cell, done: int, *_: Any) -> None:
        if done == 10:
            raise KeyboardInterrupt

    path.write_text(COUNTS.replace("ONE", "1"))
    with pytest.raises(KeyboardInterrupt):
        records(counting, tmp_path / "kept", ["counts"], on_progress=stop, **given)
    path.write_text(COUNTS.replace("ONE", str(one)))
    again = records(
        counting, tmp_path / "kept", ["counts"], on_progress=lambda _cell, done, *_: reached.append(done), **given
    )["counts"]
    assert again.hook_facts == {"calls": one * counting.recipe.steps}, again.reason
    assert (min(reached) >= 10) == (one == 1), "gone on with, or begun anew"


HOOK = """
import os, time
import torch
import benchmark.plugins.sandbox.training_process as process
from benchmark.api import Hook
pack = process.pack
class Theirs(Hook):
    def when(self, recipe, updates_per_epoch): return (0, 5)
    def at(self, step, run):
        {body}
"""
LEARNER = """
import torch
import benchmark.plugins.sandbox.training_process as process
from benchmark.api import Learner, keep_top
pack = process.pack
class Theirs(Learner):
    def first_scores(self, weight, rng): return torch.rand(weight.shape, generator=rng)
    def mask(self, scores, left): return {{name: score.sigmoid() for name, score in scores.items()}}
    def when(self, recipe, updates_per_epoch): return (0, 5)
    def at(self, step, run):
        {body}
"""


def reason(tiny: Protocol, folder: Path, text: str, limits: Limits = LIMITS) -> str:
    """Why the cell of a hook or learner failed; "" if it did not."""
    name, kind = ("moving", "rigl") if "(Hook)" in text else ("popup", "edge-popup")
    (folder / "theirs.py").write_text(text)
    methods = {**METHODS, "moving": {**METHODS["moving"], "hook": {"name": "rigl", "parameters": {}}}}
    protocol = parse({**copy.deepcopy(tiny.document), "methods": methods}, "theirs.yaml")
    plugins, store = {kind: folder / "theirs.py"}, Store(folder / "results")
    harness = Harness(protocol, store, Settings(plugins=plugins, confinement=Confinement(limits)))
    for job in jobs(protocol, [name], store):
        assert harness.run(job)
    record = store.read(protocol, Cell(name, 2, 0))
    assert record is not None
    return record.reason or ""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("os._exit(3)", "exit code 3"),
        ("raise ValueError('no')", "raised ValueError: no"),
        ("time.sleep(60)", "took longer than 4 s"),
        ("run.masks['fc1.weight'][:] = True", "left a mask of"),
        ("open('/etc/passwd')", "raised"),
        ("self.facts = lambda: {'x': float('inf')}", "raised ValidationError"),
        ("process.pack = lambda t: pack({**t, 'module.fc1.weight': t['module.fc1.weight'] + 1})", "outside its mask"),
        ("process.pack = lambda t: pack({**t, 'module.fc1.weight': torch.zeros(3)})", "sent module tensors"),
        ("process.pack = lambda t: pack({**t, 'mask.fc1.weight': torch.ones(16, 12)})", "sent mask tensors"),
        ("process.pack = lambda t: pack({**t, 'frozen.x': torch.ones(1)})", "sent frozen tensors"),
        ("process.pack = lambda t: pack({**t, 'optimizer.0.exp_avg': torch.ones(99)})", "an optimizer's state"),
        ("process.pack = lambda t: pack({**t, 'optimizer.\u00b2.x': torch.ones(9)})", "an optimizer's state"),
        ("self.facts = lambda: {'\x1b[2J': 1.0}", "raised ValidationError"),
        ("process.pack = lambda t: b'x' * 99", "cannot be read"),
        ("process.pack = lambda t: pack({'hook.x': torch.ones(10**7)})", "announced"),
    ],
)
def test_a_hostile_hook_is_a_failed_record(protocol: Protocol, tmp_path: Path, body: str, says: str) -> None:
    """Whatever it sends in place of its process, the harness's half finds out."""
    limits = replace(LIMITS, seconds=4.0, update_seconds=0.0) if "sleep" in body else LIMITS
    assert says in reason(protocol, tmp_path, HOOK.replace("{body}", body), limits)


def test_test_examples_are_not_there(protocol: Protocol, tmp_path: Path) -> None:
    """Every tensor of the process is looked at: the training set is among them."""
    data = Harness(protocol, Store(tmp_path / "none"), Settings()).dataset
    rows, tests = len(data.train_labels), len(data.test_labels)
    assert rows != tests
    look = "shapes = [len(o) for o in __import__('gc').get_objects() if torch.is_tensor(o) and o.dim()]"
    assert (
        reason(protocol, tmp_path, HOOK.replace("{body}", f"{look}; assert {rows} in shapes and {tests} not in shapes"))
        == ""
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("process.pack = lambda t: pack({**t, 'module.fc1.weight': t['module.fc1.weight'] + 1})", ""),
        ("process.pack = lambda t: pack({**t, 'shown.fc1.weight': 2 * t['shown.fc1.weight'].float()})", "from 0 to 1"),
        ("self.recorded_mask = lambda scores, left: {n: m.clone() for n, m in left.items()}", "left a mask of"),
        ("run.network.weight = None; raise SystemExit", "raised SystemExit"),
    ],
)
def test_a_hostile_learner_has_masks_and_nothing_more(protocol: Protocol, tmp_path: Path, body: str, says: str) -> None:
    """Weights that it sends are not looked at: the harness has its own."""
    found = reason(protocol, tmp_path, LEARNER.replace("{{", "{").replace("}}", "}").replace("{body}", body))
    assert says in found if says else not found


def test_it_trains_on_the_cpu_only_and_says_so(protocol: Protocol) -> None:
    acting = Acting("hook", locate("rigl", kind="hook"), {}, {}, dict)
    with pytest.raises(BadInput, match="trains on the CPU only"):
        train_confined(protocol, acting, None, None, LIMITS, Placement("cuda", "streams"), print, [])  # type: ignore[arg-type]
