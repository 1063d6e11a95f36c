"""What the command line looks like: help that needs nothing heavy, and verbs that leave the process as it was."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from benchmark.cli.options import without_gc

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
