"""The generic registry: lazy imports, names without imports, errors that offer the nearest name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.utils.errors import BadInput
from benchmark.utils.registry import Registry

PACKAGE = "registry_example"
MODULES = {
    "__init__.py": "from benchmark.utils.registry import Registry\n",
    "table.py": "",
    "square.py": "from test_registry_tables import table\n@table.register('square')\ndef square(): return 4\n",
    "round_things.py": "from test_registry_tables import table\n"
    "@table.register('disc', 'ring', 'round-things')\ndef disc(): return 0\n",
    "broken.py": "",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in MODULES.items():
        (tmp_path / PACKAGE).mkdir(exist_ok=True)
        (tmp_path / PACKAGE / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith((PACKAGE, "test_registry_tables"))]:
        del sys.modules[name]


def a_table(monkeypatch: pytest.MonkeyPatch, modules: dict[str, str] | None = None) -> Registry[object]:
    table: Registry[object] = Registry("shape", PACKAGE, modules, besides=("table",))
    holder = type(sys)("test_registry_tables")
    holder.table = table  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "test_registry_tables", holder)
    return table


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("modules", "names"),
    [
        (None, ("broken", "round-things", "square")),
        ({"disc": "round_things", "ring": "round_things", "square": "square"}, ("disc", "ring", "square")),
    ],
)
def test_it_lists_without_importing_and_imports_only_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, modules: dict[str, str] | None, names: tuple[str, ...]
) -> None:
    table = a_table(monkeypatch, modules)
    assert table.names() == names
    assert "square" in table
    assert "cube" not in table
    assert not [name for name in sys.modules if name.startswith(PACKAGE)]
    square = table.get("square")
    assert callable(square)
    assert square() == 4
    assert table.get("square") is square
    assert f"{PACKAGE}.round_things" not in sys.modules


@pytest.mark.usefixtures("folder")
def test_several_names_share_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    table = a_table(monkeypatch, {"disc": "round_things", "ring": "round_things"})
    assert table.get("ring") is table.get("disc")
    assert list(table.all()) == ["disc", "ring", "round-things"]


@pytest.mark.usefixtures("folder")
def test_a_name_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    table = a_table(monkeypatch)
    with pytest.raises(BadInput, match=r"shape 'sqare': none is registered .* Did you mean 'square'\?"):
        table.get("sqare")
    with pytest.raises(ValueError, match="registers no shape 'broken'"):
        table.get("broken")
    with pytest.raises(BadInput, match="There is none yet"):
        Registry[object]("shape", PACKAGE, {}).get("square")


@pytest.mark.usefixtures("folder")
def test_a_name_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table = a_table(monkeypatch)
    table.get("square")
    with pytest.raises(ValueError, match="'square' is registered twice"):
        table.register("square")(object)
