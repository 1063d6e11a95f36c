"""Is what a results folder holds what the harness could have written? Asked before files leave or enter it. No torch.

`contradictions` compares one record with its protocol, its curves and its mask; `FolderChecks` does so for the files of
a folder, as they are sent or taken in; `missing_cells` and `repeated_cells` look at all records of a method.

This finds damage, mix-ups and clumsy forgery: every number that the protocol fixes must be there, every figure must
follow from what lies beside it. It cannot tell an invented accuracy from a measured one; re-running can.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmark.claims import papers
from benchmark.claims.observations import ANALYSED, metric_of, reported_metric
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, is_chain, learning_steps, source_of, title, train_steps
from benchmark.protocols.methods import MethodSpec
from benchmark.records import submissions
from benchmark.records.masks import Bits, NestedMasks, mask_digest, nested_masks_in
from benchmark.records.paths import LIMITS, FileGroup, ResultPath
from benchmark.records.schema import CostFacts, MaskFacts, Measured, Record, cell_of, parse
from benchmark.records.submissions import SUBMISSION_FILE, Submission
from benchmark.utils.errors import BadInput
from benchmark.utils.files import CURVES_BYTES, read_limited, read_text_limited, sha256
from benchmark.utils.npz import DAMAGED, Array, comment_of, unpack_bytes
from benchmark.utils.strict_model import Frozen

FIX = "Move it away, or restore it from where it was made"


class LevelMean(Frozen):
    """The accuracy that the protocol's paper reports, in percent, averaged over the seeds of one level."""

    level: int
    seeds: int
    mean_percent: float


def contradictions(
    protocol: Protocol, record: Record, *, curves: bytes | None = None, mask: Bits | None = None
) -> Iterator[str]:
    """What in a record contradicts its protocol and, where they are given, its curves and its mask, in words.

    `curves`: the content of the file. `mask`: bits by tensor. Figures are compared with curves only for methods that
    start at step 0, as those of plugins do. Raises one of `DAMAGED` if curves cannot be read.
    """
    cell = cell_of(record)
    level = protocol.level_table[cell.level]
    analysed = cell.method in protocol.analyses
    pruner = None if cell.method == DENSE or analysed else protocol.pruning_method(cell.method).pruner
    if record.cell.density_asked != level.density:
        yield f"density_asked is not the {level.density} of its level"
    if record.method.pruner != pruner:
        yield f"its pruner is {record.method.pruner!r}, the protocol's is {pruner!r}"
    if record.status == "failed":
        if not record.reason:
            yield "it failed without a reason"
    elif analysed:
        yield from _against_analysis(protocol, record)
    elif record.cost is None or record.mask is None or (record.measured is None) == protocol.trains:
        has = "without figures" if protocol.trains else "with figures of a training, or without a mask"
        yield f"it is finished {has}"
    else:
        yield from _against_levels(protocol, cell, record.mask)
        yield from _steps(protocol, cell, record.cost)
        yield from _against_source(protocol, record)
        yield from _own_figures(record.measured) if record.measured else _own_scores(protocol, record)
        if mask is not None:
            yield from _against_mask(protocol, record.mask, mask)
        if curves is not None and record.measured:
            yield from _against_curves(protocol, record.measured, unpack_bytes(curves, CURVES_BYTES))


@cache
def _asked(protocol: Protocol, method: str) -> frozenset[str]:
    """The numbers that claims ask for of a method. Of a protocol without claims, those that have a margin, unless some
    may be of another analysis."""
    claims = [claim for paper in papers.all_as_written() for claim in paper.claims if claim.protocol == protocol.id]
    if not claims:
        several = len({spec.analysis for spec in protocol.analyses.values()}) > 1
        return frozenset() if several else frozenset(protocol.statistics.margins.analysed)
    rules = (rule for claim in claims for rule in claim.checks if rule.is_analysed)
    asked = (rule.metric for rule in rules if any(points.method == method for points in rule.points))
    return frozenset(metric.removeprefix(ANALYSED) for metric in asked)


def _against_analysis(protocol: Protocol, record: Record) -> Iterator[str]:
    spec, named = protocol.analyses[record.method.name], record.method.analysis
    if named is None or (named.name, named.of, record.method.parameters) != (spec.analysis, spec.of, spec.parameters):
        yield f"it is not of analysis {spec.analysis!r} as the protocol has it"
    if record.cost is None or not record.analysed or record.measured is not None or record.mask is not None:
        yield "it is finished without numbers of an analysis, or with figures of a training or mask"
    if missing := sorted(_asked(protocol, record.method.name) - (record.analysed or {}).keys()):
        yield f"it has no number {missing[0]}, which a claim or margin asks for"


