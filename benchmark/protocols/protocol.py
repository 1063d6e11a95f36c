"""A protocol: one frozen setting of one paper, read strictly from YAML, identified by the sha256 of its document.

A file may begin with `extends: NAME`, another file of its folder (without .yaml), whose fields it takes over. Mappings
are merged field by field, `deviations` are added to, anything else is replaced. Files whose name starts with `_` are
only there to be extended. What is validated, digested and locked is the whole document, so a change in an extended
file is a change of every protocol that extends it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache, cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, TypeAdapter, ValidationError, model_validator

from benchmark.protocols.analysis import AnalysisSpec
from benchmark.protocols.checks import check_batch_norm, check_levels, check_measures
from benchmark.protocols.levels import Level, LevelRule, materialise
from benchmark.protocols.methods import ControlSpec, MethodSpec, PruningSpec
from benchmark.protocols.network import SETS, MlpSpec, NetworkSpec, prunable
from benchmark.protocols.recipe import NO_EVALUATION, NO_TRAINING, DataSpec, EvaluationSpec, Recipe
from benchmark.protocols.statistics import StatisticsSpec
from benchmark.protocols.transfer import with_sources
from benchmark.protocols.validation import explained
from benchmark.utils import strict_yaml
from benchmark.utils.errors import BadInput, did_you_mean
from benchmark.utils.strict_model import ADDED, Frozen, without_unused

ID = r"[a-z0-9]+/[a-z0-9-]+"
VERSIONED_ID = ID + r"@[1-9][0-9]*"
PORTABLE_FAMILIES = ("mlp", "lenet5")  # that benchmark/training/kernels trains
METHOD_NAME = r"[a-z0-9][a-z0-9+-]*"  # also the name of a folder of records


class Paper(Frozen):
    """Where the setting comes from."""

    key: str
    title: str
    authors: str
    year: int
    arxiv: str


class Protocol(Frozen):
    """One frozen setting. `digest` identifies the materialised document, defaults included.

    With `measures: masks` there is neither recipe nor evaluation: the masks themselves are measured. With `measures:
    analysis` there are both or neither, and only `AnalysisSpec` methods make records, of the networks or masks of
    `examined`.
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
    measures: Annotated[Literal["trained-networks", "masks", "analysis"], ADDED] = "trained-networks"
    recipe: Annotated[Recipe, ADDED] = NO_TRAINING
    evaluation: Annotated[EvaluationSpec, ADDED] = NO_EVALUATION
    pruning: PruningSpec
    levels: LevelRule
    methods: dict[str, MethodSpec | ControlSpec | AnalysisSpec]
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    dense_seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], ADDED] = Field(
        default=(), description="further seeds of the dense network alone, shared out over `seeds` in order"
    )
    statistics: StatisticsSpec
    sources: dict[str, str] = Field(description="dotted field -> where its value comes from")
    deviations: tuple[str, ...] = Field(description="where the setting had to choose or differ, and why")
    changes: Annotated[str | None, ADDED] = Field(
        default=None, description="of a version above 1: what it mends of the one before, and how that was seen"
    )

    _path: Path | None = PrivateAttr(default=None)
    _added: dict[str, MethodSpec] = PrivateAttr(default_factory=dict)
    _mask_sources: dict[str, Protocol] = PrivateAttr(default_factory=dict)

    @property
    def argument(self) -> str:
        """What names this protocol on a command line: its id, or the path of a file given by the user."""
        return str(self._path) if self._path else self.id

    @property
    def trains(self) -> bool:
        """Whether records are of trained networks; False where masks alone, or analyses, are measured."""
        return self.measures == "trained-networks"

    @property
    def analyses(self) -> dict[str, AnalysisSpec]:
        """The methods that are analyses: all that make records in a protocol that has some."""
        return {name: spec for name, spec in self.methods.items() if isinstance(spec, AnalysisSpec)}

    @property
    def examined(self) -> Protocol:
        """What the analyses look at, as a protocol of its own: trained networks if there is a recipe, else masks.

        The protocol itself where it measures no analyses.
        """
        return self._examined if self.measures == "analysis" else self  # itself must not be cached in itself: equality

    @cached_property
    def _examined(self) -> Protocol:
        methods = {name: spec for name, spec in self.methods.items() if not isinstance(spec, AnalysisSpec)}
        measures = "masks" if self.recipe == NO_TRAINING else "trained-networks"
        return self.model_copy(update={"measures": measures, "methods": methods})

    @cached_property
    def key(self) -> str:
        """`id@version`, the name of the results folder."""
        return f"{self.id}@{self.version}"

    @property
    def pruning_methods(self) -> dict[str, MethodSpec]:
        """The protocol's own methods that are neither controls nor analyses."""
        return {name: spec for name, spec in self.methods.items() if isinstance(spec, MethodSpec)}

    @property
    def mask_sources(self) -> dict[str, Protocol]:
        """The protocols that methods with `masks_from` take masks from, by the name that these give them."""
        return dict(self._mask_sources)

    def with_mask_sources(self, sources: Mapping[str, Protocol]) -> Self:
        """The same document, with the protocols that its `masks_from` name."""
        wider = self.model_copy()
        wider._mask_sources = dict(sources)
        return wider

    @property
    def added(self) -> dict[str, MethodSpec]:
        """Methods of plugins: measured under this protocol, but neither in its document nor in its digest."""
        return dict(self._added)

    @cached_property
    def all_methods(self) -> Mapping[str, MethodSpec | ControlSpec | AnalysisSpec]:
        """The protocol's own methods in its order, then the added ones."""
        return {**self.methods, **self._added}

    def with_added(self, methods: Mapping[str, MethodSpec]) -> Self:
        """The same document and digest, measured with further methods. Raises ValueError if one does not fit."""
        wider = self.model_copy()
        wider._added = {**self._added, **methods}
        for name, spec in methods.items():
            if name in self.methods or name == "dense":
                raise ValueError(f"methods.{name}: the protocol has a method of this name")
            check_levels(wider, name)
            spec.check(name, wider)
            check_measures(wider)
            if wider.measures == "analysis":
                raise ValueError(f"methods.{name}: a protocol with measures: analysis takes no methods of plugins")
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
    def dense_companions(self) -> Mapping[int, tuple[int, ...]]:
        """Seed -> the `dense_seeds` that belong to it: the dense value of a seed is the mean over it and these."""
        share = len(self.dense_seeds) // len(self.seeds)
        return {seed: self.dense_seeds[i * share : (i + 1) * share] for i, seed in enumerate(self.seeds)}

    @cached_property
    def seed_positions(self) -> Mapping[int, int]:
        """Seed -> its place in the plan; a further dense seed has the place of the one it belongs to."""
        positions = {seed: place for place, seed in enumerate(self.seeds)}
        return positions | {more: positions[seed] for seed, own in self.dense_companions.items() for more in own}

    @cached_property
    def level_table(self) -> tuple[Level, ...]:
        """Level 0 (dense) to the last, with exact counts per layer."""
        return materialise(self.levels, self.pruning.layer_sizes, self.pruning.layer_rates)

    def pruning_method(self, name: str) -> MethodSpec:
        """The pruner and schedule behind `name`, following controls. Raises BadInput if unknown, or an analysis."""
        spec = self.method(name)
        if isinstance(spec, AnalysisSpec):
            raise BadInput(
                f"method '{name}'", f"is an analysis in protocol {self.id}, and prunes nothing", "Name a pruner"
            )
        return self.pruning_method(spec.of) if isinstance(spec, ControlSpec) else spec

    def method(self, name: str) -> MethodSpec | ControlSpec | AnalysisSpec:
        """The method called `name`. Raises BadInput, with the nearest name, if there is none."""
        methods = self.all_methods
        if name not in methods:
            raise BadInput(f"method '{name}'", f"protocol {self.id} has none", did_you_mean(name, list(methods)))
        return methods[name]

    def measured_levels(self, name: str) -> tuple[int, ...]:
        """Every level at which `name` is measured, most wanted first. Raises BadInput if unknown."""
        return self.method(name).measured_levels(last=len(self.level_table) - 1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_measures(self)
        for name, spec in self.methods.items():
            if not re.fullmatch(METHOD_NAME, name) or name == "dense":
                raise ValueError(f"methods.{name}: name methods in small letters, digits, - and +; dense is taken")
            check_levels(self, name)
            spec.check(name, self.examined)
        if len({*self.seeds, *self.dense_seeds}) != len(self.seeds) + len(self.dense_seeds):
            raise ValueError("seeds: a seed stands twice")
        if len(self.dense_seeds) % len(self.seeds):
            raise ValueError(f"dense_seeds: as many for each of the {len(self.seeds)} seeds")
        if self.statistics.looks and self.statistics.looks[-1].seeds != len(self.seeds):
            raise ValueError(f"statistics.looks: the last one is at all {len(self.seeds)} seeds")
        if self.evaluation.reported == "early-stop" and self.data.validation == 0:
            raise ValueError("evaluation.reported: early-stop needs data.validation > 0")
        if (self.evaluation.early_stop == "none") != (self.data.validation == 0):
            raise ValueError("evaluation.early_stop is none exactly where data.validation is 0")
        check_batch_norm(self)
        if self.recipe.arithmetic == "portable" and self.network.family not in PORTABLE_FAMILIES:
            raise ValueError(
                f"recipe.arithmetic: portable is for fully connected networks and LeNet-5, not {self.network.name}"
            )
        drops = isinstance(self.network, MlpSpec) and self.network.dropout
        if self.recipe.arithmetic == "portable" and (self.task != "classification" or drops):
            raise ValueError("recipe.arithmetic: portable is for task: classification without dropout")
        return self


def parse(document: Any, name: str) -> Protocol:
    """Validate a parsed YAML document. Raises BadInput naming file, field, cause and fix."""
    if not isinstance(document, dict):
        raise BadInput(name, "a protocol is a mapping of fields", "See benchmark/protocols for examples")
    missing = [field.alias or key for key, field in Protocol.model_fields.items() if field.is_required()]
    trained = () if document.get("measures", "trained-networks") != "trained-networks" else ("recipe", "evaluation")
    missing = [field for field in (*missing, *trained) if field not in document]
    if len(missing) > 1:
        fix = "Add them, or take them from another: extends: PROTOCOL (lotterybench info PROTOCOL --yaml shows them)"
        raise BadInput(name, f"fields are missing: {', '.join(missing)}", fix)
    for field in set(missing).intersection(trained):
        raise BadInput(f"{name}: {field}", "Field required; only measures: masks trains nothing", "Add the field")
    try:
        return Protocol.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise explained(error, document, name) from error


def load_file(path: Path) -> Protocol:
    """Read one protocol file. Raises BadInput."""
    if not path.exists():
        raise BadInput(str(path), "there is no such file", "Correct the path, or name a protocol by its id")
    protocol = with_sources(parse(read_document(path), str(path)), path)
    if not path.is_relative_to(protocols_folder()):
        protocol._path = path
    return protocol


def protocols_folder() -> Path:
    """Folder of the protocols that come with the package."""
    return Path(str(resources.files("benchmark"))) / "protocols"


def available() -> list[str]:
    """Ids of the protocols that come with the package, sorted."""
    return sorted(name for name in _names() if "@" not in name)


def earlier() -> list[str]:
    """`id@version` of the other versions whose documents are held beside the current ones, sorted.

    A version keeps its document as `NAME@VERSION.yaml` while records of it are committed: they are read and checked by
    it, and no claim is decided by it. So does the next version from when it is locked until it is measured. Of other
    versions only the digest in LOCK.json is left.
    """
    return sorted(name for name in _names() if "@" in name)


def _names() -> Iterator[str]:
    folder = protocols_folder()
    for path in folder.glob("*/*.yaml"):
        if not path.name.startswith("_"):
            yield path.relative_to(folder).with_suffix("").as_posix()


def load(name: str, *, need_lock: bool = True) -> Protocol:
    """Load a protocol by id, an earlier version by `id@version`, or a path that ends in .yaml.

    Raises BadInput; also, for those of the package, if there is no LOCK.json to hold them against, unless `need_lock`
    is false.
    """
    if name.endswith((".yaml", ".yml")):
        return load_file(Path(name))
    current = name.partition("@")[0] if re.fullmatch(VERSIONED_ID, name) else None
    if current is not None and current in available() and _load_own(current, need_lock).key == name:
        return _load_own(current, need_lock)
    if not re.fullmatch(f"{ID}|{VERSIONED_ID}", name) or not (protocols_folder() / f"{name}.yaml").is_file():
        raise _unknown(name)
    return _load_own(name, need_lock)


def _unknown(name: str) -> BadInput:
    """The error for a name of no protocol; of a protocol without that version, the versions there are."""
    current, at, _ = name.partition("@")
    if at and current in available():
        held = [each for each in earlier() if each.startswith(f"{current}@")]
        versions = sorted(
            {_packaged(protocols_folder() / f"{current}.yaml").key, *held}, key=lambda key: (len(key), key)
        )
        return BadInput(f"protocol '{name}'", "there is no such version", f"Versions of it: {', '.join(versions)}")
    return BadInput(f"protocol '{name}'", "there is none of this name", did_you_mean(name, available()))


def load_all(*, need_lock: bool = True) -> list[Protocol]:
    """Every protocol of the package in its current version, by id. Raises BadInput as `load` does."""
    return [_load_own(name, need_lock) for name in available()]


def load_earlier(*, need_lock: bool = True) -> list[Protocol]:
    """Every earlier version whose document is held, by id and version. Raises BadInput as `load` does."""
    return [_load_own(name, need_lock) for name in earlier()]


def _load_own(name: str, need_lock: bool) -> Protocol:
    if need_lock:
        from benchmark.protocols import lock  # which imports this module

        lock.read()  # without it nothing says that protocols are the frozen ones, so no verb goes on
    protocol = _packaged(protocols_folder() / f"{name}.yaml")
    if name not in (protocol.id, protocol.key):
        raise BadInput(f"{name}.yaml", f"its id is '{protocol.id}'", "File name and id must agree")
    return protocol


@cache
def _packaged(path: Path) -> Protocol:
    """Read once: claims are held against their protocols, and scoring needs them all again."""
    return load_file(path)


DEEPEST = 5  # files that extend each other
_NETWORK: TypeAdapter[NetworkSpec] = TypeAdapter(NetworkSpec)


def read_document(path: Path) -> Any:
    """The document of a protocol file. Raises BadInput if a file cannot be read, or extends what is not there."""
    return with_shapes(deepcopy(_extended(path, 0)), str(path))


@lru_cache(maxsize=64)
def _parsed(path: Path, _changed: tuple[int, int]) -> Any:
    return strict_yaml.load_file(path)


def _load(path: Path) -> Any:
    """A parsed file, read once while it stays as it is: many extend the same."""
    try:
        state = path.stat()
    except OSError:
        return strict_yaml.load_file(path)  # which says what is wrong
    return _parsed(path, (state.st_mtime_ns, state.st_size))


def _extended(path: Path, depth: int) -> Any:
    document = _load(path)
    if not isinstance(document, dict) or "extends" not in document:
        return document
    base, document = document["extends"], {key: value for key, value in document.items() if key != "extends"}
    if depth >= DEEPEST:
        raise BadInput(str(path), f"is file {depth + 1} of a chain of extends", "Extend fewer, and no file itself")
    # A file of the user's own may extend a protocol of the package by its id, any other file one of its own folder.
    far = re.fullmatch(f"{ID}|{VERSIONED_ID}", str(base)) and not path.is_relative_to(protocols_folder())
    extended = (protocols_folder() if far else path.parent) / f"{base}.yaml"
    if base == path.stem or not (far or str(base) == extended.stem) or not os.path.isfile(extended):
        others = available() if far else sorted(o.stem for o in path.parent.glob("*.yaml") if o != path)
        where = "the package" if far else "its folder"
        raise BadInput(f"{path}: extends", f"there is no {base!r} in {where}", did_you_mean(str(base), others))
    return _merged(_extended(extended, depth + 1), document)


def _merged(base: Any, own: Any, name: str = "") -> Any:
    if isinstance(base, dict) and isinstance(own, dict):
        return {**base, **{key: _merged(base[key], value, key) if key in base else value for key, value in own.items()}}
    if name == "deviations" and isinstance(base, list) and isinstance(own, list):
        return [*base, *own]
    return own


def with_shapes(document: Any, name: str) -> Any:
    """A document whose `pruning.prunable`, if it names a set of tensors, lists them with their shapes.

    Raises BadInput if there is no such set. A network that cannot be read is left for validation to explain.
    """
    pruning = document.get("pruning") if isinstance(document, dict) else None
    if not isinstance(pruning, dict) or not isinstance(chosen := pruning.get("prunable"), str):
        return document
    if chosen not in SETS:
        raise BadInput(f"{name}: pruning.prunable", f"there is no set '{chosen}'", did_you_mean(chosen, list(SETS)))
    try:
        network = _NETWORK.validate_python(document.get("network"), strict=False)
    except ValidationError:
        return document
    shapes = {tensor: list(shape) for tensor, shape in prunable(network, chosen).items()}
    return {**document, "pruning": {**pruning, "prunable": shapes}}
