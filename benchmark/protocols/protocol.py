"""Protocols: one frozen setting of one paper, read strictly from YAML, identified by a digest. No torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from benchmark.protocols import extends as written
from benchmark.protocols.data import DataSpec
from benchmark.protocols.evaluation import NO_EVALUATION, EvaluationSpec, Paper, StatisticsSpec
from benchmark.protocols.levels import Level, LevelRule, materialise
from benchmark.protocols.methods import ControlSpec, MethodSpec, PruningSpec
from benchmark.protocols.network import NetworkSpec
from benchmark.protocols.recipe import NO_TRAINING, Recipe
from benchmark.protocols.validation import (
    check_batch_norm,
    check_control,
    check_levels,
    check_schedule,
    contradictions,
    explained,
)
from benchmark.utils.errors import BadInput, did_you_mean
from benchmark.utils.strict_model import ADDED, Frozen, without_unused

ID = r"[a-z0-9]+/[a-z0-9-]+"
METHOD_NAME = r"[a-z0-9][a-z0-9+-]*"  # also the name of a folder of records


class Protocol(Frozen):
    """One frozen setting. `digest` identifies the materialised document, defaults included.

    An analysis protocol (`measures: masks`) has neither recipe nor evaluation: its masks themselves are measured.
    """

    schema_: Literal["lotterybench/protocol/1"] = Field(alias="schema")
    id: str = Field(pattern=f"^{ID}$")
    version: int = Field(gt=0)
    title: str
    paper: Paper
    reports_density_as: Literal["percent-remaining", "percent-pruned", "sparsity", "log10-compression"]
    network: NetworkSpec
    data: DataSpec
    task: Annotated[str, ADDED] = Field(default="classification", description="what is learned; see benchmark/tasks")
    measures: Annotated[Literal["trained-networks", "masks"], ADDED] = "trained-networks"
    recipe: Annotated[Recipe, ADDED] = NO_TRAINING
    evaluation: Annotated[EvaluationSpec, ADDED] = NO_EVALUATION
    pruning: PruningSpec
    levels: LevelRule
    methods: dict[str, MethodSpec | ControlSpec]
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    statistics: StatisticsSpec
    sources: dict[str, str] = Field(description="dotted field -> where its value comes from")
    deviations: tuple[str, ...] = Field(description="where the setting had to choose or differ, and why")

    _path: Path | None = PrivateAttr(default=None)
    _added: dict[str, MethodSpec] = PrivateAttr(default_factory=dict)

    @property
    def argument(self) -> str:
        """What names this protocol on a command line: its id, or the path of a file given by the user."""
        return str(self._path) if self._path else self.id

    @property
    def trains(self) -> bool:
        """Whether final networks are trained; False for an analysis of masks alone."""
        return self.measures == "trained-networks"

    @cached_property
    def key(self) -> str:
        """`id@version`, the name of the results folder."""
        return f"{self.id}@{self.version}"

    @property
    def added(self) -> dict[str, MethodSpec]:
        """Methods of plugins: measured under this protocol, but neither in its document nor in its digest."""
        return dict(self._added)

    @cached_property
    def all_methods(self) -> Mapping[str, MethodSpec | ControlSpec]:
        """The protocol's own methods in its order, then the added ones."""
        return {**self.methods, **self._added}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; what was worked out for the original does not hold for the copy."""
        copied = super().model_copy(update=update, deep=deep)
        for name in [name for name in copied.__dict__ if name not in type(self).model_fields]:
            del copied.__dict__[name]
        return copied

    def with_added(self, methods: Mapping[str, MethodSpec]) -> Self:
        """The same document and digest, measured with further methods. Raises ValueError if one does not fit."""
        wider = self.model_copy()
        wider._added = {**self._added, **methods}
        for name, spec in methods.items():
            if name in self.methods or name == "dense":
                raise ValueError(f"methods.{name}: the protocol has a method of this name")
            check_levels(wider, name)
            check_schedule(wider, name, spec)
            for place, why in contradictions(wider):
                raise ValueError(f"{place}: {why}")
        return wider

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The materialised document: defaults filled in, plain JSON types.

        Every field stands there but those that were added after protocols had been locked and hold their default
        (see `benchmark.utils.strict_model.ADDED`).
        """
        document: dict[str, Any] = without_unused(self, self.model_dump(mode="json", by_alias=True))
        return document

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
        methods = self.all_methods
        if name not in methods:
            raise BadInput(f"method '{name}'", f"protocol {self.id} has none", did_you_mean(name, list(methods)))
        return methods[name]

    def measured_levels(self, name: str) -> tuple[int, ...]:
        """Every level at which `name` is measured, most wanted first. Raises BadInput if unknown."""
        spec = self.method(name)
        if isinstance(spec, ControlSpec):
            return spec.levels
        first = tuple(range(1, len(self.level_table))) if spec.levels == "all" else spec.levels
        return first + spec.later

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for place, why in contradictions(self):
            raise ValueError(f"{place}: {why}")
        for name, spec in self.methods.items():
            if not re.fullmatch(METHOD_NAME, name) or name == "dense":
                raise ValueError(f"methods.{name}: name methods in small letters, digits, - and +; dense is taken")
            check_levels(self, name)
            if isinstance(spec, ControlSpec):
                check_control(self, name, spec)
            else:
                check_schedule(self, name, spec)
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: a seed stands twice")
        if self.evaluation.reported == "early-stop" and self.data.validation == 0:
            raise ValueError("evaluation.reported: early-stop needs data.validation > 0")
        if (self.evaluation.early_stop == "none") != (self.data.validation == 0):
            raise ValueError("evaluation.early_stop is none exactly where data.validation is 0")
        check_batch_norm(self)
        return self