def _against_levels(protocol: Protocol, cell: Cell, mask: MaskFacts) -> Iterator[str]:
    level, sizes = protocol.level_table[cell.level], protocol.pruning.layer_sizes
    if (mask.kept, mask.prunable) != (level.kept, level.prunable):
        yield f"its mask keeps {mask.kept} of {mask.prunable}, the protocol {level.kept}"
    if {name: layer.size for name, layer in mask.layers.items()} != sizes:
        yield "its layers are not the protocol's"
    kept = {name: layer.kept for name, layer in mask.layers.items()}
    outside = any(not 0 <= count <= sizes.get(name, 0) for name, count in kept.items())
    if outside or sum(kept.values()) != mask.kept:
        yield f"its layers keep {sum(kept.values())}, its mask {mask.kept}"
    if mask.density != mask.kept / mask.prunable:
        yield f"its density is not {mask.kept} / {mask.prunable}"
    empty = tuple(name for name in sizes if kept.get(name) == 0)
    if mask.collapsed_layers != empty:
        yield f"it names other collapsed layers than {', '.join(empty) or 'none'}"


def _steps(protocol: Protocol, cell: Cell, cost: CostFacts) -> Iterator[str]:
    if cost.train_steps != train_steps(protocol, cell):
        yield f"{cost.train_steps} training steps, the protocol has {train_steps(protocol, cell)}"
    if (learned := learning_steps(protocol, cell)) and cost.mask_train_steps != learned:
        yield f"{cost.mask_train_steps} updates of scores for its mask, the protocol has {learned}"
    if cell.method in protocol.added or cell.method == DENSE:  # elsewhere rounds before this one may count
        spec = None if cell.method == DENSE else protocol.pruning_method(cell.method)
        before = protocol.recipe.steps if isinstance(spec, MethodSpec) and spec.schedule.scores == "trained" else 0
        if cost.mask_train_steps != before:
            yield f"{cost.mask_train_steps} steps for its mask, the method takes {before}"


def _against_source(protocol: Protocol, record: Record) -> Iterator[str]:
    cell = cell_of(record)
    taken, named = source_of(protocol, cell), record.source
    if taken is None or named is None:
        if named is not None or taken is not None:
            yield "it names a source of its mask, and the protocol none" if named else "it names no source of its mask"
        return
    source, of = taken
    if (named.protocol.digest, named.method, named.level) != (source.digest, of.method, of.level):
        yield f"its mask is of {named.protocol.id} {named.method} level {named.level}, the protocol's of {title(of)}"
    spec, own = protocol.pruning_method(cell.method), protocol.method(cell.method)
    if spec.masks_from is not None and named.reset != spec.masks_from.reset:
        yield f"its reset is {named.reset}, the protocol's {spec.masks_from.reset}"
    takes_it_as_it_is = isinstance(own, MethodSpec) and own.hook is None
    if takes_it_as_it_is and record.mask is not None and record.mask.sha256 != named.mask_sha256:
        yield "its mask is not the one that it names of its source"


def _own_figures(figures: Measured) -> Iterator[str]:
    percent = [metric for metric in figures.metrics.values() if metric.unit == "percent"]
    values = [value for metric in percent for value in (metric.last, metric.best, metric.early_stop)]
    if any(value is not None and not 0 <= value <= 100 for value in values):
        yield "an accuracy lies outside 0 to 100 percent"


def _own_scores(protocol: Protocol, record: Record) -> Iterator[str]:
    if record.scores is None or record.mask is None:  # masks may be learned without scores
        return
    rounds = protocol.pruning_method(record.method.name).schedule.rounds
    if record.scores.rounds != rounds:
        yield f"its scores are of {record.scores.rounds} rounds, the protocol has {rounds}"
    given, kept = record.scores.layers, record.mask.layers
    if given.keys() != kept.keys() or not all(kept[n].kept <= given[n].scored <= kept[n].size for n in kept):
        yield "its scores are not of the layers it cut"
    errors = (record.scores.unit_error_largest, record.scores.prune_to_cut_largest)
    if any(error is not None and error < 0 for error in errors):
        yield "an error or ratio is below 0"


def _against_mask(protocol: Protocol, facts: MaskFacts, mask: Bits) -> Iterator[str]:
    if mask_digest(mask) != facts.sha256:
        yield "names another mask than the one beside it"
        return
    kept = dict.fromkeys(protocol.pruning.layer_sizes, 0)
    for tensor, bits in mask.items():
        kept[protocol.pruning.layer_of[tensor]] += int(bits.sum())
    if {layer: count.kept for layer, count in facts.layers.items()} != kept or facts.kept != sum(kept.values()):
        yield "the record counts other weights than its mask keeps"


