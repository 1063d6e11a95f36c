"""A section may grow: an unused new field moves no digest, a used one does."""

from __future__ import annotations

import copy
from typing import Annotated, Any

import pytest

from benchmark.protocols import Protocol, parse
from benchmark.utils.errors import BadInput
from benchmark.utils.strict_model import ADDED, Frozen, without_unused


class Inner(Frozen):
    """A section with an old default, and two newer fields."""

    old: int = 1
    new: Annotated[bool, ADDED] = False
    later: Annotated[tuple[int, ...] | None, ADDED] = None


class Outer(Frozen):
    """Sections within sections, in every container that protocols use."""

    one: Inner
    listed: tuple[Inner, ...]
    named: dict[str, Inner]
    added: Annotated[Inner | None, ADDED] = None


def reduced(outer: Outer) -> Any:
    """What would go into a digest."""
    return without_unused(outer, outer.model_dump(mode="json"))


def test_unused_new_fields_are_left_out_at_any_depth() -> None:
    plain = Outer(one=Inner(), listed=(Inner(), Inner(old=2)), named={"a": Inner()})
    assert reduced(plain) == {"one": {"old": 1}, "listed": [{"old": 1}, {"old": 2}], "named": {"a": {"old": 1}}}
    spelled = Outer(one=Inner(new=False), listed=plain.listed, named={"a": Inner(later=None)}, added=None)
    assert reduced(spelled) == reduced(plain)


def test_used_new_fields_stand_where_they_are() -> None:
    used = Outer(one=Inner(new=True), listed=(Inner(later=(1,)),), named={"a": Inner(new=True)}, added=Inner())
    assert reduced(used) == {
        "one": {"old": 1, "new": True},
        "listed": [{"old": 1, "later": [1]}],
        "named": {"a": {"old": 1, "new": True}},
        "added": {"old": 1},
    }


def changed(protocol: Protocol, section: str, **fields: Any) -> Protocol:
    """The protocol with some fields of a section set."""
    document = copy.deepcopy(protocol.document)
    document[section].update(fields)
    return parse(document, "tiny")


UNUSED = {"nesterov": False, "drops": None, "warm_up": None, "cosine": None, "arithmetic": "torch"}
USED: list[dict[str, Any]] = [
    {"drops": {"at": [5], "unit": "step", "factor": 0.1}},
    {"drops": {"at": [5], "unit": "epoch", "factor": 0.1}},
    {"warm_up": {"length": 3, "unit": "step", "first": "zero"}},
    {"warm_up": {"length": 3, "unit": "step", "first": "one-step"}},
    {"cosine": {"floor": 0.0, "per": "step", "spans": "all-steps"}},
    {"optimizer": "sgd", "momentum": 0.9},
    {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    {"precision": "bf16"},
    {"precision": "tf32"},
    {"arithmetic": "portable"},
]


def test_a_recipes_digest_moves_with_every_new_value_and_not_without(tiny_protocol: Protocol) -> None:
    assert not set(UNUSED) & set(tiny_protocol.document["recipe"])
    assert changed(tiny_protocol, "recipe", **UNUSED).digest == tiny_protocol.digest
    digests = {changed(tiny_protocol, "recipe", **fields).digest for fields in USED}
    assert len(digests | {tiny_protocol.digest}) == len(USED) + 1
    assert changed(tiny_protocol, "data", mean=None, std=None, augmentation=None).digest == tiny_protocol.digest


MNIST = {"name": "mnist", "scaling": "standardised", "mean": [0.13], "std": [0.31]}
CROP = {"crop_padding": 4, "padded_with": "black", "flip": "none", "order": "crop-then-flip"}


@pytest.mark.parametrize(
    ("section", "fields", "says"),
    [
        ("recipe", {"nesterov": True}, "nesterov needs optimizer: sgd"),
        ("recipe", {"optimizer": "sgd", "nesterov": True}, "momentum > 0"),
        ("recipe", {"drops": USED[0]["drops"], "cosine": USED[4]["cosine"]}, "exclude each other"),
        ("recipe", {"drops": {"at": [5, 5], "unit": "step", "factor": 0.1}}, "must rise"),
        ("recipe", {"cosine": {"floor": 1.0, "per": "step", "spans": "all-steps"}}, "not below learning_rate"),
        ("recipe", {"cosine": {"floor": 0.0, "per": "step", "spans": "after-warm-up"}}, "needs warm_up"),
        ("recipe", {"arithmetic": "portable", "precision": "bf16"}, "portable is fp32, not bf16"),
        ("data", {**MNIST, "std": None}, "needs mean and std"),
        ("data", {**MNIST, "std": [0.3, 0.3]}, "1 means, 2 std"),
        ("data", {"name": "mnist", "scaling": "as-generated"}, "holds pixels"),
        ("data", {"scaling": "unit-interval"}, "is generated"),
        ("data", {**MNIST, "augmentation": CROP}, "no augmentation"),
        ("data", {**MNIST, "name": "cifar10", "augmentation": {**CROP, "crop_padding": 0}}, "neither crops nor flips"),
        ("network", {"name": "lenet-300"}, "Did you mean 'lenet-300-100'"),
        ("pruning", {"rewound": "weights-biases-and-batch-norm"}, "has no batch norm to rewind"),
    ],
)
def test_impossible_combinations_are_named(
    tiny_protocol: Protocol, section: str, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadInput) as caught:
        changed(tiny_protocol, section, **fields)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"tiny: {section}" if section != "pruning" else "tiny: ")
