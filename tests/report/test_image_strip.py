"""Denoised images side by side: a PNG that a reader of PNG reads back, the right images with the right words."""

from __future__ import annotations

import io
import zlib
from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from made_once import run_all
from PIL import Image
from tiny_denoising import denoising

from benchmark.claims.observations import Observations
from benchmark.protocols import parse
from benchmark.protocols.cells import Cell
from benchmark.protocols.protocol import with_shapes
from benchmark.records.store import Store
from benchmark.report.image_strip import denoised, png, strip_svg
from benchmark.report.png import indexed, stored_blocks
from benchmark.utils.npz import unpack


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 5, 7), (1, 4, 4), (3, 150, 150)])
def test_a_png_is_read_back(channels: int, height: int, width: int) -> None:
    """By Pillow; the last has more than 128 pixels a side: every second one is shown."""
    image = np.random.default_rng(0).integers(0, 256, (channels, height, width), np.uint8)
    with Image.open(io.BytesIO(png(image))) as opened:
        found = np.asarray(opened)
    step = 2 if height > 128 else 1
    wanted = image[:, ::step, ::step].transpose(1, 2, 0)
    assert (found.reshape(wanted.shape) == wanted).all()


def test_a_stream_of_several_blocks() -> None:
    """More than 65,535 bytes."""
    data = np.random.default_rng(0).bytes(150_000)
    assert zlib.decompress(stored_blocks(data)) == data


def test_every_method_has_its_image(tmp_path: Path) -> None:
    document = denoising(10)
    document["methods"] = {name: document["methods"][name] for name in ("random", "dense-dip", "random-dip")}
    protocol = parse(with_shapes(document, "tests"), "tests")
    run_all(protocol, tmp_path)
    store = Store(tmp_path)
    seen = Observations(protocol, store.records(protocol))
    images = denoised(store, seen)
    assert [one.name for one in images] == ["dense-dip, 100.0 %", "random-dip, 60.0 %"]
    drawn = ElementTree.fromstring(strip_svg(protocol.id, images))
    spots = drawn.findall(".//{http://www.w3.org/2000/svg}image")
    for spot, method, level in zip(spots, ("dense-dip", "random-dip"), (0, 1), strict=True):
        data = b64decode(spot.attrib["href"].removeprefix("data:image/png;base64,"))
        with Image.open(io.BytesIO(data)) as opened:
            found = np.asarray(opened).transpose(2, 0, 1)
        assert (found == unpack(store.curves_path(protocol, Cell(method, level, 0)))["image"]).all()
        (record,) = seen.records[method, level, 0]
        assert record.analysed is not None
        words = next(one.words for one in images if one.name.startswith(method))
        assert words == f"{record.analysed['psnr_final'].value:.2f} dB, seed 0"
    assert denoised(Store(tmp_path / "empty"), Observations(protocol, [])) == []


def test_places_in_a_palette_are_read_back() -> None:
    shades, palette = np.array([[0, 2, 1], [1, 0, 2]], np.uint8), bytes([9, 8, 7, 40, 50, 60, 255, 0, 1])
    with Image.open(io.BytesIO(indexed(shades, palette))) as opened:
        found = np.asarray(opened.convert("RGB"))
    assert found.tolist() == [[[*palette[3 * n : 3 * n + 3]] for n in row] for row in shades.tolist()]
