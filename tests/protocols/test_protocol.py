"""Protocols: every bad input gives one clear error; digests and the lock notice every change."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.protocols import Protocol, load, load_file, parse
from benchmark.utils import strict_yaml
from benchmark.utils.errors import BadInput

Document = dict[str, Any]


@pytest.fixture
def document(tiny_path: Path) -> Document:
    """The tiny protocol as plain data, for each test to spoil."""
    loaded = strict_yaml.load_file(tiny_path)
    assert isinstance(loaded, dict)
    return loaded


def put(document: Document, path: str, value: Any) -> None:
    """Set the field at a dotted path."""
    *parents, last = path.split("/")
    for part in parents:
        document = document[part]
    document[last] = value


LISTED = {"rule": "listed", "densities": [0.5, 0.0]}
BAD = [
    # path, value, the field named in the error, a part of the cause, a part of the fix
    ("colour", "red", "colour", "not permitted", "Remove the field"),
    ("recipe/learning_rte", 0.1, "recipe.learning_rte", "not permitted", "correct its spelling"),
    ("recipe/learning_rate", "1e-4", "recipe.learning_rate", "'1e-4'", "without quotes: 1e-4"),
    ("recipe/learning_rate", "fast", "recipe.learning_rate", "'fast'", "named type"),
    ("recipe/learning_rate", 0, "recipe.learning_rate", "greater than 0", "range"),
    ("recipe/steps", 1.5, "recipe.steps", "integer", "named type"),
    ("recipe/steps", True, "recipe.steps", "integer", "named type"),
    ("recipe/order", "random", "recipe.order", "'shuffled-each-epoch'", "named type"),
    ("evaluation/test_at_validation_minima", "on", "evaluation.test_at_validation_minima", "boolean", "named type"),
    ("evaluation/test_every", 3, "evaluation", "no multiple", ""),
    ("evaluation/early_stop", "none", "evaluation", "go together", ""),
    ("levels", LISTED, "levels.densities.1", "greater than 0", "range"),
    ("levels", {**LISTED, "densities": [1.5]}, "levels.densities.0", "less than or equal to 1", "range"),
    ("levels", {**LISTED, "densities": [0.2, 0.5]}, "levels.densities", "highest first", ""),
    ("levels", {"rule": "listd", "densities": [0.5]}, "levels", "'listed'", ""),
    ("levels/rate", 1.0, "levels.rate", "less than 1", "range"),
    ("levels/rounds", 300, "levels.rounds", "255", "range"),
    ("pruning/layer_rates", {"fc4": 0.5}, "pruning", "Did you mean 'fc", ""),
    ("pruning/layer_rates", {"fc3": 1.5}, "pruning", "outside [0, 1]", ""),
    ("data/validation", 0, "data", "split: none", ""),
    ("seeds", [1, 1], "protocol", "twice", ""),
    ("seeds", [], "seeds", "at least 1", ""),
    ("methods/imp/levels", [1, 9], "protocol", "methods.imp: level 9 is outside 1..4", ""),
    ("methods/imp/levels", [1, "2"], "methods.imp.levels.1", "integer", "without quotes"),
    ("methods/imp/levels", "al", "methods.imp.levels", "'all'", ""),
    ("methods/imp/levels", [1, 4], "protocol", "twice", ""),
    ("methods/imp/prunr", "x", "methods.imp.prunr", "not permitted", "spelling"),
    ("methods/imp/schedule/rounds", 0, "methods.imp.schedule", "below 1", ""),
    ("methods/imp/schedule/restart", -1, "methods.imp.schedule", "below 0", ""),
    ("methods/imp/schedule/restart", 20, "protocol", "restart 20", ""),
    ("methods/imp/schedule/restart", 2.5, "methods.imp.schedule.restart", "integer", ""),
    ("methods/imp/schedule/retrain_steps", 5, "methods.imp.schedule", "restart: trained", ""),
    ("methods/snip/schedule/restart", "trained", "methods.snip.schedule", "scores: trained", ""),
    ("methods/snip/schedule/rounds", "levels", "methods.snip.schedule", "scores: trained", ""),
    ("methods/one-shot/schedule/rounds", 3, "methods.one-shot.schedule", "rounds: 1", ""),
    ("methods/imp+reinit/of", "ipm", "protocol", "'ipm' is not a pruning method", ""),
    ("methods/imp+reinit/of", "imp+shuffle", "protocol", "not a pruning method", ""),
    ("methods/imp+reinit/draws", 0, "methods.imp+reinit.draws", "greater than 0", ""),
    ("methods/imp+reinit/draws", 10**9, "methods.imp+reinit.draws", "less than or equal to 1000", ""),
    ("methods/imp+reinit/drws", 1, "methods.imp+reinit.drws", "not permitted", "spelling"),
    ("methods/imp+shuffle/control", "reinitialise", "protocol", "named <method>+reinit", ""),
    ("methods/imp+shuffle/levels", [9], "protocol", "outside 1..4", ""),
    ("methods/random+shuffle/levels", [2], "protocol", "level 2 is not measured by random", ""),
    ("methods/imp", 3, "methods.imp", "object", ""),
    ("id", "Tiny", "id", "pattern", ""),
    ("version", 0, "version", "greater than 0", ""),
    ("schema", "lotterybench/protocol/2", "schema", "lotterybench/protocol/1", ""),
]


@pytest.mark.parametrize(("path", "value", "field", "cause", "fix"), BAD)
def test_bad_fields(document: Document, path: str, value: Any, field: str, cause: str, fix: str) -> None:
    put(document, path, value)
    with pytest.raises(BadInput) as caught:
        parse(document, "some/file.yaml")
    assert caught.value.thing == f"some/file.yaml: {field}"
    assert cause in caught.value.cause
    assert fix in caught.value.fix
    assert "\n" not in str(caught.value)


def test_reported_early_stop_needs_a_validation_set(document: Document) -> None:
    document["data"].update(validation=0, split="none")
    with pytest.raises(BadInput, match=r"data\.validation"):
        parse(document, "f.yaml")


def test_levels_that_the_layer_rates_forbid_are_refused(document: Document) -> None:
    document["pruning"]["layer_rates"] = {"fc1": 0, "fc2": 0, "fc3": 0}
    document["levels"] = {"rule": "listed", "densities": [0.9, 0.8, 0.7, 0.6]}
    with pytest.raises(BadInput, match=r"317 weights cannot be reached with these layer_rates"):
        parse(document, "f.yaml")


def test_one_round_that_cannot_reach_a_level_is_refused(document: Document) -> None:
    """Twelve rounds leave 4 of 352 weights; one round at half rate leaves 16 in the output layer alone."""
    document["levels"]["rounds"] = 12
    document["methods"]["one-shot"]["levels"] = [12]
    with pytest.raises(BadInput, match=r"methods\.one-shot: level 12 cannot be reached in one round"):
        parse(document, "f.yaml")


@pytest.mark.parametrize("missing", ["recipe", "methods", "seeds", "schema", "statistics"])
def test_a_missing_field_is_named(document: Document, missing: str) -> None:
    del document[missing]
    with pytest.raises(BadInput) as caught:
        parse(document, "f.yaml")
    assert (caught.value.thing, caught.value.fix) == (f"f.yaml: {missing}", "Add the field")


def test_all_missing_fields_are_named_at_once(document: Document) -> None:
    """An author who begins with four lines is not told of one field at a time."""
    for field in ("schema", "recipe", "seeds"):
        del document[field]
    with pytest.raises(BadInput, match=r"^mine: fields are missing: schema, seeds, recipe\. Add them.* extends: "):
        parse(document, "mine")


@pytest.mark.parametrize("whole", [None, [], "text", 3])
def test_a_protocol_is_a_mapping(whole: Any) -> None:
    with pytest.raises(BadInput, match="mapping of fields"):
        parse(whole, "f.yaml")


def test_duplicate_keys_and_plain_exponents_in_a_file(tiny_path: Path, tmp_path: Path) -> None:
    text = tiny_path.read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("learning_rate: 0.01", "learning_rate: 1e-2"))
    assert load_file(path).recipe.learning_rate == 0.01
    path.write_text(text + "seeds: [3]\n")
    with pytest.raises(BadInput, match=r"mine\.yaml:\d+:1: key 'seeds' stands twice"):
        load(str(path))


def test_unknown_names_come_with_the_nearest(tiny_protocol: Protocol) -> None:
    with pytest.raises(BadInput, match=r"protocol 'lth/lenet-mnst'.*Did you mean 'lth/lenet-mnist'\?"):
        load("lth/lenet-mnst")
    with pytest.raises(BadInput, match=r"method 'synflw'.*Did you mean 'synflow'\?"):
        tiny_protocol.method("synflw")


def turned(mapping: Any) -> Any:
    """The same document with every mapping's keys in reverse order."""
    if isinstance(mapping, dict):
        return {key: turned(mapping[key]) for key in reversed(mapping)}
    return [turned(item) for item in mapping] if isinstance(mapping, list) else mapping


