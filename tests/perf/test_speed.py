"""`speed`: that loops do the work they are timed for, and that what is written is whole. No figure is asserted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from click.testing import CliRunner

from benchmark.cli.main import cli
from benchmark.datasets.dataset import random_dataset
from benchmark.perf import kernels, pruning, rates
from benchmark.perf.loops import Contender, LoopName, updates
from benchmark.perf.measuring import WORDS, _ratios
from benchmark.perf.rates import Rate, rates_of
from benchmark.perf.report import LoopRate, SpeedReport, append
from benchmark.perf.verbs import Timed
from benchmark.perf.workload import Workload
from benchmark.plugins.conformance.cases import NarrowVgg
from benchmark.plugins.load import find
from benchmark.protocols import load, load_file
from benchmark.pruning.masks import full_masks, masks_from_scores
from benchmark.pruning.scorer import DirectScorer
from benchmark.pruning.scorer import ScoredNetwork as Pruned
from benchmark.utils.errors import EnvironmentProblem
from benchmark.utils.seeding import stream


@pytest.fixture(scope="module")
def tiny(tiny_path: Path) -> Workload:
    """The tiny protocol on few random examples."""
    protocol = load_file(tiny_path)
    return Workload(protocol, random_dataset(protocol, 200))


@pytest.mark.parametrize("loop", get_args(LoopName))
def test_every_loop_trains_and_keeps_pruned_weights_at_zero(
    tiny: Workload, loop: LoopName, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizers: list[Any] = []
    init = torch.optim.Adam.__init__

    def kept(self: Any, parameters: Any, *rest: Any, **more: Any) -> None:
        optimizers.append((self, own := list(parameters)))
        init(self, own, *rest, **more)

    monkeypatch.setattr(torch.optim.Adam, "__init__", kept)
    go = updates(Contender(loop), tiny, 3)
    optimizer, parameters = optimizers[0]
    before = [p.detach().clone() for p in parameters]
    go(7)
    assert {int(state["step"]) for state in optimizer.state.values()} == {7}
    masks = {mask.shape: mask for mask in tiny.masks(3).values()}
    for old, new in zip(before, parameters, strict=True):
        mask = masks.get(new.shape, torch.ones_like(new, dtype=torch.bool))
        assert not new[~mask].any()
        assert not torch.equal(old[mask], new[mask])


@pytest.mark.parametrize("strategy", ["stacked", "streams"])
def test_an_engine_of_several_replicas_trains_them_all(
    tiny: Workload, strategy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[list[torch.Tensor]] = []
    step = torch.optim.Adam.step

    def noted(self: Any, *rest: Any) -> Any:
        trained.append([parameter for group in self.param_groups for parameter in group["params"]])
        return step(self, *rest)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    go = updates(Contender("engine", replicas=3, strategy=strategy), tiny, 0)
    go(1)
    networks = {id(parameters[0]): parameters for parameters in trained}.values()
    before = [[p.detach().clone() for p in parameters] for parameters in networks]
    trained.clear()
    go(4)
    assert len(trained) == 4 * len(before)
    assert sum(len(p) if strategy == "stacked" else 1 for p, *_ in before) == 3, "each, or a row of each tensor"
    for old, new in zip(before, networks, strict=True):
        rows = 3 if strategy == "stacked" else 1
        moved = [(a != b).reshape(rows, -1).any(1).all() for a, b in zip(old, new, strict=True)]
        assert all(moved)


@pytest.mark.parametrize("name", ["missingmark/resnet20-cifar10", "lth/lenet-mnist"])
def test_the_dataloader_hands_out_what_the_network_reads(name: str) -> None:
    """Pictures through PIL and transforms have the scale of the engine's batches."""
    from benchmark.perf.loops import _indexed, _loaded

    protocol = load(name)
    subject = Workload(protocol, random_dataset(protocol, 300))
    theirs, _ = next(_loaded(subject))
    ours, _ = next(_indexed(subject, "cpu"))
    assert theirs.flatten(1).shape == ours.flatten(1).shape
    assert float(theirs.mean()) == pytest.approx(float(ours.mean()), abs=0.05)
    assert float(theirs.std()) == pytest.approx(float(ours.std()), rel=0.05)


def test_ratios_are_of_the_best_with_no_more_processes_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)

    def rate(loop: LoopName, value: float, **fields: int) -> Rate:
        return Rate(Contender(loop, **fields), value, value, value, value)  # type: ignore[arg-type]

    found = _ratios(
        [rate("engine", 10), rate("engine", 18, processes=2), rate("engine", 30, processes=4), rate("in-memory", 6),
         rate("in-memory", 9, threads=2), rate("dataloader", 2)]
    )  # fmt: skip
    assert found == {"engine / in-memory": 2.0, "engine / dataloader": 9.0}


def test_direct_synflow_keeps_what_the_pruner_keeps() -> None:
    """The baseline that is timed is no straw man: without ties it gives the very masks."""
    from benchmark.networks import initial_state, make

    small = NarrowVgg.model_validate({**pruning.VGG_16.model_dump(), "name": "vgg-11"})
    module = make(small).eval()
    state = initial_state(module, small, stream(0, "init"))
    names = tuple(n for n, t in state.items() if n.endswith("weight") and t.dim() > 1)
    shapes = {n: tuple(state[n].shape) for n in names}
    ours, total = full_masks(shapes), sum(state[n].numel() for n in names)
    totals = [round(total * kept) for kept in (0.1**0.5, 0.1)]
    theirs = pruning.direct_synflow(module, state, names, totals)
    subject = Pruned(module, state, small.input, small.classes)
    scorer = DirectScorer(find("synflow").make({}), "synflow", names, subject, None, stream(0, "prune"))
    for left in totals:
        ours = masks_from_scores(scorer.scores(ours), ours, {"all": list(names)}, {"all": left})
    assert all(torch.equal(ours[n], theirs[n]) for n in names)


