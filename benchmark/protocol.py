"""Protocols: one frozen setting of one paper, read strictly from YAML, identified by a digest.

Every numeric convention on which the repositories of this field differ is a field here, so no run can
depend on a silent default. This module imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmark import strict_yaml
from benchmark.errors import BadInput, did_you_mean
from benchmark.pruning.levels import Level, LevelRule, materialise

PROTOCOL_SCHEMA = "lotterybench/protocol/1"


class Frozen(BaseModel):
    """Immutable, strict (no coercion from text), and closed (an unknown field is an error)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Paper(Frozen):
    """Where the setting comes from."""

    key: str
    title: str
    authors: str
    year: int
    arxiv: str


class NetworkSpec(Frozen):
    """Which network, by fields, because one name hides several (LTH's "Resnet-18" is ResNet-20)."""

    name: Literal["lenet-300-100", "residual-mlp", "mlp"]
    initialiser: Literal["glorot-normal", "pytorch-linear"]
    bias: Literal["zeros", "pytorch-linear"]
    widths: tuple[int, ...] = Field(min_length=2, description="units per layer, input first")


class DataSpec(Frozen):
    """Data set, scaling and split. `validation` examples are held out of the training set."""

    name: Literal["mnist", "mnist1d", "synthetic"]
    scaling: Literal["unit-interval", "as-generated"]
    validation: int = Field(ge=0)
    split: Literal["random-by-seed", "none"]

    @model_validator(mode="after")
    def _split_matches(self) -> Self:
        if (self.validation > 0) != (self.split == "random-by-seed"):
            raise ValueError("validation > 0 needs split: random-by-seed, validation: 0 needs split: none")
        return self


