"""One noisy image: what is cut out, the noise, and files that are not what they should be."""

from __future__ import annotations

from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.datasets import noisy_image
from benchmark.datasets.dataset import prepared
from benchmark.datasets.noisy_image import NoisyImage, centre
from benchmark.datasets.source import data_root, source_of
from benchmark.protocols import load
from benchmark.utils.errors import BadInput, EnvironmentProblem


class Tiny(NoisyImage):
    """Sixteen pixels of an image that a test has made."""

    name = "tiny"
    image, side = "pepper", 16


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """20 x 24 pixels: red rises by row, green by column, blue is 128."""
    rows, columns = np.mgrid[0:20, 0:24]
    pixels = np.stack([10 * rows, 10 * columns, np.full_like(rows, 128)], -1).astype(np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images/pepper.png")
    digest = md5((tmp_path / "images/pepper.png").read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(noisy_image.MD5, "pepper", digest)
    return tmp_path


def test_the_middle_with_noise(root: Path) -> None:
    x, noisy, x_test, clean, digest = Tiny().read(root)
    assert x.shape == (1, 32, 16, 16)
    assert 0 <= x.min() < 0.001
    assert 0.099 < x.max() < 0.1
    assert (x == x_test).all()
    np.testing.assert_allclose(clean[0, 0, :, 0], np.arange(2, 18) * 10 / 255, rtol=1e-6)  # two rows above are cut off
    np.testing.assert_allclose(clean[0, 1, 0, :], np.arange(4, 20) * 10 / 255, rtol=1e-6)  # and four columns
    blue = (noisy - clean)[0, 2]  # far from 0 and 1: nothing is clipped
    assert abs(blue.std() - 0.1) < 0.025  # five standard errors of 256 numbers
    assert abs(blue.mean()) < 0.035
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    assert Tiny().read(root)[4] == digest


def test_bad_files(root: Path) -> None:
    with pytest.raises(BadInput, match="an image of 20 x 24: is smaller than 21 x 21"):
        centre(np.zeros((3, 20, 24)), 21)
    path = root / "images/pepper.png"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EnvironmentProblem, match="truncated or altered"):
        Tiny().read(root)
    path.unlink()
    with pytest.raises(EnvironmentProblem, match=r"pepper\.png"):
        Tiny().read(root)


def test_a_protocol_reads_its_image() -> None:
    """The published noisy PSNR of pepper, 20.3165 dB, is of another draw of the same noise on the whole image."""
    root = data_root()
    if not source_of("pepper-512").is_present(root):
        pytest.skip("the images are not here")
    data = prepared(load("oes/pepper-512"), root)
    assert data.classes == 3
    psnr = -10 * ((data.train_labels - data.test_labels) ** 2).mean().log10()
    assert float(psnr) == pytest.approx(20.3165, abs=0.02)
