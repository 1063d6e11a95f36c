"""Plugins in processes of their own: the same bits as in this process, on every system, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from image_networks import network as image_network
from image_networks import prunable
from image_networks import spec as image_spec
from plugin_files import LEVEL, NETWORK, SMALL, begun, mask_of, method, plugin, subject

from benchmark.api import Examples, Masks, Pruner
from benchmark.plugins.load import find, from_file
from benchmark.plugins.registry import locate
from benchmark.plugins.sandbox import template as template_module
from benchmark.plugins.sandbox import wire
from benchmark.plugins.sandbox.confinement import Limits, Protections, describe
from benchmark.plugins.sandbox.session import Session
from benchmark.protocols import Protocol, load
from benchmark.protocols.methods import PruningSpec
from benchmark.pruning.masks import full_masks
from benchmark.pruning.masks import tensor_mask_digest as mask_digest
from benchmark.pruning.schedule import cut, prune
from benchmark.pruning.scorer import ScoredNetwork
from benchmark.training.device import configure_cpu
from benchmark.utils.errors import BadInput, BadPruner, EnvironmentProblem
from benchmark.utils.seeding import stream

BASELINES = (
    "grasp", "magnitude", "random", "snip", "synflow", "force", "prospr", "erk-random", "smart-ratio", "mask-criterion",
)  # fmt: skip
SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(autouse=True)
def _as_workers_run() -> None:
    """Subnormals are flushed, as in every worker."""
    configure_cpu()


def both(
    pruner: str, pruning: PruningSpec, network: object, subject: ScoredNetwork, examples: Examples, rounds: int = 3
) -> None:
    """Masks and costs by a baseline in this process and in its own are the same."""
    kind = find(pruner).make({})
    assert isinstance(kind, Pruner)
    given = examples if kind.needs == "labels" else None
    if kind.needs == "initial and trained weights":
        subject = replace(subject, initial={name: 1 - subject.state[name] for name in pruning.prunable})
    size = sum(pruning.tensor_sizes.values())
    level = LEVEL.__class__(1, size // 4, size, {}, None)
    spec = method(pruner, rounds).model_copy(update={"allocation": kind.allocation})
    here, here_cost = prune(kind, spec, pruning, level, subject, given, stream(5, "prune"))
    with Session(locate(pruner), {}, Limits()) as session:
        assert (session.needs, session.kind) == (kind.needs, "scores")
        session.begin(network, tuple(pruning.prunable), subject, given, stream(5, "prune"))  # type: ignore[arg-type]
        there, there_cost = cut(session, spec, pruning, level)
    assert mask_digest(here) == mask_digest(there)
    counted = ("forward_passes", "backward_passes", "examples_seen")
    assert [getattr(here_cost, what) for what in counted] == [getattr(there_cost, what) for what in counted]


@pytest.mark.parametrize("pruner", BASELINES)
def test_same_masks_on_mnist1d(pruner: str) -> None:
    protocol = load("mnist1d/mlp")
    from benchmark.networks import build, initial_state

    module = build(protocol)
    state = initial_state(module, protocol.network, stream(0, "init"))
    module.load_state_dict(state)
    examples = Examples(torch.randn(100, 40, generator=stream(0, "inputs")), torch.arange(100) % 10)
    both(pruner, protocol.pruning, protocol.network, ScoredNetwork(module, state, (40,), 10), examples)


@pytest.mark.parametrize("pruner", ["grasp", "snip", "synflow"])
@pytest.mark.parametrize(("family", "train_mode"), [("lenet-5-caffe", False), ("resnet-20", True)])
def test_same_masks_on_image_networks(pruner: str, family: str, train_mode: bool, tiny_protocol: Protocol) -> None:
    """Convolutions choose their kernels by what they learn of the processor: they must learn the same."""
    fields = image_spec(family)
    module, state = image_network(family)
    module.train(train_mode)
    shapes = {name: tuple(state[name].shape) for name in prunable(module)}
    pruning = PruningSpec.model_validate({**tiny_protocol.pruning.model_dump(), "prunable": shapes, "layer_rates": {}})
    shape = fields.input  # type: ignore[union-attr]
    examples = Examples(torch.randn(20, *shape, generator=stream(0, "inputs")), torch.arange(20) % 10)
    both(pruner, pruning, fields, ScoredNetwork(module, state, shape, 10), examples, rounds=2)


def test_a_learned_mask_and_its_count(tmp_path: Path, tiny_protocol: Protocol) -> None:
    path = tmp_path / "learner.py"
    path.write_text(
        "import torch\n"
        "from benchmark.api import MaskLearner\n"
        "class Learner(MaskLearner):\n"
        "    def learn(self, network, examples, density, rng):\n"
        "        total = sum(m.numel() for m in network.masks.values())\n"
        "        flat = torch.arange(total) < round(density * total)\n"
        "        parts = flat.split([m.numel() for m in network.masks.values()])\n"
        "        return {n: p.reshape(m.shape) for (n, m), p in zip(network.masks.items(), parts)}\n"
    )
    masks, _ = mask_of(locate("learner", {"learner": path}), tiny_protocol.pruning)
    assert torch.cat([mask.flatten() for mask in masks.values()]).tolist() == [True] * 100 + [False] * 252
    path.write_text(path.read_text().replace("total)\n        parts", "total) + 1\n        parts"))
    with pytest.raises(BadPruner, match="the mask keeps"):
        mask_of(locate("learner", {"learner": path}), tiny_protocol.pruning)


def test_one_process_serves_all_rounds_with_one_generator(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """State and generator go on from round to round, as they do in one process."""
    body = (
        "self.n = getattr(self, 'n', 0) + 1\n"
        "scores = {n: self.n * torch.rand(w.shape, generator=rng) for n, w in network.weights.items()}"
    )
    source = plugin(tmp_path, body)
    there, _ = mask_of(source, tiny_protocol.pruning, rounds=5)
    mine = from_file(tmp_path / "mine.py").make({})
    here, _ = prune(mine, method(rounds=5), tiny_protocol.pruning, LEVEL, subject(), None, stream(0, "prune"))
    assert mask_digest(there) == mask_digest(here)
    assert vars(mine)["n"] == 5


def test_two_masks_share_nothing(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """Neither module state nor global generators go from one mask to the next, so their order cannot matter."""
    body = (
        "import random, numpy\n"
        "torch.shape_count = getattr(torch, 'shape_count', 0) + 1\n"
        "assert torch.shape_count == 1\n"
        "drawn = torch.rand(1) + random.random() + numpy.random.rand() + len(str(set('abcdef')))\n"
        "scores = {n: w.abs() * drawn * hash('a') for n, w in network.weights.items()}"
    )
    source = plugin(tmp_path, body)
    with begun(source) as first, begun(source) as second:
        full = full_masks(tiny_protocol.pruning.prunable)
        one, other = first.scores(full), second.scores(full)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_sees_tensors_in_the_order_of_the_network(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """A plugin that goes through a mapping gets the same order, and so the same numbers, as in this process."""
    body = (
        "assert list(network.weights) == list(network.masks) == ['fc1.weight', 'fc2.weight', 'fc3.weight']\n"
        "assert list(network.others) == ['fc1.bias', 'fc2.bias', 'fc3.bias']"
    )
    masks, _ = mask_of(plugin(tmp_path, body), tiny_protocol.pruning)
    assert list(masks) == ["fc1.weight", "fc2.weight", "fc3.weight"]


def test_it_gets_what_it_declares(tmp_path: Path, tiny_protocol: Protocol) -> None:
    examples = Examples(torch.ones(8, 12), torch.arange(8) % 4)
    mask_of(plugin(tmp_path, "assert examples is None"), tiny_protocol.pruning)
    needs_labels = plugin(tmp_path, "assert examples.labels.tolist() == [0, 1, 2, 3] * 2", needs="labels")
    with Session(needs_labels, {}, SMALL) as session:
        assert session.needs == "labels"
    mask_of(needs_labels, tiny_protocol.pruning, examples=examples)
    with pytest.raises(BadPruner, match="needs 'the test set'"):
        mask_of(plugin(tmp_path, "pass", needs="the test set"), tiny_protocol.pruning)


def test_a_plugin_is_never_run_here(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """Not even imported: its digest is taken from its text, and what it does at import ends its own process."""
    path = tmp_path / "not_here.py"
    path.write_text("import os\nos._exit(7)\n")
    with pytest.raises(BadPruner, match="exit code 7"):
        mask_of(locate("mine", {"mine": path}), tiny_protocol.pruning)
    assert not any(name.startswith("lotterybench_plugin_not_here") for name in sys.modules)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"def f(:", "SyntaxError"),
        (b"\x00", "cannot be imported"),
        (b"(" * 5000, "cannot be imported"),
        (b"x = 1", "defines 0 pruner classes"),
        (b"import no_such_module", "ModuleNotFoundError"),
        (b"raise SystemExit(3)", "SystemExit"),
        (b"#" * (2**16 + 1), "is longer than 65536 bytes"),
        (b"class A:\n  " + b"x = 1;" * 1000, "defines 0 pruner classes"),
    ],
)
def test_files_that_are_no_plugin(tmp_path: Path, tiny_protocol: Protocol, text: bytes, cause: str) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(text)
    with pytest.raises(BadPruner) as caught:
        mask_of(locate("mine", {"mine": path}), tiny_protocol.pruning)
    assert cause in caught.value.cause


def test_sources_have_the_digests_of_the_registry(tmp_path: Path) -> None:
    assert {name: locate(name).digest for name in BASELINES} == {name: find(name).digest for name in BASELINES}
    source = plugin(tmp_path, "pass")
    assert source.digest == from_file(tmp_path / "mine.py").digest
    with pytest.raises(BadInput, match="Did you mean 'synflow'"):
        locate("synflo")
    os.mkfifo(tmp_path / "pipe.py")
    for path in (tmp_path, tmp_path / "none.py", tmp_path / "pipe.py"):
        with pytest.raises(BadPruner, match="is not a Python file"):
            locate("x", {"x": path})


def test_what_is_on_is_told(tmp_path: Path) -> None:
    """What a session reports of itself is what `describe` promised; where anything is missing, the line says so."""
    with begun(plugin(tmp_path, "pass")) as session:
        assert session.protections == describe()
    assert "NOT enforced" not in Protections(True, True, True, True, True, True).sentence()
    bare = Protections().sentence()
    assert "NOT enforced on this system: no network, no files" in bare
    assert "run only pruners you trust" in bare


ELSEWHERE = {
    "another system": "import platform; platform.system = lambda: 'Elsewhere'",
    "no namespaces": "import benchmark.plugins.sandbox.confinement as s; s.CLONE = {'none': 1}",
    "no filter": (
        "import benchmark.plugins.sandbox.confinement as s; s.CLONE = {'none': 1}; "
        "s.refuse_system_calls = lambda: False"
    ),
}


@pytest.fixture(params=ELSEWHERE)
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Templates on systems that lack some protections."""
    patch, change = "from benchmark.plugins.sandbox.template", ELSEWHERE[request.param]
    monkeypatch.setattr(template_module, "START", template_module.START.replace(patch, f"{change}\n{patch}"))
    monkeypatch.setattr(template_module, "_template", None)
    yield request.param
    template_module.template().close()


