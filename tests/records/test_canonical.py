"""A record has one text: whatever else is read as the same JSON by one reader or another is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from record_documents import document_of, schema_1_of, text_of

from benchmark.protocols import Protocol
from benchmark.records.schema import parse
from benchmark.utils.errors import BadInput


@pytest.fixture(params=[document_of, schema_1_of], ids=["schema-2", "schema-1"])
def text(request: pytest.FixtureRequest, tiny_protocol: Protocol) -> str:
    """A sound record of either schema."""
    return text_of(request.param(tiny_protocol))


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda t: t.replace('"seed": 1,', '"seed": 0,\n  "seed": 1,'), "names 'seed' twice"),
        (lambda t: json.dumps(json.loads(t)), "laid out otherwise"),
        (lambda t: t + "\n", "laid out otherwise"),
        (lambda t: t[:-1], "laid out otherwise"),
        (lambda t: t.replace("0.36", "3.6e-1"), "laid out otherwise"),
        (lambda t: t.replace('"seed": 1,\n  "draw": 0', '"draw": 0,\n  "seed": 1'), "laid out otherwise"),
        (lambda t: t.replace('"cpu: x"', '"cpu\\u003a x"'), "laid out otherwise"),
        (lambda t: t.replace('"status"', '"scores": null,\n "status"'), "laid out otherwise"),
        (lambda t: t.replace("cpu: x", "cpu: \\u001b[2Kx"), "cannot be printed"),
        (lambda t: t.replace("cpu: x", "cpu: \\u202ex"), "cannot be printed"),
        (lambda t: t.replace("cpu: x", "cpu:\\nx"), "cannot be printed"),
    ],
)
def test_any_other_text_of_a_record_is_refused(text: str, spoil: Callable[[str], str], cause: str) -> None:
    assert parse(text, "r.json").dumps() == text
    spoilt = spoil(text)
    assert spoilt != text
    with pytest.raises(BadInput) as caught:
        parse(spoilt, "r.json")
    assert caught.value.thing == "r.json"
    assert cause in caught.value.cause


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("cost", "train_seconds", -0.5),
        ("cost", "train_seconds", 1e300),
        ("cost", "prune_forward_passes", -1),
        ("mask", "density", 1.5),
        ("cell", "seed", -1),
        ("provenance", "commit", "HEAD\u001b[1A"),
        ("provenance", "commit", "[a](javascript:x)"),
        ("provenance", "finished_utc", "yesterday"),
    ],
)
def test_what_no_run_can_have_is_refused(tiny_protocol: Protocol, part: str, field: str, value: Any) -> None:
    document = document_of(tiny_protocol)
    document[part][field] = value
    with pytest.raises(BadInput, match=f"{part}.{field}"):
        parse(text_of(document), "r.json")


def test_no_network_is_more_than_always_right(tiny_protocol: Protocol) -> None:
    document = document_of(tiny_protocol)
    document["measured"]["metrics"]["test_accuracy"]["best"] = 100.5
    with pytest.raises(BadInput, match=r"test_accuracy is 100\.5 percent"):
        parse(text_of(document), "r.json")


@pytest.mark.parametrize("value", [1e-5, 9.9e-5, 1.5e16, 1e22, 123456789.125, 1e-300, 5e-324, 1e15])
def test_every_spelling_of_python_is_the_one_form(tiny_protocol: Protocol, value: float) -> None:
    """pydantic writes 0.00001 and 1e16, Python 1e-05 and 1e+16: what Python wrote is read back."""
    document = document_of(tiny_protocol)
    document["measured"]["metrics"]["train_loss"]["last"] = value
    assert parse(text_of(document), "r.json").dumps() == text_of(document)
