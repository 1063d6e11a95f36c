"""However much is measured, a page of the report is below 300 KB: the protocol with most methods, all its runs made."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from builders import Outcome, record

from benchmark import protocols
from benchmark.protocols.cells import cells_of, method_names
from benchmark.records.store import Store
from benchmark.report.html.facts import slug
from benchmark.report.html.site import build
from benchmark.utils.npz import pack

MOST = 300_000


@pytest.mark.long
def test_every_page_of_the_committed_records_is_small(tmp_path: Path) -> None:
    """The site that is published, which takes ten seconds to make: the first page too, whatever is claimed."""
    build(Store(Path(__file__).parents[2] / "results"), protocols.load_all(), tmp_path / "site")
    sizes = {path.relative_to(tmp_path): path.stat().st_size for path in (tmp_path / "site").rglob("*.html")}
    assert {path: size for path, size in sizes.items() if size >= MOST} == {}


@pytest.mark.long
@pytest.mark.parametrize("name", ["suite/mlp-mnist1d", "suite/lenet-mnist", "lth/lenet-mnist"])
def test_every_page_of_a_whole_protocol_is_small(name: str, tmp_path: Path) -> None:
    """Some thousand records with curves take ten seconds to write. Of many methods, learning curves leave out
    controls."""
    protocol, store = protocols.load(name), Store(tmp_path / "results")
    steps = np.unique(np.geomspace(1, protocol.recipe.steps, 100).astype(int))
    noise = np.random.default_rng(0).random(len(steps))
    curves = {"test_steps": steps, "test_accuracy_percent": 50 + 10 * noise, "steps": steps, "validation_loss": noise}
    methods = method_names(protocol)
    many = len(methods) > 20
    for method in methods:
        for cell in cells_of(protocol, method):
            store.write(protocol, cell, record(protocol, cell, Outcome(60 + cell.seed / 10, 2)), pack(curves))
    build(store, [protocol], tmp_path / "site")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "site").rglob("*.html")}
    assert max(sizes.values()) < MOST, sizes
    text = (tmp_path / "site" / "protocols" / f"{slug(protocol.id)}.html").read_text()
    drawn = [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    learning = next(chart for chart in drawn if chart["kind"] == "learning")
    assert many != any("+" in trace["method"] for trace in learning["data"])
    curve = next(chart for chart in drawn if chart["kind"] == "curves")
    assert {trace["method"] for trace in curve["data"]} == set(methods)
