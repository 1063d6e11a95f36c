"""Pruners by entry point and by file: found, digested by what they do, refused with a reason."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import baselines.snip
from baselines.snip import Snip
from benchmark.plugins import registry
from benchmark.plugins.load import find, from_file
from benchmark.plugins.registry import locate, names, source_digest, text_digest
from benchmark.protocols import load_all, load_earlier
from benchmark.protocols.methods import MethodSpec
from benchmark.utils.errors import BadInput, BadPruner

GOOD = '''
from __future__ import annotations

from dataclasses import dataclass

from benchmark.api import Pruner


@dataclass
class Mine(Pruner):
    """score = w."""

    power: float = 1.0

    def __post_init__(self):
        if self.power < 0:
            raise ValueError("power is below 0")

    def score(self, network, examples, rng):
        return {name: w**self.power for name, w in network.weights.items()}
'''


def test_the_baselines_are_registered_as_plugins() -> None:
    assert {"random", "magnitude", "snip", "grasp", "synflow"} <= set(names())
    found = find("snip")
    assert (found.kind, found.name) == (Snip, "snip")
    assert isinstance(found.make({}), Snip)


def test_all_that_protocols_name_is_registered() -> None:
    """A pruner, learner or hook whose entry point is missing would be noticed by whoever runs the protocol."""
    for protocol in (*load_all(), *load_earlier()):
        pruning = [spec for spec in protocol.methods.values() if isinstance(spec, MethodSpec)]
        assert {spec.pruner for spec in pruning} <= set(names()), protocol.key
        for hook in {spec.hook.name for spec in pruning if spec.hook}:
            assert locate(hook, kind="hook").of_this_repository, protocol.key


def test_an_unknown_pruner_comes_with_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"pruner 'synflo'.*Did you mean 'synflow'\?"):
        find("synflo")


def test_a_file_may_stand_in_for_a_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    for found in (from_file(path), find("snip", {"snip": path})):
        assert found.kind.__name__ == "Mine"
        assert found.digest == text_digest(GOOD) != text_digest(GOOD.replace("score = w.", "score = v."))
    assert vars(from_file(path).make({"power": 2.0}))["power"] == 2.0


@pytest.mark.parametrize("parameters", [{"colour": 1}, {"power": -1.0}, {"power": "two"}])
def test_parameters_that_do_not_fit(tmp_path: Path, parameters: dict[str, object]) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    with pytest.raises(BadPruner, match="cannot be made with"):
        from_file(path).make(parameters)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("def f(:", "SyntaxError: invalid syntax (mine.py, line 1)"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("x = 1", "defines 0 pruner classes"),
        (GOOD + GOOD.replace("Mine", "Other"), "defines 2 pruner classes"),
        ("from benchmark.api import Pruner\nclass Half(Pruner):\n    pass\n", "no complete Pruner"),
        ("from benchmark.api import Plugin\nclass Neither(Plugin):\n    pass\n", "no complete Pruner"),
    ],
)
def test_files_that_are_no_plugin(tmp_path: Path, text: str, cause: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text.replace("from __future__ import annotations\n", ""))
    with pytest.raises(BadPruner) as caught:
        from_file(path)
    assert cause in caught.value.cause
    assert "mine" in caught.value.thing


def test_an_error_of_syntax_names_the_file_that_was_not_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def f(:")
    with pytest.raises(BadPruner, match=r"SyntaxError: invalid syntax \(mine\.py, line 1\)"):
        locate("mine", {"mine": path})


def test_missing_files_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.py", tmp_path, tmp_path / "none.txt"):
        with pytest.raises(BadPruner, match="is not a Python file"):
            from_file(path)


def test_an_entry_point_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("odd", "no_such_package.module:Thing", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    with pytest.raises(BadPruner, match=r"no_such_package\.module:Thing cannot be imported"):
        find("odd")


@pytest.mark.parametrize("kind", registry.GROUPS)
def test_every_kind_is_found_in_its_own_group(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One discovery, with one digest and one set of source facts; the code is not imported."""
    point = EntryPoint("mine", "baselines.snip:Snip", registry.GROUPS[kind])
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.GROUPS[kind] else [])
    assert [names(other) for other in registry.GROUPS] == [
        ["mine"] if other == kind else [] for other in registry.GROUPS
    ]
    source = registry.locate("mine", kind=kind)
    assert (source.name, source.digest) == ("mine", source_digest(Path(baselines.snip.__file__).read_bytes()))
    assert source.entry_point == "baselines.snip:Snip"
    with pytest.raises(BadInput, match=rf"{kind} 'mime': none is registered .* Did you mean 'mine'"):
        registry.locate("mime", kind=kind)
    other = next(other for other in registry.GROUPS if other != kind)
    with pytest.raises(
        BadInput, match=rf"{other} 'mine': none is registered .* entry-point group {registry.GROUPS[other]}"
    ):
        registry.locate("mine", kind=other)


