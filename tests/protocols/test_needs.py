"""What authors may declare that they need, and the one text that it becomes."""

from __future__ import annotations

import ast

import pytest

from benchmark.plugins.registry import declared_needs
from benchmark.protocols.needs import OF_PRUNERS, OF_TRAINED, canonical_needs, examples_of, needs_in_source


@pytest.mark.parametrize(
    ("declared", "one"),
    [
        ("labels", "labels"),
        ({"labels"}, "labels"),
        ({"labels", "inputs"}, "labels"),
        (frozenset({"trained weights", "labels"}), "labels and trained weights"),
        (["trained weights", "inputs"], "inputs and trained weights"),
        ({"trained weights", "initial and trained weights"}, "initial and trained weights"),
        (("labels", "initial and trained weights"), "labels, initial and trained weights"),
        ({"nothing"}, "nothing"),
        ({"nothing", "labels"}, None),
        (set(), None),
        ({"test set"}, None),
        ({"training set"}, None),
        ("training set", None),
        ({1, "labels"}, None),
        (3, None),
    ],
)
def test_one_text_for_each_meaning(declared: object, one: str | None) -> None:
    assert canonical_needs(declared) == one


def test_a_text_says_which_examples_and_which_weights() -> None:
    assert [n for n in OF_PRUNERS if examples_of(n) == "labels"] == [
        "labels", "labels and trained weights", "labels, initial and trained weights"
    ]  # fmt: skip
    assert [n for n in OF_PRUNERS if examples_of(n) is None] == [
        "nothing", "trained weights", "initial and trained weights"
    ]  # fmt: skip
    assert set(OF_PRUNERS) - set(OF_TRAINED) == {"nothing", "inputs", "labels"}


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("'labels'", "labels"),
        ("'training set'", "training set"),
        ("{'labels', 'trained weights'}", "labels and trained weights"),
        ("frozenset({'labels', 'trained weights'})", "labels and trained weights"),
        ("frozenset(range(3))", None),
        ("some_name", None),
    ],
)
def test_needs_are_read_from_source_without_running_it(text: str, one: str | None) -> None:
    value = ast.parse(text, mode="eval").body
    assert needs_in_source(value) == one


def test_the_needs_of_the_methods_here_are_read_as_before() -> None:
    found = {name: declared_needs(name) for name in ("snip", "synflow", "magnitude", "edge-popup", "no-such")}
    assert found == {
        "snip": "labels", "synflow": "nothing", "magnitude": "nothing", "edge-popup": "training set", "no-such": None
    }  # fmt: skip
