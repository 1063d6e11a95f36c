"""What a cell starts from, and what has to be trained before it, by hand on the tiny protocol."""

from __future__ import annotations

import pytest

from benchmark.harness.start import Start, Weights, start_of, weights_missing
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell

DENSE_0 = Cell(DENSE, 0, 0)


def imp(level: int) -> Cell:
    return Cell("imp", level, 0)


def rewound(level: int) -> Cell:
    return Cell("imp-rewind", level, 0)


@pytest.mark.parametrize(
    ("cell", "masks_on_disk", "missing"),
    [
        (DENSE_0, 0, []),
        (Cell("snip", 3, 0), 0, []),
        (Cell("one-shot", 1, 0), 0, [Weights(DENSE_0)]),
        (imp(1), 0, [Weights(DENSE_0)]),
        (imp(3), 0, [Weights(DENSE_0), Weights(imp(1)), Weights(imp(2))]),
        (imp(3), 2, [Weights(imp(2))]),  # its mask follows from the level before, whose own mask is there
        (imp(3), 3, []),
        (Cell("imp+reinit", 3, 0), 1, [Weights(imp(1)), Weights(imp(2))]),
        # The level before is trained again from where the dense network was, so that comes first.
        (rewound(2), 1, [Weights(DENSE_0, "step-6"), Weights(rewound(1))]),
        (rewound(2), 2, [Weights(DENSE_0, "step-6")]),
    ],
    ids=str,
)
def test_networks_are_trained_in_the_order_in_which_they_follow(
    tiny_protocol: Protocol, cell: Cell, masks_on_disk: int, missing: list[Weights]
) -> None:
    """On an empty disk, but for masks."""
    assert weights_missing(tiny_protocol, cell, lambda _: False, masks_on_disk) == missing


def test_what_is_on_disk_is_not_trained_again(tiny_protocol: Protocol) -> None:
    found = weights_missing(tiny_protocol, imp(3), lambda weights: weights.network == imp(1), 0)
    assert found == [Weights(DENSE_0), Weights(imp(2))]


def test_starts(tiny_protocol: Protocol) -> None:
    assert start_of(tiny_protocol, imp(2)) == Start()
    assert start_of(tiny_protocol, Cell("imp+reinit", 1, 0, 1)) == Start(purpose=("reinit", 1))
    assert start_of(tiny_protocol, rewound(2)) == Start(6, Weights(DENSE_0, "step-6"))
