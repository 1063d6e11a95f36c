"""LOCK.json: the digest of every protocol version. A frozen protocol that changed is caught here."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import count
from pathlib import Path

from benchmark.protocols.protocol import Protocol, load_all, load_earlier, protocols_folder
from benchmark.utils.errors import BadInput


def lock_path() -> Path:
    """Where the lock lies."""
    return protocols_folder() / "LOCK.json"


def read() -> dict[str, str]:
    """`<id>@<version>` -> sha256. Raises BadInput if the lock cannot be read, or holds anything else."""
    path = lock_path()
    try:
        state = path.stat()
        return dict(_read(path, state.st_mtime_ns, state.st_size))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(str(path), f"cannot be read ({error})", "Restore it from git") from error


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int, _size: int) -> dict[str, str]:
    """Read once while the file stays as it is: every protocol that is loaded asks. Raises OSError or ValueError."""
    locked = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(locked, dict) or not locked:
        raise ValueError("it is no table of digests")
    for key, digest in locked.items():
        if not re.fullmatch(r"[^@]+@\d+", key) or not re.fullmatch(r"[0-9a-f]{64}", str(digest)):
            raise ValueError(f"{key!r} is no version with its sha256")
    return {str(key): str(digest) for key, digest in locked.items()}


def problem(protocol: Protocol, locked: dict[str, str]) -> str | None:
    """Why this protocol is not the locked one, with the way out; None if it is."""
    if protocol.key not in locked:
        return f"{protocol.key} is not locked. Lock it: python -m benchmark.protocols.lock"
    if locked[protocol.key] != protocol.digest:
        free = next(n for n in count(protocol.version + 1) if f"{protocol.id}@{n}" not in locked)
        return (
            f"{protocol.key} was edited after it was locked. Frozen protocols do not change: undo the edit, or set "
            f"version: {free} in {protocol.id}.yaml and run python -m benchmark.protocols.lock. "
            "Records of the old version stay and are no longer scored: keep its document, "
            f"{protocol.id}@{protocol.version}.yaml, while there are any."
        )
    return None


def main() -> None:
    """Add new versions to the lock; refuses to change a locked one."""
    locked = read() if lock_path().exists() else {}
    for protocol in (*load_earlier(need_lock=False), *load_all(need_lock=False)):
        if protocol.key in locked and (why := problem(protocol, locked)):
            raise SystemExit(why)
        locked[protocol.key] = protocol.digest
    lock_path().write_text(json.dumps(dict(sorted(locked.items())), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
