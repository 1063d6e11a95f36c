"""Is a bundle whole, and does it agree with itself and with the protocols here? Nothing of it is run. No torch.

`check` gives the reasons against it. `take_over` moves a verified method into a results folder in one step, its mark
of verification last.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol as Interface
from uuid import uuid4

import numpy as np
from pydantic import ValidationError

from benchmark.plugins.registry import locate
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, title
from benchmark.records import submissions
from benchmark.records.masks import mask_digest, masks_from_bytes
from benchmark.records.paths import LIMITS, ResultPath, ResultPaths, file_groups
from benchmark.records.schema import Record, cell_of
from benchmark.records.store import Store
from benchmark.records.submissions import SUBMISSION_FILE, VERIFICATION_FILE, Submission
from benchmark.records.verifications import VERIFICATION_SCHEMA, Verification, digests_of
from benchmark.sharing.bundle.format import ENVIRONMENT, MASKS, PLUGIN, RESULTS, Bundle, ClaimedMethod, Environment
from benchmark.sharing.integrity import (
    FolderChecks,
    contradictions,
    level_means,
    missing_cells,
    repeated_cells,
)
from benchmark.utils.errors import BadInput, Conflict, EnvironmentProblem, LotterybenchError
from benchmark.utils.files import CURVES_BYTES, read_limited, write_atomically


@dataclass(frozen=True)
class Claimed:
    """One claim, laid out: `protocol` has the method beside its own, `store` holds the claimed records."""

    protocol: Protocol
    submission: Submission
    store: Store
    plugin: Path

    def records(self) -> list[Record]:
        """Records of the method and of its dense networks, by method, level and seed."""
        return sorted(self.store.records(self.protocol), key=cell_of)

    def finished(self, method: str) -> list[Cell]:
        """Finished cells of one method."""
        return [cell_of(r) for r in self.records() if r.method.name == method and r.status == "finished"]

    def failed(self) -> list[Record]:
        """Records of what failed, of the method and of its dense networks."""
        return [record for record in self.records() if record.status == "failed"]


@dataclass
class Checks:
    """What checking found: `reasons` against the bundle, and its claims as far as they could be read."""

    bundle: Bundle
    folder: Path
    known: Sequence[Protocol]
    reasons: list[str] = field(default_factory=list)
    claims: list[Claimed] = field(default_factory=list)

    @property
    def plugin(self) -> Path:
        """The plugin's source in the folder, under its own name."""
        return self.folder / PLUGIN / f"{self.bundle.manifest.stem}.py"

    @cached_property
    def store(self) -> Store:
        """The claimed results."""
        return Store(self.folder / RESULTS)

    def run(self) -> None:
        """All of them."""
        self._plugin()
        self._environment()
        for claim in self.bundle.manifest.claims:
            try:
                self.claims.append(self._claimed(claim))
            except LotterybenchError as error:
                self._add(error)
        result_paths = self._lay_out()
        checks_of_folder = FolderChecks(self.store.root)
        for claim, claimed in [(c, d) for c in self.bundle.manifest.claims for d in self.claims if _about(c, d)]:
            before = len(self.reasons)
            for group in file_groups(
                [result_path for result_path in result_paths if result_path.protocol is claimed.protocol]
            ):
                try:
                    checks_of_folder.group(group)
                except BadInput as error:
                    self._add(error)
            if len(self.reasons) == before:  # else records cannot be read, or are not of this protocol
                self.reasons += self._figures(claim, claimed)

    def _add(self, error: LotterybenchError) -> None:
        thing = error.thing.replace(f"{self.folder}/", "")
        self.reasons.append(f"{thing}: {error.cause}"[:500])

    def _plugin(self) -> None:
        manifest = self.bundle.manifest
        source = self.bundle.files.get(manifest.plugin)
        if source is None:
            self.reasons.append(f"{manifest.plugin}: is not in the bundle")
            return
        self.plugin.parent.mkdir(parents=True)
        self.plugin.write_bytes(source)
        try:
            found = locate(manifest.stem, {manifest.stem: self.plugin}).digest
        except LotterybenchError as error:
            self._add(error)
            return
        if found != manifest.plugin_digest:
            self.reasons.append(f"{manifest.plugin}: is not the code whose digest the manifest names")

    def _environment(self) -> None:
        try:
            Environment.model_validate_json(self.bundle.files.get(ENVIRONMENT, b""))
        except (ValidationError, ValueError, RecursionError):
            self.reasons.append(f"{ENVIRONMENT}: is missing or of another form")

    def _claimed(self, claim: ClaimedMethod) -> Claimed:
        """The claim with its protocol as it is here. Raises BadInput if there is no such, or for its submission."""
        named, key = claim.protocol, f"{claim.protocol.id}@{claim.protocol.version}"
        protocol = next((p for p in self.known if p.id == named.id), None)
        if protocol is None:
            raise BadInput(key, "there is no such protocol here", "Give its file with --protocol")
        if (protocol.version, protocol.digest) != (named.version, named.digest):
            cause = f"is another version or document than {protocol.key} here ({protocol.digest[:12]})"
            raise BadInput(f"{key} ({named.digest[:12]})", cause, "Measure under the protocol as it is")
        path = f"{RESULTS}/{key}/{claim.name}/{SUBMISSION_FILE}"
        if path not in self.bundle.files:
            raise BadInput(path, "is not in the bundle", "Make the bundle with `lotterybench submit`")
        try:
            submission = submissions.parse(self.bundle.files[path].decode(), path)
        except UnicodeDecodeError as error:
            raise BadInput(path, f"not JSON ({error})", "Make the bundle with `lotterybench submit`") from error
        said = (submission.name, submission.protocol, submission.plugin_digest, submission.method.pruner)
        if said != (claim.name, named, self.bundle.manifest.plugin_digest, self.bundle.manifest.stem):
            raise BadInput(path, "is about another method, protocol or plugin than the manifest", "Submit again")
        if submission.method.schedule.rounds == "levels" or submission.method.schedule.restart != 0:
            raise BadInput(path, "has a schedule that no added method has", "Submit again")
        return Claimed(submissions.added_to(protocol, {claim.name: submission}), submission, self.store, self.plugin)

    def _lay_out(self) -> list[ResultPath]:
        """Write result files to their paths in the folder; anything else is a reason."""
        known = ResultPaths([(c.protocol, m) for c in self.claims for m in (DENSE, c.submission.name)])
        result_paths, others = known.all_in(self.bundle.under(RESULTS))
        for result_path in result_paths:
            path = result_path.under(self.store.root)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.bundle.files[f"{RESULTS}/{result_path.path}"])
        extra = [f"{RESULTS}/{path}" for path in others]
        extra += [path for path in self.bundle.files if path.split("/")[0] not in (RESULTS, MASKS)]
        expected = {self.bundle.manifest.plugin, ENVIRONMENT}
        self.reasons += [f"{path}: no file of the claimed method" for path in sorted(extra) if path not in expected]
        return result_paths

    def _figures(self, claim: ClaimedMethod, claimed: Claimed) -> Iterator[str]:
        protocol, method, records = claimed.protocol, claimed.submission.name, claimed.records()
        yield from missing_cells(protocol, method, records)
        yield from repeated_cells(records)
        if len({record.provenance.data_digest for record in records}) > 1:
            yield f"{protocol.key}: its records were made with different data"
        finished = [record for record in records if record.status == "finished"]
        for record in finished:
            path, name = self.store.curves_path(protocol, cell_of(record)), title(cell_of(record))
            if record.measured is None or not path.exists():
                yield f"{name}: finished without figures or curves"
                continue
            curves = read_limited(path, CURVES_BYTES)
            yield from (f"{name}: {cause}" for cause in contradictions(protocol, record, curves=curves))
        yield from self._masks(protocol, method, finished)
        own = [record for record in records if record.method.name == method]
        counts = (sum(r.status == "finished" for r in own), sum(r.status == "failed" for r in own))
        if counts != (claim.cells, claim.failed) or level_means(protocol, method, own) != claim.accuracies:
            yield f"{protocol.key} {method}: counts or means in the manifest are not those of its records"

    def _masks(self, protocol: Protocol, method: str, finished: Sequence[Record]) -> Iterator[str]:
        files = self.bundle.under(f"{MASKS}/{protocol.key}/{method}")
        full = mask_digest({name: np.ones(shape, bool) for name, shape in protocol.pruning.prunable.items()})
        for record in finished:
            cell = cell_of(record)
            if cell.method == DENSE:
                if record.mask is None or record.mask.sha256 != full:
                    yield f"{title(cell)}: its mask is not full"
                continue
            content = files.pop(f"{cell.name}.safetensors", None)
            if content is None:
                yield f"{title(cell)}: its mask is not in the bundle"
                continue
            try:
                mask = masks_from_bytes(content, protocol)
            except ValueError as error:
                yield f"{title(cell)}: its mask cannot be read ({error})"
                continue
            yield from (f"{title(cell)}: {cause}" for cause in contradictions(protocol, record, mask=mask))
        yield from (f"{MASKS}/{protocol.key}/{method}/{name}: the mask of no finished cell" for name in sorted(files))


