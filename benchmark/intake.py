"""Is what a results folder holds what the harness could have written? Asked before files leave or enter it. No torch.

This finds damage, mix-ups and clumsy forgery: every number that the protocol fixes must be there, and the masks must
be those whose digest the records name. It cannot tell an invented accuracy from a measured one; re-running can.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark import submissions
from benchmark.arrays import DAMAGED, comment_of, unpack_bytes
from benchmark.errors import BadInput
from benchmark.files import sha256
from benchmark.limited import CURVES_BYTES, read_limited, read_text_limited
from benchmark.places import LIMITS, Place, Unit
from benchmark.plan import is_chain
from benchmark.protocol import Protocol
from benchmark.records import DENSE, Cell, MaskFacts, Measured, Record, parse
from benchmark.submissions import SUBMISSION_FILE, Submission
from benchmark.survival import Survival, survival_in

FIX = "Move it away, or restore it from where it was made"


@dataclass(frozen=True)
class Content:
    """What a file held when it was checked: `blob_id` is the sha1 that git gives it."""

    place: Place
    size: int
    sha256: str
    blob_id: str


def blob_id(content: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def mask_digest(masks: Mapping[str, NDArray[np.bool_]]) -> str:
    """sha256 over names, shapes and bits, in name order; what `benchmark.pruning.masks` gives for tensors."""
    digest = hashlib.sha256()
    for name in sorted(masks):
        shape = tuple(int(extent) for extent in masks[name].shape)
        digest.update(f"{name}{shape}".encode())
        digest.update(np.ascontiguousarray(masks[name]).astype(np.uint8).tobytes())
    return digest.hexdigest()


class Intake:
    """Checks of one folder. Every method raises BadInput naming the file and what is wrong with it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._survival = cache(self._read_survival)
        self._submission = cache(self._read_submission)

    def unit(self, unit: Unit) -> list[Content]:
        """Check files that belong together; what they held."""
        kinds = {place.kind: place for place in unit.places}
        contents = {place.kind: self._read(place) for place in unit.places}
        if "submission" in kinds:
            self._submission(kinds["submission"].protocol, kinds["submission"].method)
        elif "masks" in kinds:
            self._survival(kinds["masks"].protocol, kinds["masks"].method, kinds["masks"].seed)
        elif "record" not in kinds:
            self._refuse(unit.places[0], "are curves without their record")
        else:
            record = self._record(kinds["record"], contents["record"])
            self._curves(kinds["record"], record, contents.get("curves"))
        return [
            Content(place, len(contents[place.kind]), sha256(contents[place.kind]), blob_id(contents[place.kind]))
            for place in unit.places
        ]

    def record(self, place: Place) -> Record:
        """Check one record without its curves."""
        return self._record(place, self._read(place))

    def _refuse(self, place: Place, cause: str) -> None:
        raise BadInput(str(place.under(self._root)), cause, FIX)

    def _read(self, place: Place) -> bytes:
        path = self._root
        for part in place.path.split("/"):
            path = path / part
            try:
                linked = stat.S_ISLNK(path.lstat().st_mode)
            except OSError as error:
                raise BadInput(str(path), f"cannot be read ({error})", FIX) from error
            if linked:
                self._refuse(place, "is or lies behind a symbolic link")
        return read_limited(path, LIMITS[place.kind])

    def _record(self, place: Place, content: bytes) -> Record:
        name = str(place.under(self._root))
        try:
            record = parse(content.decode("utf-8"), name)
        except UnicodeDecodeError as error:
            raise BadInput(name, f"not JSON ({error})", FIX) from error
        protocol, cell = place.protocol, place.cell
        assert cell is not None  # places of records name a cell
        if Cell(record.method.name, record.cell.level, record.cell.seed, record.cell.draw) != cell:
            self._refuse(place, "is the record of another cell")
        if (record.protocol.id, record.protocol.version, record.protocol.digest) != (
            protocol.id,
            protocol.version,
            protocol.digest,
        ):
            self._refuse(place, f"was made with another document than {protocol.key} of this version")
        if wrong := impossible(protocol, cell, record):
            self._refuse(place, wrong)
        self._mask(place, cell, record)
        if cell.method in protocol.added:
            submissions.refuse_mixed(self._submission(protocol, cell.method), [record])
        return record

    def _mask(self, place: Place, cell: Cell, record: Record) -> None:
        """The mask of a chain's record against the chain's masks, as far as they are there."""
        protocol = place.protocol
        masks = self._root / protocol.key / cell.method / f"seed-{cell.seed}.masks.npz"
        if record.mask is None or not is_chain(protocol, cell.method) or not masks.exists():
            return
        survival = self._survival(protocol, cell.method, cell.seed)
        if cell.level <= survival.last_level and mask_digest(survival.mask(cell.level)) != record.mask.sha256:
            self._refuse(place, f"names another mask than {masks.name} holds for level {cell.level}")

    def _read_submission(self, protocol: Protocol, method: str) -> Submission:
        path = self._root / protocol.key / method / SUBMISSION_FILE
        found = submissions.parse(read_text_limited(path, LIMITS["submission"]), str(path))
        if (found.name, found.protocol.digest) != (method, protocol.digest):
            raise BadInput(str(path), f"is about {found.name} of another document than {protocol.key}", FIX)
        if found.method != protocol.added[method]:
            raise BadInput(str(path), "describes another method than the one in use here", FIX)
        return found

    def _read_survival(self, protocol: Protocol, method: str, seed: int) -> Survival:
        path = self._root / protocol.key / method / f"seed-{seed}.masks.npz"
        if comment_of(path) not in ("", protocol.digest):
            raise BadInput(str(path), f"was made with another document than {protocol.key} of this version", FIX)
        return survival_in(path, protocol)

    def _curves(self, place: Place, record: Record, content: bytes | None) -> None:
        if (record.curves_sha256 is None) != (content is None):
            self._refuse(place, "has no curves beside it" if content is None else "names no curves, but some are there")
        if content is None:
            return
        if sha256(content) != record.curves_sha256:
            self._refuse(place, "names other curves than those beside it")
        try:
            unpack_bytes(content, CURVES_BYTES)
        except DAMAGED as error:  # the digest is right, so the record was made with something unreadable
            raise BadInput(str(place.under(self._root)), f"its curves cannot be read ({error})", FIX) from error


