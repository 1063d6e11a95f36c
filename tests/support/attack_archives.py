"""Bundles and weights by a forger with a hex editor: forms that some reader would take for something else."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable

from benchmark.sharing.bundle.format import pack_files

PLAIN = {"manifest.json": b"{}", "plugin/mine.py": b"x = 1\n"}


def _zipped(fill: Callable[[zipfile.ZipFile], object], comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        fill(archive)
        archive.comment = comment
    return buffer.getvalue()


def _entry(name: str, mode: int = stat.S_IFREG | 0o644, **fields: object) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system, entry.external_attr = 3, mode << 16
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


def _named(*names: str) -> bytes:
    entries = [
        _entry("x", filename=name, orig_filename=name) for name in names
    ]  # as it is, whatever zipfile makes of it
    return _zipped(lambda archive: [archive.writestr(entry, b"{}") for entry in entries])


def _of_mode(mode: int) -> bytes:
    return _zipped(lambda archive: archive.writestr(_entry("manifest.json", mode), b"/etc/passwd"))


def _zip64() -> bytes:
    def fill(archive: zipfile.ZipFile) -> None:
        with archive.open(_entry("manifest.json"), "w", force_zip64=True) as member:
            member.write(b"{}")

    return _zipped(fill)


def _zip64_directory() -> bytes:
    """A second directory, as only zip64 readers look for it, in front of the end record."""
    content = pack_files(PLAIN)
    locator = struct.pack("<IIQI", 0x07064B50, 0, 0, 1)
    return content[:-22] + locator + content[-22:]


def _over_one_another() -> bytes:
    """Two names for one member's bytes."""
    content = bytearray(pack_files({"manifest.json": b"{}", "manifesu.json": b"{}"}))
    second = content.rindex(b"PK\x01\x02")
    content[second + 42 : second + 46] = struct.pack("<I", 0)
    return bytes(content)


def _two_names() -> bytes:
    """One name in front of a member, another in the directory."""
    return pack_files(PLAIN).replace(b"plugin/mine.py", b"plugin/evil.py", 1)


def _longer_than_it_is() -> bytes:
    content = bytearray(pack_files(PLAIN))
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 0x7FFFFFFF, 0x7FFFFFFF)
    return bytes(content)


def _bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(2**24))
    return buffer.getvalue()


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "zip64 sizes": _zip64,
    "a zip64 directory": _zip64_directory,
    "Unicode twins": lambda: _named("manifest.json", "manife\u017ft.json"),
    "composed and decomposed": lambda: _named("caf\u00e9.json", "cafe\u0301.json"),
    "full width": lambda: _named("manifest.json", "\uff4danifest.json"),
    "right to left": lambda: _named("results/\u202egnp.json"),
    "no width": lambda: _named("manifest\u200b.json"),
    "a NUL": lambda: _named("manifest.json\0.py"),
    "a newline": lambda: _named("manifest.json\nx"),
    "an absolute path": lambda: _named("/etc/passwd"),
    "a path up": lambda: _named("results/../../x"),
    "a path up, backwards": lambda: _named("results\\..\\..\\x"),
    "a drive": lambda: _named("C:x"),
    "a folder": lambda: _named("results/"),
    "a symbolic link": lambda: _of_mode(stat.S_IFLNK | 0o777),
    "a device": lambda: _of_mode(stat.S_IFCHR | 0o666),
    "a pipe": lambda: _of_mode(stat.S_IFIFO | 0o666),
    "members over one another": _over_one_another,
    "two names of one member": _two_names,
    "a length without end": _longer_than_it_is,
    "a bomb": _bomb,
    "a comment": lambda: _zipped(lambda archive: archive.writestr(_entry("manifest.json"), b"{}"), b"hidden"),
    "an extra field": lambda: _zipped(
        lambda archive: archive.writestr(_entry("manifest.json", extra=b"\x55\x54\x05\x00\x03abcd"), b"{}")
    ),
    "another date": lambda: _zipped(
        lambda archive: archive.writestr(_entry("manifest.json", date_time=(1999, 1, 1, 0, 0, 0)), b"{}")
    ),
    "bytes in front": lambda: b"#!/bin/sh\n" + pack_files(PLAIN),
    "bytes between": lambda: pack_files(PLAIN).replace(b"PK\x01\x02", b"hiddenPK\x01\x02", 1),
    "bytes behind": lambda: pack_files(PLAIN) + b"hidden",
    "a directory twice": lambda: pack_files(PLAIN) + pack_files(PLAIN),
    "too many": lambda: pack_files({f"results/{n}": b"" for n in range(9000)}),
}


def _weights(header: bytes, data: bytes = bytes(64), length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


WEIGHTS: dict[str, bytes] = {
    "overlapping tensors": _weights(
        b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},"b":{"dtype":"F32","shape":[8],"data_offsets":[32,64]}}'
    ),
    "a hole between tensors": _weights(b'{"a":{"dtype":"F32","shape":[8],"data_offsets":[32,64]}}'),
    "a header longer than the file": _weights(b"{}", length=1 << 62),
    "a tensor beyond the file": _weights(b'{"a":{"dtype":"F32","shape":[1024],"data_offsets":[0,4096]}}'),
    "a tensor of terabytes": _weights(b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,64]}}'),
    "a product that overflows": _weights(b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'),
    "offsets backwards": _weights(b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[64,0]}}'),
    "deep nesting": _weights(b'{"a":' * 10_000),
    "a type of none": _weights(b'{"a":{"dtype":"O","shape":[8],"data_offsets":[0,64]}}'),
}
