"""Files written whole or not at all, and what they are called by their content."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from benchmark.errors import EnvironmentProblem


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
        raise EnvironmentProblem(
            str(path),
            f"cannot be written ({error.strerror or error})",
            "Free space or give another --results folder",
        ) from error
    return True


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
