"""The analysis of compressed networks end to end on a tiny protocol, and the arithmetic of bits against hand values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from compressible import network
from made_once import made_once, run_all
from toy_analysis import analysing

from benchmark import protocols
from benchmark.analyses.analysis import digest_of
from benchmark.analyses.coding_bound import CodingBound
from benchmark.analyses.compression import Compression
from benchmark.harness.harness import Harness, Settings
from benchmark.planning.plan import jobs
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import Cell
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput, BadPruner

VGG16 = protocols.load("escalate/vgg16-bits").network
MAGNITUDE = {"analysis": "compression", "levels": [0]}


def compressing(tiny: Protocol, **parameters: Any) -> Protocol:
    """The tiny protocol, one seed of whose dense network is compressed."""
    document = analysing(tiny, seeds=[0], id="tests/compression")
    document["methods"] = {"m": {"analysis": "compression", "parameters": parameters, "levels": [0]}}
    document["statistics"]["margins"]["analysed"] = {"accuracy_lost": 1.0}
    return parse(document, "compression.yaml")


def record_of(protocol: Protocol, root: Path) -> Record:
    run_all(protocol, root)
    (record,) = Store(root).records(protocol)
    return record


@pytest.fixture(scope="module")
def tiny_magnitude(tiny_protocol: Protocol) -> Protocol:
    return compressing(tiny_protocol, compressor="magnitude-code", times=20, positions="entropy", precision=8)


def test_a_network_is_compressed_trained_on_and_recorded(
    tiny_magnitude: Protocol, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = made_once(tmp_path_factory, "compressed", lambda folder: record_of(tiny_magnitude, folder))
    (record,) = Store(root).records(tiny_magnitude)
    found = {name: number.value for name, number in (record.analysed or {}).items()}
    assert set(found) == set(Compression.units)
    weights = sum(tiny_magnitude.pruning.tensor_sizes.values())
    assert found["bits"] <= 32 * weights / 20
    assert found["compression"] == 32 * weights / found["bits"] >= 20
    kept = round(weights * (1 - found["zeros"] / 100))
    assert found["multiply_adds"] == kept  # every layer is linear: one position
    assert found["multiply_adds_saved"] == pytest.approx(weights / kept)
    biases = sum(shape[0] for name, (kind, shape) in tiny_magnitude.network.tensors.items() if kind == "bias")
    whole = 32 * (weights + biases)
    assert found["compression_of_all"] == pytest.approx(whole / (found["bits"] + 32 * biases))
    (dense,) = Store(Store(root).work / "networks").records(tiny_magnitude.examined)
    assert dense.measured is not None
    assert found["accuracy"] + found["accuracy_lost"] == pytest.approx(dense.measured.last("test_accuracy"))
    assert 0 <= found["accuracy_before_training"] <= 100
    assert record.cost is not None
    assert record.cost.train_steps == tiny_magnitude.recipe.steps


class Killed(Exception):
    """Stands for a signal that leaves no time."""


def test_a_killed_training_of_the_compressed_network_goes_on(
    tiny_magnitude: Protocol, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Killed in its second training, that of the compressed network; the record is that of an undisturbed run."""
    root = made_once(tmp_path_factory, "compressed", lambda folder: record_of(tiny_magnitude, folder))
    (whole,) = Store(root).records(tiny_magnitude)
    seen: list[int] = []

    def die(_cell: Cell, done: int, *_: object) -> None:
        seen.append(done)
        if done == 12 and seen.count(12) == 2:
            raise Killed

    settings, store = Settings(data_root=tmp_path, checkpoint_seconds=0.0, on_progress=die), Store(tmp_path)
    (job,) = jobs(tiny_magnitude, ["m"], store)
    with pytest.raises(Killed):
        Harness(tiny_magnitude, store, settings).run(job)
    assert Harness(tiny_magnitude, store, settings).run(job)
    assert seen.count(10) == 2, "it began again"
    (record,) = store.records(tiny_magnitude)
    assert record.fingerprint() == whole.fingerprint()
    assert not list(store.work.glob("**/*analysis-*"))


def test_what_cannot_be_compressed_is_said(tiny_protocol: Protocol, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="escalate: the network has no 3x3 kernels to decompose: it has no convolution"):
        record_of(compressing(tiny_protocol, compressor="escalate", times=20), tmp_path)
    with pytest.raises(BadInput, match="a bitmap of the weights alone needs"):
        record_of(compressing(tiny_protocol, compressor="magnitude-code", times=50), tmp_path)
    with pytest.raises(BadPruner, match="compressor 'escalate': cannot be made with"):
        Compression("escalate", 50, basis=20)
    with pytest.raises(BadInput, match="none is registered"):
        Compression("escalade", 50)


def test_the_digest_covers_the_compressor() -> None:
    digests = {digest_of(Compression(name, 50)) for name in ("escalate", "magnitude-code")}
    assert len(digests) == 2


def test_zeros_by_hand() -> None:
    """32 x 9 / t bits for five coefficients: H(.05) + .05, H(.02) + .02, H(.01) + .01 bits each are 171, 357, 634."""
    for times, zeros in ((171.2, 95), (356.9, 98), (634.4, 99)):
        found = CodingBound(times).numbers(VGG16)
        assert found["zeros_needed_alone"] == pytest.approx(zeros, abs=0.01)
        assert found["zeros_needed_alone"] < found["zeros_needed"] < zeros + 0.2
    assert CodingBound(50, basis=6).numbers(VGG16)["bitmap_limit"] == 48
    with pytest.raises(BadInput, match="no sparsity compresses these kernels 11 times"):
        CodingBound(11, basis=6).numbers(VGG16)
    with pytest.raises(BadInput, match="has no 5x5 kernels"):
        CodingBound(50, kernel=5).numbers(VGG16)
    with pytest.raises(ValueError, match="basis 12"):
        CodingBound(50, basis=12)


def test_sizes_are_counted_on_the_network_at_hand() -> None:
    """The reference network of the compressors' tests, by the same analysis, before any training."""
    whole = network()
    analysis = Compression("escalate", 4, basis=3, multipliers=1, lanes=1)
    found = analysis.compressor.compress(whole, 2184)
    protocol = protocols.load("escalate/vgg16-bits")
    sizes = analysis.sizes(protocol, whole, found)
    assert sizes["bits"] == found.bits()
    kept = sum(layer.bits["values"] for layer in found.layers().values())
    assert sizes["zeros"] == pytest.approx(100 * (1 - kept / (5 * 2 * 3 + 3 * 5 * 3 + 48)))