def test_systems_without_protections_run_the_same_code(elsewhere: str, tmp_path: Path, tiny_protocol: Protocol) -> None:
    """Less is kept out, but masks are the same, limits hold, and forked children that stay in the group are killed."""
    pruning = tiny_protocol.pruning
    with begun(plugin(tmp_path, "pass")) as session:
        assert not session.protections.namespaces
        assert session.protections.system_calls == (elsewhere == "no namespaces" and describe().system_calls)
        masks: Masks = cut(session, method(), pruning, LEVEL)[0]
    here, _ = prune(
        from_file(tmp_path / "mine.py").make({}), method(), pruning, LEVEL, subject(), None, stream(0, "prune")
    )
    assert mask_digest(masks) == mask_digest(here)
    brief = SMALL.__class__(**{**vars(SMALL), "seconds": 1.0})
    for body, cause in (
        ("time.sleep(60)", "took longer than 1 s"),
        ("ctypes.string_at(0)", "was killed by SIGSEGV"),
        ("while True: os.write(1, b'x' * 65536)", "printed more than"),
    ):
        with pytest.raises(BadPruner, match=cause):
            mask_of(plugin(tmp_path, body), pruning, brief)
    marker = tmp_path / "pid"
    forks = f"pid = os.fork()\nif pid == 0: time.sleep(60)\nopen({str(marker)!r}, 'w').write(str(pid))"
    if elsewhere == "another system":
        mask_of(plugin(tmp_path, forks), pruning)
        assert gone(int(marker.read_text()))


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
            os.kill(pid, 0)
        except OSError:
            return True
        time.sleep(0.05)
    return False


