"""What a bundle says it holds: manifest.json, the first file to be read. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from benchmark.bundles.archive import FIX, pack_files, read_files
from benchmark.errors import Conflict
from benchmark.files import sha256
from benchmark.limited import MIB
from benchmark.records import ProtocolRef
from benchmark.spec.frozen import Frozen
from benchmark.submissions import NAME, STEM

MANIFEST, ENVIRONMENT = "manifest.json", "environment.json"
RESULTS, MASKS, PLUGIN = "results", "masks", "plugin"
MANIFEST_SCHEMA: Literal["lotterybench/bundle/1"] = "lotterybench/bundle/1"
MOST_MANIFEST_BYTES = 4 * MIB
_SHA256 = r"^[0-9a-f]{64}$"


class FileFacts(Frozen):
    """One file of the bundle."""

    size: int = Field(ge=0, description="bytes")
    sha256: str = Field(pattern=_SHA256)


class LevelMean(Frozen):
    """The accuracy that the protocol's paper reports, in percent, averaged over the seeds of one level."""

    level: int
    seeds: int
    mean_percent: float


class Claim(Frozen):
    """What the bundle claims of the method under one protocol. `cells`: finished ones of the method."""

    protocol: ProtocolRef
    name: str = Field(pattern=rf"^{NAME}$")
    cells: int = Field(gt=0)
    failed: int = Field(ge=0)
    accuracies: tuple[LevelMean, ...]


class Environment(Frozen):
    """What the bundle was built with. Each record says for itself what it was made with."""

    lotterybench: str
    commit: str | None
    python: str
    platform: str
    device: str
    packages: dict[str, str]


class Manifest(Frozen):
    """The bundle's contents. `files`: every file but the manifest, by path."""

    schema_: Literal["lotterybench/bundle/1"] = Field(alias="schema")
    plugin: str = Field(pattern=rf"^{PLUGIN}/{STEM}\.py$")
    plugin_digest: str = Field(pattern=_SHA256, description="of its code, comments and docstrings aside")
    claims: tuple[Claim, ...] = Field(min_length=1)
    files: dict[str, FileFacts]

    @property
    def stem(self) -> str:
        """The plugin's name."""
        return self.plugin.removeprefix(f"{PLUGIN}/").removesuffix(".py")

    @model_validator(mode="after")
    def _once(self) -> Self:
        keys = [(claim.protocol.id, claim.protocol.version) for claim in self.claims]
        if len(set(keys)) != len(keys):
            raise ValueError("a protocol is claimed twice")
        return self

    def dumps(self) -> str:
        """The file's text."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=1, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory whose files are those of its manifest. `digest`: sha256 of the whole file."""

    digest: str
    manifest: Manifest
    files: Mapping[str, bytes]

    def under(self, folder: str) -> dict[str, bytes]:
        """The files in one of its folders, by path inside that folder."""
        start = f"{folder}/"
        return {path.removeprefix(start): content for path, content in self.files.items() if path.startswith(start)}


def packed(manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    """The bundle's bytes."""
    return pack_files({MANIFEST: manifest.dumps().encode(), **files})


def facts_of(files: Mapping[str, bytes]) -> dict[str, FileFacts]:
    """Size and digest of every file, sorted by path."""
    return {path: FileFacts(size=len(files[path]), sha256=sha256(files[path])) for path in sorted(files)}


def read_bundle(path: Path) -> Bundle:
    """A bundle whose files are exactly those that its manifest lists, with these sizes and digests.

    Raises BadInput if the file cannot be read, Conflict naming the first thing that is wrong.
    """
    content, files = read_files(path)
    text = files.pop(MANIFEST, None)
    if text is None:
        raise Conflict(str(path), f"holds no {MANIFEST}", FIX)
    manifest = _manifest(f"{path}: {MANIFEST}", text)
    for name in sorted(files.keys() ^ manifest.files.keys()):
        cause = "is in the bundle and not in its manifest" if name in files else "is in the manifest and not there"
        raise Conflict(f"{path}: {name}", cause, FIX)
    found = facts_of(files)
    for name, facts in manifest.files.items():
        if found[name] != facts:
            raise Conflict(f"{path}: {name}", "is not what the manifest says, by its size or sha256", FIX)
    return Bundle(sha256(content), manifest, files)


def _manifest(name: str, text: bytes) -> Manifest:
    if len(text) > MOST_MANIFEST_BYTES:
        raise Conflict(name, f"is too long: {len(text):,} bytes", FIX)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Conflict(name, f"{field}: {first['msg']}" if field else str(first["msg"]), FIX) from error
    except (ValueError, RecursionError) as error:
        raise Conflict(name, f"not JSON ({error})", FIX) from error
    if manifest.dumps().encode() != text:  # a key that stands twice, for one
        raise Conflict(name, "is not written as `lotterybench submit` writes it", FIX)
    return manifest
