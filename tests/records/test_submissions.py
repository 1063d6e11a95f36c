"""Methods that plugins add: names, levels, files beside records, refusals. No training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import Outcome, record
from click.testing import CliRunner, Result
from submissions import PLUGIN, facts

from benchmark import protocols
from benchmark.cli.main import cli
from benchmark.cli.selection import settings_of
from benchmark.plugins import examine as plugin_facts
from benchmark.plugins.describe import described, levels_for, submission_to
from benchmark.plugins.registry import plugin_files
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell, cells_of, method_names
from benchmark.records import submissions
from benchmark.records.store import Store
from benchmark.records.submissions import Submission, method_name
from benchmark.utils.errors import BadInput, BadPruner

LTH = protocols.load("lth/lenet-mnist@1")
MNIST1D = protocols.load("mnist1d/mlp@1")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


@pytest.mark.usefixtures("answered_here")
def test_hyper_parameters_are_read_as_annotated_and_defaults_are_left_out(plugin: Path) -> None:
    given = {"alpha": "1e-5", "beta": "2", "on": "true", "mode": "b"}
    found = described(plugin, given)
    assert found.parameters == {"alpha": 1e-5, "beta": 2, "on": True, "mode": "b"}
    assert [type(value) for value in found.parameters.values()] == [float, int, bool, str]
    assert (found.name, found.kind, found.needs, found.rounds, found.allocation) == (
        "mine", "score", "labels", 3, "global",
    )  # fmt: skip
    assert said(plugin, {"alpha": "1"})["parameters"] == {}


def said(path: Path, given: dict[str, str]) -> dict[str, Any]:
    """What `described` asks its confined process about a plugin's own words, asked in this one: starting it takes
    seconds."""
    return plugin_facts.facts(path, given, lambda _: None)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gamma", "1", ["no such hyper-parameter", "Known: alpha"]),
        ("alpha", "much", ["valid number", "float"]),
        ("beta", "1.5", ["integer"]),
        ("mode", "c", ["'a' or 'b'"]),
        ("alpha", "inf", ["not finite"]),
        ("odd", "1", ["Annotate it"]),
        ("bare", "1", ["Annotate it"]),
        ("alpha", "-1", ["alpha is below 0"]),
    ],
)
def test_hyper_parameters_that_do_not_fit(plugin: Path, name: str, text: str, words: list[str]) -> None:
    with pytest.raises((BadInput, BadPruner)) as caught:
        said(plugin, {name: text})
    for word in words:
        assert word in str(caught.value)


def test_the_confined_process_tells_a_wrong_value_from_a_wrong_plugin(plugin: Path) -> None:
    """The other: `test_a_plugin_that_ends_or_fills_its_process_is_named`."""
    with pytest.raises(BadInput, match=r"--set alpha=much: .*valid number.* Give a value of float"):
        described(plugin, {"alpha": "much"})


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ('needs = "labels"', 'needs = "test labels"', "is 'test labels'"),
        ("rounds = 3", "rounds = 0", "is 0"),
        ("rounds = 3", "rounds = True", "is True"),
        ("rounds = 3", 'allocation = "erk"', "is 'erk'"),
        ("paper = ", "paper = 3 #", "is 3"),
        ('needs = "labels"', 'needs = "trained weights"', "nothing is trained between rounds"),
        ("class Mine", "raise SystemExit(3)\nclass Mine", "SystemExit"),
        ("Pruner)", "Plugin)", "no complete Pruner"),
    ],
)
def test_plugins_that_cannot_be_used(plugin: Path, old: str, new: str, cause: str) -> None:
    plugin.write_text(PLUGIN.replace("import Pruner", "import Plugin, Pruner").replace(old, new))
    with pytest.raises(BadPruner) as caught:
        said(plugin, {})
    assert cause in str(caught.value)


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        pytest.param("import os\nos._exit(3)", "ended the process with code 3", marks=pytest.mark.long),
        ("print('x' * 10**6)\nraise RuntimeError('broken')", "broken"),
    ],
)
def test_a_plugin_that_ends_or_fills_its_process_is_named(plugin: Path, code: str, cause: str) -> None:
    plugin.write_text(PLUGIN.replace("class Mine", f"{code}\nclass Mine"))
    with pytest.raises(BadPruner) as caught:
        described(plugin, {})
    assert cause in str(caught.value)


def test_a_mask_learner_has_no_rounds(plugin: Path) -> None:
    text = PLUGIN.replace("Pruner", "MaskLearner").replace("score(self, network, examples,", "learn(self, n, e, d,")
    plugin.write_text(text)
    with pytest.raises(BadPruner, match="makes the whole mask itself"):
        said(plugin, {})
    plugin.write_text(text.replace("    rounds = 3\n", ""))
    assert said(plugin, {})["kind"] == "mask"


def test_names_carry_hyper_parameters_sorted() -> None:
    assert method_name("my_method", {"beta": 2, "alpha": 0.5}) == "my_method@alpha=0.5@beta=2"
    assert method_name("m", {"a": True, "b": 1e-5, "c": -1.0}) == "m@a=true@b=1e-05@c=-1.0"
    for stem, parameters in (("../evil", {}), ("Mine", {}), ("m", {"a": "x/y"}), ("m", {"a": ""}), ("m", {"a": "a@b"})):
        with pytest.raises(BadInput):
            method_name(stem, parameters)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="longer than"):
        method_name("m", {"a": "x" * 200})


def test_levels_are_those_of_the_methods_that_prune_at_initialization() -> None:
    assert levels_for(LTH, "global") == ((7, 12, 18), (3, 9, 15))
    assert levels_for(MNIST1D, "layerwise") == ((49, 79, 89, 91, 93, 96), ())  # random is measured at all 99


def test_an_added_method_changes_neither_document_nor_digest() -> None:
    for needs, scores in (("nothing", "initial"), ("trained weights", "trained")):
        submission = submission_to(MNIST1D, facts(needs=needs, parameters={"alpha": 0.5}))
        wider = submissions.added_to(MNIST1D, {submission.name: submission})
        assert (wider.document, wider.digest, hash(wider)) == (MNIST1D.document, MNIST1D.digest, hash(MNIST1D))
        assert method_names(wider) == [*method_names(MNIST1D), "mine@alpha=0.5"]
        assert len(cells_of(wider, "mine@alpha=0.5")) == 30
        schedule = wider.pruning_method("mine@alpha=0.5").schedule
        assert (schedule.scores, schedule.restart) == (scores, 0)
    assert method_names(MNIST1D) == ["dense", "imp", "random", "imp+reinit"]


@pytest.mark.parametrize(
    ("changes", "whose"), [({"name": "imp"}, "a method of this"), ({"registered": "other"}, "a registered pruner")]
)
def test_taken_names_are_refused(changes: dict[str, str], whose: str) -> None:
    with pytest.raises(BadInput, match=f"its name is that of {whose}.*Rename"):
        submission_to(LTH, facts(**changes))
    assert submission_to(LTH, facts(registered="same")).name == "mine"


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    store, submission = Store(tmp_path), submission_to(LTH, facts(parameters={"a": 2.0, "b": 2}))
    submissions.write(store, LTH, submission)
    submissions.write(store, LTH, submission)
    assert submissions.of_protocol(store, LTH) == {"mine@a=2.0@b=2": submission}
    again = submissions.with_submissions(store, LTH).added["mine@a=2.0@b=2"].parameters
    assert [type(value) for value in again.values()] == [float, int]
    other = LTH.model_copy(update={"title": "another document"})
    assert submissions.of_protocol(store, Protocol.model_validate(other.model_dump(by_alias=True))) == {}


def recorded(store: Store, submission: Submission, digest: str | None = None) -> None:
    """One record of an added method, by the code it names or by other code."""
    wider = submissions.added_to(LTH, {submission.name: submission})
    cell = Cell(submission.name, 7, 0)
    made = record(wider, cell, Outcome(97.0, 5000))
    method = made.method.model_copy(
        update={"pruner_digest": digest or submission.plugin_digest, "parameters": submission.parameters}
    )
    store.write(LTH, cell, made.model_copy(update={"method": method}), None)


def test_edited_code_is_refused_once_there_are_records(tmp_path: Path) -> None:
    store, first, edited = Store(tmp_path), submission_to(LTH, facts()), submission_to(LTH, facts(digest="1" * 64))
    submissions.write(store, LTH, first)
    submissions.write(store, LTH, edited)  # nothing was measured yet
    submissions.write(store, LTH, first)
    recorded(store, first)
    submissions.write(store, LTH, first)
    with pytest.raises(BadInput, match=r"its code changed.*never mixed. Rename.*--results"):
        submissions.write(store, LTH, edited)
    with pytest.raises(BadInput, match="its code changed"):  # nor beside it, under another hyper-parameter
        submissions.write(store, LTH, submission_to(LTH, facts(digest="1" * 64, parameters={"a": 1})))
    with pytest.raises(BadInput, match="what it says of itself changed"):
        submissions.write(store, LTH, submission_to(LTH, facts(paper="another")))
    assert submissions.read(store, LTH, "mine") == first
    with pytest.raises(BadInput, match="was edited while it ran"):
        submissions.refuse_other_source(store, LTH, "mine", "1" * 64)
    submissions.refuse_other_source(store, LTH, "mine", "0" * 64)
    submissions.refuse_other_source(store, LTH, "magnitude", "1" * 64)


def test_records_without_their_submission_are_not_adopted(tmp_path: Path) -> None:
    store, submission = Store(tmp_path), submission_to(LTH, facts())
    recorded(store, submission)
    with pytest.raises(BadInput, match=r"holds records but no submission\.json"):
        submissions.write(store, LTH, submission)


def test_records_of_other_code_or_parameters_are_refused(tmp_path: Path) -> None:
    store, submission = Store(tmp_path), submission_to(LTH, facts(parameters={"a": 1}))
    recorded(store, submission)
    submissions.refuse_mixed(submission, store.records(LTH))
    recorded(store, submission, digest="1" * 64)
    with pytest.raises(BadInput, match=r"mine@a=1 level-07_seed-0: was not made by the plugin"):
        submissions.refuse_mixed(submission, store.records(LTH))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "other"}, "pruner and parameters make it 'mine'"),
        ({"needs": "trained weights"}, "scores initial weights"),
        ({"plugin_digest": "1"}, "plugin_digest"),
        ({"schema": "lotterybench/submission/2"}, "schema"),
        ({"more": 1}, "more"),
    ],
)
def test_damaged_submissions_are_named(tmp_path: Path, change: dict[str, object], words: str) -> None:
    store, submission = Store(tmp_path), submission_to(LTH, facts())
    submissions.write(store, LTH, submission)
    path = submissions.submission_path(store, LTH, "mine")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}, indent=1) + "\n")
    with pytest.raises(BadInput) as caught:
        submissions.of_protocol(store, LTH)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert not submissions.with_submissions(store, LTH).added  # verbs that read go on without it


def test_a_submission_in_another_place_or_under_a_protocols_own_name_is_refused(tmp_path: Path) -> None:
    store, submission = Store(tmp_path), submission_to(LTH, facts())
    for name in ("elsewhere", "imp"):
        path = submissions.submission_path(store, LTH, name)
        path.parent.mkdir(parents=True)
        text = submission.dumps().replace('"mine"', '"imp"') if name == "imp" else submission.dumps()
        path.write_text(text)
        with pytest.raises(BadInput, match="is about mine" if name == "elsewhere" else "has a method of this name"):
            submissions.added_to(LTH, submissions.of_protocol(store, LTH))
        path.unlink()


def test_set_needs_one_plugin_and_a_value(plugin: Path) -> None:
    files = plugin_files([plugin])
    assert settings_of(["alpha=0.5", "mode=a=b"], files) == {"alpha": "0.5", "mode": "a=b"}
    for given in (["alpha"], ["=1"], ["a b=1"], ["alpha="], ["alpha=1", "alpha=2"]):
        with pytest.raises(BadInput):
            settings_of(given, files)
    with pytest.raises(BadInput, match="no --plugin is given"):
        settings_of(["alpha=1"], {})


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def planned(*arguments: str) -> dict[str, int]:
    """Cells by method of `plan --json`."""
    result = invoke("plan", *arguments, "--json")
    assert result.exit_code == 0, result.output + str(result.exception)
    return {row["method"]: row["cells"] for row in json.loads(result.stdout)}


@pytest.mark.usefixtures("answered_here")
def test_what_plan_selects(plugin: Path, tmp_path: Path, tiny_path: Path) -> None:
    place = ["--results", str(tmp_path / "r"), "--plugin", str(plugin)]
    assert planned("mnist1d/mlp", *place) == {"dense": 10, "mine": 60}
    assert planned("mnist1d/mlp:mine", *place, "--set", "alpha=0.5") == {"mine@alpha=0.5": 60}
    assert planned("mnist1d/mlp:mine", "mnist1d/mlp:imp+reinit", *place) == {"mine": 60, "imp+reinit": 60}
    assert planned(str(tiny_path), *place) == {"dense": 2, "mine": 4}
    assert not (tmp_path / "r").exists()
    own = tmp_path / "own.yaml"  # a protocol that names the pruner itself
    own.write_text(tiny_path.read_text().replace("pruner: snip", "pruner: mine"))
    assert "mine" not in planned(str(own), *place)
    for arguments, words in (
        (["mnist1d/mlp:imp", *place], "no selected method uses it"),
        ([str(own), *place, "--set", "alpha=2"], "Write its parameters there"),
    ):
        refused = invoke("plan", *arguments)
        assert words in str(refused.exception)


def test_plan_with_a_plugin_imports_no_torch(plugin: Path, tmp_path: Path) -> None:
    arguments = ["plan", "mnist1d/mlp", "--plugin", str(plugin), "--results", str(tmp_path)]
    code = (
        "import sys\nfrom benchmark.cli.main import main\n"
        f"sys.argv = ['lotterybench', *{arguments!r}]\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr.splitlines()[-1] == "False", done.stderr
    assert "mine" in done.stdout


def test_a_submission_that_never_ends_is_not_read(tmp_path: Path) -> None:
    """A pipe waits for its writer, a device goes on for ever: a results folder of somebody else's may hold either."""
    makers: dict[str, Callable[[Path], object]] = {
        "pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"),
    }  # fmt: skip
    for name, make in makers.items():
        store = Store(tmp_path / name)
        path = submissions.submission_path(store, MNIST1D, "mine")
        path.parent.mkdir(parents=True)
        make(path)
        with pytest.raises(BadInput, match="not a plain file"):
            submissions.read(store, MNIST1D, "mine")
        assert submissions.of_protocol(store, MNIST1D, sound_only=True) == {}
