"""What one plugin may use. No torch."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds for one mask, all its rounds together. Fixed numbers, so that no verdict depends on the machine.

    `start_seconds`: importing the plugin; `seconds`: scoring; both wall time, and their sum bounds CPU time.
    `memory_bytes`: beyond what the template holds already; `output_bytes`: printed to stdout and stderr;
    `folder_bytes`: all of the private temporary folder; `file_bytes`: one file in it.
    """

    start_seconds: float = 60.0
    seconds: float = 1800.0
    memory_bytes: int = 16 * 1024 * MIB
    output_bytes: int = MIB
    folder_bytes: int = 64 * MIB
    file_bytes: int = 64 * MIB
    open_files: int = 256
    tail_characters: int = 400