def _against_curves(protocol: Protocol, figures: Measured, curves: dict[str, Array]) -> Iterator[str]:
    """Curves are float32; a record's figures, rounded to that, must stand in them."""
    steps, tested = _numbers(curves, "steps"), _numbers(curves, "test_steps")
    accuracy, loss = _numbers(curves, "test_accuracy_percent"), _numbers(curves, "test_loss")
    total = protocol.recipe.steps  # an added method starts at 0
    if tuple(steps) != protocol.evaluation.steps(total):
        yield "its curves do not have the steps of the protocol's evaluations"
        return
    if not set(protocol.evaluation.test_steps(total)) <= set(tested) <= set(steps) or len(set(tested)) != len(tested):
        yield "its test curve does not have the steps of the protocol"
        return
    if not len(accuracy) == len(loss) == len(tested):
        yield "its test curves have other lengths than their steps"
        return
    early_stop = figures.value("test_accuracy", "early_stop")
    facts: list[tuple[str, float | None, Any]] = [
        ("last test accuracy", figures.value("test_accuracy"), accuracy[-1]),
        ("best test accuracy", figures.value("test_accuracy", "best"), accuracy.max()),
        ("last test loss", figures.value("test_loss"), loss[-1]),
        ("step of the last evaluation", figures.last_evaluation_step, tested[-1]),
    ]
    validation = _numbers(curves, "validation_loss")
    if protocol.evaluation.early_stop != "none":
        if len(validation) != len(steps):
            yield "its validation curve has another length than its steps"
            return
        # Two losses may differ in float64 and not here: the record's step must be one of the least.
        at = next((i for i, step in enumerate(steps) if step == figures.early_stop_step), int(validation.argmin()))
        facts += [
            ("step of early stopping", figures.early_stop_step, steps[at]),
            ("least validation loss", figures.value("validation_loss", "best"), validation.min()),
            ("validation loss at early stopping", float(validation[at]), validation.min()),
        ]
        seen = [a for step, a in zip(tested, accuracy, strict=True) if step == steps[at]]
        facts.append(("test accuracy at early stopping", early_stop, seen[0] if seen else None))
    elif early_stop is not None or figures.early_stop_step is not None:
        yield "it names an early stop, the protocol has none"
    for what, stated, found in facts:
        with np.errstate(over="ignore"):
            differ = stated is None or found is None or np.float32(stated) != np.float32(found)
        if differ:
            yield f"{what} is {stated} in the record and {found} in its curves"


def _numbers(curves: dict[str, Array], name: str) -> Array:
    """One curve as a vector; empty if it is not there."""
    found = curves.get(name)
    return found if found is not None and found.ndim == 1 else np.zeros(0, np.float32)


@dataclass(frozen=True)
class Content:
    """What a file held when it was checked: `blob_id` is the sha1 that git gives it."""

    result_path: ResultPath
    size: int
    sha256: str
    blob_id: str


