"""Strict YAML: each scalar that YAML 1.1 or PyYAML reads otherwise, and each document that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.utils.errors import BadInput
from benchmark.utils.strict_yaml import load_file, load_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),  # PyYAML alone: text
        ("1E6", 1e6),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("'1e-4'", "1e-4"),
        ('"0.1"', "0.1"),
        ("12", 12),
        ("-0", 0),
        ("+7", 7),
        ("on", "on"),  # YAML 1.1: true
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("10:30", "10:30"),  # YAML 1.1: 630
        ("010", "010"),  # YAML 1.1: 8
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),  # YAML 1.1: 1000
        ("2020-01-01", "2020-01-01"),  # YAML 1.1: a date
        ("true", True),
        ("false", False),
        ("True", "True"),
        ("~", None),
        ("null", None),
        ("", None),
        (".inf", ".inf"),
        ("nan", "nan"),
        ("e5", "e5"),
        ("1.5.2", "1.5.2"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = load_text(f"a: {text}\n", "f.yaml")["a"]
    assert found == value
    assert type(found) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_that_python_prints_is_read_back(value: float) -> None:
    found = load_text(f"[{value!r}]", "f.yaml")[0]
    assert isinstance(found, float)
    assert found == value


@pytest.mark.parametrize(
    ("text", "place", "cause"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1", "key 'a' stands twice"),
        ("a:\n  x: 1\n  x: 1\n", "f.yaml:3:3", "key 'x' stands twice"),
        ("[{x: 1, x: 2}]", "f.yaml:1:9", "key 'x' stands twice"),
        ("? [1]\n: 2\n", "f.yaml:1:3", "is not text"),
        ("true: 1\n", "f.yaml:1:1", "key True is not text"),
        ("a: [1, 2\nb: 3\n", "f.yaml:2", "expected"),
        ("a: !!python/object:os.system x\n", "f.yaml:1:4", "tag"),
        ("a: !!timestamp 2020-01-01\n", "f.yaml:1:4", "tag"),
        ("a: !!float nan\n", "f.yaml:1:4", "tag"),
        ("a: !!bool 3\n", "f.yaml:1:4", "tag"),
        ("a: &x [*x]\n", "f.yaml:1", "recursive"),
        ("a: *nowhere\n", "f.yaml:1:4", "alias"),
        ("a: &x 1\nb: &x 2\n", "f.yaml:2:4", "anchor 'x' stands twice"),
        ("a: &x [&x 1]\n", "f.yaml:1:8", "anchor 'x' stands twice"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1", "document"),
        ("a: \x07\n", "f.yaml", "not YAML"),
        ("a: " + "9" * 5000, "f.yaml", "not YAML"),
        ("[" * 5000, "f.yaml:1:41", "nested deeper than 40 levels"),
    ],
)
def test_refused_with_place_and_cause(text: str, place: str, cause: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_text(text, "f.yaml")
    assert caught.value.thing.startswith(place)
    assert cause in caught.value.cause
    assert caught.value.fix


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: ümlaut".encode("latin-1"))
    for path in (tmp_path / "missing.yaml", tmp_path, latin):
        with pytest.raises(BadInput) as caught:
            load_file(path)
        assert caught.value.thing == str(path)
        assert "cannot be read" in caught.value.cause


def test_an_alias_stands_for_what_is_anchored() -> None:
    assert load_text("a: &x [1, {b: no}]\nc: *x\n", "f.yaml") == {"a": [1, {"b": "no"}], "c": [1, {"b": "no"}]}
    assert load_text("a: &k key\n*k : 1\n", "f.yaml") == {"a": "key", "key": 1}


def test_merge_keys_are_plain_keys() -> None:
    """`<<` would pull fields in from elsewhere unseen; here it is a key like any other, so a protocol refuses it."""
    assert load_text("a: {<<: {b: 1}}", "f.yaml") == {"a": {"<<": {"b": 1}}}