def _about(claim: ClaimedMethod, claimed: Claimed) -> bool:
    return claim.protocol == claimed.submission.protocol


def check(bundle: Bundle, folder: Path, known: Sequence[Protocol]) -> Checks:
    """Check a bundle against the protocols `known` here; its files are laid out in the empty `folder`."""
    checks = Checks(bundle, folder, known)
    checks.run()
    return checks


FIX = "Nothing was taken over. Give another --results folder"


class Outcome(Interface):
    """What measuring a sample again found (`rerun.Rerun`), as far as a mark says it."""

    cells: int
    identical: int
    fresh_cells: int
    excludes: str


def mark(claimed: Claimed, by: str, found: Outcome, key: Path | None) -> Verification:
    """Who measured what again, now, of which files; signed if there is a key.

    Raises EnvironmentProblem or BadInput if it cannot be signed.
    """
    made = Verification(
        schema=VERIFICATION_SCHEMA,
        name=claimed.submission.name,
        protocol=claimed.submission.protocol,
        plugin_digest=claimed.submission.plugin_digest,
        by=" ".join(by.split()),
        when=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        cells=found.cells,
        identical=found.identical,
        fresh_cells=found.fresh_cells,
        excludes=found.excludes,
        files=digests_of(claimed.store.folder(claimed.protocol, claimed.submission.name)),
        signature=None,
    )
    return made.signed(key) if key else made