def test_figures_are_appended_whole_lines_with_provenance(tmp_path: Path) -> None:
    loop = LoopRate("engine", "engine", 2, 10.0, 9.0, 11.0, 5.0, 0.5)
    report = SpeedReport("p/q", "cpu: test", 0.5, [loop], {"engine / in-memory": 2.0}, {}, [Timed("--help", 0.2)])
    path = tmp_path / "speed.jsonl"
    append(report, path)
    append(report, path)
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["updates_per_second"] == second["updates_per_second"] == [vars(loop)]
    assert first["seconds"] == {"--help": 0.2}
    assert first["provenance"]["device"] == "cpu: test"
    assert first["provenance"]["packages"]["torch"]


class InThisProcess(rates._Running):
    """A contender without processes of its own, each of which would first import torch."""

    def __init__(self, contender: Contender, protocol: str) -> None:
        self.contender, self.peak_bytes, self.pipes, self.processes = contender, None, [], []
        self._go = updates(contender, Workload.of(load(protocol)), 0)

    def turn(self, seconds: float) -> tuple[float, float]:
        done, passed, cpu_seconds, _ = rates._turn(self._go, seconds, self.contender.device)
        return done / passed, done / cpu_seconds


def test_the_verb_prints_json_and_appends(tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # fewer loops
    monkeypatch.setattr(rates, "_Running", InThisProcess)
    target = tmp_path / "figures.jsonl"
    command = ["speed", str(tiny_path), "--part", "train", "--replicas", "1", "--seconds", "0.05", "--turns", "1"]
    outcome = CliRunner().invoke(cli, [*command, "--json", "--to", str(target)])
    assert outcome.exit_code == 0, outcome.output
    document = json.loads(target.read_text())
    assert {loop["loop"] for loop in document["updates_per_second"]} == set(get_args(LoopName))
    assert all(loop["updates_per_second"] > 0 for loop in document["updates_per_second"])
    assert set(document["ratios"]) == {"engine / in-memory", "engine / dataloader"}
    assert document["ceiling"]["matmul_flops"] > 0


def test_a_loop_is_timed_in_a_process_of_its_own(tiny_path: Path) -> None:
    """By the clock and by its core; that the process ends is said with the loop's name."""
    (rate,) = rates_of([Contender("engine")], str(tiny_path), 0.05, 1)
    assert rate.median == rate.lowest == rate.highest > 0
    assert rate.per_core_second > 0
    with pytest.raises(EnvironmentProblem, match=r"engine.*its process ended"):
        rates_of([Contender("engine")], str(tiny_path.with_name("nowhere.yaml")), 0.05, 1)


def test_the_kernels_are_timed_beside_torch(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "DENSITIES", (1.0, 0.1))
    monkeypatch.setattr(kernels, "PEAK_ROUNDS", 1000)
    outcome = CliRunner().invoke(cli, ["speed", str(tiny_path), "--part", "kernels", "--turns", "1", "--json"])
    assert outcome.exit_code == 0, outcome.output
    document = json.loads(outcome.output[outcome.output.index("{") :])
    for where in ("100.0% of the weights", "10.0% of the weights"):
        ours, torchs = (
            document["seconds"][f"1,000 updates by {engine}, {where}"] for engine in ("the kernels", "torch")
        )
        assert document["ratios"][f"kernels / torch, {where}"] == pytest.approx(torchs / ours)
        cells = [document["seconds"][f"a whole cell by {name}, {where}"] for name in WORDS.values()]
        whole = [document["ratios"][f"kernels / {name}, whole cell, {where}"] for name in WORDS if name != "kernels"]
        assert whole == pytest.approx([cell / cells[0] for cell in cells[1:]])
        assert 0 < document["ratios"][f"kernels / peak of the core, {where}"] < 1
    assert document["ceiling"]["fused_multiply_add_flops"] > 1e8


def test_a_cell_is_its_updates_and_evaluations() -> None:
    """LeNet by hand: 50,000 updates, 501 looks at 5,000 validation images, 52 at 10,000 of the test set."""
    taken = kernels.Taken(update=2e-3, look=1e-5)
    assert taken.cell(load("lth/lenet-mnist")) == pytest.approx(100 + (501 * 5_000 + 52 * 10_000) * 1e-5)


def test_kernels_are_for_fully_connected_networks() -> None:
    outcome = CliRunner().invoke(cli, ["speed", "lth/conv2-cifar10", "--part", "kernels"])
    assert "the kernels train MLPs and LeNet-5" in f"{outcome.output} {outcome.exception}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replicas", "0"], "are no numbers of replicas"),
        (["--replicas", "1,x"], "Write 1,2,4"),
        (["--to", "speed.csv"], "Name a .jsonl file"),
        (["nowhere/net"], "there is none of this name"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str) -> None:
    outcome = CliRunner().invoke(cli, ["speed", *arguments])
    assert outcome.exit_code != 0
    assert message in f"{outcome.output} {outcome.exception}"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_an_error() -> None:
    outcome = CliRunner().invoke(cli, ["speed", "--device", "cuda"])
    assert "torch sees no CUDA device" in str(outcome.exception)