def parse(document: Any, name: str) -> Protocol:
    """Validate a parsed YAML document. Raises BadInput naming file, field, cause and fix."""
    if not isinstance(document, dict):
        raise BadInput(name, "a protocol is a mapping of fields", "See benchmark/protocols for examples")
    for field in ("recipe", "evaluation"):
        if field not in document and document.get("measures", "trained-networks") == "trained-networks":
            raise BadInput(f"{name}: {field}", "Field required; only measures: masks trains nothing", "Add the field")
    try:
        return Protocol.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise explained(error, document, name) from error


def load_file(path: Path) -> Protocol:
    """Read one protocol file. Raises BadInput."""
    protocol = parse(written.read(path), str(path))
    if not path.is_relative_to(protocols_folder()):
        protocol._path = path
    return protocol


def protocols_folder() -> Path:
    """Folder of the protocols that come with the package."""
    return Path(str(resources.files("benchmark"))) / "protocols"


def available() -> list[str]:
    """Ids of the protocols that come with the package, sorted."""
    folder = protocols_folder()
    files = [path for path in folder.glob("*/*.yaml") if not path.name.startswith("_")]
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in files)


def load(name: str) -> Protocol:
    """Load a protocol by id, or from a path that ends in .yaml. Raises BadInput."""
    if name.endswith((".yaml", ".yml")):
        return load_file(Path(name))
    path = protocols_folder() / f"{name}.yaml"
    if not re.fullmatch(ID, name) or not path.is_file():
        raise BadInput(f"protocol '{name}'", "there is none of this name", did_you_mean(name, available()))
    return _load_own(name)


def load_all() -> list[Protocol]:
    """Every protocol of the package, by id."""
    return [_load_own(name) for name in available()]


def _load_own(name: str) -> Protocol:
    protocol = _packaged(protocols_folder() / f"{name}.yaml")
    if protocol.id != name:
        raise BadInput(f"{name}.yaml", f"its id is '{protocol.id}'", "File name and id must agree")
    return protocol


@cache
def _packaged(path: Path) -> Protocol:
    """Read once: claims are held against their protocols, and scoring needs them all again."""
    return load_file(path)
