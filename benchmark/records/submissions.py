"""Methods that plugins add to frozen protocols, known from the results folder alone. No torch, no plugin code.

<root>/<protocol>@<version>/<method>/submission.json      what the method is; written by the run before any record
<root>/<protocol>@<version>/<method>/verification.json    who measured it again: `records.verifications`

A protocol's document never changes: an added method stands beside it, and its name carries its hyper-parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.protocols.methods import MethodSpec
from benchmark.protocols.needs import OF_TRAINED, Needs
from benchmark.records import canonical
from benchmark.records.schema import ProtocolRef, Record
from benchmark.records.store import Store, left_out
from benchmark.utils.errors import BadInput
from benchmark.utils.files import KIB, read_limited, read_text_limited, write_atomically
from benchmark.utils.strict_model import Frozen

Value = bool | int | float | str

SUBMISSION_SCHEMA: Literal["lotterybench/submission/1"] = "lotterybench/submission/1"
SUBMISSION_FILE, VERIFICATION_FILE = "submission.json", "verification.json"
STEM = r"[a-z0-9][a-z0-9_-]*"  # of a plugin's file; no + (a control) and no @ (a hyper-parameter)
_VALUE = r"[A-Za-z0-9.+_-]+"  # what may stand in the name of a folder on every file system
NAME = rf"{STEM}(?:@[A-Za-z_][A-Za-z0-9_]*={_VALUE})*"
SUBMISSION_BYTES = 64 * KIB
LONGEST_NAME = 150  # file systems take 255 bytes; a bundle adds to it


def value_text(value: Value) -> str:
    """A hyper-parameter's value as it stands in a method's name: true, 2, 0.5, 1e-05, or the text itself."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def method_name(stem: str, parameters: Mapping[str, Value]) -> str:
    """`stem@alpha=0.5@beta=2`, parameters sorted. Raises BadInput if that cannot be the name of a folder."""
    name = stem + "".join(f"@{key}={value_text(value)}" for key, value in sorted(parameters.items()))
    if not re.fullmatch(STEM, stem):
        raise BadInput(f"plugin '{stem}'", "cannot name a method", "Name the file in small letters, digits, - and _")
    if not re.fullmatch(NAME, name):
        raise BadInput(f"method '{name}'", "a value cannot be part of a name", f"Values are made of {_VALUE[1:-2]}")
    if len(name) > LONGEST_NAME:
        raise BadInput(f"method '{name}'", f"longer than {LONGEST_NAME} characters", "Shorten names or values")
    return name


class Document(Frozen):
    """What stands in a file of its own, in one form of text."""

    def dumps(self) -> str:
        """The file's text."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=1, allow_nan=False) + "\n"


DocumentType = TypeVar("DocumentType", bound=Document)


class Submission(Document):
    """One added method of one protocol. `method.pruner` is the plugin file's stem."""

    schema_: Literal["lotterybench/submission/1"] = Field(alias="schema")
    name: str
    protocol: ProtocolRef
    plugin_digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="sha256 of the plugin's text")
    needs: Needs
    paper: str
    method: MethodSpec

    @property
    def parameters(self) -> dict[str, Value]:
        """Hyper-parameters that differ from the constructor's defaults."""
        return self.method.parameters

    @model_validator(mode="after")
    def _name_says_what_it_is(self) -> Self:
        try:
            expected = method_name(self.method.pruner, self.method.parameters)
        except BadInput as error:
            raise ValueError(str(error)) from error
        if self.name != expected:
            raise ValueError(f"name is '{self.name}', but pruner and parameters make it '{expected}'")
        if (self.method.schedule.scores == "trained") != (self.needs in OF_TRAINED):
            raise ValueError(f"needs is '{self.needs}', but the schedule scores {self.method.schedule.scores} weights")
        return self


def parse(text: str, name: str) -> Submission:
    """Read one submission.json. Raises BadInput naming the field."""
    return parsed(Submission, text, name)


def parsed(kind: type[DocumentType], text: str, name: str) -> DocumentType:
    """Read one document in its one form. Raises BadInput naming the field."""
    try:
        found = kind.model_validate_json(text)
        if wrong := canonical.problem(text, found, found.dumps):
            raise BadInput(name, wrong, "Restore the file, or move its folder away")
        return found
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        cause = f"{field}: {first['msg']}" if field else str(first["msg"])
        raise BadInput(name, cause, "Restore the file, or move its folder away") from error


def submission_path(store: Store, protocol: Protocol, method: str) -> Path:
    """Where a method says what it is."""
    return store.folder(protocol, method) / SUBMISSION_FILE