def blob_id(content: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class FolderChecks:
    """Checks of one folder. Every method raises BadInput naming the file and what is wrong with it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._nested_masks = cache(self._read_nested_masks)
        self._submission = cache(self._read_submission)

    def group(self, group: FileGroup) -> list[Content]:
        """Check files that belong together; what they held."""
        kinds = {result_path.kind: result_path for result_path in group.result_paths}
        contents = {result_path.kind: self._read(result_path) for result_path in group.result_paths}
        if "submission" in kinds:
            self._submission(kinds["submission"].protocol, kinds["submission"].method)
        elif "masks" in kinds:
            self._nested_masks(kinds["masks"].protocol, kinds["masks"].method, kinds["masks"].seed)
        elif "record" not in kinds:
            self._refuse(group.result_paths[0], "are curves without their record")
        else:
            record = self._record(kinds["record"], contents["record"])
            self._curves(kinds["record"], record, contents.get("curves"))
        return [
            Content(
                result_path,
                len(contents[result_path.kind]),
                sha256(contents[result_path.kind]),
                blob_id(contents[result_path.kind]),
            )
            for result_path in group.result_paths
        ]

    def record(self, result_path: ResultPath) -> Record:
        """Check one record without its curves."""
        return self._record(result_path, self._read(result_path))

    def _refuse(self, result_path: ResultPath, cause: str) -> None:
        raise BadInput(str(result_path.under(self._root)), cause, FIX)

    def _read(self, result_path: ResultPath) -> bytes:
        path = self._root
        for part in result_path.path.split("/"):
            path = path / part
            try:
                linked = stat.S_ISLNK(path.lstat().st_mode)
            except OSError as error:
                raise BadInput(str(path), f"cannot be read ({error})", FIX) from error
            if linked:
                self._refuse(result_path, "is or lies behind a symbolic link")
        return read_limited(path, LIMITS[result_path.kind])

    def _record(self, result_path: ResultPath, content: bytes) -> Record:
        name = str(result_path.under(self._root))
        try:
            record = parse(content.decode("utf-8"), name)
        except UnicodeDecodeError as error:
            raise BadInput(name, f"not JSON ({error})", FIX) from error
        protocol, cell = result_path.protocol, result_path.cell
        assert cell is not None  # paths of records name a cell
        if Cell(record.method.name, record.cell.level, record.cell.seed, record.cell.draw) != cell:
            self._refuse(result_path, "is the record of another cell")
        if (record.protocol.id, record.protocol.version, record.protocol.digest) != (
            protocol.id,
            protocol.version,
            protocol.digest,
        ):
            self._refuse(result_path, f"was made with another document than {protocol.key} of this version")
        for wrong in contradictions(protocol, record, mask=self._chain_mask(protocol, cell)):
            self._refuse(result_path, wrong)
        if cell.method in protocol.added:
            submissions.refuse_mixed(self._submission(protocol, cell.method), [record])
        return record

    def _chain_mask(self, protocol: Protocol, cell: Cell) -> Bits | None:
        """The mask of a chain's cell, if the chain's masks are there and reach so far."""
        path = self._root / protocol.key / cell.method / f"seed-{cell.seed}.masks.npz"
        if not is_chain(protocol, cell.method) or not path.exists():
            return None
        nested = self._nested_masks(protocol, cell.method, cell.seed)
        return nested.mask(cell.level) if cell.level <= nested.last_level else None

    def _read_submission(self, protocol: Protocol, method: str) -> Submission:
        path = self._root / protocol.key / method / SUBMISSION_FILE
        found = submissions.parse(read_text_limited(path, LIMITS["submission"]), str(path))
        if (found.name, found.protocol.digest) != (method, protocol.digest):
            raise BadInput(str(path), f"is about {found.name} of another document than {protocol.key}", FIX)
        if found.method != protocol.added[method]:
            raise BadInput(str(path), "describes another method than the one in use here", FIX)
        return found

    def _read_nested_masks(self, protocol: Protocol, method: str, seed: int) -> NestedMasks:
        path = self._root / protocol.key / method / f"seed-{seed}.masks.npz"
        if comment_of(path) not in ("", protocol.digest):
            raise BadInput(str(path), f"was made with another document than {protocol.key} of this version", FIX)
        return nested_masks_in(path, protocol)

    def _curves(self, result_path: ResultPath, record: Record, content: bytes | None) -> None:
        if (record.curves_sha256 is None) != (content is None):
            self._refuse(
                result_path, "has no curves beside it" if content is None else "names no curves, but some are there"
            )
        if content is None:
            return
        if sha256(content) != record.curves_sha256:
            self._refuse(result_path, "names other curves than those beside it")
        try:
            unpack_bytes(content, CURVES_BYTES)
        except DAMAGED as error:  # the digest is right, so the record was made with something unreadable
            raise BadInput(str(result_path.under(self._root)), f"its curves cannot be read ({error})", FIX) from error


def missing_cells(protocol: Protocol, method: str, there: Sequence[Record]) -> Iterator[str]:
    """Seeds left out: of the dense network, of every level that the method must have, of every other that it has."""
    have = {(r.method.name, r.cell.level, r.cell.seed) for r in there}
    spec = protocol.added[method]
    measured = {level for name, level, _ in have if name == method}
    levels = [level for level in protocol.measured_levels(method) if level not in spec.later or level in measured]
    for name, level in [(DENSE, 0), *((method, level) for level in levels)]:
        if left_out := [seed for seed in protocol.seeds if (name, level, seed) not in have]:
            yield f"{name} level {level}: no record for seed {', '.join(map(str, left_out))}"


def repeated_cells(records: Sequence[Record]) -> Iterator[str]:
    """The same training under two seeds. With a collapsed layer, networks of two seeds may really end up alike."""
    first: dict[str, Cell] = {}
    for record in records:
        if record.curves_sha256 is None or record.mask is None or record.mask.collapsed_layers:
            continue
        cell = cell_of(record)
        other = first.setdefault(record.curves_sha256, cell)
        if other.seed != cell.seed:
            yield f"{title(cell)}: its curves are those of {title(other)}"


def level_means(protocol: Protocol, method: str, records: Sequence[Record]) -> tuple[LevelMean, ...]:
    """The accuracy that the paper reports, averaged over the seeds of every level of the method."""
    values = level_values(protocol, method, records)
    return tuple(LevelMean(level=lv, seeds=len(v), mean_percent=fmean(v)) for lv, v in sorted(values.items()))


def level_values(protocol: Protocol, method: str, records: Sequence[Record]) -> dict[int, list[float]]:
    """The accuracy that the paper reports, in percent, of each level's finished cells of the method."""
    metric, values = reported_metric(protocol), dict[int, list[float]]()
    for record in sorted(records, key=cell_of):
        own = record.method.name == method and record.status == "finished"
        value = metric_of(record.measured, metric) if own and record.measured else None
        if value is not None:
            values.setdefault(record.cell.level, []).append(value)
    return values
