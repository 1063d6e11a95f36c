"""What a repository holds at one commit. A commit never changes, so a listing is kept once it was read whole."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmark.errors import BadInput
from benchmark.files import sha256
from benchmark.intake import blob_id
from benchmark.limited import MIB, read_text_limited

MOST_FILES = 200_000
_HEX40, _HEX64 = re.compile(r"[0-9a-f]{40}", re.ASCII), re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class RemoteFile:
    """One file. `blob_id`: git's sha1 of the content, or of its pointer where `sha256` (large files) is given."""

    path: str
    size: int
    blob_id: str
    sha256: str | None

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or type(self.size) is not int or self.size < 0:
            raise ValueError(f"a listed file without path or size: {str(self.path)[:100]!r}")
        if not _HEX40.fullmatch(self.blob_id) or not (self.sha256 is None or _HEX64.fullmatch(self.sha256)):
            raise ValueError(f"'{self.path[:100]}' is listed without a digest")

    def holds(self, content: bytes) -> bool:
        """Whether `content` is this file's, by its size and digest."""
        if len(content) != self.size:
            return False
        return sha256(content) == self.sha256 if self.sha256 else blob_id(content) == self.blob_id

    def is_like(self, size: int, sha: str, blob: str) -> bool:
        """The same question about a file whose digests are known."""
        return size == self.size and (sha == self.sha256 if self.sha256 else blob == self.blob_id)


@dataclass(frozen=True)
class Listing:
    """Every file of a repository at `commit`, by path."""

    commit: str
    files: Mapping[str, RemoteFile]


def listing_from(commit: str, entries: Iterable[Any]) -> Listing:
    """A listing of what the client gives. Raises ValueError for an entry that makes no sense, or for too many."""
    files: dict[str, RemoteFile] = {}
    for entry in entries:
        if not hasattr(entry, "blob_id"):
            continue  # a folder
        large = entry.lfs
        size, sha = (large.size, str(large.sha256)) if large is not None else (entry.size, None)
        files[entry.path] = RemoteFile(entry.path, size, str(entry.blob_id), sha)
        if len(files) > MOST_FILES:
            raise ValueError(f"it holds more than {MOST_FILES:,} files")
    return Listing(commit, files)


def _folder(repository: str) -> Path:
    from huggingface_hub import cached_assets_path

    return cached_assets_path("lotterybench", namespace=repository, subfolder="listings")


def _keep(path: Path, text: str) -> None:
    """Keep a note. Not being able to is no failure: it only saves requests."""
    with suppress(OSError), tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as file:
        file.write(text)
        file.close()
        Path(file.name).replace(path)


def save_listing(repository: str, listing: Listing) -> None:
    """Keep a listing for the next run, and for offline use."""
    rows = [asdict(file) for _, file in sorted(listing.files.items())]
    _keep(_folder(repository) / f"{listing.commit}.json", json.dumps(rows))


def load_listing(repository: str, commit: str) -> Listing | None:
    """A listing kept before; None if there is none or it is damaged."""
    try:
        rows = json.loads(read_text_limited(_folder(repository) / f"{commit}.json", 64 * MIB))
        files = [RemoteFile(**row) for row in rows]
    except (BadInput, OSError, ValueError, TypeError, RecursionError):
        return None
    return Listing(commit, {file.path: file for file in files})


def save_name(repository: str, name: str, commit: str) -> None:
    """Keep what a branch or tag named."""
    with suppress(OSError):
        _keep(_folder(repository) / f"{quote(name, safe='')}.name", commit)


def load_name(repository: str, name: str) -> str | None:
    """The commit that a branch or tag named when it was last asked for; None if it never was."""
    try:
        commit = read_text_limited(_folder(repository) / f"{quote(name, safe='')}.name", 100)
    except (BadInput, OSError):
        return None
    return commit if _HEX40.fullmatch(commit) else None
