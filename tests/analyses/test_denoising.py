"""Denoising by pruned generators, end to end on a generated image, and densities by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_once import run_all
from tiny_denoising import SIDE, TinyImage, TinyTurned, denoising

from benchmark.analyses.denoising import by_layer, densities
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import Cell
from benchmark.protocols.protocol import with_shapes
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.utils.npz import unpack


def test_densities_by_hand() -> None:
    """Halves of convolution weights; biases and shifts count as weights that are kept and as no share."""
    masks = {
        "down0a.weight": torch.tensor([True, False, False, False]).reshape(1, 1, 2, 2),
        "down0a.bias": torch.tensor([True]),
        "down0a_norm.weight": torch.tensor([True, False]),
        "down0a_norm.bias": torch.tensor([False, False]),
        "up0.weight": torch.ones(1, 1, 1, 1, dtype=torch.bool),
        "final.weight": torch.zeros(1, 1, 1, 1, dtype=torch.bool),
    }
    assert densities(masks) == {
        "encoder_density": 0.25, "decoder_density": 0.5, "scale_density": 0.5, "decoder_to_encoder": 2.0, "weights": 4.0
    }  # fmt: skip
    assert by_layer(masks).tolist() == [0.25, 1.0, 0.0]
    masks["down0a.weight"][:] = False
    assert "decoder_to_encoder" not in densities(masks)
    assert densities({"conv1.weight": torch.ones(1, 1, 1, 1, dtype=torch.bool)}) == {"weights": 1.0}


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return parse(with_shapes(denoising(), "tests"), "tests")


@pytest.fixture(scope="module")
def store(protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every method, one seed."""
    root = tmp_path_factory.mktemp("denoising")
    run_all(protocol, root)
    return Store(root)


def records(protocol: Protocol, store: Store) -> dict[str, Record]:
    return {record.method.name: record for record in store.records(protocol)}


def test_numbers_follow_from_the_curve(protocol: Protocol, store: Store) -> None:
    found = records(protocol, store)
    assert set(found) == set(protocol.analyses)
    for method, record in found.items():
        assert record.status == "finished", record.reason
        assert record.analysed is not None
        numbers = {name: number.value for name, number in record.analysed.items()}
        curves = unpack(store.curves_path(protocol, Cell(method, record.cell.level, 0)))
        assert list(curves["step"]) == [10, 20, 30]
        assert numbers["psnr_final"] == pytest.approx(curves["psnr"][-1], abs=1e-4)
        assert numbers["psnr_peak"] == pytest.approx(max(curves["psnr"]), abs=1e-4)
        assert numbers["psnr_drop"] == pytest.approx(numbers["psnr_peak"] - numbers["psnr_final"])
        assert numbers["peak_step"] == curves["step"][int(np.argmax(curves["psnr"]))]
        assert numbers["weights"] == (protocol.level_table[record.cell.level].kept)
        assert record.analysed["psnr_final"].unit == "dB"


def test_the_image_is_the_one_that_was_measured(protocol: Protocol, store: Store, tmp_path: Path) -> None:
    """PSNR of the bytes beside the record against the clean image, worked out here; and of the noisy image."""
    for method, record in records(protocol, store).items():
        source = TinyTurned() if protocol.analyses[method].parameters else TinyImage()
        _, noisy, _, clean, _ = source.read(tmp_path)
        image = unpack(store.curves_path(protocol, Cell(method, record.cell.level, 0)))["image"]
        assert image.shape == (3, SIDE, SIDE)
        error = ((image / 255 - clean[0]) ** 2).mean()
        assert record.analysed is not None
        assert record.analysed["psnr_final"].value == pytest.approx(-10 * np.log10(error), abs=0.05), method
        noise = -10 * np.log10(((noisy - clean) ** 2).mean())
        assert record.analysed["psnr_noisy"].value == pytest.approx(noise, abs=1e-3)


def test_a_transferred_mask_is_that_of_the_other_image(protocol: Protocol, store: Store) -> None:
    """The same densities as on the protocol's image, from one learning; the dense network sees another image."""
    found = records(protocol, store)
    images = [unpack(store.curves_path(protocol, Cell(name, 0, 0)))["image"] for name in ("dense-dip", "dense-lena")]
    assert (images[0] != images[1]).any()
    for own, transferred in (("sparse-dip", "transferred-dip"), ("imp-dip", "imp-transferred-dip")):
        one, other = found[own].analysed, found[transferred].analysed
        assert one is not None
        assert other is not None
        assert all(one[name] == other[name] for name in one if name.endswith("density"))


def test_masks_differ_and_a_learned_one_costs_updates(protocol: Protocol, store: Store) -> None:
    """Random, scored and learned masks are several; learning and dense training are counted as what they took."""
    found = records(protocol, store)
    shares = {name: record.analysed["encoder_density"].value for name, record in found.items() if record.analysed}
    assert shares["dense-dip"] == 1
    assert len({round(share, 4) for share in shares.values()}) >= 5
    updates = {name: record.cost.mask_train_steps for name, record in found.items() if record.cost}
    assert updates == {name: 30 if name.startswith(("sparse", "imp", "transferred")) else 0 for name in found}
