"""How each method looks, the same on every page: a colour, a marker and a dash. Told apart without seeing colours.

Colours are names of the style sheet, which has a shade of each for light and for dark pages. A control looks derived
from the method whose mask it takes: its colour, its marker hollow, and a dash that says what the control does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE
from benchmark.protocols.methods import ControlSpec

COLOURS = tuple(f"c{n}" for n in range(8))
MARKERS = (
    "circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star", "hexagon", "pentagon",
    "hourglass", "bowtie", "hexagram", "triangle-left", "triangle-right", "octagon", "star-diamond",
)  # fmt: skip
"""As many as have no common divisor with the colours: no two methods share both before the 137th."""
DASHES = (
    "solid",
    "longdash",
    "longdashdot",
    "12px,3px,2px,3px,2px,3px",
    "20px,3px",
    "24px,2px,2px,2px",
    "6px,3px,16px,3px",
)
CONTROL_DASHES = {"reinitialise": "dot", "shuffle": "dash", "invert": "dashdot", "reset": "2px,2px"}
HOOK_DASHES = ("longdash", "longdashdot", "2px,6px", "8px,2px", "12px,2px,2px,2px", "4px,8px", "16px,8px,2px,8px")
"""Of the trainings of one method's masks with hooks, of which a protocol may have several."""
USUAL = ("imp", "snip", "synflow", "grasp", "magnitude", "random", "one-shot", "rigl")
"""Have the colours that differ most, whatever a site shows beside them."""


@dataclass(frozen=True)
class Look:
    """`colour`: a name of the style sheet. `marker`, `dash`: as Plotly calls them. `width`: of the line, in pixels."""

    colour: str
    marker: str
    dash: str
    width: float = 2.0


def looks_of(protocols: Iterable[Protocol], submitted: Iterable[str] = ()) -> dict[str, Look]:
    """The look of every method of these protocols, and of methods that plugins added.

    Analyses are on pages of their own protocols, beside no pruner, and have the same looks again.
    """
    parents: dict[str, None] = dict.fromkeys(USUAL)
    controls: dict[str, tuple[str, str]] = {}
    analyses: dict[str, None] = {}
    for protocol in protocols:
        for name, spec in protocol.examined.all_methods.items():
            if isinstance(spec, ControlSpec):
                hooked = [of for of, dash in controls.values() if of == spec.of and dash in HOOK_DASHES]
                dash = CONTROL_DASHES.get(spec.control) or HOOK_DASHES[len(hooked) % len(HOOK_DASHES)]
                controls.setdefault(name, (spec.of, dash))
            else:
                parents.setdefault(name)
        analyses.update(dict.fromkeys(protocol.analyses))
    parents.update(dict.fromkeys(sorted(set(submitted) - parents.keys() - controls.keys() - {DENSE})))
    parents.pop(DENSE, None)
    made = {name: _parent(place) for names in (analyses, parents) for place, name in enumerate(names)}
    made |= {name: _control(made[of], dash) for name, (of, dash) in controls.items()}
    return made | {DENSE: Look("faint", "circle", "solid", 1.5)}


def _parent(place: int) -> Look:
    lap = place // len(COLOURS)
    return Look(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], DASHES[lap % len(DASHES)])


def _control(parent: Look, dash: str) -> Look:
    return Look(parent.colour, f"{parent.marker}-open", dash, 1.4)


def documents(looks: Mapping[str, Look], methods: Iterable[str]) -> dict[str, list[str]]:
    """Method -> colour, marker and dash, for a page's script."""
    return {name: [looks[name].colour, looks[name].marker, looks[name].dash] for name in methods}
