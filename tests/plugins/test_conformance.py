"""Each broken pruner is caught by the check made for it, and by no other; every baseline passes all of them."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import broken_pruners
import pytest
import torch
from click.testing import CliRunner
from pairs import pairs

from baselines.erk_random import ErkRandom
from baselines.force import Force
from baselines.grasp import Grasp
from baselines.magnitude import Magnitude
from baselines.mask_criteria import MaskCriterion
from baselines.prospr import ProsPr
from baselines.random import Random
from baselines.smart_ratio import SmartRatio
from baselines.snip import Snip
from baselines.synflow import SynFlow
from benchmark.cli.main import cli
from benchmark.plugins.conformance import suite
from benchmark.plugins.conformance import trials as shared
from benchmark.plugins.conformance.cases import CLASSES, Case, cases
from benchmark.plugins.conformance.checks import Check
from benchmark.plugins.conformance.suite import findings
from benchmark.plugins.conformance.trials import Subject
from benchmark.testing import CHECKS, Duty, conformance, examine
from benchmark.utils.errors import BadInput

BROKEN = [kind for _, kind in inspect.getmembers(broken_pruners, inspect.isclass) if hasattr(kind, "breaks")]
BASELINES = [Magnitude, Random, Snip, Grasp, SynFlow, ErkRandom]
LONGER = [Force, SmartRatio, MaskCriterion]
SMALL = [case for case in cases() if case.name in ("mlp", "conv-2")]


def found_on(kind: type, names: list[str] | None = None, failed: bool = True) -> set[str]:
    """Checks that find something on two small networks."""
    subject = Subject(kind)
    chosen = [check for check in CHECKS if names is None or check.name in names]
    return {f.check for check in chosen for f in findings(subject, check, SMALL) if f.failed == failed}


def test_there_is_a_broken_pruner_for_every_check_that_can_fail() -> None:
    only_notes = {"layer collapse", "another seed"}
    assert {kind.breaks for kind in BROKEN} == {check.name for check in CHECKS} - only_notes


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_pruner_is_caught_by_its_check(kind: type) -> None:
    assert found_on(kind, [kind.breaks]) == {kind.breaks}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "kind",
    [
        broken_pruners.Half, broken_pruners.Revives, broken_pruners.LeavesEvalMode,
        broken_pruners.SeedOfGlobal, broken_pruners.FirstNetworkForAll,
        broken_pruners.NoGradients, broken_pruners.NeverAll, broken_pruners.ShareOfTheSum,
    ],
    ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_and_by_no_other(kind: type) -> None:
    assert found_on(kind) == {kind.breaks}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "check", "words"),
    [
        (broken_pruners.UnusedLabels, "declared needs", "'inputs' would do"),
        (broken_pruners.UnusedTraining, "declared needs", "'nothing' would do"),
        (broken_pruners.UnusedSet, "declared needs", "do without 'inputs'"),
        (broken_pruners.EmptiesLayers, "layer collapse", "none in fc1.weight"),
        (broken_pruners.Dice, "another seed", "masks differ between seeds"),
    ],
)
def test_notes_fail_nothing(kind: type, check: str, words: str) -> None:
    report = findings(Subject(kind), next(c for c in CHECKS if c.name == check), SMALL[:1])
    assert any(words in finding.seen for finding in report)
    assert not any(finding.failed for finding in report)
    assert found_on(kind) == set()


def duty_name(duty: Duty) -> str:
    return f"{duty.subject.kind.__name__}-{duty}"


def name_of(value: Any) -> str:
    return str(getattr(value, "__name__", None) or value.name.replace(" ", "-"))


@pytest.mark.parametrize(("kind", "check", "case"), pairs(BASELINES, CHECKS, cases()), ids=name_of)
def test_baselines_keep_every_rule(kind: type, check: Check, case: Case) -> None:
    assert not [finding for finding in findings(Subject(kind), check, [case]) if finding.failed]


@pytest.mark.long
@pytest.mark.parametrize("duty", [duty for kind in LONGER for duty in conformance(kind)], ids=duty_name)
def test_so_do_baselines_of_many_passes_and_of_trained_weights(duty: Duty) -> None:
    duty()


@pytest.mark.long
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name.replace(" ", "-"))
def test_prospr_keeps_every_rule_where_its_steps_do_not_diverge(check: Check) -> None:
    """On the residual network whose batch norm has initial statistics three steps of 0.1 do, and the check says so."""
    plain = [case for case in cases() if case.name != "resnet-20"]
    assert not [finding for finding in findings(Subject(ProsPr), check, plain) if finding.failed]
    diverged = findings(Subject(ProsPr), check, [case for case in cases() if case not in plain])
    assert check.name != "finite scores" or any("NaN" in finding.seen for finding in diverged)


def test_a_plain_learner_keeps_every_rule() -> None:
    assert found_on(broken_pruners.Learner) == set()


def test_a_failure_says_what_was_expected_seen_and_why() -> None:
    duty = next(d for d in conformance(broken_pruners.LabelsInSecret) if str(d) == "declared-needs")
    with pytest.raises(AssertionError) as caught:
        duty()
    for word in ("expected", "needs = 'nothing'", "seen", "AttributeError", "why", "resnet-20"):
        assert word in str(caught.value)


def test_a_network_that_a_pruner_cannot_run_on_fails_one_check_and_not_all() -> None:
    duties = {str(duty): duty for duty in conformance(broken_pruners.OnlyMatrices)}
    with pytest.raises(AssertionError, match="conv-2"):
        duties["runs-on-every-family"]()
    duties["exact-density"]()


@pytest.mark.usefixtures("answered_here")
def test_checks_that_no_network_is_left_for_are_not_called_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "cases", lambda: tuple(SMALL))
    path = tmp_path / "number.py"
    path.write_text(
        "from benchmark.api import Pruner\n\n\nclass Number(Pruner):\n    needs = 'nothing'\n\n"
        "    def score(self, network, examples, rng):\n        return 3\n"
    )
    shown = CliRunner().invoke(cli, ["check", str(path)])
    results = dict(re.findall(r"^(\S.*?)  +(FAILED|not run|ok)$", shown.output, re.MULTILINE))
    assert shown.exit_code == 1
    assert [name for name, result in results.items() if result == "FAILED"] == [
        "runs on every family",
        "declared needs",
    ]
    assert set(list(results.values())[2:]) == {"not run"}
    assert "2 of 15 checks failed, 13 not run" in shown.output


def test_the_process_is_left_as_it_was() -> None:
    before, states = shared.settings(), shared.random_states()
    for kind in (broken_pruners.DefaultDtype, broken_pruners.NoGradients, broken_pruners.GlobalTorch):
        found_on(kind)
    assert shared.settings() == before
    assert shared.random_states() == states


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_every_family_computes_what_its_shape_says(case: object) -> None:
    """Independent of the checks: the tiny networks run, are the library's own, and have distinct prunable tensors."""
    network, examples = case.network(), case.examples()  # type: ignore[attr-defined]
    outputs = network.logits(examples.inputs, network.weights)
    assert outputs.shape == (5 * CLASSES, CLASSES)
    assert bool(torch.isfinite(outputs).all())
    assert len(set(network.weights)) == len(network.weights) >= 3
    assert type(network.module).__module__.startswith("benchmark.networks.")


