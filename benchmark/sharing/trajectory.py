"""The first losses of a training, here and there: what two machines agree on before rounding has grown. No torch.

Rounding alone moves a final accuracy by points, as small differences grow with every update. After few updates they
have not: a float32 sum of n terms is off by at most n u of the terms' size, u = 2^-24 (Higham, Accuracy and Stability
of Numerical Algorithms, 3.1), a forward pass adds as many terms as its layers have inputs, and an update does so twice
more. With `SAFETY` for what the bound leaves out (norms, the loss, growth), two machines that do the same agree within
`tolerance`; another rate, batch order, initialiser or data set does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store
from benchmark.utils.files import CURVES_BYTES, read_limited
from benchmark.utils.npz import Array, unpack_bytes

ROUNDING = 2.0**-24
SAFETY = 8.0
FIRST_UPDATES = 10  # evaluations after more of them are not compared


def tolerance(protocol: Protocol, updates: int) -> float:
    """Relative difference that rounding may make in a loss after so many updates."""
    inputs = sum(prod(shape[1:]) for shape in protocol.pruning.prunable.values() if len(shape) > 1)
    return SAFETY * ROUNDING * inputs * (1 + 2 * updates)


def early_reasons(protocol: Protocol, cell: Cell, recorded: Store, again: Store) -> list[str]:
    """What `early_differences` says of the curves of a cell in two folders; nothing where either has none."""
    files = (recorded.curves_path(protocol, cell), again.curves_path(protocol, cell))
    if not all(path.is_file() for path in files):
        return []
    first, second = (read_limited(path, CURVES_BYTES) for path in files)
    return list(early_differences(protocol, first, second))


def early_differences(protocol: Protocol, recorded: bytes, again: bytes) -> Iterator[str]:
    """Losses of the first updates that differ by more than rounding, in words. `recorded`, `again`: files of curves.

    Nothing is said of curves without an evaluation so early. Raises one of `npz.DAMAGED` if they cannot be read.
    """
    there, here = (unpack_bytes(content, CURVES_BYTES) for content in (recorded, again))
    for name in sorted(there.keys() & here.keys()):
        if name.endswith("_loss"):
            yield from _of_one(protocol, name, there, here)


def _of_one(protocol: Protocol, name: str, there: dict[str, Array], here: dict[str, Array]) -> Iterator[str]:
    steps = "test_steps" if name == "test_loss" else "steps"
    at = [int(step) for step in there[steps] if step <= FIRST_UPDATES]
    first, second = (np.asarray(side[name], np.float64).reshape(-1)[: len(at)] for side in (there, here))
    if len(first) != len(at):
        yield f"{name} has fewer values than steps"
        return
    if [int(step) for step in here[steps][: len(at)]] != at:
        yield f"{name} was evaluated at other steps"
        return
    for updates, recorded, again in zip(at, first, second, strict=True):
        difference, most = abs(again - recorded) / max(abs(recorded), ROUNDING), tolerance(protocol, updates)
        same_end = not np.isfinite(recorded) and not np.isfinite(again)
        if not difference <= most and not same_end:  # a NaN is below nothing
            yield (
                f"{name} after {updates} updates is {again:.6g}, {recorded:.6g} is recorded: {difference:.1e} of it, "
                f"and rounding explains {most:.1e}"
            )
