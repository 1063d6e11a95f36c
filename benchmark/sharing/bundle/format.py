"""A bundle: a plugin with all that is needed to measure its results again, in one zip file of one fixed form. No torch.

`Manifest` is the first member, manifest.json: what the bundle says that it holds. Members are stored unpacked, sorted,
with one date and one mode, so the same files give the same bytes. A file that differs from what `pack_files` makes of
its own members is refused, so there is no room for a bomb, a link, a second directory, a comment or anything else that
a zip may hold and that one reader sees and another does not. Nothing is ever extracted by a name that stands in it.
"""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from benchmark.records.schema import ProtocolRef
from benchmark.records.submissions import NAME, STEM
from benchmark.sharing.integrity import LevelMean
from benchmark.utils.errors import Conflict
from benchmark.utils.files import MASKS_BYTES, MIB, read_limited, sha256
from benchmark.utils.npz import DAMAGED, directory, member_of
from benchmark.utils.strict_model import Frozen

MOST_BYTES = 256 * MIB
MOST_FILES = 8192
MOST_DIRECTORY_BYTES = 4 * MIB
_PART = r"[A-Za-z0-9_][A-Za-z0-9_@=.+-]{0,199}"
_NAME = re.compile(rf"{_PART}(/{_PART}){{0,5}}", re.ASCII)
FIX = "Ask for a bundle that `lotterybench submit` made"


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """The bundle's bytes; files by path, with forward slashes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # as on Unix, everywhere
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def read_files(path: Path) -> tuple[bytes, dict[str, bytes]]:
    """(all bytes, files by path) of a bundle.

    Memory stays below four times the file's size, which is at most `MOST_BYTES`. Raises BadInput if it cannot be read
    or is too long, Conflict if it is not in the form that `pack_files` makes, with the reason.
    """
    content = read_limited(path, MOST_BYTES)
    if content[-22:-18] != b"PK\x05\x06":  # curves are zips too: cut short, a bundle would end in one of theirs
        raise Conflict(str(path), "is no whole bundle (it does not end as one)", FIX)
    try:
        with directory(content, MOST_DIRECTORY_BYTES) as archive:
            entries = archive.infolist()
        files = _members(content, entries)
    except (*DAMAGED, OverflowError) as error:
        raise Conflict(str(path), f"is no whole bundle ({error})", FIX) from error
    except Conflict as error:
        raise Conflict(str(path), error.cause, FIX) from error
    if pack_files(files) != content:
        raise Conflict(str(path), "holds something beside its files, or lists them in another way", FIX)
    return content, files


def _members(content: bytes, entries: list[zipfile.ZipInfo]) -> dict[str, bytes]:
    if len(entries) > MOST_FILES:
        raise Conflict("", f"holds {len(entries):,} files, at most {MOST_FILES:,} are read", FIX)
    seen: set[str] = set()
    for entry in entries:
        if wrong := _wrong(entry, seen, len(content)):
            raise Conflict("", f"file {entry.orig_filename[:80]!r} {wrong}", FIX)
        seen.add(entry.filename)
    if sum(entry.file_size for entry in entries) > len(content):
        raise Conflict("", "declares more than it holds: files lie one over another", FIX)
    return {entry.filename: member_of(content, entry) for entry in entries}


def _wrong(entry: zipfile.ZipInfo, seen: set[str], length: int) -> str | None:
    """Why an entry is refused before a byte of it is read; None if it may be read."""
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    climbs = name.startswith(("/", "\\")) or ":" in name or ".." in re.split(r"[/\\]", name)
    packed = entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size
    size = f"{entry.file_size:,} bytes"
    reasons = [
        (climbs, "has a path that leads out of the bundle"),
        (kind == stat.S_IFLNK, "is a symbolic link"),
        (kind not in (0, stat.S_IFREG) or entry.is_dir(), "is no plain file"),
        (not _NAME.fullmatch(name) or name != entry.filename, "has a name that no bundle holds"),
        (name in seen, "stands twice"),
        (packed, f"is compressed, {size} in {entry.compress_size:,}; a bundle's files are not"),
        (entry.file_size > min(MASKS_BYTES, length), f"is too long: {size}"),
    ]
    return next((reason for is_so, reason in reasons if is_so), None)


MANIFEST, ENVIRONMENT = "manifest.json", "environment.json"
RESULTS, MASKS, PLUGIN = "results", "masks", "plugin"
MANIFEST_SCHEMA: Literal["lotterybench/bundle/1"] = "lotterybench/bundle/1"
MOST_MANIFEST_BYTES = 4 * MIB
_SHA256 = r"^[0-9a-f]{64}$"


class FileFacts(Frozen):
    """One file of the bundle."""

    size: int = Field(ge=0, description="bytes")
    sha256: str = Field(pattern=_SHA256)


class ClaimedMethod(Frozen):
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
    plugin_digest: str = Field(pattern=_SHA256, description="of its whole text")
    claims: tuple[ClaimedMethod, ...] = Field(min_length=1)
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