@pytest.fixture
def powers(tmp_path: Path) -> Path:
    """File of a pruner with a hyper-parameter."""
    path = tmp_path / "mine.py"
    path.write_text(
        "from benchmark.api import Pruner\n\n\nclass Mine(Pruner):\n"
        "    def __init__(self, power: float = 1.0) -> None:\n        self.power = power\n\n"
        "    def score(self, network, examples, rng):\n"
        "        return {name: w.abs() ** self.power for name, w in network.weights.items()}\n"
    )
    return path


@pytest.mark.long
def test_check_on_the_command_line(powers: Path) -> None:
    good = CliRunner().invoke(cli, ["check", str(powers), "--set", "power=2"])
    assert good.exit_code == 0, good.output
    assert "All 15 checks passed" in good.output


@pytest.mark.usefixtures("answered_here")
def test_check_says_what_fails_and_what_it_cannot_use(
    powers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "cases", lambda: tuple(SMALL))
    bad = CliRunner().invoke(cli, ["check", str(powers), "--set", "power=-1e9", "--json"])
    document = json.loads(bad.stdout)  # |w| ** -1e9 is infinite
    assert bad.exit_code == 1
    assert not document["passed"]
    assert "finite scores" in {finding["check"] for finding in document["findings"] if finding["failed"]}
    for name in ("dense.py", "My Method.py", "snip.py"):  # as `run` refuses them
        (tmp_path / name).write_text(powers.read_text())
        refused = CliRunner().invoke(cli, ["check", str(tmp_path / name)])
        assert isinstance(refused.exception, BadInput), refused.output
        assert "Rename" in str(refused.exception) or "Name the file" in str(refused.exception)
    for arguments in (["check", str(powers.with_name("none.py"))], ["check", str(powers), "--set", "colour=1"]):
        assert CliRunner().invoke(cli, arguments).exit_code != 0


def test_examine_runs_everything_once() -> None:
    report = examine(Magnitude)
    assert report.failures == ()
    assert len(report.networks) == 6
