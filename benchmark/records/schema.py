"""Records: what one cell measured, with provenance. Typed, versioned, readable without torch.

Names of what is measured of a trained network, of its mask and of the scores behind it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from benchmark.protocols.cells import Cell
from benchmark.utils.errors import BadInput
from benchmark.utils.strict_model import ADDED, Frozen, without_unused


def cell_of(record: Record) -> Cell:
    """The cell that a record is about."""
    return Cell(record.method.name, record.cell.level, record.cell.seed, record.cell.draw)


Accuracy = Literal["early-stop-accuracy", "last-accuracy", "best-accuracy"]
TrainedMetric = Accuracy | Literal["train-accuracy", "early-stop-step"]
MaskMetric = Literal["empty-layers", "layer-density", "unit-error", "score-slope", "prune-to-cut"]
Metric = TrainedMetric | MaskMetric | Literal["layer-share"]

RECORD_SCHEMA: Literal["lotterybench/record/1"] = "lotterybench/record/1"


class ProtocolRef(Frozen):
    """Which protocol, to the digest."""

    id: str
    version: int
    digest: str


class MethodRef(Frozen):
    """Which method, with the digest of the pruner's code."""

    name: str
    pruner: str | None
    pruner_digest: str | None
    parameters: dict[str, bool | int | float | str]


class CellRef(Frozen):
    """Which cell. `density_asked` is the level's exact fraction."""

    level: int
    density_asked: float
    seed: int
    draw: int


class LayerCount(Frozen):
    """Weights kept in one layer."""

    kept: int
    size: int


class MaskFacts(Frozen):
    """What the mask is. A layer is collapsed when nothing is left of it."""

    kept: int
    prunable: int
    density: float
    layers: dict[str, LayerCount]
    collapsed_layers: tuple[str, ...]
    sha256: str


class LayerScores(Frozen):
    """Sum of the scores of a layer's weights that were left when they were scored, and how many these were."""

    sum: float
    scored: int


class ScoreFacts(Frozen):
    """The scores behind a mask. `layers` and `unit_error_largest` are of the last round.

    `unit_error_largest`: see `benchmark.pruning.score_facts.unit_error`. `prune_to_cut_largest`: over all rounds in
    which every layer had score left, the largest ratio of the scores removed to the smallest layer's sum (arXiv
    2006.05467, appendix: no layer can empty while it stays below 1, where sums are conserved).
    """

    rounds: int
    layers: dict[str, LayerScores]
    unit_error_largest: float | None
    prune_to_cut_largest: float | None


class Accuracies(Frozen):
    """Percent, each under its own name because papers report different ones. Early stop: least validation loss."""

    last: float
    best: float
    early_stop: float | None


class Measured(Frozen):
    """What training gave."""

    test_accuracy_percent: Accuracies
    test_loss_last: float
    early_stop_step: int | None
    last_evaluation_step: int
    validation_loss_minimum: float | None
    train_loss_last: float
    train_accuracy_percent_last: float


class CostFacts(Frozen):
    """Measured by the harness. `mask_train_steps`: updates spent before this training to find the mask."""

    train_steps: int
    train_examples: int
    train_seconds: float
    train_cpu_seconds: float
    mask_train_steps: int
    prune_seconds: float
    prune_forward_passes: int
    prune_backward_passes: int
    prune_examples: int


class Provenance(Frozen):
    """Who made the record, with what."""

    commit: str | None
    dirty: bool | None
    python: str
    packages: dict[str, str]
    platform: str
    device: str
    driver: str | None
    threads: int
    precision: str
    data_digest: str
    finished_utc: str
    company: Annotated[str | None, ADDED] = Field(
        default=None, description="how it was trained beside others, if it was"
    )


class Record(Frozen):
    """One cell. `status` failed carries a `reason` and may have nothing measured.

    A protocol that measures masks alone has `scores`, and neither `measured` nor curves.
    """

    schema_: Literal["lotterybench/record/1"] = Field(alias="schema")
    protocol: ProtocolRef
    method: MethodRef
    cell: CellRef
    status: Literal["finished", "failed"]
    reason: str | None
    mask: MaskFacts | None
    scores: Annotated[ScoreFacts | None, ADDED] = None
    measured: Measured | None
    cost: CostFacts | None
    curves_sha256: str | None
    provenance: Provenance

    def dumps(self) -> str:
        """The file's text: indented JSON, keys in field order, no NaN."""
        return json.dumps(self._document(), indent=1, allow_nan=False) + "\n"

    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = without_unused(self, self.model_dump(mode="json", by_alias=True))
        return document

    def fingerprint(self) -> str:
        """sha256 of all that must repeat bit for bit on the same hardware: not seconds, not provenance."""
        document = self._document()
        document.pop("provenance")
        for key in ("train_seconds", "train_cpu_seconds", "prune_seconds"):
            if document["cost"]:
                document["cost"].pop(key)
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def parse(text: str, name: str) -> Record:
    """Read one record. Raises BadInput: not JSON, a newer schema, or a field that is wrong."""
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        raise _explained(text, name, error) from error


def _explained(text: str, name: str, error: ValidationError) -> BadInput:
    """Why a text is no record. Only here is it read a second time: reading 20,000 good ones is to be quick."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as problem:  # ValueError: also a number of more than 4300 digits
        return BadInput(name, f"not JSON ({problem})", "Move the file away; its cell will be run again")
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != RECORD_SCHEMA:
        return BadInput(
            name,
            f"its schema is {schema!r}, this version reads '{RECORD_SCHEMA}'",
            "Use the version that wrote it",
        )
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return BadInput(name, f"{field}: {first['msg']}", "Move the file away; its cell will be run again")
