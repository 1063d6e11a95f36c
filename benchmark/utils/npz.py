"""Arrays in .npz files: the same bytes for the same arrays, and safe to read from anybody. No torch.

What a file declares is checked before any memory is set aside for it: members, names, sizes, shapes, and the
dictionary that an LZMA stream asks for. `numpy.load` and `zipfile` believe those numbers, so neither unpacks here.
"""

from __future__ import annotations

import io
import lzma
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.utils.errors import BadInput
from benchmark.utils.files import CURVES_BYTES, MASKS_BYTES, read_limited

Array = NDArray[np.generic]

MOST_MEMBERS = 512  # tensors of one network
MOST_DIRECTORY_BYTES = 256 * MOST_MEMBERS
MOST_LZMA_DICTIONARY = 16 * 2**20  # Python's zipfile writes 8 MiB
_MEMBER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}\.npy", re.ASCII)
# What numpy writes for plain numbers in C order; nothing is evaluated.
_HEADER = re.compile(
    rb"\{'descr': '([<|][biuf][1248]|<f16)', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,12}, ?)*[0-9]{0,12})\), \} *\n"
)
_MAGIC = re.compile(rb"\x93NUMPY[\x01\x02]\x00")


class _Refused(ValueError):
    """Why a file is not what `pack` writes."""


DAMAGED = (
    ValueError,
    EOFError,
    IndexError,
    NotImplementedError,
    struct.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Everything that `unpack_bytes` raises."""


def pack(arrays: Mapping[str, Array], comment: str = "") -> bytes:
    """Arrays as a compressed .npz, the same bytes for the same arrays. Readers of arrays do not see the comment."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = comment.encode()
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, member.getvalue(), zipfile.ZIP_LZMA)
    return buffer.getvalue()


def comment_of(path: Path) -> str:
    """The comment that `pack` was given; empty if the file cannot be read, which `unpack` will say."""
    try:
        content = read_limited(path, MASKS_BYTES)
        with directory(content) as archive:
            return archive.comment.decode(errors="replace")
    except (BadInput, *DAMAGED):
        return ""


def unpack(path: Path, limit: int = CURVES_BYTES) -> dict[str, Array]:
    """Arrays of an .npz file; never a pickle. `limit`: bytes that all arrays together may take.

    Memory stays below the file's size, three times `limit` and 16 MiB together. Raises BadInput if the file cannot be
    read or declares more.
    """
    content = read_limited(path, MASKS_BYTES)
    try:
        return unpack_bytes(content, limit)
    except DAMAGED as error:
        raise BadInput(str(path), f"not readable ({error})", "Restore it from git, or move it away") from error


def unpack_bytes(content: bytes, limit: int) -> dict[str, Array]:
    """Arrays of an .npz in memory. Raises one of `DAMAGED`."""
    arrays: dict[str, Array] = {}
    with directory(content) as archive:
        entries = archive.infolist()
    if len(entries) > MOST_MEMBERS:
        raise _Refused(f"{len(entries)} members, at most {MOST_MEMBERS} are read")
    if (declared := sum(entry.file_size for entry in entries)) > limit + 4096 * len(entries):
        raise _Refused(f"{declared:,} bytes unpacked, at most {limit:,} are read")
    for entry in entries:
        if not _MEMBER.fullmatch(entry.filename):
            raise _Refused(f"member {entry.filename[:60]!r} is no name of an array")
        name = entry.filename.removesuffix(".npy")
        if name in arrays:
            raise _Refused(f"member '{name}' stands twice")
        arrays[name] = _array(member_of(content, entry))
    return arrays


def directory(content: bytes, limit: int = MOST_DIRECTORY_BYTES) -> zipfile.ZipFile:
    """The archive, once its directory is known to be short: zipfile makes an object of every entry.

    Raises one of `DAMAGED`.
    """
    end = content.rfind(b"PK\x05\x06", max(0, len(content) - 65557))
    if end < 0 or end + 22 > len(content):
        raise zipfile.BadZipFile("File is not a zip file")
    if content[max(0, end - 20) : end].startswith(b"PK\x06\x07"):
        raise _Refused("a zip64 archive, which no array file here is")
    (size,) = struct.unpack_from("<L", content, end + 12)
    if size > limit:
        raise _Refused(f"its directory has {size:,} bytes, at most {limit:,} are read")
    return zipfile.ZipFile(io.BytesIO(content))


def member_of(content: bytes, entry: zipfile.ZipInfo) -> bytes:
    """One member unpacked, never more than it declares. Raises one of `DAMAGED`."""
    start = entry.header_offset
    if entry.flag_bits & 1 or start < 0 or content[start : start + 4] != b"PK\x03\x04":
        raise _Refused(f"member {entry.filename!r} is encrypted or not where the directory says")
    names, extra = struct.unpack_from("<HH", content, start + 26)
    first = start + 30 + names + extra
    packed = content[first : first + entry.compress_size]
    if entry.compress_type == zipfile.ZIP_STORED:
        data = packed
    elif entry.compress_type == zipfile.ZIP_DEFLATED:
        data = zlib.decompressobj(-15).decompress(packed, entry.file_size + 1)
    elif entry.compress_type == zipfile.ZIP_LZMA:
        data = _lzma(packed, entry.file_size)
    else:
        raise _Refused(f"member {entry.filename!r} is compressed in a way that is not read")
    if len(data) != entry.file_size or zlib.crc32(data) != entry.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 or length for file {entry.filename!r}")
    return data


def _lzma(packed: bytes, size: int) -> bytes:
    """A zip's LZMA stream: version, length of the properties, lc/lp/pb in one byte, dictionary size, data."""
    _, _, length, setting, dictionary = struct.unpack_from("<BBHBL", packed)
    if length != 5 or setting >= 9 * 5 * 5 or dictionary > MOST_LZMA_DICTIONARY:
        raise _Refused(f"an LZMA dictionary of {dictionary:,} bytes, at most {MOST_LZMA_DICTIONARY:,} are read")
    lc, rest = setting % 9, setting // 9
    chain = [{"id": lzma.FILTER_LZMA1, "dict_size": dictionary, "lc": lc, "lp": rest % 5, "pb": rest // 5}]
    data = b""
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)
    packed = packed[9:]
    while len(data) <= size and not decompressor.eof:  # the end mark gives no data, but may be a call of its own
        more = decompressor.decompress(packed, size + 1 - len(data))
        if not more and not decompressor.eof:
            break
        data, packed = data + more, b""
    return data


def _array(member: bytes) -> Array:
    """A .npy file whose bytes are exactly what its header says."""
    if not _MAGIC.match(member):
        raise _Refused("a member is no array")
    wide = member[6] == 2
    (length,) = struct.unpack_from("<L" if wide else "<H", member, 8)
    start = (12 if wide else 10) + length
    found = _HEADER.fullmatch(member[12 if wide else 10 : start])
    if not found:
        raise _Refused("an array of something else than plain numbers, or in an unusual layout")
    shape = tuple(int(part) for part in found[2].split(b",") if part.strip())
    kind = np.dtype(found[1].decode())
    if len(shape) > 8 or math.prod(shape) * kind.itemsize != len(member) - start:
        raise _Refused(f"an array of shape {shape} and type {kind} in {len(member) - start:,} bytes")
    return np.frombuffer(member, kind, offset=start).reshape(shape).copy()
