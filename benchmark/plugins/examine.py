"""What a plugin file says of itself, found in a confined process of its own (`python -m benchmark.plugins.examine`).

The author's code runs here, so that neither `run` nor `plan` imports it (or torch) themselves."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from benchmark.plugins.child import Tell, respond
from benchmark.plugins.load import FoundPruner, from_file, kind_of_class
from benchmark.plugins.sandbox.confinement import Limits
from benchmark.protocols.methods import Allocation, Return
from benchmark.protocols.needs import OF_TRAINED, PARTS, Needs, canonical_needs
from benchmark.pruning.interface import Plugin, Pruner
from benchmark.records.submissions import Value
from benchmark.utils.errors import BadInput, BadPruner, did_you_mean


def facts(path: Path, given: Mapping[str, str], tell: Tell) -> dict[str, Any]:
    """What only its code can tell of a plugin. `given`: hyper-parameters as text. Raises BadPruner or BadInput."""
    tell("import")
    found = from_file(path, kind=None)
    parameters = hyper_parameters(found, given)
    plugin = found.make(parameters)
    prunes = kind_of_class(found.kind) == "pruner"
    return {
        "needs": _needs(plugin) if prunes else "training set",
        "paper": _paper(plugin),
        **_schedule(plugin),
        "parameters": {name: value for name, value in parameters.items() if value != defaults(found).get(name)},
    }


def hyper_parameters(found: FoundPruner, given: Mapping[str, str]) -> dict[str, Value]:
    """Text from the command line as values of the types that the constructor annotates.

    Raises BadInput naming the parameter: unknown, annotated with no plain type, or not a value of that type.
    """
    taken = _constructor(found)
    values: dict[str, Value] = {}
    for name, text in given.items():
        thing = f"--set {name}={text}"
        if name not in taken:
            known = did_you_mean(name, list(taken)) if taken else "Its constructor takes none"
            raise BadInput(thing, f"pruner '{found.name}' has no such hyper-parameter", known)
        annotation = taken[name].annotation
        if annotation not in (bool, int, float, str) and get_origin(annotation) is not Literal:
            raise BadInput(thing, "it has no plain type in the constructor", "Annotate it: bool, int, float or str")
        try:
            value = TypeAdapter(annotation).validate_strings(text)
        except ValidationError as error:
            raise BadInput(thing, error.errors()[0]["msg"], f"Give a value of {_spoken(annotation)}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInput(thing, "it is not finite", "Give a finite number")
        values[name] = value
    return values


def defaults(found: FoundPruner) -> dict[str, Any]:
    """Hyper-parameters with the values they have when none is given."""
    taken = _constructor(found)
    return {name: p.default for name, p in taken.items() if p.default is not inspect.Parameter.empty}


def _constructor(found: FoundPruner) -> dict[str, inspect.Parameter]:
    try:
        signature = inspect.signature(found.kind, eval_str=True)
    except (NameError, TypeError, ValueError) as error:
        raise BadPruner(
            f"pruner '{found.name}'", f"its constructor cannot be read ({error})", "Annotate it with plain types"
        ) from error
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: p for name, p in signature.parameters.items() if p.kind in named}


def _spoken(annotation: Any) -> str:
    return annotation.__name__ if inspect.isclass(annotation) else str(annotation).removeprefix("typing.")


def _declared(plugin: object, name: str, allowed: tuple[str, ...]) -> str:
    value = getattr(plugin, name)
    if value not in allowed:
        raise BadPruner(f"{type(plugin).__name__}.{name}", f"is {value!r}", f"Declare one of: {', '.join(allowed)}")
    return str(value)


def _needs(plugin: Plugin) -> Needs:
    needs = canonical_needs(plugin.needs)
    if needs is None:
        fix = f"Declare one of, or a set of: {', '.join(PARTS)}"
        raise BadPruner(f"{type(plugin).__name__}.needs", f"is {plugin.needs!r}", fix)
    return needs


def _paper(plugin: object) -> str:
    paper = getattr(plugin, "paper", "")
    if not isinstance(paper, str):
        raise BadPruner(f"{type(plugin).__name__}.paper", f"is {paper!r}", "Say in words where it was published")
    return paper


def _schedule(plugin: object) -> dict[str, Any]:
    kind, word = type(plugin).__name__, kind_of_class(type(plugin))
    if word != "pruner":
        return {"kind": word, "rounds": 1, "allocation": "global"}
    if not isinstance(plugin, Pruner):
        for name in ("rounds", "allocation", "pruned_weights"):
            if hasattr(plugin, name):
                raise BadPruner(f"{kind}.{name}", "a MaskLearner makes the whole mask itself", "Remove it")
        return {"kind": "mask", "rounds": 1, "allocation": "global"}
    rounds: object = plugin.rounds
    if not isinstance(rounds, int) or isinstance(rounds, bool) or not 1 <= rounds <= 10_000:
        raise BadPruner(f"{kind}.rounds", f"is {rounds!r}", "Declare a whole number from 1 to 10000")
    if canonical_needs(plugin.needs) in OF_TRAINED and rounds != 1:
        raise BadPruner(
            f"{kind}.rounds", f"is {rounds}, but nothing is trained between rounds", "Trained weights take 1 round"
        )
    allocation = _declared(plugin, "allocation", get_args(Allocation))
    pruned_weights = _declared(plugin, "pruned_weights", get_args(Return))
    if pruned_weights == "may-return" and rounds == 1:
        raise BadPruner(f"{kind}.pruned_weights", "is 'may-return' with one round", "Declare rounds above 1")
    return {"kind": "score", "rounds": rounds, "allocation": allocation, "pruned_weights": pruned_weights}


if __name__ == "__main__":
    respond(facts, Limits())
