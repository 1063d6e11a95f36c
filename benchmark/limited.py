"""Reading files that somebody else may have made: never more than was allowed, and only plain files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from benchmark.errors import BadInput

KIB, MIB = 1024, 1024 * 1024
YAML_BYTES = 256 * KIB  # the largest protocol or paper here has 13 KB; PyYAML reads about 100 KB a second
RECORD_BYTES = MIB  # a record has 2 to 4 KB
CURVES_BYTES = 16 * MIB  # packed or unpacked; a committed one has 2 to 20 KB
MASKS_BYTES = 64 * MIB  # packed; unpacked it must be exactly what its protocol says
RESTORE = "Restore it, or move it away"


def read_limited(path: Path, limit: int) -> bytes:
    """The content of a plain file of at most `limit` bytes; symbolic links are followed.

    Raises BadInput if it is longer, missing, or a folder, pipe or device (which might never end).
    """
    try:
        # Opening a pipe waits for a writer unless told not to; a plain file does not care.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BadInput(str(path), "cannot be read (not a plain file)", RESTORE)
            if found.st_size > limit:
                raise BadInput(str(path), f"is too long: more than {limit:,} bytes", RESTORE)
            return file.read(found.st_size)  # not `limit`: Python sets aside as much as is asked for
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise BadInput(str(path), f"cannot be read ({error})", RESTORE) from error


def read_text_limited(path: Path, limit: int) -> str:
    """The same as UTF-8 text. Raises BadInput."""
    try:
        return read_limited(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(str(path), f"cannot be read ({error})", RESTORE) from error
