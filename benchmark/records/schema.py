"""Records: what one cell measured, with provenance. Typed, versioned, readable without torch.

Schema 2 is what is written: metrics by name, each with its unit. Schema 1, which knew accuracy and cross-entropy only,
is read into the same `Record`, so nothing else has to know of it; such a record is written back as it was.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from benchmark.protocols.cells import Cell
from benchmark.protocols.transfer import Reset
from benchmark.records import canonical
from benchmark.records.provenance import Origin, Provenance
from benchmark.utils.errors import BadInput
from benchmark.utils.strict_model import ADDED, Count, Frozen, without_unused


def cell_of(record: Record) -> Cell:
    """The cell that a record is about."""
    return Cell(record.method.name, record.cell.level, record.cell.seed, record.cell.draw)


Seconds = Annotated[float, Field(ge=0, le=1e9)]  # 30 years
Fraction = Annotated[float, Field(ge=0, le=1)]
Accuracy = Literal["early-stop-accuracy", "last-accuracy", "best-accuracy"]
TrainedMetric = Accuracy | Literal["train-accuracy", "early-stop-step"]
MaskMetric = Literal[
    "empty-layers", "layer-density", "disconnected", "effective-density", "unit-error", "score-slope", "prune-to-cut"
]
Analysed = Annotated[str, Field(pattern=r"^analysed/[a-z0-9_]+$")]
"""A number of an analysis: `analysed/` and its name."""
Metric = TrainedMetric | MaskMetric | Literal["layer-share"] | Analysed

RECORD_SCHEMA: Literal["lotterybench/record/2"] = "lotterybench/record/2"
SCHEMA_1: Literal["lotterybench/record/1"] = "lotterybench/record/1"


class ProtocolRef(Frozen):
    """Which protocol, to the digest."""

    id: str
    version: int
    digest: str


class HookRef(Frozen):
    """What acted while the network was trained, with the digest of its code."""

    name: str
    digest: str
    parameters: dict[str, bool | int | float | str]


class AnalysisRef(Frozen):
    """Which analysis, with the digest of its module's code. `of`: the pruning method that it looked at."""

    name: str
    digest: str
    of: str | None


class MethodRef(Frozen):
    """Which method, with the digest of the pruner's code."""

    name: str
    pruner: str | None
    pruner_digest: str | None
    parameters: dict[str, bool | int | float | str]
    hook: Annotated[HookRef | None, ADDED] = None
    analysis: Annotated[AnalysisRef | None, ADDED] = None


class SourceRef(Frozen):
    """The network of another protocol, at the record's seed, whose mask a training took.

    `reset`: see `benchmark.protocols.transfer.MasksFrom`; `weights_sha256`: of trained weights, where it has some.
    """

    protocol: ProtocolRef
    method: str
    level: Count
    reset: Reset
    mask_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None


class CellRef(Frozen):
    """Which cell. `density_asked` is the level's exact fraction."""

    level: Count
    density_asked: Fraction
    seed: Count
    draw: Count


class LayerCount(Frozen):
    """Weights kept in one layer."""

    kept: Count
    size: Count


class MaskFacts(Frozen):
    """What the mask is. A layer is collapsed when nothing is left of it. `effective`, `disconnected`: see
    `benchmark.pruning.connectivity`; records made before there were these have neither."""

    kept: Count
    prunable: Count
    density: Fraction
    layers: dict[str, LayerCount]
    collapsed_layers: tuple[str, ...]
    effective: Annotated[Count | None, ADDED] = None
    disconnected: Annotated[bool | None, ADDED] = None
    sha256: str


class LayerScores(Frozen):
    """Sum of the scores of a layer's weights that were left when they were scored, and how many these were."""

    sum: float
    scored: int


class ScoreFacts(Frozen):
    """The scores behind a mask. `layers` and `unit_error_largest` are of the last round.

    `unit_error_largest`: see `benchmark.pruning.schedule.unit_error`. `prune_to_cut_largest`: over all rounds in
    which every layer had score left, the largest ratio of the scores removed to the smallest layer's sum (arXiv
    2006.05467, appendix: no layer can empty while it stays below 1, where sums are conserved).
    """

    rounds: int
    layers: dict[str, LayerScores]
    unit_error_largest: float | None
    prune_to_cut_largest: float | None


class MetricValues(Frozen):
    """One metric of a trained network on one set of examples, in `unit`.

    Each value under its own name because papers report different ones: after the last update, the best over all
    evaluations in the metric's own direction, and at the early stop. What is not measured is not there.
    """

    unit: str = Field(min_length=1)
    last: Annotated[float | None, ADDED] = None
    best: Annotated[float | None, ADDED] = None
    early_stop: Annotated[float | None, ADDED] = None


MetricName = Annotated[str, Field(pattern=r"^(test|train|validation)_[a-z0-9_]+$")]