class Recipe(Frozen):
    """How every network of the protocol is trained."""

    optimizer: Literal["adam", "sgd"]
    learning_rate: float = Field(gt=0)
    adam_betas: tuple[float, float] = (0.9, 0.999)
    adam_epsilon: float = Field(default=1e-8, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    batch_size: int = Field(gt=0)
    order: Literal["shuffled-each-epoch", "as-stored"]
    last_partial_batch: Literal["keep", "drop"]
    steps: int = Field(gt=0, description="optimizer updates")
    precision: Literal["fp32"]


class EvaluationSpec(Frozen):
    """When networks are evaluated, and which accuracy the paper reports."""

    first: int = Field(ge=0, description="updates done before the first evaluation")
    every: int = Field(gt=0, description="updates between evaluations")
    test_every: int = Field(gt=0, description="updates between evaluations on the test set, a multiple of `every`")
    test_at_validation_minima: bool = Field(description="also test whenever the validation loss is the least so far")
    reported: Literal["last", "best", "early-stop"]
    early_stop: Literal["minimum-validation-loss", "none"]

    def steps(self, total: int) -> tuple[int, ...]:
        """Numbers of updates after which a run of `total` updates is evaluated; the end if none is due."""
        return tuple(range(self.first, total + 1, self.every)) or (total,)

    def test_steps(self, total: int) -> tuple[int, ...]:
        """Those of `steps` at which the test set is always seen; the last one is among them."""
        steps = self.steps(total)
        return (*steps[:: self.test_every // self.every], *steps[-1:])

    @model_validator(mode="after")
    def _multiple(self) -> Self:
        if self.test_every % self.every:
            raise ValueError(f"test_every {self.test_every} is no multiple of every {self.every}")
        if (self.early_stop == "none") == self.test_at_validation_minima:
            raise ValueError("early_stop and test_at_validation_minima go together")
        return self


class Scoring(Frozen):
    """Which examples a pruner at initialization sees, and how the network is run on them."""

    examples_per_class: int = Field(gt=0)
    draw: Literal["balanced-from-training-set"]
    augmentation: Literal["none"]
    batch: Literal["all-at-once"]
    batch_norm: Literal["train", "eval", "network-has-none"]
    biases: Literal["not-scored", "scored-with-their-layer"]


class PruningSpec(Frozen):
    """What is prunable and how masks are cut. A layer is the module that owns the tensors."""

    prunable: dict[str, tuple[int, ...]] = Field(min_length=1, description="tensor name -> shape, in tie order")
    layer_rates: dict[str, float] = Field(description="rate of a layer relative to the others; absent = 1")
    ties: Literal["lower-index-stays"]
    pruned_weights: Literal["never-return"]
    pruned_values: Literal["zero-after-every-update"]
    rewound: Literal["weights-and-biases"]
    optimizer_state: Literal["fresh"]
    scoring: Scoring

    @cached_property
    def layer_of(self) -> dict[str, str]:
        """Layer name of each prunable tensor, in tie order."""
        return {name: name.rpartition(".")[0] for name in self.prunable}

    @cached_property
    def tensor_sizes(self) -> dict[str, int]:
        """Number of weights in each prunable tensor."""
        sizes = {}
        for name, shape in self.prunable.items():
            sizes[name] = 1
            for extent in shape:
                sizes[name] *= extent
        return sizes

    @cached_property
    def layer_sizes(self) -> dict[str, int]:
        """Number of prunable weights in each layer."""
        sizes: dict[str, int] = {}
        for name, size in self.tensor_sizes.items():
            sizes[self.layer_of[name]] = sizes.get(self.layer_of[name], 0) + size
        return sizes

    @model_validator(mode="after")
    def _rates_name_layers(self) -> Self:
        for layer, rate in self.layer_rates.items():
            if layer not in self.layer_sizes:
                raise ValueError(f"layer_rates names '{layer}'. {did_you_mean(layer, list(self.layer_sizes))}")
            if not 0 <= rate <= 1:
                raise ValueError(f"layer_rates.{layer} is {rate}, outside [0, 1]")
        return self


class Schedule(Frozen):
    """How scores become a mask and what the final network starts from.

    `rounds`: "levels" prunes level after level (one network per level is trained and recorded); a number
    reaches one density in that many exponential rounds. `scores` says whether initial or trained weights are
    scored. `restart`: a step to rewind to (0 = initialization), or "trained" to fine-tune the trained weights.
    """

    rounds: Literal["levels"] | int
    scores: Literal["initial", "trained"]
    restart: Literal["trained"] | int
    retrain_steps: int | None = Field(default=None, gt=0, description="fine-tuning updates; absent = the recipe's")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if isinstance(self.rounds, int) and self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}, below 1")
        if isinstance(self.restart, int) and self.restart < 0:
            raise ValueError(f"restart is {self.restart}, below 0")
        if self.restart == "trained" and self.scores != "trained":
            raise ValueError("restart: trained needs scores: trained")
        if self.scores == "trained" and isinstance(self.rounds, int) and self.rounds != 1:
            raise ValueError("scores: trained needs rounds: levels (iterative) or rounds: 1 (one-shot)")
        if self.rounds == "levels" and self.scores != "trained":
            raise ValueError("rounds: levels needs scores: trained")
        return self


class MethodSpec(Frozen):
    """A pruner with its schedule."""

    pruner: str
    parameters: dict[str, bool | int | float | str] = Field(default_factory=dict)
    allocation: Literal["layerwise", "global"]
    schedule: Schedule
    levels: Literal["all"] | Annotated[tuple[int, ...], Field(min_length=1)]
    later: tuple[int, ...] = Field(default=(), description="levels measured once all else is done")


class ControlSpec(Frozen):
    """A method that takes another's mask: `reinitialise` redraws the weights, `shuffle` permutes within layers."""

    of: str
    control: Literal["reinitialise", "shuffle"]
    draws: int = Field(gt=0, description="independent repetitions per ticket; later ones are run last")
    levels: tuple[int, ...] = Field(min_length=1)


class Margins(Frozen):
    """How near counts as the same. Fixed before anything runs."""

    accuracy_points: float = Field(gt=0)
    seed_sd_multiple: float = Field(gt=0, description="margin is the larger of the two")
    ratio: float = Field(gt=0, lt=1)
    density_rounds: int = Field(ge=0)


class StatisticsSpec(Frozen):
    """Error level and margins of every verdict of the protocol."""

    alpha: float = Field(gt=0, lt=0.5)
    margins: Margins


class Protocol(Frozen):
    """One frozen setting. `digest` identifies the materialised document, defaults included."""

    schema_: Literal["lotterybench/protocol/1"] = Field(alias="schema")
    id: str = Field(pattern=r"^[a-z0-9]+/[a-z0-9-]+$")
    version: int = Field(gt=0)
    title: str
    paper: Paper
    reports_density_as: Literal["percent-remaining", "percent-pruned", "sparsity", "log10-compression"]
    network: NetworkSpec
    data: DataSpec
    recipe: Recipe
    evaluation: EvaluationSpec
    pruning: PruningSpec
    levels: LevelRule
    methods: dict[str, MethodSpec | ControlSpec]
    seeds: tuple[int, ...] = Field(min_length=1)
    statistics: StatisticsSpec
    sources: dict[str, str] = Field(description="dotted field -> where its value comes from")
    deviations: tuple[str, ...] = Field(description="where the setting had to choose or differ, and why")

    @property
    def key(self) -> str:
        """`id@version`, the name of the results folder."""
        return f"{self.id}@{self.version}"

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The materialised document: every field, defaults filled in, plain JSON types."""
        return self.model_dump(mode="json", by_alias=True)

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical JSON of `document`."""
        text = json.dumps(self.document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def level_table(self) -> tuple[Level, ...]:
        """Level 0 (dense) to the last, with exact counts per layer."""
        return materialise(self.levels, self.pruning.layer_sizes, self.pruning.layer_rates)

    def pruning_method(self, name: str) -> MethodSpec:
        """The pruner and schedule behind `name`, following controls. Raises BadInput if unknown."""
        spec = self.method(name)
        return self.pruning_method(spec.of) if isinstance(spec, ControlSpec) else spec

    def method(self, name: str) -> MethodSpec | ControlSpec:
        """The method called `name`. Raises BadInput, with the nearest name, if there is none."""
        if name not in self.methods:
            raise BadInput(f"method '{name}'", f"protocol {self.id} has none", did_you_mean(name, list(self.methods)))
        return self.methods[name]

    def measured_levels(self, name: str) -> tuple[int, ...]:
        """Every level at which `name` is measured, most wanted first. Raises BadInput if unknown."""
        spec = self.method(name)
        if isinstance(spec, ControlSpec):
            return spec.levels
        first = tuple(range(1, len(self.level_table))) if spec.levels == "all" else spec.levels
        return first + spec.later

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        last = len(self.level_table) - 1
        for name, spec in self.methods.items():
            wanted = self.measured_levels(name)
            if wrong := [level for level in wanted if not 1 <= level <= last]:
                raise ValueError(f"methods.{name}: level {wrong[0]} is outside 1..{last}")
            if len(set(wanted)) != len(wanted):
                raise ValueError(f"methods.{name}: a level stands twice")
            if isinstance(spec, ControlSpec):
                self._check_control(name, spec)
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: a seed stands twice")
        if self.evaluation.reported == "early-stop" and self.data.validation == 0:
            raise ValueError("evaluation.reported: early-stop needs data.validation > 0")
        return self

    def _check_control(self, name: str, spec: ControlSpec) -> None:
        parent = self.methods.get(spec.of)
        if not isinstance(parent, MethodSpec):
            raise ValueError(f"methods.{name}: of: '{spec.of}' is not a pruning method of this protocol")
        if name != f"{spec.of}+{'reinit' if spec.control == 'reinitialise' else spec.control}":
            raise ValueError(f"methods.{name}: a control is named <method>+reinit or <method>+shuffle")
        if missing := set(spec.levels) - set(self.measured_levels(spec.of)):
            raise ValueError(f"methods.{name}: level {min(missing)} is not measured by {spec.of}")


def parse(document: Any, name: str) -> Protocol:
    """Validate a parsed YAML document. Raises BadInput naming file, field, cause and fix."""
    if not isinstance(document, dict):
        raise BadInput(name, "a protocol is a mapping of fields", "See benchmark/protocols for examples")
    try:
        return Protocol.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part not in ("MethodSpec", "ControlSpec")) or "protocol"
        raise BadInput(f"{name}: {field}", _cause(first), _fix(first["type"], first.get("input"))) from error


def _cause(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    return f"{message} (given: {given!r})" if isinstance(given, str | int | float) else message


def _fix(kind: str, given: Any) -> str:
    if kind == "extra_forbidden":
        return "Remove the field or correct its spelling"
    if kind == "missing":
        return "Add the field"
    if isinstance(given, str):
        try:
            float(given)
        except ValueError:
            return "Give a value of the named type"
        return f"The value is quoted text; write the number without quotes: {given}"
    return "Give a value of the named type and range"


def load_file(path: Path) -> Protocol:
    """Read one protocol file. Raises BadInput."""
    return parse(strict_yaml.load_file(path), str(path))


def protocols_folder() -> Path:
    """Folder of the protocols that come with the package."""
    return Path(str(resources.files("benchmark"))) / "protocols"


def available() -> list[str]:
    """Ids of the protocols that come with the package, sorted."""
    folder = protocols_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.yaml"))


def load(name: str) -> Protocol:
    """Load a protocol by id, or from a path that ends in .yaml. Raises BadInput."""
    if name.endswith((".yaml", ".yml")):
        return load_file(Path(name))
    if name not in available():
        raise BadInput(f"protocol '{name}'", "there is none of this name", did_you_mean(name, available()))
    protocol = load_file(protocols_folder() / f"{name}.yaml")
    if protocol.id != name:
        raise BadInput(f"{name}.yaml", f"its id is '{protocol.id}'", "File name and id must agree")
    return protocol


def load_all() -> list[Protocol]:
    """Every protocol of the package, by id."""
    return [load(name) for name in available()]