KILLED = """
import sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}]
from plugin_files import begun, plugin
from benchmark.plugins.sandbox.template import template
with begun(plugin(Path({folder!r}), "time.sleep(60)")) as session:
    from benchmark.plugins.sandbox.wire import Round
    session._guarded_send(Round(density=None), b"\\xff" * 44)
    print(template()._process.pid, flush=True)
    time.sleep(60)
"""


def descendants(pid: int) -> list[int]:
    """Every process below one, at any depth."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = [child for child, parent in parents.items() if parent == pid]
    return found + [below for child in found for below in descendants(child)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_killed_harness_leaves_no_process(tmp_path: Path) -> None:
    """SIGKILL to a harness whose plugin sleeps: template, guard and plugin end."""
    text = KILLED.format(tests=str(SUPPORT), folder=str(tmp_path))
    harness = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, cwd=SUPPORT.parents[1])
    assert harness.stdout is not None
    template_pid = int(harness.stdout.readline())
    below = descendants(harness.pid)
    assert template_pid in below
    assert len(below) >= 3
    harness.send_signal(signal.SIGKILL)
    harness.communicate()
    assert all(gone(pid) for pid in below)


def test_a_template_that_was_killed_is_started_again(tmp_path: Path, tiny_protocol: Protocol) -> None:
    mask_of(plugin(tmp_path, "pass"), tiny_protocol.pruning)
    template_module.template()._process.kill()
    template_module.template()._process.wait()
    mask_of(plugin(tmp_path, "pass"), tiny_protocol.pruning)


def test_a_template_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_module, "START", "import no_such_module_here")
    monkeypatch.setattr(template_module, "_template", None)
    with pytest.raises(EnvironmentProblem, match="no_such_module_here"):
        Session(plugin(tmp_path, "pass"), {}, SMALL)
    template_module.template().close()


def test_network_fields_survive_the_wire() -> None:
    from benchmark.plugins.sandbox.plugin_process import NETWORK as ADAPTER

    for fields in (NETWORK, image_spec("resnet-20"), image_spec("vgg-16"), load("mnist1d/mlp").network):
        assert ADAPTER.validate_json(fields.model_dump_json(by_alias=True)) == fields


class Drip:
    """A channel that gives two bytes at a time, whatever it is asked for."""

    def __init__(self, count: int) -> None:
        self.left = count

    def recv(self, _most: int) -> bytes:
        self.left -= 2
        return bytes(bytearray(2))

    def recv_into(self, view: memoryview) -> int:
        view[:2] = self.recv(2)
        return 2


def test_an_answer_in_crumbs_takes_no_more_memory_than_it_is_long() -> None:
    """Two bytes each, of an answer that is allowed to be long: as objects they would take twenty times as much."""
    count = 200_000
    tracemalloc.start()
    assert wire._exactly(Drip(count), count, None) == bytes(count)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * count
