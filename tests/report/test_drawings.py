"""Pictures are listed once: what is in the list is on the board's page of the protocol and on the report's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import Outcome, fill

from benchmark.claims.observations import Observations
from benchmark.protocols import Protocol
from benchmark.records.store import Store
from benchmark.report import drawings
from benchmark.report.drawings import Drawing
from benchmark.report.html.pages import pages
from benchmark.report.leaderboard import render


def test_a_new_kind_is_drawn_on_the_board_and_in_the_report(
    tmp_path: Path, tiny_protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tiny` is no analysis, as protocols of transfer are none: pictures do not hang on that."""
    store = Store(tmp_path)
    fill(store, tiny_protocol, lambda cell: Outcome(90.0, 10) if cell.seed == 0 and not cell.draw else None)

    def mine(given: Store, seen: Observations) -> Iterator[Drawing]:
        assert given is store
        assert seen.protocol == tiny_protocol
        yield Drawing("-one", "First", "<svg>first</svg>")
        yield Drawing("-two", "Second", "<svg>second</svg>")

    monkeypatch.setattr(drawings, "KINDS", (mine,))
    made = render(store, [tiny_protocol])
    page = next(name for name in made if name.endswith("/tests-tiny.md"))
    folder = page.removesuffix("tests-tiny.md")
    assert made[page].endswith("\n![First](tests-tiny-one.svg)\n\n![Second](tests-tiny-two.svg)\n")
    assert made[f"{folder}tests-tiny-one.svg"] == "<svg>first</svg>"
    assert made[f"{folder}tests-tiny-two.svg"] == "<svg>second</svg>"
    seen = Observations(tiny_protocol, store.records(tiny_protocol))
    html = pages(store, {tiny_protocol.id: seen}, [])["protocols/tests--tiny.html"]
    assert "<h2>Pictures</h2>" in html
    assert html.index("<svg>first</svg>") < html.index("<svg>second</svg>")
