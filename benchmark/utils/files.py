"""Files read with a limit and written whole or not at all.

What somebody else may have made is read only if it is a plain file, and never further than was allowed. Writing is
fsync, then rename. Contents are named by sha256.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from benchmark.utils.errors import BadInput, EnvironmentProblem


def spoken(seconds: float) -> str:
    """A length of time as people say it: < 1 s, 40 s, 12 min, 2.3 h, and from 100 h in two digits, 1,100,000 h."""
    if seconds < 1:  # of what is still to do: never nothing
        return "< 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{two_digits(seconds / 3600, 1)} h"


def two_digits(number: float, decimals: int) -> str:
    """A number below 100 with so many decimals, from there on with two significant digits: an estimate has no more."""
    if number < 100:
        return f"{number:,.{decimals}f}"
    unit = 10 ** (len(f"{number:.0f}") - 2)
    return f"{round(number / unit) * unit:,}"


def write_atomically(path: Path, content: bytes, work: Path, replace: bool = True) -> bool:
    """Write, fsync, rename, fsync the folder. False, and nothing written, if `replace` is false and the file is there.

    Raises EnvironmentProblem on a full disk or a read-only folder.
    """
    temporary = work / "unfinished" / f"{uuid4().hex[:12]}-{path.name}"  # process ids repeat from machine to machine
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        elif not _linked(temporary, path):
            return False
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with suppress(OSError):  # a read-only file system refuses even to remove what is not there
            temporary.unlink()
        raise cannot_write(path, error) from error
    return True


def cannot_write(path: Path, error: OSError) -> EnvironmentProblem:
    """What to say of a file or folder that cannot be written to: whether space is missing, or leave."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    fix = "Free space or give another --results folder" if full else "Give a writable --results folder"
    return EnvironmentProblem(str(path), f"cannot be written ({error.strerror or error})", fix)


def _linked(temporary: Path, path: Path) -> bool:
    """Give a file its name unless the name is taken: unlike a rename, a link refuses what came in between."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def sha256(content: bytes) -> str:
    """Hex digest of bytes."""
    return hashlib.sha256(content).hexdigest()


KIB, MIB = 1024, 1024 * 1024
YAML_BYTES = 256 * KIB  # the largest protocol or paper here has 13 KB; PyYAML reads about 100 KB a second
RECORD_BYTES = MIB  # a record has 2 to 4 KB
CURVES_BYTES = 16 * MIB  # packed or unpacked; a committed one has 2 to 20 KB
MASKS_BYTES = 64 * MIB  # packed; unpacked it must be exactly what its protocol says
RESTORE = "Restore it, or move it away"


def read_limited(path: Path | str, limit: int) -> bytes:
    """The content of a plain file of at most `limit` bytes; symbolic links are followed.

    Raises BadInput if it is longer, missing, or a folder, pipe or device (which might never end).
    """
    return read_with_state(path, limit)[0]


def read_with_state(path: Path | str, limit: int) -> tuple[bytes, os.stat_result]:
    """The same, with what the file system said of that very file. Raises BadInput."""
    try:
        # Opening a pipe waits for a writer unless told not to; a plain file does not care.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise BadInput(str(path), "cannot be read (not a plain file)", RESTORE)
            if found.st_size > limit:
                raise BadInput(str(path), f"is too long: more than {limit:,} bytes", RESTORE)
            return _up_to(descriptor, found.st_size), found
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise BadInput(str(path), f"cannot be read ({error})", RESTORE) from error


def _up_to(descriptor: int, size: int) -> bytes:
    """So many bytes, or fewer if the file ends before: not the limit, as much as is asked for is set aside."""
    content = os.read(descriptor, size)
    while len(content) < size and (more := os.read(descriptor, size - len(content))):
        content += more  # a signal, or a network file system, may end a read early
    return content


def as_text(content: bytes, path: Path | str) -> str:
    """What a file holds as UTF-8 text. Raises BadInput naming the file."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(str(path), f"cannot be read ({error})", RESTORE) from error


def read_text_limited(path: Path | str, limit: int) -> str:
    """`read_limited` as text. Raises BadInput."""
    return as_text(read_limited(path, limit), path)


DEFAULT_RESULTS = Path("results")
