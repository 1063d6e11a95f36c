"""What pages and docstrings point to is there: files, modules to run, links, names in backticks, targets of `make`."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name

import pytest
from anchors import broken

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "results/README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
OWN = re.compile(r"`((?:benchmark|baselines|tests|docs|examples|results)/[\w./-]*)")
COMMAND = re.compile(r"\b(?:python|pytest)\s+((?:-\w+ )*)((?:tests|examples|benchmark)/[\w./-]+)")
MODULE = re.compile(r"python -m (benchmark[\w.]*)")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


NAME = re.compile(r"`(benchmark(?:\.\w+)+)`")
TEST = re.compile(r"\btests/[\w/]+\.py\b")
SOURCES = sorted(path for folder in ("benchmark", "baselines", "tests") for path in (ROOT / folder).rglob("*.py"))


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    module, _, attribute = dotted.rpartition(".")
    try:
        if find_spec(dotted) is not None:
            return True
    except ModuleNotFoundError:
        return exists(module) and hasattr(resolve_name(module), attribute)
    return hasattr(import_module(module), attribute)


def named_in(page: str) -> set[str]:
    """Paths below the repository's root that a page names."""
    text = (ROOT / page).read_text()
    paths = {found.rstrip(".") for found in OWN.findall(text)} | {path for _, path in COMMAND.findall(text)}
    links = {str(((ROOT / page).parent / link).resolve().relative_to(ROOT)) for link in LINK.findall(text)}
    return paths | links


def test_the_patterns_find_paths() -> None:
    assert "docs/scaling.md" in named_in("README.md")
    assert any(path.startswith("benchmark/") for page in PAGES for path in named_in(page))


@pytest.mark.parametrize("page", PAGES)
def test_every_path_exists(page: str) -> None:
    missing = sorted(path for path in named_in(page) if not (ROOT / path).exists())
    assert not missing, f"{page} names what is not there"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_its_anchor_leads_somewhere(page: str) -> None:
    assert broken(ROOT / page, (ROOT / page).read_text()) == []


def test_the_readme_is_short() -> None:
    """What this is, one picture, two commands, findings; all else stands on pages of its own."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 200
    assert any(line.startswith("![") for line in lines[:12])


@pytest.mark.parametrize("page", PAGES)
def test_every_module_to_run_exists(page: str) -> None:
    for module in MODULE.findall((ROOT / page).read_text()):
        assert find_spec(module) is not None, f"{page}: python -m {module}"


def test_docstrings_name_what_exists() -> None:
    texts = {path.relative_to(ROOT): path.read_text() for path in SOURCES}
    names = {(path, name) for path, text in texts.items() for name in NAME.findall(text)}
    tests = {(path, name) for path, text in texts.items() for name in TEST.findall(text)}
    assert names
    assert tests
    missing = [pair for pair in names if not exists(pair[1])] + [p for p in tests if not (ROOT / p[1]).is_file()]
    assert not missing


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    for page in PAGES:
        for block in re.findall(r"`make ([a-z-]+)", (ROOT / page).read_text()):
            assert block in targets, f"{page}: make {block}"
