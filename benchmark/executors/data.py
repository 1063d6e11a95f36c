"""Making sure a protocol's data is there before any worker starts."""

from __future__ import annotations

from benchmark.data_root import data_root, needs_download
from benchmark.errors import EnvironmentProblem
from benchmark.protocol import Protocol


def obtain_data(protocol: Protocol) -> str | None:
    """Fetch the protocol's data if it is missing; the reason if that failed."""
    root = data_root()
    if not needs_download(protocol.data.name, root):
        return None
    from benchmark.datasets.fetching import fetch

    try:
        fetch(protocol.data.name, root)
    except EnvironmentProblem as problem:
        return str(problem)
    return None