def test_digest_ignores_comments_key_order_and_spelled_out_defaults(tiny_path: Path, tmp_path: Path) -> None:
    wanted = load_file(tiny_path).digest
    text = tiny_path.read_text()
    plain = tmp_path / "plain.yaml"
    plain.write_text("\n".join(line.split("#")[0].rstrip() for line in text.splitlines()))
    assert load_file(plain).digest == wanted
    document = strict_yaml.load_text(text, "tiny")
    document["recipe"]["momentum"] = 0.0  # the default, spelled out
    assert parse(document, "tiny").digest == wanted
    assert list(turned(document)["methods"]) == list(document["methods"])[::-1]
    assert parse(turned(document), "tiny").digest == wanted


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all numbers, texts and booleans in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path
        return
    for key, item in items:
        yield from leaves(item, (*path, key))


def test_digest_is_changed_by_any_field(tiny_protocol: Protocol) -> None:
    """Each leaf of the materialised document is altered in turn; parse() is bypassed, so no rule gets in the way."""
    digests = {tiny_protocol.digest}
    paths = list(leaves(tiny_protocol.document))
    assert len(paths) > 100
    for path in paths:
        altered = copy.deepcopy(tiny_protocol.document)
        place = altered
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = "altered"
        twin = tiny_protocol.model_copy()
        vars(twin).update(document=altered)
        vars(twin).pop("digest", None)
        digests.add(twin.digest)
    assert len(digests) == len(paths) + 1


def test_a_file_read_twice_gives_equal_protocols_after_use(tiny_path: Path) -> None:
    """Caches are keyed by protocols, and what a protocol works out of itself is part of what is compared."""
    first, second = load_file(tiny_path), load_file(tiny_path)
    for protocol in (first, second):
        assert protocol.examined is protocol
        assert protocol.digest
    assert first == second


def test_an_added_method_is_known_to_the_wider_protocol_alone(tiny_protocol: Protocol) -> None:
    """What was worked out for the original does not go over to it, nor back."""
    before = list(tiny_protocol.all_methods)
    wider = tiny_protocol.with_added({"mine": tiny_protocol.pruning_method("imp")})
    widest = wider.with_added({"yours": tiny_protocol.pruning_method("imp")})
    assert list(tiny_protocol.all_methods) == before
    assert list(wider.all_methods) == [*before, "mine"]
    assert list(widest.all_methods) == [*before, "mine", "yours"]
    assert wider.digest == tiny_protocol.digest
