"""`check` of hooks and learners: those of this repository pass, and each check finds what breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from baselines.dst import Dst
from baselines.edge_popup import EdgePopup
from baselines.rigl import RigL
from benchmark.api import Hook, Learner, Run
from benchmark.cli.main import cli
from benchmark.plugins.conformance import trainings
from benchmark.plugins.conformance.trainings import training_report
from benchmark.plugins.load import from_file
from benchmark.plugins.scaffold import Kind, write_pruner


@pytest.fixture(autouse=True)
def _one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainings, "NETWORKS", ("mlp",))


def test_own_ones_pass() -> None:
    for kind, parameters in ((RigL, {"every": 5, "until": 30}), (EdgePopup, {}), (Dst, {"alpha": 0.05})):
        report = training_report(kind, **parameters)  # type: ignore[arg-type]
        assert report.findings == ()
        assert ("weights stay" in report.checks) == issubclass(kind, Learner)
        assert ("exact density" in report.checks) == (kind is not Dst), "how many it leaves is an outcome"


class _Hook(Hook):
    """Acts after ten and thirty updates; says what it counted and remembers it."""

    def __init__(self) -> None:
        self.count = 0

    def when(self, recipe: object, updates_per_epoch: int) -> tuple[int, ...]:  # noqa: ARG002
        return (10, 30)

    def at(self, step: int, run: Run) -> None:  # noqa: ARG002
        self.count += 1

    def facts(self) -> dict[str, int]:
        return {"count": self.count}


class _Remembers(_Hook):
    def state(self) -> dict[str, torch.Tensor]:
        return {"count": torch.tensor(self.count)}

    def resume(self, state: object, run: Run) -> None:  # noqa: ARG002
        self.count = int(state["count"])  # type: ignore[index]


class _Raises(_Remembers):
    def at(self, step: int, run: Run) -> None:
        raise RuntimeError(f"at {step} of {len(run.masks)}")


class _DropsOne(_Remembers):
    def at(self, step: int, run: Run) -> None:  # noqa: ARG002
        run.masks["fc1.weight"] = torch.zeros_like(run.masks["fc1.weight"])


class _DrawsGlobally(_Remembers):
    def at(self, step: int, run: Run) -> None:  # noqa: ARG002
        run.network.get_parameter("fc1.bias").data += torch.rand(1)


class _MovesWeights(EdgePopup):
    def when(self, recipe: object, updates_per_epoch: int) -> tuple[int, ...]:  # noqa: ARG002
        return (10,)

    def at(self, step: int, run: Run) -> None:  # noqa: ARG002
        run.network.get_parameter("fc1.weight").data += 1.0


@pytest.mark.parametrize(
    ("kind", "failed"),
    [
        (_Remembers, set()),
        (_Hook, {"goes on where it stopped"}),
        (_Raises, {"trains"}),
        (_DropsOne, {"exact density"}),
        (_DrawsGlobally, {"same seed, same bits", "goes on where it stopped"}),
        (_MovesWeights, {"weights stay"}),
    ],
)
def test_each_check_finds_what_breaks_it(kind: type[Hook], failed: set[str]) -> None:
    assert {finding.check for finding in training_report(kind).failures} == failed


@pytest.mark.parametrize("kind", ["hook", "learner"])
def test_what_new_pruner_writes_passes(tmp_path: Path, kind: Kind) -> None:
    plugin, test, metadata = write_pruner("my_method3", tmp_path, kind)
    found = from_file(plugin, kind)
    assert training_report(found.kind).findings == ()
    group = {"hook": "hooks", "learner": "pruners"}[kind]
    assert f'[project.entry-points."lotterybench.{group}"]' in metadata.read_text()
    compile(test.read_text(), str(test), "exec")


def test_the_command_says_what_comes_next(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["new-pruner", "mine", "--kind", "hook", "--to", str(tmp_path)])
    assert result.exit_code == 0
    assert "lotterybench check" in result.output
    assert "MY_PROTOCOL.yaml" in result.output


@pytest.mark.long
def test_check_runs_them_confined(tmp_path: Path) -> None:
    """The baselines' code is imported over there from a file; both networks are trained within the walls."""
    path = tmp_path / "mine.py"
    path.write_text((Path(__file__).parents[2] / "baselines" / "edge_popup.py").read_text())
    result = CliRunner().invoke(cli, ["check", str(path)])
    assert result.exit_code == 0, result.output
    assert "All 5 checks passed" in result.output
    assert "Checks of mine on mlp, conv-2" in result.output
