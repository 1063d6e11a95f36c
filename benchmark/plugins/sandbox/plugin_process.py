"""The process a plugin runs in: confined first, then loads the plugin and answers until the harness hangs up."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import EntryPoint
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.datasets.dataset import Examples
from benchmark.networks import make
from benchmark.plugins.load import FoundPruner, from_entry_point, from_source
from benchmark.plugins.registry import GROUP
from benchmark.plugins.sandbox.confinement import Limits, Protections, confine
from benchmark.plugins.sandbox.mounts import SCRATCH
from benchmark.plugins.sandbox.training_process import LARGEST, NETWORK, serve_training
from benchmark.plugins.sandbox.wire import (
    Answer,
    Begin,
    BrokenAnswer,
    Confined,
    Load,
    Loaded,
    Refusal,
    Round,
    mask_bytes,
    pack,
    read_mask_bits,
    receive,
    send,
    unpack,
)
from benchmark.protocols.recipe import Recipe
from benchmark.pruning.interface import Plugin, ScoringRound
from benchmark.pruning.masks import check_masks, check_scores
from benchmark.pruning.scorer import DirectScorer, Draw, ScoredNetwork, declared_needs, kind_of, wants_fresh
from benchmark.training.device import configure_cpu
from benchmark.utils.errors import BadPruner


def serve(channel: socket.socket, limits: Limits, namespaces: bool, readable: Sequence[str]) -> None:
    """Confine this process, then answer on `channel` until it closes or the plugin breaks its contract."""
    protections = confine(limits, namespaces, readable)
    if protections.scratch:
        os.chdir(SCRATCH)
    configure_cpu()
    setattr(torch, "set_num_threads", lambda _count: None)  # noqa: B010 - there is one, and more cannot be started: asking for them is no end
    torch.manual_seed(0)  # global generators are not the plugin's: the same start for every mask
    random.seed(0)
    np.random.seed(0)
    try:
        _answer(channel, protections)
    except BrokenAnswer:  # the harness has hung up
        return
    except BadPruner as error:
        _refuse(channel, error.cause, error.fix)
    except BaseException as error:  # a plugin may raise anything, also what is no Exception
        _refuse(channel, f"raised {type(error).__name__}: {error}", "Correct the pruner")


def _refuse(channel: socket.socket, cause: str, fix: str) -> None:
    cause, fix = (text[:2000].encode(errors="replace").decode() for text in (cause, fix))
    send(channel, Refusal(cause=cause, fix=fix))


def _answer(channel: socket.socket, protections: Protections) -> None:
    send(channel, Confined(protections=protections))
    header, source = receive(channel, LARGEST)
    asked = Load.model_validate_json(header)
    plugin = _found(asked, source).make(asked.parameters)
    if asked.kind != "pruner":
        send(channel, Loaded(kind=asked.kind, needs="training set"))
        serve_training(channel, plugin)
        return
    kind = kind_of(plugin, asked.pruner)
    fresh = wants_fresh(plugin, asked.pruner)
    send(channel, Loaded(kind=kind, needs=declared_needs(plugin, asked.pruner), fresh_examples=fresh))
    header, payload = receive(channel, LARGEST)
    begin, tensors = Begin.model_validate_json(header), unpack(payload)
    shapes = {name: tensors[f"state.{name}"].shape for name in begin.prunable}
    drawn: dict[int, Examples] = {}  # what the harness sent with a round
    scorer = _scorer(begin, tensors, plugin, asked.pruner, drawn.get)
    while True:
        header, payload = receive(channel, LARGEST)
        asked_for = Round.model_validate_json(header)
        if asked_for.budget is not None:
            budgets = scorer.budgets(asked_for.budget)
            numbers = {name: torch.tensor(budget, dtype=torch.float64) for name, budget in budgets.items()}
            send(channel, Answer(**asdict(scorer.cost)), pack(numbers))
            continue
        density = asked_for.density
        at = None if asked_for.at is None else ScoringRound(*asked_for.at)
        masks = read_mask_bits(payload[: mask_bytes(shapes)], shapes)
        drawn.clear()
        if at is not None and asked_for.fresh:
            fresh_ones = unpack(payload[mask_bytes(shapes) :])
            drawn[at.number] = Examples(fresh_ones["inputs"], fresh_ones["labels"])
        # Checked here for the words of the refusal; the harness does not take this process's word for it.
        if density is None:
            given = scorer.scores(masks, at)
            check_scores(given, masks, asked.pruner)
        else:
            given = scorer.masks(masks, density)
            check_masks(given, masks, None, asked.pruner)
        ordered = {name: given[name].detach().cpu() for name in masks}
        send(channel, Answer(**asdict(scorer.cost)), pack(ordered))


def _found(asked: Load, source: bytes) -> FoundPruner:
    if asked.entry_point is None:
        return from_source(Path(asked.file), source, asked.kind)
    point = EntryPoint(asked.pruner, asked.entry_point, GROUP)
    _introduce(point.module.partition(".")[0], Path(asked.file))
    return from_entry_point(point, asked.kind)


def _introduce(name: str, file: Path) -> None:
    """Import the package that a plugin is in from its own file: the folder around it may not be listed here."""
    if name in sys.modules:
        return
    inside = [str(file.parent)] if file.name == "__init__.py" else None
    spec = spec_from_file_location(name, file, submodule_search_locations=inside)
    if spec is not None and spec.loader is not None:
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


def _scorer(begin: Begin, tensors: dict[str, Tensor], plugin: Plugin, pruner: str, draw: Draw) -> DirectScorer:
    state = {name: tensors[f"state.{name}"] for name in begin.tensors}
    module = make(NETWORK.validate_json(begin.network))
    module.load_state_dict(state)
    module.train(begin.train_mode)
    examples = Examples(tensors["inputs"], tensors["labels"]) if "inputs" in tensors else None
    rng = torch.Generator()
    rng.set_state(tensors["generator"])
    initial = {name: tensors[f"initial.{name}"] for name in begin.prunable if f"initial.{name}" in tensors}
    recipe = None if begin.recipe is None else Recipe.model_validate_json(begin.recipe)
    subject = ScoredNetwork(module, state, begin.input_shape, begin.classes, initial or None, recipe, begin.task)
    return DirectScorer(plugin, pruner, begin.prunable, subject, examples, rng, draw)
