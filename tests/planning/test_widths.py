"""How many networks side by side: found by doubling, remembered in records."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.planning.cost import MOST, CostModel, Throughput, Widths, strategy_in, too_many_in
from benchmark.protocols import load_all

GPU = "cuda: A GPU"


def test_every_protocol_that_trains_is_packed() -> None:
    """A large network begins alone, and is doubled as the others are: nobody knows before several were tried."""
    begun = {p.key: CostModel().widths(p, GPU) for p in load_all() if p.trains}
    assert len(begun) > 35
    assert {w.measured(w.width, 0.1).width for w in begun.values() if w.width == 1} == {2}
    assert all(w.measured(1, 0.1).measured(2, 0.1).width == 4 for w in begun.values())


def explored(seconds: Any, memory: int = MOST, first: int = 4) -> tuple[list[int], int]:
    """The sizes that are tried on a device on which an update of n takes `seconds(n)`, and the one that is kept.

    What does not fit is halved until it does, as the training loop does it.
    """
    widths, tried = Widths(first=first), list[int]()
    while not tried or widths.width not in tried:
        asked = size = widths.width
        too_many = None
        while size > memory:
            too_many, size = size, size // 2
        tried.append(asked)
        widths = widths.measured(size, seconds(size), too_many)
        if size in tried and asked != size:
            break
    return tried, widths.width


@pytest.mark.parametrize(
    ("seconds", "memory", "tried", "kept"),
    [
        (lambda n: max(1.0, n / 10), MOST, [4, 8, 16, 32], 16),  # idle up to 10: 16 give 10 a second, 8 give 8
        (lambda _n: 1.0, MOST, [4, 8, 16, 32, 64], 64),  # idle throughout
        (float, MOST, [4, 8], 4),  # filled by one, which shows in two sizes only
        (lambda _n: 1.0, 20, [4, 8, 16, 32], 16),
    ],
    ids=["fills at ten", "never fills", "fills at once", "memory for twenty"],
)
def test_doubling_goes_on_while_throughput_rises_by_a_tenth(
    seconds: Any, memory: int, tried: list[int], kept: int
) -> None:
    found, width = explored(seconds, memory)
    assert (found, width) == (tried, kept)


def test_what_did_not_fit_is_not_tried_again() -> None:
    known = Widths({4: 1.0, 5: 1.0}, too_many=10)
    assert known.width == 5
    assert not known.exploring
    assert Widths({1: 1.0}, too_many=2).width == 1
    assert Widths({4: 1.0}).exploring


def test_a_run_learns_on_the_way() -> None:
    throughput = Throughput(float, Widths(first=4))
    assert throughput.widths is not None
    throughput.measured(4, 1.0)
    assert throughput.widths.width == 8
    throughput.measured(8, 2.0, 16)
    assert throughput.widths.width == 4


def test_the_words_of_a_record() -> None:
    words = "5 side by side, stacked; 10 did not fit into memory"
    assert (too_many_in(words), strategy_in(words)) == (10, "stacked")
    assert (too_many_in("5 side by side, streams"), strategy_in("5 side by side, streams")) == (None, "streams")
    assert too_many_in(None) is None
