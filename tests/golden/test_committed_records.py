"""The committed records: made by the pruners as they are now, each with its curves and its mask."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import pytest
import torch

from benchmark.analyses import digest_of, load_analysis
from benchmark.networks import build, initial_state
from benchmark.plugins.load import find
from benchmark.plugins.registry import locate, source_digest
from benchmark.protocols import Protocol, load_all, load_earlier
from benchmark.protocols.cells import Cell, is_chain, method_names
from benchmark.pruning.masks import tensor_mask_digest as mask_digest
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.sharing.integrity import contradictions
from benchmark.utils.seeding import stream

ROOT = Path(__file__).parents[2]
STORE = Store(ROOT / "results")
CURRENT = {protocol.id: protocol for protocol in load_all()}
PROTOCOLS = {
    protocol.key: protocol for protocol in (*CURRENT.values(), *load_earlier()) if (STORE.root / protocol.key).exists()
}


def cell_of(record: Record) -> Cell:
    return Cell(record.method.name, record.cell.level, record.cell.seed, record.cell.draw)


@pytest.fixture(scope="module", params=sorted(key for key in PROTOCOLS if (STORE.root / key).is_dir()))
def committed(request: pytest.FixtureRequest) -> tuple[Protocol, list[Record]]:
    protocol = PROTOCOLS[request.param]
    records = STORE.records(protocol)
    assert records, f"{protocol.key} has a folder without a record of this version"
    return protocol, records


def test_the_required_experiments_are_committed() -> None:
    assert {"mnist1d/mlp@2", "lth/lenet-mnist@2"} <= set(PROTOCOLS)


def test_every_folder_of_records_has_its_document() -> None:
    """Records of an earlier version stay readable: its document is held while they are there."""
    folders = {path.parent.parent.relative_to(STORE.root).as_posix() for path in STORE.root.glob("*/*@*/*/*.json")}
    assert folders <= set(PROTOCOLS)


AGAIN = "changed after its records were committed: give it another name, or a new version and measure again"


def named_code(protocol: Protocol, record: Record) -> Iterator[tuple[str, str, str]]:
    """What a record says was run: a name, the digest in the record, and the digest of the code of that name now."""
    method = record.method
    if method.pruner:
        yield f"pruner '{method.pruner}'", str(method.pruner_digest), digest_now(method.pruner)
    if method.hook:
        yield f"hook '{method.hook.name}'", method.hook.digest, digest_now(method.hook.name, kind="hook")
    if method.analysis:
        yield f"analysis '{method.analysis.name}'", method.analysis.digest, analysis_digest(protocol, method.name)


@cache
def digest_now(name: str, kind: str = "pruner") -> str:
    """Of a registered plugin: looked up once, not for each of thousands of records."""
    return find(name).digest if kind == "pruner" else locate(name, kind=kind).digest


@cache
def analysis_digest(protocol: Protocol, method: str) -> str:
    """Of the code of an analysis, and of the plugins that it runs."""
    return digest_of(load_analysis(protocol.analyses[method]))


def test_records_come_from_the_code_as_it_is_now(committed: tuple[Protocol, list[Record]]) -> None:
    """Those of a protocol's newest version. Of an earlier one, of the code as it was at the commit that they name."""
    protocol, records = committed
    newest = protocol.version == CURRENT[protocol.id].version
    for what, recorded, now in sorted({found for record in records for found in named_code(protocol, record)}):
        if newest:
            assert recorded == now, f"the code of {what} {AGAIN}"
        elif recorded != now and what.startswith("pruner"):
            assert recorded in past_digests(what.split("'")[1]), (
                f"{what} never had the digest that {protocol.key} names"
            )


@cache
def past_digests(pruner: str) -> frozenset[str]:
    """Of every state that a pruner's file was committed in; skips where the history is not there."""
    path = f"baselines/{pruner.replace('-', '_')}.py"
    run = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, check=False)
    commits = run(["git", "log", "--format=%H", "--", path]).stdout.split()
    if len(commits) < 2:
        pytest.skip(f"NOT TESTED: no history of {path} here")
    texts = [run(["git", "show", f"{commit}:{path}"]).stdout for commit in commits]
    return frozenset(source_digest(text) for text in texts if text)


def test_a_records_curves_are_the_ones_it_was_written_with(committed: tuple[Protocol, list[Record]]) -> None:
    protocol, records = committed
    for record in records:
        path = STORE.curves_path(protocol, cell_of(record))
        if protocol.measures == "masks" or (protocol.measures == "analysis" and record.curves_sha256 is None):
            assert (record.curves_sha256, path.exists()) == (None, False), path
            continue
        assert record.curves_sha256 == hashlib.sha256(path.read_bytes()).hexdigest(), path


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.long)])
def test_a_chains_masks_are_those_of_its_records(committed: tuple[Protocol, list[Record]], every: int) -> None:
    """A file of another seed has the same counts everywhere: only the digest tells. Of levels that differ by seed."""
    protocol, records = committed
    for record in records:
        if (record.cell.level + record.cell.seed) % every:
            continue
        path = STORE.nested_masks_path(protocol, record.method.name, record.cell.seed)
        if record.method.name not in method_names(protocol) or not is_chain(protocol, record.method.name):
            continue
        masks = STORE.read_nested_masks(protocol, record.method.name, record.cell.seed).mask(record.cell.level)
        assert record.mask is not None
        assert mask_digest({name: torch.from_numpy(mask) for name, mask in masks.items()}) == record.mask.sha256, path


def test_no_record_contradicts_its_protocol(committed: tuple[Protocol, list[Record]]) -> None:
    protocol, records = committed
    for record in records:
        if record.method.name in method_names(protocol):  # those of plugins are checked with their submissions
            assert not list(contradictions(protocol, record)), (record.method.name, record.cell)


@pytest.mark.slow
def test_committed_magnitude_masks_of_vgg_are_a_stable_sort_of_the_initial_weights() -> None:
    """Made again without the harness, at three compressions: the mask, and with it every count by layer."""
    protocol = PROTOCOLS["synflow/vgg16-cifar100-masks@1"]
    state = initial_state(build(protocol), protocol.network, stream(0, "init"))
    shapes = protocol.pruning.prunable
    order = torch.sort(
        torch.cat([state[name].abs().flatten() for name in shapes]), descending=True, stable=True
    ).indices
    for level in (4, 11, 12):
        record = STORE.read(protocol, Cell("magnitude", level, 0))
        assert record is not None
        assert record.mask is not None
        kept = torch.zeros(len(order), dtype=torch.bool)
        kept[order[: protocol.level_table[level].kept]] = True
        parts = torch.split(kept, [state[name].numel() for name in shapes])
        masks = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        assert mask_digest(masks) == record.mask.sha256
