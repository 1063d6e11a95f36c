"""What a plugin may be given, in one canonical form, whatever form it declared it in. No torch.

An author declares one text or a set of them: `needs = {"trained weights", "labels"}` (OBD, Fisher, Taylor). Records,
submissions and frames hold one text of a closed list for each meaning, so that two ways to say it are one.
"""

from __future__ import annotations

import ast
from typing import Literal, get_args

Needs = Literal[
    "nothing",
    "inputs",
    "labels",
    "training set",
    "trained weights",
    "initial and trained weights",
    "inputs and trained weights",
    "labels and trained weights",
    "inputs, initial and trained weights",
    "labels, initial and trained weights",
]

OF_PRUNERS: tuple[Needs, ...] = tuple(needs for needs in get_args(Needs) if needs != "training set")
"""What a pruner may need; the training set is a learner's, for whom the harness trains scores on it."""
OF_TRAINED: tuple[Needs, ...] = tuple(needs for needs in OF_PRUNERS if needs.endswith("trained weights"))
"""Needs that only a trained network meets."""
OF_INITIAL: tuple[Needs, ...] = tuple(needs for needs in OF_TRAINED if "initial" in needs)
"""Needs of trained weights with the initial ones beside."""
PARTS = ("nothing", "inputs", "labels", "trained weights", "initial and trained weights")
"""What a pruner's set may be made of. Labels come with their inputs, and initial weights with the trained ones."""

_CANONICAL: dict[tuple[str, str], Needs] = {
    ("", ""): "nothing",
    ("inputs", ""): "inputs",
    ("labels", ""): "labels",
    ("", "trained weights"): "trained weights",
    ("", "initial and trained weights"): "initial and trained weights",
    ("inputs", "trained weights"): "inputs and trained weights",
    ("labels", "trained weights"): "labels and trained weights",
    ("inputs", "initial and trained weights"): "inputs, initial and trained weights",
    ("labels", "initial and trained weights"): "labels, initial and trained weights",
}


def canonical_needs(declared: object) -> Needs | None:
    """The one text for what a pruner declares: a text of `OF_PRUNERS`, or a set, list or tuple of `PARTS`.

    None if it is neither, or a set says "nothing" beside something.
    """
    for needs in OF_PRUNERS:
        if isinstance(declared, str) and declared == needs:
            return needs
    if (
        not isinstance(declared, set | frozenset | list | tuple)
        or not declared
        or not all(isinstance(part, str) and part in PARTS for part in declared)
    ):
        return None
    parts = set(declared)
    if "nothing" in parts:
        return "nothing" if parts == {"nothing"} else None
    data = next((part for part in ("labels", "inputs") if part in parts), "")
    weights = next((part for part in ("initial and trained weights", "trained weights") if part in parts), "")
    return _CANONICAL[data, weights]


def examples_of(needs: Needs) -> Literal["labels", "inputs"] | None:
    """Which examples these needs entitle to: labelled, without labels, or None."""
    for data in ("labels", "inputs"):
        if needs == data or needs.startswith((f"{data} ", f"{data},")):
            return "labels" if data == "labels" else "inputs"
    return None


def needs_in_source(value: ast.expr) -> Needs | None:
    """The needs that a class assigns, read from its syntax tree; None for what is no constant, set or frozenset."""
    call = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "frozenset"
    if isinstance(value, ast.Call) and call and len(value.args) == 1:
        value = value.args[0]
    try:
        declared = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return "training set" if declared == "training set" else canonical_needs(declared)
