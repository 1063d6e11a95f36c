"""Keys that OpenSSH makes; a test that asks for one is skipped where there is no OpenSSH."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def made_key(folder: Path, kind: str = "ed25519", comment: str = "") -> Path:
    """A new private key without a passphrase in a file called after its kind, its public one beside it as `.pub`."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("OpenSSH is not installed")
    path = folder / kind
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(path)], check=True)
    return path
