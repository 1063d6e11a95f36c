"""Every kind of picture that a protocol's page may have, in one list, for pages of the board and of the report alike.

A new kind is one function here: it looks whether a protocol has what the picture shows, and draws it. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmark.claims.observations import Observations
from benchmark.records.store import Store
from benchmark.report.analysis_curves import curve_pictures
from benchmark.report.curves_svg import curves_svg
from benchmark.report.image_strip import TITLE as IMAGES_TITLE
from benchmark.report.image_strip import denoised, strip_svg
from benchmark.report.similarity_svg import matrices, similarity_svg
from benchmark.report.trade_off import trade_off, trade_off_svg
from benchmark.report.transfer_curves import transfer_pictures


@dataclass(frozen=True)
class Drawing:
    """One picture: what is added to the name of the protocol's page for its file, what it shows, and the SVG."""

    suffix: str
    title: str
    svg: str


def _bits(_store: Store, seen: Observations) -> Iterator[Drawing]:
    if found := trade_off(seen):
        yield Drawing("", "Accuracy against bits", trade_off_svg(seen.protocol.id, found))


def _curves(store: Store, seen: Observations) -> Iterator[Drawing]:
    found = [*curve_pictures(store, seen), *transfer_pictures(seen)]
    for number, picture in enumerate(found, start=1):
        yield Drawing(f"-curves-{number}", picture.title, curves_svg(seen.protocol.id, picture))


def _layers(store: Store, seen: Observations) -> Iterator[Drawing]:
    if found := matrices(store, seen):
        yield Drawing("-layers", "Similarity of layers", similarity_svg(seen.protocol, found))


def _images(store: Store, seen: Observations) -> Iterator[Drawing]:
    if found := denoised(store, seen):
        yield Drawing("-images", IMAGES_TITLE, strip_svg(seen.protocol.id, found))


KINDS: tuple[Callable[[Store, Observations], Iterator[Drawing]], ...] = (_bits, _curves, _layers, _images)


def drawings(store: Store, seen: Observations) -> list[Drawing]:
    """A protocol's pictures, in the order of `KINDS`; none for most.

    Raises one of `benchmark.utils.npz`'s errors for curves that cannot be read.
    """
    return [drawing for kind in KINDS for drawing in kind(store, seen)]
