"""Is a bundle whole, and does it agree with itself and with the protocols here? Nothing of it is run. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from benchmark import submissions
from benchmark.bundles.manifest import ENVIRONMENT, MASKS, PLUGIN, RESULTS, Bundle, Claim, Environment
from benchmark.bundles.mask_files import masks_from_bytes
from benchmark.bundles.record_checks import (
    cell_of,
    contradictions,
    level_means,
    mask_contradictions,
    missing_cells,
    repeated_cells,
    title,
)
from benchmark.errors import BadInput, LotterybenchError
from benchmark.intake import Intake, mask_digest
from benchmark.isolation.source import locate
from benchmark.limited import CURVES_BYTES, read_limited
from benchmark.places import Place, Places, units_of
from benchmark.protocol import Protocol
from benchmark.records import DENSE, Cell, Record
from benchmark.store import Store
from benchmark.submissions import SUBMISSION_FILE, Submission


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
        places = self._lay_out()
        intake = Intake(self.store.root)
        for claim, claimed in [(c, d) for c in self.bundle.manifest.claims for d in self.claims if _about(c, d)]:
            before = len(self.reasons)
            for unit in units_of([place for place in places if place.protocol is claimed.protocol]):
                try:
                    intake.unit(unit)
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

    def _claimed(self, claim: Claim) -> Claimed:
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

    def _lay_out(self) -> list[Place]:
        """Write result files to their places in the folder; anything else is a reason."""
        known = Places([(c.protocol, m) for c in self.claims for m in (DENSE, c.submission.name)])
        places, others = known.all_in(self.bundle.under(RESULTS))
        for place in places:
            path = place.under(self.store.root)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.bundle.files[f"{RESULTS}/{place.path}"])
        extra = [f"{RESULTS}/{path}" for path in others]
        extra += [path for path in self.bundle.files if path.split("/")[0] not in (RESULTS, MASKS)]
        expected = {self.bundle.manifest.plugin, ENVIRONMENT}
        self.reasons += [f"{path}: no file of the claimed method" for path in sorted(extra) if path not in expected]
        return places

    def _figures(self, claim: Claim, claimed: Claimed) -> Iterator[str]:
        protocol, method, records = claimed.protocol, claimed.submission.name, claimed.records()
        yield from missing_cells(protocol, method, records)
        yield from repeated_cells(records)
        if len({record.provenance.data_digest for record in records}) > 1:
            yield f"{protocol.key}: its records were made with different data"
        finished = [record for record in records if record.status == "finished"]
        for record in finished:
            path = self.store.curves_path(protocol, cell_of(record))
            curves = read_limited(path, CURVES_BYTES) if path.exists() else None
            yield from contradictions(protocol, record, curves)
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
                yield from mask_contradictions(protocol, record, masks_from_bytes(content, protocol))
            except ValueError as error:
                yield f"{title(cell)}: its mask cannot be read ({error})"
        yield from (f"{MASKS}/{protocol.key}/{method}/{name}: the mask of no finished cell" for name in sorted(files))


def _about(claim: Claim, claimed: Claimed) -> bool:
    return claim.protocol == claimed.submission.protocol


def check(bundle: Bundle, folder: Path, known: Sequence[Protocol]) -> Checks:
    """Check a bundle against the protocols `known` here; its files are laid out in the empty `folder`."""
    checks = Checks(bundle, folder, known)
    checks.run()
    return checks
