"""What the command line looks like: help that needs nothing heavy, and options that fit what a verb takes."""

from __future__ import annotations

import gc
import inspect
import re
import subprocess
import sys
from importlib import import_module

import click
import pytest

from benchmark.cli.main import cli
from benchmark.cli.options import WHERE, soon_over

HEAVY = ("numpy", "scipy", "torch", "pydantic", "yaml", "rich", "tabulate", "jinja2", "filelock", "asyncio")
ASK_EVERYTHING = """
import contextlib, io, sys
from benchmark.cli.main import cli

def asked(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as told:
        cli.main([*arguments, "--help"], prog_name="lotterybench", standalone_mode=False)
    assert "Usage: lotterybench" in told.getvalue()

asked()
for verb in cli.commands:
    asked(verb)
print(*sorted({name.split(".")[0] for name in sys.modules}))
print(*sorted(name for name in sys.modules if name.startswith("benchmark.")))
"""


def test_no_help_imports_what_only_work_needs() -> None:
    """A quarter of a second, on every call and every completion, for whoever asks what there is."""
    done = subprocess.run([sys.executable, "-c", ASK_EVERYTHING], capture_output=True, text=True, check=True)
    packages, own = (set(line.split()) for line in done.stdout.splitlines())
    assert "click" in packages
    assert packages.isdisjoint(HEAVY), packages & set(HEAVY)
    assert {name for name in own if not name.startswith("benchmark.cli")} == {
        "benchmark.utils",
        "benchmark.utils.errors",
        "benchmark.utils.files",
    }


@pytest.mark.parametrize("command", cli.commands.values(), ids=list(cli.commands))
def test_a_verb_hands_on_just_what_its_function_takes(command: click.Command) -> None:
    """The options of a verb and the function behind it stand in two files."""
    assert command.callback is not None
    source = inspect.getsource(command.callback)
    found = re.search(r"(\w+)\.(\w+)\(\*\*given", source)
    assert found, f"{command.name} calls no function with what it was given"
    alias = re.search(rf"import (\w+) as {found[1]}\b", source)
    module = alias[1] if alias else found[1]
    taken = inspect.signature(getattr(import_module(f"benchmark.cli.{module}"), found[2])).parameters
    named = {name for name, parameter in taken.items() if parameter.kind is not inspect.Parameter.VAR_KEYWORD}
    given = {parameter.name for parameter in command.params}
    if "where" in named:
        assert given >= set(WHERE)
        given = given - set(WHERE) | {"where"}
    if len(named) == len(taken):
        assert given == named
    assert given >= named


def test_a_verb_that_is_soon_over_leaves_collection_as_it_was() -> None:
    """Also after an error: tests and notebooks call verbs in processes that live on."""
    seen: list[bool] = []

    @soon_over
    def fail() -> None:
        seen.append(gc.isenabled())
        raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert seen == [False]
    assert gc.isenabled()