class Measured(Frozen):
    """What training gave. `metrics`: `<set>_<metric of the task>` -> values; the set is test, train or validation."""

    metrics: dict[MetricName, MetricValues]
    early_stop_step: Count | None
    last_evaluation_step: Count

    def value(self, metric: str, at: Literal["last", "best", "early_stop"] = "last") -> float | None:
        """One value of a metric, in its unit; None if it was not measured."""
        values = self.metrics.get(metric)
        return None if values is None else getattr(values, at)

    def last(self, metric: str) -> float:
        """A metric at the last evaluation, in its unit. Raises KeyError if it was not measured."""
        value = self.value(metric)
        if value is None:
            raise KeyError(metric)
        return value


class Number(Frozen):
    """One number of an analysis, in `unit`."""

    unit: str = Field(min_length=1)
    value: float


class CostFacts(Frozen):
    """Measured by the harness. `mask_train_steps`: updates spent before this training to find the mask.

    Of an analysis, `train_*` is what it trained and took itself, and `mask_train_steps` what the networks took that it
    was given, whether other cells shared them or not.

    `prune_inner_steps`: updates that the pruner took while it scored, if any.

    `mask_train_examples`, `mask_train_seconds`, `mask_train_cpu_seconds`: what they took, where the mask was learned;
    elsewhere they were updates like those of this training. `evaluation_cpu_seconds`: of `train_cpu_seconds`, what
    evaluations took; on a GPU only what the processor did for them.
    """

    train_steps: Count
    train_examples: Count
    train_seconds: Seconds
    train_cpu_seconds: Seconds
    evaluation_cpu_seconds: Annotated[Seconds | None, ADDED] = None
    mask_train_steps: Count
    mask_train_examples: Annotated[Count | None, ADDED] = None
    mask_train_seconds: Annotated[Seconds | None, ADDED] = None
    mask_train_cpu_seconds: Annotated[Seconds | None, ADDED] = None
    prune_seconds: Seconds
    prune_forward_passes: Count
    prune_backward_passes: Count
    prune_examples: Count
    prune_inner_steps: Annotated[Count | None, ADDED] = None


class _Layout(Frozen):
    """The fields of a record file in their order; the schemas differ in what `measured` and `provenance` hold."""

    schema_: str = Field(alias="schema")
    protocol: ProtocolRef
    method: MethodRef
    cell: CellRef
    status: Literal["finished", "failed"]
    reason: str | None
    mask: MaskFacts | None
    scores: Annotated[ScoreFacts | None, ADDED] = None
    source: Annotated[SourceRef | None, ADDED] = Field(
        default=None, description="where its mask comes from, if not here"
    )
    hook_facts: Annotated[dict[str, float] | None, ADDED] = Field(
        default=None, description="what a hook counted: mask_moves, weights_ever_left, dense_gradients, ..."
    )
    measured: Frozen | None
    analysed: Annotated[dict[str, Number] | None, ADDED] = Field(
        default=None, description="of an analysis: its numbers by name; its curves are the .npz beside the record"
    )
    cost: CostFacts | None
    curves_sha256: str | None
    provenance: Origin


class Record(_Layout):
    """One cell. `status` failed carries a `reason` and may have nothing measured.

    A protocol that measures masks alone has `scores`, and neither `measured` nor curves. One that measures analyses has
    `analysed` and, where the analysis gives some, curves.
    """

    schema_: Literal["lotterybench/record/2", "lotterybench/record/1"] = Field(alias="schema")
    measured: Measured | None
    provenance: Provenance

    def dumps(self) -> str:
        """The file's text in the record's own schema: indented JSON, keys in field order, no NaN."""
        return _text(RecordV1.of(self) if self.schema_ == SCHEMA_1 else self)

    def fingerprint(self) -> str:
        """sha256 of all that must repeat bit for bit on the same hardware: not seconds, not provenance.

        Nor the schema, nor what follows from the mask and earlier records do not say: a re-run has the fingerprint of
        the record that it repeats, of whatever version.
        """
        document = _document(self)
        for key in ("schema", "provenance"):
            document.pop(key)
        if document["cost"]:
            document["cost"] = {key: value for key, value in document["cost"].items() if not key.endswith("_seconds")}
        for key in ("effective", "disconnected"):
            if document["mask"]:
                document["mask"].pop(key, None)
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _text(layout: Frozen) -> str:
    return json.dumps(_document(layout), indent=1, allow_nan=False) + "\n"


def _document(layout: Frozen) -> dict[str, Any]:
    document: dict[str, Any] = without_unused(layout, layout.model_dump(mode="json", by_alias=True))
    return document


class Accuracies(Frozen):
    """Schema 1: percent."""

    last: float
    best: float
    early_stop: float | None


