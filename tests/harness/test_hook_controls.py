"""Controls that train another method's mask with a hook: masks, starts, what they are told, what protocols refuse."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from mask_protocol import method

from benchmark.claims.observations import Observations
from benchmark.harness.harness import Harness, Settings
from benchmark.harness.start import start_of
from benchmark.planning.plan import Job, jobs
from benchmark.planning.priority import cells_for_one_seed
from benchmark.plugins.registry import locate
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import Cell, method_words
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.report.taxonomy import is_control, taxonomy
from benchmark.sharing.integrity import contradictions
from benchmark.utils.errors import BadInput

INITIAL = {"rounds": 1, "scores": "initial", "restart": 0}
CHAIN = {"rounds": "levels", "scores": "trained", "restart": 0}
LOOKS: dict[str, Any] = {"every": 4, "layers": "all"}
NEQ = {"name": "neq", "parameters": {**LOOKS, "similarity": "set", "eps": 0.01}}


def control(of: str, name: str, level: int = 2, **parameters: Any) -> dict[str, Any]:
    hook = {"name": name, "parameters": parameters}
    return {"of": of, "control": "hook", "hook": hook, "draws": 1, "levels": [level]}


METHODS: dict[str, Any] = {
    "imp": method("magnitude", CHAIN, allocation="layerwise", levels=[1, 2]),
    "imp+tost": control("imp", "tost", activation="swish", skip=1.0, smoothing=0.1, every=5),
    "neq+random": control("neq", "random-freezing", **LOOKS),
    "neq": method("random", INITIAL, levels=[2], hook=NEQ),
}


def with_methods(tiny: Protocol, **changes: Any) -> Protocol:
    document = {**copy.deepcopy(tiny.document), "id": "tests/controls", "seeds": [0], "methods": {**METHODS, **changes}}
    return parse(document, "controls.yaml")


@pytest.fixture(scope="module")
def harness(tiny_protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """The controls measured first, on an empty disk: what they need is measured before."""
    protocol = with_methods(tiny_protocol)
    harness = Harness(protocol, Store(tmp_path_factory.mktemp("controls")), Settings())
    for name in ("imp+tost", "neq+random"):
        for job in jobs(protocol, [name], harness.store):
            assert harness.run(job)
    return harness


def record(harness: Harness, cell: Cell) -> Record:
    found = harness.store.read(harness.protocol, cell)
    assert found is not None
    assert found.status == "finished", found.reason
    assert not list(contradictions(harness.protocol, found))
    return found


def test_it_trains_the_mask_of_its_parent(harness: Harness) -> None:
    protocol = harness.protocol
    own, first = record(harness, Cell("imp+tost", 2, 0)), record(harness, Cell("imp", 1, 0))
    assert harness.run(Job(protocol, (Cell("imp", 2, 0),)))
    parent = record(harness, Cell("imp", 2, 0))
    assert own.mask is not None
    assert parent.mask is not None
    assert first.mask is not None
    assert own.mask.sha256 == parent.mask.sha256 != first.mask.sha256
    assert start_of(protocol, Cell("imp+tost", 2, 0)) == start_of(protocol, Cell("imp", 2, 0))
    assert own.method.hook is not None
    assert (own.method.hook.name, own.method.hook.digest) == ("tost", locate("tost", kind="hook").digest)
    assert own.cost is not None
    assert parent.cost is not None
    assert own.cost.mask_train_steps == parent.cost.mask_train_steps
    assert own.measured != parent.measured


def test_it_is_told_what_its_parents_hook_has_counted(harness: Harness) -> None:
    facts = record(harness, Cell("neq", 2, 0)).hook_facts
    own = record(harness, Cell("neq+random", 2, 0)).hook_facts
    assert facts is not None
    frozen = {name: count for name, count in facts.items() if name.startswith("frozen.")}
    assert len(frozen) == 4 * 3
    assert sum(frozen.values()) > 0
    assert own == {name: count for name, count in facts.items() if name != "look_multiply_adds"}


def test_what_is_said_of_them(harness: Harness) -> None:
    seen = Observations(harness.protocol, [])
    assert method_words(harness.protocol, "imp+tost") == "the masks of imp, 'tost' while training"
    assert is_control(harness.protocol, "imp+tost")
    kind = taxonomy(seen, "imp+tost")
    assert (kind.decided, kind.mask) == ("over several trainings", "static")
    kind = taxonomy(seen, "neq")  # a hook that leaves the mask alone, and looks at examples
    assert (kind.decided, kind.data, kind.mask) == ("before training", "training set", "static")
    needed = cells_for_one_seed(harness.protocol, [("neq+random", 2)])
    assert needed == [Cell("neq", 2, 0), Cell("neq+random", 2, 0)]


def test_without_its_parents_counts_it_fails(tiny_protocol: Protocol, tmp_path: Path) -> None:
    broken = {**METHODS["neq"], "hook": {"name": "neq", "parameters": {"every": 4, "layers": "all"}}}
    protocol = with_methods(tiny_protocol, neq=broken)
    harness = Harness(protocol, Store(tmp_path), Settings())
    assert harness.run(jobs(protocol, ["neq+random"], harness.store)[0])
    own = harness.store.read(protocol, Cell("neq+random", 2, 0))
    assert own is not None
    assert (own.status, own.reason is not None and "cannot be made with" in own.reason) == ("failed", True)


def test_what_protocols_refuse(tiny_protocol: Protocol) -> None:
    imp = METHODS["imp+tost"]
    wrong: dict[str, tuple[str, dict[str, Any]]] = {
        r"named <method>\+<what the hook does>": ("tost", imp),
        "hook goes with control: hook": ("imp+reinit", {**imp, "control": "reinitialise"}),
        "draws: 1": ("imp+tost", {**imp, "draws": 2}),
        "starts: masked": ("imp+tost", {**imp, "hook": {**imp["hook"], "starts": "dense"}}),
        "only there when its training": ("neq+shuffle", {"of": "neq", "control": "shuffle", "draws": 1, "levels": [2]}),
    }
    for words, (name, spec) in wrong.items():
        with pytest.raises(BadInput, match=words):
            with_methods(tiny_protocol, **{name: spec})
    with pytest.raises(BadInput, match="hook goes with control: hook"):
        with_methods(tiny_protocol, **{"imp+tost": {n: part for n, part in imp.items() if n != "hook"}})