def refuse_differing(claimed: Claimed, store: Store) -> None:
    """Raise Conflict if a results folder holds anything of this method that the bundle does not hold."""
    submissions.refuse_changed(store, claimed.protocol, claimed.submission)
    target = store.folder(claimed.protocol, claimed.submission.name)
    offered = {result_path.path for result_path in _result_paths(claimed)}
    for path in sorted(target.glob("*")):
        name = path.relative_to(store.root).as_posix()
        if path.name == VERIFICATION_FILE:
            continue
        result_path = next((p for p in _result_paths(claimed) if p.path == name), None)
        limit = LIMITS[result_path.kind] if result_path else 0
        if name not in offered or read_limited(path, limit) != read_limited(claimed.store.root / name, limit):
            raise Conflict(str(path), "is not what the bundle holds there, and stays", FIX)


def take_over(claimed: Claimed, store: Store, verification: Verification) -> int:
    """Move the method's files in, with the mark; the number of files. Raises Conflict as `refuse_differing` does.

    A method that is not there yet appears as one whole folder. Its dense networks stay outside: other methods are
    compared with dense networks, and claims decided by them, so these are measured here (`missing_dense`).
    """
    refuse_differing(claimed, store)
    protocol, name = claimed.protocol, claimed.submission.name
    content = verification.dumps().encode()
    target, result_paths = store.folder(protocol, name), _result_paths(claimed)
    if target.exists():
        _copy(result_paths, claimed.store, store)
        write_atomically(target / VERIFICATION_FILE, content, store.work)
        return len(result_paths) + 1
    staging = Store(store.work / "unfinished" / f"bundle-{uuid4().hex}")
    shutil.rmtree(staging.root, ignore_errors=True)
    try:
        _copy(result_paths, claimed.store, staging)
        write_atomically(staging.folder(protocol, name) / VERIFICATION_FILE, content, staging.work)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.folder(protocol, name).rename(target)
    except OSError as error:
        cause = f"cannot be written ({error.strerror or error})"
        raise EnvironmentProblem(str(target), cause, "Give a writable --results folder") from error
    finally:
        shutil.rmtree(staging.root, ignore_errors=True)
    return len(result_paths) + 1


def missing_dense(claimed: Claimed, store: Store) -> list[int]:
    """Seeds whose dense network, which the method is compared with, is not in the results folder yet."""
    protocol = claimed.protocol
    return [cell.seed for cell in claimed.finished(DENSE) if store.read(protocol, cell) is None]


def _result_paths(claimed: Claimed) -> list[ResultPath]:
    """The method's files, what it is first and records last."""
    found = ResultPaths([(claimed.protocol, claimed.submission.name)]).in_folder(claimed.store.root)
    return [result_path for group in file_groups(found) for result_path in group.result_paths]


def _copy(result_paths: list[ResultPath] | tuple[ResultPath, ...], source: Store, target: Store) -> None:
    for result_path in result_paths:
        content = read_limited(result_path.under(source.root), LIMITS[result_path.kind])
        write_atomically(Path(result_path.under(target.root)), content, target.work, replace=False)
