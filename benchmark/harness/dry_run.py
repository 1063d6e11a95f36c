"""Dry runs: a cell's whole path, from masks to evaluation, for a few updates on little data, and nothing recorded.

What is shortened is a copy of the protocol, run by the ordinary harness into a folder that is removed afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.datasets.dataset import Dataset, load, prepared, random_dataset
from benchmark.datasets.source import data_root, needs_download, source_of
from benchmark.harness.harness import Harness, Settings
from benchmark.planning.plan import Job
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import ANALYSES, AnalysisSpec
from benchmark.protocols.cells import Cell
from benchmark.protocols.methods import MethodSpec
from benchmark.protocols.recipe import EvaluationSpec
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput

FEW_EXAMPLES = 100  # scored where a method says how many
TEST_EXAMPLES = 200


@dataclass(frozen=True)
class DryRun:
    """What happened. `data` says which examples were used, `mask` what was made. An accuracy after a few updates would
    mean nothing."""

    protocol: str
    cell: Cell
    updates: int
    data: str
    mask: str


def dry_run(protocol: Protocol, method: str, steps: int, plugins: Mapping[str, Path] | None = None) -> DryRun:
    """Run the first cell of a method for `steps` updates. Raises BadInput if it fails, with the reason."""
    short = shortened(protocol, steps) if protocol.examined.trains else protocol
    dataset, words = little_data(protocol, scored=method != "dense")
    seed = protocol.seeds[0]
    cell = Cell(method, 0 if method == "dense" else protocol.measured_levels(method)[0], seed)
    with tempfile.TemporaryDirectory() as folder:
        store, seen = Store(Path(folder)), dict[Cell, Record]()
        settings = Settings(plugins=plugins, on_record=seen.__setitem__)
        Harness(short, store, settings, dataset=dataset).run(Job(short, (cell,)))
    record = seen[cell]
    if record.status == "failed" or (record.mask is None and record.analysed is None) or record.cost is None:
        raise BadInput(f"{protocol.id}:{method}", f"failed: {record.reason}", "Correct the protocol or the pruner")
    found = f"{len(record.analysed or {})} numbers found"
    mask = f"{record.mask.kept:,} of {record.mask.prunable:,} weights" if record.mask else found
    return DryRun(protocol.id, cell, record.cost.train_steps, words, mask)


def shortened(protocol: Protocol, steps: int) -> Protocol:
    """The protocol with `steps` updates, looked at before and after, little held out; its digest is its own.

    So are those it takes masks from, whose networks are trained on the same data as its own.
    """
    recipe = protocol.recipe.model_copy(update={"steps": steps})
    when = {"first": 0, "every": steps, "test_every": steps}
    evaluation = EvaluationSpec.model_validate({**protocol.evaluation.model_dump(), **when})
    methods = {name: _shorter(spec, steps, protocol.recipe.steps) for name, spec in protocol.methods.items()}
    data = protocol.data.model_copy(update={"validation": min(protocol.data.validation, 60)})
    fields: dict[str, Any] = {"recipe": recipe, "evaluation": evaluation, "methods": methods, "data": data}
    sources = {name: shortened(source, steps) for name, source in protocol.mask_sources.items()}
    return protocol.model_copy(update=fields).with_mask_sources(sources)


def _shorter(spec: Any, steps: int, whole: int) -> Any:
    if isinstance(spec, AnalysisSpec):
        counts = {name for name in ANALYSES.get(spec.analysis).in_updates if name in spec.parameters}
        earlier = {name: min(int(spec.parameters[name]), steps - 1) for name in counts}
        return spec.model_copy(update={"parameters": {**spec.parameters, **earlier}})
    if not isinstance(spec, MethodSpec):
        return spec
    schedule = spec.schedule
    fields: dict[str, Any] = {}
    if isinstance(schedule.restart, int):
        fields["restart"] = min(schedule.restart, steps - 1)
    if schedule.retrain_steps is not None:
        fields["retrain_steps"] = min(schedule.retrain_steps, steps)
    changed: dict[str, Any] = {"schedule": schedule.model_copy(update=fields)}
    if spec.hook is not None:  # the numbers that it takes are updates of the training
        parameters = {
            name: max(1, value * steps // whole) if type(value) is int else value
            for name, value in spec.hook.parameters.items()
        }
        changed["hook"] = spec.hook.model_copy(update={"parameters": parameters})
    if spec.examples is not None:
        changed["examples"] = min(spec.examples, FEW_EXAMPLES)
    if spec.learning is not None:
        changed["learning"] = spec.learning.model_copy(update={"steps": steps})
    return spec.model_copy(update=changed)


def little_data(protocol: Protocol, scored: bool = True) -> tuple[Dataset, str]:
    """Some examples of every class, and where they come from: the data set, a sample of it, or random numbers.

    `scored`: enough of each class for a pruner; else a few batches, for the networks are large and processors slow.
    """
    name, root = protocol.data.name, data_root()
    source = source_of(name)
    if source.generated:
        return prepared(protocol, root), f"{name}, whole"
    if source.is_present(root):
        whole, words = prepared(protocol, root), f"some examples of {name}"
    elif source.sample and not needs_download(source.sample, root):
        sample = load(source.sample, root)
        whole = replace(  # it has no test set
            sample,
            prepare=random_dataset(protocol, 1).prepare,
            test_inputs=sample.train_inputs,
            test_labels=sample.train_labels,
        )
        words = f"some examples of {name} from {source.sample}"
    else:
        whole, words = random_dataset(protocol, 100 * _classes(protocol)), f"RANDOM PIXELS: {name} is not here"
    if source.labels_are_images:
        return whole, words
    per_class = max(60 if protocol.data.validation else 12, protocol.pruning.scoring.examples_per_class)
    if not scored:
        per_class = 2 + -(-(min(protocol.data.validation, 60) + protocol.recipe.batch_size) // _classes(protocol))
    rows = _balanced(whole.train_labels, per_class)
    little = replace(
        whole,
        train_inputs=whole.train_inputs[rows],
        train_labels=whole.train_labels[rows],
        test_inputs=whole.test_inputs[:TEST_EXAMPLES],
        test_labels=whole.test_labels[:TEST_EXAMPLES],
    )
    return little, words


def _classes(protocol: Protocol) -> int:
    return protocol.network.outputs


def _balanced(labels: Tensor, per_class: int) -> Tensor:
    """Rows of the first `per_class` examples of every class, in stored order."""
    chosen = [(labels == label).nonzero().flatten()[:per_class] for label in range(int(labels.max()) + 1)]
    return torch.cat(chosen).sort().values
