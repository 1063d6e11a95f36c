"""Files that are used only if they are what was published."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import EnvironmentProblem

REPAIR = "Delete that file and run again to make it anew, or set LOTTERYBENCH_DATA to an intact copy"
ByteArrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64], str]
"""Training images (n, channels, h, w), labels (n,), test images, labels, and the digest of all four."""


def read_checked(path: Path, digest: str, algorithm: str = "md5") -> bytes:
    """A file's content. Raises EnvironmentProblem naming it if it is missing, truncated or altered."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EnvironmentProblem(str(path), f"cannot be read ({error.strerror})", REPAIR) from error
    found = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if found != digest:
        raise EnvironmentProblem(
            str(path),
            f"truncated or altered: {len(content)} bytes with {algorithm} {found}, expected {digest}",
            REPAIR,
        )
    return content
