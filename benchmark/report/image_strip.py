"""What networks make of one noisy image, side by side: the images beside the records of the analysis. No torch.

Only what networks gave is kept and shown: the images of the denoising papers are no part of this repository.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.claims.observations import Observations
from benchmark.protocols.cells import Cell, density_text
from benchmark.records.store import Store
from benchmark.report.png import stored
from benchmark.report.svg import chart, lowered
from benchmark.utils.npz import unpack

TITLE = "Denoised images side by side"
SIDE, GAP, ACROSS, TOP, WORDS = 168, 14, 4, 50, 40
MOST_PIXELS = 128  # of a side; of larger images, as many pixels as fit, evenly spaced
DENOISING = "denoising"


@dataclass(frozen=True)
class Denoised:
    """One image, (channels, height, width) bytes, with what stands below it."""

    name: str
    words: str
    image: NDArray[np.uint8]


def denoised(store: Store, seen: Observations) -> list[Denoised]:
    """The image of each method and level of a protocol that has some, of its first seed that finished.

    Raises one of `benchmark.utils.npz`'s errors for curves that cannot be read.
    """
    protocol, found = seen.protocol, list[Denoised]()
    specs = {method: spec for method, spec in protocol.analyses.items() if spec.analysis == DENOISING}
    places = [(method, level) for method, spec in specs.items() for level in sorted(spec.levels)]
    for method, level in places:
        image, seed = _first(store, seen, method, level)
        if image is not None:
            finals = [record.analysed["psnr_final"].value for record in seen.records[method, level, seed]
                      if record.analysed and "psnr_final" in record.analysed]  # fmt: skip
            psnr = f"{finals[0]:.2f} dB, " if finals else ""
            found.append(Denoised(f"{method}, {density_text(protocol, level)}", f"{psnr}seed {seed}", image))
    return found


def _first(store: Store, seen: Observations, method: str, level: int) -> tuple[NDArray[Any] | None, int]:
    for seed in seen.protocol.seeds:
        finished = any(record.status == "finished" for record in seen.records.get((method, level, seed), []))
        path = store.curves_path(seen.protocol, Cell(method, level, seed))
        if finished and path.is_file() and (image := unpack(path).get("image")) is not None:
            return image, seed
    return None, -1


def strip_svg(protocol: str, images: list[Denoised]) -> str:
    """The images in rows, each with its method, density, last PSNR and seed."""
    rows = -(-len(images) // ACROSS)
    across = min(len(images), ACROSS)
    size = max(16 * 2 + across * SIDE + (across - 1) * GAP, 480), TOP + rows * (SIDE + WORDS)
    return chart(f"{protocol}: {lowered(TITLE)}", size, _tiles(images))


def _tiles(images: list[Denoised]) -> Iterator[str]:
    for number, one in enumerate(images):
        row, column = divmod(number, ACROSS)
        x, y = 16 + column * (SIDE + GAP), TOP + row * (SIDE + WORDS)
        data = b64encode(png(one.image)).decode()
        yield (
            f'<image x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" style="image-rendering:pixelated" '
            f'href="data:image/png;base64,{data}"><title>{escape(one.name)}: {escape(one.words)}</title></image>'
        )
        yield f'<text x="{x}" y="{y + SIDE + 14}">{escape(one.name)}</text>'
        yield f'<text class="f" x="{x}" y="{y + SIDE + 29}">{escape(one.words)}</text>'


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of an image (1 or 3 channels, height, width), of every so many-th pixel where there are too many."""
    step = -(-max(image.shape[1:]) // MOST_PIXELS)
    return stored(image[:, ::step, ::step])
