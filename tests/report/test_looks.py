"""Methods can be told apart on every page, with and without colours, by readers who see colours differently."""

from __future__ import annotations

import re
from importlib import resources
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark import protocols
from benchmark.protocols.cells import DENSE
from benchmark.report.html.looks import COLOURS, HOOK_DASHES, MARKERS, USUAL, Look, looks_of

CSS = (resources.files("benchmark") / "report" / "html" / "static" / "style.css").read_text(encoding="utf-8")
LIGHT, DARK = CSS.split(':root[data-theme="dark"]', 1)
# How readers without one kind of cone see linear RGB: Machado, Oliveira and Fernandes 2009, table 1, severity 1.
SIGHTS = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def shade(css: str, name: str) -> NDArray[np.float64]:
    """Linear RGB of a name of the style sheet, as first set in `css`."""
    found = re.search(rf"--{name}: #([0-9a-f]{{6}});", css)
    assert found, name
    values = np.array([int(found.group(1)[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* of linear RGB, D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("css", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_differ_for_every_reader_and_from_the_page(css: str) -> None:
    """A difference of 2.3 is just noticeable; 3 to 1 is what WCAG asks of graphics against their ground."""
    shades = [shade(css, name) for name in COLOURS]
    for sight in SIGHTS.values():
        seen = [lab(np.array(sight) @ rgb) for rgb in shades]
        assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 20
    luminance = np.array([0.2126, 0.7152, 0.0722])
    paper = float(luminance @ shade(css, "paper")) + 0.05
    for rgb in shades:
        own = float(luminance @ rgb) + 0.05
        assert max(own, paper) / min(own, paper) >= 3


@pytest.fixture(scope="module")
def looks() -> dict[str, Look]:
    return looks_of(protocols.load_all(), ["my_method", "snip"])


def test_no_two_methods_look_alike(looks: dict[str, Look]) -> None:
    """Of those that stand on one page: methods of all protocols, and the analyses of each."""
    every = protocols.load_all()
    assert {name for p in every for name in p.all_methods} <= looks.keys()
    for protocol in every:
        own = [looks[name] for name in protocol.analyses]
        assert len({(look.colour, look.marker) for look in own}) == len(own)
    pruned = {name for p in every for name in p.examined.all_methods} | {"my_method", DENSE}
    looks = {name: look for name, look in looks.items() if name in pruned}
    assert len({(look.colour, look.marker, look.dash) for look in looks.values()}) == len(looks)
    assert len({(look.marker, look.dash) for look in looks.values()}) >= 0.6 * len(looks), "without colours too"
    parents = [look for name, look in looks.items() if not look.marker.endswith("-open") and name != DENSE]
    assert len({(look.colour, look.marker) for look in parents}) == len(parents) > 12
    assert len(COLOURS) * len(MARKERS) == np.lcm(len(COLOURS), len(MARKERS))


def test_the_legend_draws_every_marker() -> None:
    script = (resources.files("benchmark.report.html") / "static" / "report.js").read_text()
    shapes = script[script.index("const SHAPES") : script.index("};", script.index("const SHAPES"))]
    assert set(MARKERS) <= set(re.findall(r'"?([\w-]+)"?: "M', shapes))


def test_a_control_looks_derived_from_its_parent(looks: dict[str, Look]) -> None:
    dashes = {"reinit": {"dot"}, "shuffle": {"dash"}, "invert": {"dashdot"}, "reset": {"2px,2px"}}  # others have a hook
    controls = [name for name in looks if "+" in name]
    assert len(controls) > 10
    for name in controls:
        parent, _, kind = name.partition("+")
        assert looks[name].colour == looks[parent].colour
        assert looks[name].marker == f"{looks[parent].marker}-open"
        assert looks[name].dash in dashes.get(kind, HOOK_DASHES)


def test_a_look_does_not_depend_on_what_else_is_measured(looks: dict[str, Look]) -> None:
    alone = looks_of([protocols.load("lth/lenet-mnist")])
    for name in USUAL:
        assert alone[name] == looks[name]
