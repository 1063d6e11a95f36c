"""The file of a bundle: a zip in one fixed form, so that the same files give the same bytes. No torch.

Members are stored unpacked, sorted, with one date and one mode. A file that differs from what `pack_files` makes of
its own members is refused, so there is no room for a bomb, a link, a second directory, a comment or anything else that
a zip may hold and that one reader sees and another does not. Nothing is ever extracted by a name that stands in it.
"""

from __future__ import annotations

import io
import re
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

from benchmark.arrays import DAMAGED, directory, member_of
from benchmark.errors import Conflict
from benchmark.limited import MASKS_BYTES, MIB, read_limited

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