def read(store: Store, protocol: Protocol, method: str) -> Submission | None:
    """The method's submission under this very protocol document, or None. Raises BadInput if it is damaged."""
    path = submission_path(store, protocol, method)
    if not path.exists():
        return None
    found = parse(read_text_limited(path, SUBMISSION_BYTES), str(path))
    if (found.name, f"{found.protocol.id}@{found.protocol.version}") != (method, protocol.key):
        raise BadInput(str(path), f"is about {found.name} of {found.protocol.id}", "Put it where it belongs")
    return found if found.protocol.digest == protocol.digest else None


def of_protocol(store: Store, protocol: Protocol, *, sound_only: bool = False) -> dict[str, Submission]:
    """Every submission to this very protocol document, by method.

    Raises BadInput naming a damaged file; with `sound_only`, as verbs that read ask, it names itself in a warning and
    is left out with its method.
    """
    found = {}
    for name in sorted(path.parent.name for path in (store.root / protocol.key).glob(f"*/{SUBMISSION_FILE}")):
        try:
            submission = read(store, protocol, name)
        except BadInput as error:
            if not sound_only:
                raise
            left_out(str(error))
            continue
        if submission is not None:
            found[name] = submission
    return found


def added_to(protocol: Protocol, submissions: Mapping[str, Submission]) -> Protocol:
    """The protocol with these methods beside its own. Raises BadInput if one does not fit it."""
    for name, submission in submissions.items():
        try:
            protocol = protocol.with_added({name: submission.method})
        except ValueError as error:
            raise BadInput(f"{protocol.key}: method '{name}'", str(error), "Rename the plugin's file") from error
    return protocol


def with_submissions(store: Store, protocol: Protocol) -> Protocol:
    """The protocol with every method that was added to it in a results folder. Raises BadInput."""
    return added_to(protocol, of_protocol(store, protocol, sound_only=True))


def refuse_changed(store: Store, protocol: Protocol, submission: Submission) -> None:
    """Records of one name are made by one code.

    Raises BadInput if records of this plugin were made by other code, or of this method under another schedule.
    """
    for name, known in of_protocol(store, protocol).items():
        code_changed = known.plugin_digest != submission.plugin_digest
        if known.method.pruner != submission.method.pruner or not _has_records(store, protocol, name):
            continue
        if code_changed or (name == submission.name and known != submission):
            raise BadInput(
                f"plugin '{submission.method.pruner}'",
                f"{'its code' if code_changed else 'what it says of itself'} changed after records of {name} "
                f"were made in {store.folder(protocol, name)}, and records of two versions are never mixed",
                "Rename the plugin's file, or give another --results folder",
            )
    if _has_records(store, protocol, submission.name) and read(store, protocol, submission.name) is None:
        raise BadInput(
            str(store.folder(protocol, submission.name)),
            f"holds records but no {SUBMISSION_FILE} of this protocol version that says what made them",
            "Move the folder away, or give another --results folder",
        )


def write(store: Store, protocol: Protocol, submission: Submission) -> None:
    """Write what a method is before its first record. Raises BadInput as `refuse_changed` does."""
    refuse_changed(store, protocol, submission)
    content = submission.dumps().encode()
    path = submission_path(store, protocol, submission.name)
    if not path.exists() or read_limited(path, SUBMISSION_BYTES) != content:
        write_atomically(path, content, store.work)


def _has_records(store: Store, protocol: Protocol, method: str) -> bool:
    return any(store.folder(protocol, method).glob("level-*.json"))


def refuse_other_source(store: Store, protocol: Protocol, pruner: str, digest: str) -> None:
    """Raise BadInput if a plugin's file was edited between the start of a run and its use by a worker."""
    started = {s.plugin_digest for s in of_protocol(store, protocol).values() if s.method.pruner == pruner}
    if started and digest not in started:
        raise BadInput(
            f"plugin '{pruner}'",
            "its file was edited while it ran",
            "Undo the edit, or rename the file, and start again",
        )


def refuse_mixed(submission: Submission, records: Iterable[Record]) -> None:
    """Raise BadInput if a record under this name was made by other code or with other hyper-parameters."""
    for record in records:
        made_by = (record.method.pruner, record.method.pruner_digest, record.method.parameters)
        if made_by != (submission.method.pruner, submission.plugin_digest, submission.parameters):
            cell = Cell(record.method.name, record.cell.level, record.cell.seed, record.cell.draw)
            raise BadInput(
                f"{submission.protocol.id}: {submission.name} {cell.name}",
                f"was not made by the plugin that its {SUBMISSION_FILE} names",
                "Measure the method again into another --results folder",
            )