def test_digest_sees_code_and_not_its_layout() -> None:
    wanted = source_digest(GOOD)
    assert source_digest(GOOD.replace('"""score = w."""', '"""Another text."""')) == wanted
    assert (
        source_digest(GOOD.replace("power: float", "power:  float").replace("    power", "    # why\n    power"))
        == wanted
    )
    for old, new in (("w**self.power", "-w**self.power"), ("1.0", "1.5"), ("score(self", "scores(self")):
        assert source_digest(GOOD.replace(old, new)) != wanted


def test_a_docstring_that_code_can_read_is_part_of_a_strangers_digest(tmp_path: Path) -> None:
    """Of a file, and of an entry point outside this repository, but not of `baselines/`."""
    path = tmp_path / "mine.py"
    digests = set()
    for words in ("score = w.", "score = v."):
        path.write_text(GOOD.replace("score = w.", words))
        digests |= {registry.locate("mine", {"mine": path}).digest, from_file(path).digest}
        assert not registry.same_code("snip", path.read_bytes())
    assert len(digests) == 2
    own = Path(baselines.snip.__file__).read_bytes()
    assert registry.same_code("snip", own + b"\n# words\n")


def test_plugin_files_with_one_name_do_not_mix(tmp_path: Path) -> None:
    """Two folders, two files mine.py: each class keeps its own code."""
    made = []
    for folder, sign in (("a", ""), ("b", "-")):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "mine.py"
        path.write_text(GOOD.replace("w**self.power", f"{sign}w"))
        made.append(from_file(path).make({}))
    weights = type("Weights", (), {"weights": {"w": torch.ones(1)}})()
    assert [float(plugin.score(weights, None, None)["w"]) for plugin in made] == [1.0, -1.0]  # type: ignore[attr-defined]


def test_no_installed_package_takes_the_name_of_a_method_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither with code of its own nor with another class of this repository's; two strangers are named and refused."""

    def point(value: str, package: str) -> EntryPoint:
        made = EntryPoint("snip", value, registry.GROUP)
        vars(made)["dist"] = SimpleNamespace(name=package)
        return made

    ours, theirs = point("baselines.snip:Snip", "lotterybench"), point("stranger:Snip", "stranger")
    mixed = point("baselines.random:Random", "stranger")
    (tmp_path / "stranger.py").write_text(GOOD)
    monkeypatch.syspath_prepend(tmp_path)
    for points in ([theirs, ours], [mixed, ours], [ours, mixed, theirs]):
        found = {registry.GROUP: points}
        monkeypatch.setattr(registry, "entry_points", lambda group, found=found: found.get(group, []))
        assert registry.locate("snip").of_this_repository
        assert find("snip").kind is Snip
        assert registry.declared_needs("snip") == "labels"
        assert registry.same_code("snip", Path(baselines.snip.__file__).read_bytes())
    monkeypatch.setattr(registry, "entry_points", lambda group: [theirs, mixed] if group == registry.GROUP else [])
    with pytest.raises(BadInput, match=r"several packages: baselines\.random:Random, stranger:Snip"):
        registry.locate("snip")