def impossible(protocol: Protocol, cell: Cell, record: Record) -> str | None:
    """What in a record contradicts its protocol, in words; None if nothing does."""
    level = protocol.level_table[cell.level]
    pruner = None if cell.method == DENSE else protocol.pruning_method(cell.method).pruner
    wrong: list[tuple[bool, str]] = [
        (record.cell.density_asked != level.density, f"density_asked is not the {level.density} of its level"),
        (record.method.pruner != pruner, f"its pruner is {record.method.pruner!r}, the protocol's is {pruner!r}"),
    ]
    if record.status == "failed":
        wrong.append((not record.reason, "it failed without a reason"))
    elif record.cost is None or record.mask is None or (record.measured is None) == protocol.trains:
        has = "without figures" if protocol.trains else "with figures of a training, or without a mask"
        wrong.append((True, f"it is finished {has}"))
    else:
        wrong += _about_mask(protocol, cell, record.mask)
        wrong += _about_figures(record.measured) if record.measured else _about_scores(protocol, record)
    return next((cause for is_so, cause in wrong if is_so), None)


def _about_mask(protocol: Protocol, cell: Cell, mask: MaskFacts) -> Iterator[tuple[bool, str]]:
    level, sizes = protocol.level_table[cell.level], protocol.pruning.layer_sizes
    fits = (mask.kept, mask.prunable) == (level.kept, level.prunable)
    yield not fits, f"its mask keeps {mask.kept} of {mask.prunable}, the protocol {level.kept}"
    yield {name: layer.size for name, layer in mask.layers.items()} != sizes, "its layers are not the protocol's"
    kept = {name: layer.kept for name, layer in mask.layers.items()}
    outside = any(not 0 <= count <= sizes.get(name, 0) for name, count in kept.items())
    yield outside or sum(kept.values()) != mask.kept, f"its layers keep {sum(kept.values())}, its mask {mask.kept}"
    yield mask.density != mask.kept / mask.prunable, f"its density is not {mask.kept} / {mask.prunable}"
    empty = tuple(name for name in sizes if kept.get(name) == 0)
    yield mask.collapsed_layers != empty, f"it names other collapsed layers than {', '.join(empty) or 'none'}"


def _about_figures(figures: Measured) -> Iterator[tuple[bool, str]]:
    accuracies = [*figures.test_accuracy_percent.model_dump().values(), figures.train_accuracy_percent_last]
    outside = any(value is not None and not 0 <= value <= 100 for value in accuracies)
    yield outside, "an accuracy lies outside 0 to 100 percent"


def _about_scores(protocol: Protocol, record: Record) -> Iterator[tuple[bool, str]]:
    if record.scores is None or record.mask is None:  # masks may be learned without scores
        return
    rounds = protocol.pruning_method(record.method.name).schedule.rounds
    yield record.scores.rounds != rounds, f"its scores are of {record.scores.rounds} rounds, the protocol has {rounds}"
    given, kept = record.scores.layers, record.mask.layers
    fits = given.keys() == kept.keys() and all(kept[n].kept <= given[n].scored <= kept[n].size for n in kept)
    yield not fits, "its scores are not of the layers it cut"
    errors = (record.scores.unit_error_largest, record.scores.prune_to_cut_largest)
    yield any(error is not None and error < 0 for error in errors), "an error or ratio is below 0"