class MeasuredV1(Frozen):
    """Schema 1: accuracies in percent, mean cross-entropies in nats."""

    test_accuracy_percent: Accuracies
    test_loss_last: float
    early_stop_step: int | None
    last_evaluation_step: int
    validation_loss_minimum: float | None
    train_loss_last: float
    train_accuracy_percent_last: float

    def by_name(self) -> Measured:
        """The same figures as metrics by name and unit."""
        metrics: dict[str, dict[str, str | float | None]] = {
            "test_accuracy": {"unit": "percent", **self.test_accuracy_percent.__dict__},
            "test_loss": {"unit": "nats", "last": self.test_loss_last},
            "train_accuracy": {"unit": "percent", "last": self.train_accuracy_percent_last},
            "train_loss": {"unit": "nats", "last": self.train_loss_last},
        }
        if self.validation_loss_minimum is not None:
            metrics["validation_loss"] = {"unit": "nats", "best": self.validation_loss_minimum}
        steps = {"early_stop_step": self.early_stop_step, "last_evaluation_step": self.last_evaluation_step}
        return Measured.model_validate({"metrics": metrics, **steps})

    @staticmethod
    def of(measured: Measured) -> MeasuredV1:
        """Figures that came from schema 1, as it spells them."""
        accuracy = measured.metrics["test_accuracy"]
        return MeasuredV1.model_construct(
            test_accuracy_percent=Accuracies.model_construct(**accuracy.model_dump(exclude={"unit"})),
            test_loss_last=measured.last("test_loss"),
            early_stop_step=measured.early_stop_step,
            last_evaluation_step=measured.last_evaluation_step,
            validation_loss_minimum=measured.value("validation_loss", "best"),
            train_loss_last=measured.last("train_loss"),
            train_accuracy_percent_last=measured.last("train_accuracy"),
        )


class ProvenanceV1(Origin):
    """Schema 1: another name for the replica group."""

    company: Annotated[str | None, ADDED] = None


class RecordV1(_Layout):
    """The layout of a file of schema 1."""

    schema_: Literal["lotterybench/record/1"] = Field(alias="schema")
    measured: MeasuredV1 | None
    provenance: ProvenanceV1

    def record(self) -> Record:
        """What the file says, in the one form that the rest of the suite knows."""
        fields = {**self.__dict__, "measured": self.measured and self.measured.by_name()}
        origin = dict(self.provenance.__dict__)
        fields["provenance"] = Provenance.model_validate({"replica_group": origin.pop("company"), **origin})
        return Record.model_validate({"schema": fields.pop("schema_"), **fields})

    @staticmethod
    def of(record: Record) -> RecordV1:
        """A record that came from schema 1, as its file spells it."""
        fields = {**record.__dict__, "measured": record.measured and MeasuredV1.of(record.measured)}
        made = record.provenance
        origin = {name: getattr(made, name) for name in Origin.model_fields}
        fields["provenance"] = ProvenanceV1.model_construct(company=made.replica_group, **origin)
        return RecordV1.model_construct(**{"schema": fields.pop("schema_"), **fields})


AWAY = "Move the file away; its cell will be run again"
_ADDED_LATER = frozenset(
    name
    for part in (MethodRef, MaskFacts, CostFacts, Provenance, ProvenanceV1, _Layout)
    for name, field in part.model_fields.items()
    if ADDED in field.metadata
)
_SCHEMA = re.compile(r'"schema"\s*:\s*"([^"]*)"')


def parse(text: str, name: str) -> Record:
    """Read one record of either schema.

    Raises BadInput: not JSON, a newer schema, a field that is wrong, or another text than `dumps` makes of the record.
    """
    schema = found[1] if (found := _SCHEMA.search(text)) else None
    try:
        layout = (RecordV1 if schema == SCHEMA_1 else Record).model_validate_json(text)
        record = layout.record() if isinstance(layout, RecordV1) else layout
    except ValidationError as error:
        raise _explained(text, name, error) from error
    assert isinstance(record, Record)
    if record.schema_ != schema:
        raise BadInput(name, "names two schemas", AWAY)
    if wrong := canonical.problem(text, layout, lambda: _text(layout), _ADDED_LATER) or _impossible(record.measured):
        raise BadInput(name, wrong, AWAY)
    return record


def _impossible(measured: Measured | None) -> str | None:
    """Which figure no network can have; None if there is none."""
    for metric, values in measured.metrics.items() if measured else ():
        if values.unit == "percent":
            for value in (values.last, values.best, values.early_stop):
                if value is not None and not 0 <= value <= 100:
                    return f"{metric} is {value:g} percent"
    return None


def _explained(text: str, name: str, error: ValidationError) -> BadInput:
    """Why a text is no record. Only here is it read a second time: reading 20,000 good ones is to be quick."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as problem:  # ValueError: also a number of more than 4300 digits
        return BadInput(name, f"not JSON ({problem})", AWAY)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema not in (RECORD_SCHEMA, SCHEMA_1):
        return BadInput(
            name,
            f"its schema is {schema!r}, this version reads '{RECORD_SCHEMA}' and '{SCHEMA_1}'",
            "Use the version that wrote it",
        )
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return BadInput(name, f"{field}: {first['msg']}", AWAY)
