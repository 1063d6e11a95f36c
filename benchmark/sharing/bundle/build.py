"""From a results folder and a plugin's file to a bundle: masks are made again, and must be those of the records."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark import __version__
from benchmark.harness.harness import Harness, Settings
from benchmark.plugins.registry import read_plugin
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, title
from benchmark.records import provenance
from benchmark.records.masks import masks_to_bytes
from benchmark.records.paths import LIMITS, ResultPaths, file_groups
from benchmark.records.schema import ProtocolRef, Record, cell_of
from benchmark.records.store import Store
from benchmark.records.submissions import SUBMISSION_FILE, Submission
from benchmark.sharing.bundle.format import (
    ENVIRONMENT,
    MANIFEST_SCHEMA,
    MASKS,
    PLUGIN,
    RESULTS,
    ClaimedMethod,
    Environment,
    Manifest,
    facts_of,
    packed,
)
from benchmark.sharing.integrity import FolderChecks, level_means, missing_cells
from benchmark.sharing.remeasure import mask_again
from benchmark.training.device import cpu_settings
from benchmark.utils.errors import BadInput
from benchmark.utils.files import read_limited

Say = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Part:
    """One protocol, with the method beside its own, and what the results folder says of the method."""

    protocol: Protocol
    submission: Submission


def build(parts: Sequence[Part], plugin: Path, store: Store, say: Say) -> bytes:
    """The bundle of a method's results under every protocol of `parts`.

    Raises BadInput if results are missing, unsound or not reproduced by the plugin as it is now, BadPruner if the
    plugin breaks its contract.
    """
    stem = plugin.stem
    files: dict[str, bytes] = {f"{PLUGIN}/{stem}.py": read_plugin(plugin), ENVIRONMENT: _environment()}
    claims = []
    for part in parts:
        records, results = _results(part, store)
        files.update(results)
        files.update(_masks(part, records, plugin, store, say))
        claims.append(_claim(part, records))
    manifest = Manifest(
        schema=MANIFEST_SCHEMA,
        plugin=f"{PLUGIN}/{stem}.py",
        plugin_digest=parts[0].submission.plugin_digest,
        claims=tuple(claims),
        files=facts_of(files),
    )
    return packed(manifest, files)


def _results(part: Part, store: Store) -> tuple[list[Record], dict[str, bytes]]:
    """(records, files by path in the bundle) of the method and its dense networks, each checked."""
    protocol, method = part.protocol, part.submission.name
    if not protocol.trains:
        fix = "Share its records with lotterybench push"
        raise BadInput(protocol.key, "trains nothing, so a bundle of it could not be verified by training again", fix)
    result_paths = ResultPaths([(protocol, DENSE), (protocol, method)]).in_folder(store.root)
    checks_of_folder = FolderChecks(store.root)
    for group in file_groups(result_paths):
        checks_of_folder.group(group)
    records = [r for r in store.records(protocol) if r.method.name in (DENSE, method)]
    if missing := next(missing_cells(protocol, method, records), None):
        again = f"lotterybench run {protocol.argument} --plugin ... --results {store.root}"
        raise BadInput(f"{protocol.key} in {store.root}", missing, f"Measure it: {again}")
    files = {f"{RESULTS}/{p.path}": read_limited(p.under(store.root), LIMITS[p.kind]) for p in result_paths}
    assert f"{RESULTS}/{protocol.key}/{method}/{SUBMISSION_FILE}" in files  # it made the part
    return sorted(records, key=cell_of), files


def _masks(part: Part, records: Sequence[Record], plugin: Path, store: Store, say: Say) -> Mapping[str, bytes]:
    """Every finished cell's mask by path in the bundle, made in the plugin's confined process."""
    protocol, method = part.protocol, part.submission.name
    harness = Harness(protocol, store, Settings(plugins={plugin.stem: plugin}))
    wanted = [r for r in records if r.method.name == method and r.status == "finished"]
    files = {}
    with cpu_settings():
        for number, record in enumerate(wanted):
            cell = cell_of(record)
            harness.ensure_networks(cell)
            made = mask_again(harness.masks, record)
            if not made.identical:
                cause = "the plugin makes another mask now than its record names"
                raise BadInput(f"{protocol.key}: {title(cell)}", cause, "Measure again, in the same environment")
            masks = {name: mask.numpy() for name, mask in made.masks.items()}
            files[f"{MASKS}/{protocol.key}/{method}/{cell.name}.safetensors"] = masks_to_bytes(masks)
            say("masks made again", number + 1, len(wanted))
    return files


def _claim(part: Part, records: Sequence[Record]) -> ClaimedMethod:
    protocol, method = part.protocol, part.submission.name
    own = [r for r in records if r.method.name == method]
    finished = sum(r.status == "finished" for r in own)
    if not finished:
        raise BadInput(f"{protocol.key}: {method}", "every one of its cells failed", "Correct the plugin")
    return ClaimedMethod(
        protocol=ProtocolRef(id=protocol.id, version=protocol.version, digest=protocol.digest),
        name=method,
        cells=finished,
        failed=len(own) - finished,
        accuracies=level_means(protocol, method, own),
    )


def _environment() -> bytes:
    facts = Environment(
        lotterybench=__version__,
        commit=provenance.commit()[0],
        python=platform.python_version(),
        platform=f"{platform.system()}-{platform.machine()}",
        device=f"cpu: {provenance.cpu_name()}",
        packages=provenance.packages(),
    )
    return (facts.model_dump_json(indent=1) + "\n").encode()
