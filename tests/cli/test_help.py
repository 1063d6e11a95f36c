"""What the command line looks like: help that needs nothing heavy, and verbs that leave the process as it was."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmark.cli.entry import STOPPED
from benchmark.cli.main import cli
from benchmark.cli.options import protocol_names, without_gc

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


def test_a_verb_without_collection_leaves_collection_as_it_was() -> None:
    """Also after an error: tests and notebooks call verbs in processes that live on."""
    seen: list[bool] = []

    @without_gc
    def fail() -> None:
        seen.append(gc.isenabled())
        raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert seen == [False]
    assert gc.isenabled()


def test_help_groups_the_verbs_and_leaves_none_out() -> None:
    text = CliRunner().invoke(cli, ["--help"]).output
    places = [text.index(f"\n{heading}:\n") for heading in ("Measure", "Judge", "Share", "Extend")]
    assert places == sorted(places)
    assert all(f"\n  {verb} " in text for verb in cli.commands if verb != "worker")
    assert max(map(len, text.splitlines())) <= 80


def test_protocols_and_their_methods_are_completed() -> None:
    def offered(typed: str) -> list[str]:
        return protocol_names(click.Context(cli), click.Argument(["only"]), typed)

    assert "lth/lenet-mnist" in offered("lth/l")
    assert offered("lth/lenet-mnist:sn") == ["lth/lenet-mnist:snip"]
    assert offered("nothing:") == offered("nothing") == []


@pytest.mark.parametrize("verb", [["score"], ["--help"]])
def test_ctrl_c_while_verbs_are_loaded_is_one_line(verb: list[str], tmp_path: Path) -> None:
    """The signal comes while the first verb's module is read, as it would within the first tenth of a second."""
    code = (
        "import signal, sys, importlib.abc\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Pressed(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'benchmark.cli.judging': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "from benchmark.cli.entry import main\n"
        f"sys.argv = ['lotterybench', *{verb!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{STOPPED}\n")
