"""A new plugin's folder: the commented file, a package around it, its tests. No torch."""

from __future__ import annotations

import importlib.util
import keyword
import re
from importlib import resources
from pathlib import Path
from string import Template
from typing import Literal

from benchmark import protocols
from benchmark.plugins.registry import names
from benchmark.utils.errors import BadInput, EnvironmentProblem

Kind = Literal["score", "mask", "hook", "learner"]
FRAMES: dict[Kind, tuple[str, str, str]] = {
    "score": ("pruners", "pruner", "test_score.py.txt"),
    "mask": ("pruners", "pruner", "test_mask.py.txt"),
    "hook": ("hooks", "hook", "test_training.py.txt"),
    "learner": ("pruners", "learner", "test_training.py.txt"),
}
"""The group of "lotterybench.<group>" that it is entered in, its word, and the template of its tests."""


def write_pruner(name: str, parent: Path, kind: Kind) -> list[Path]:
    """Write `<parent>/<name>/` and return its files.

    Raises BadInput for a name that is no module's or is taken, or a folder that exists; EnvironmentProblem if it
    cannot be written.
    """
    refuse_name(name)
    folder = parent / name
    if folder.exists():
        raise BadInput(str(folder), "it exists, and nothing is overwritten", "Give another name or another --to")
    group, word, tests = FRAMES[kind]
    words = {
        "name": name,
        "cls": "".join(part.capitalize() for part in name.split("_")),
        "title": name.replace("_", " ").capitalize(),
        "dashed": name.replace("_", "-"),
        "group": group,
        "word": word,
    }
    targets = {
        f"{name}.py": f"{kind}.py.txt",
        f"test_{name}.py": tests,
        "pyproject.toml": "pyproject.toml.txt",
    }
    try:
        folder.mkdir(parents=True)
        for target, template in targets.items():
            text = (resources.files("benchmark") / "plugins" / "templates" / template).read_text(encoding="utf-8")
            (folder / target).write_text(Template(text).substitute(words), encoding="utf-8")
    except OSError as error:
        raise EnvironmentProblem(
            str(folder), f"cannot be written ({error.strerror or error})", "Give another --to"
        ) from error
    return [folder / target for target in targets]


def refuse_name(name: str) -> None:
    """Raise BadInput unless `name` can be a module, a method, and nobody else's."""
    thing = f"'{name}'"
    if keyword.iskeyword(name):
        raise BadInput(thing, "is a Python keyword", f"Choose another name, such as {name.lower()}_pruner")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise BadInput(thing, "cannot name a pruner", "Use small letters, digits and _, as in my_method")
    if name in names():
        raise BadInput(thing, "a pruner of this name is registered", "Choose another name")
    for protocol in protocols.load_all():
        if name in (*protocol.methods, "dense"):
            raise BadInput(thing, f"{protocol.id} has a method of this name", "Choose another name")
    if importlib.util.find_spec(name) is not None:
        raise BadInput(thing, "a Python module of this name is installed, and would be hidden", "Choose another name")
