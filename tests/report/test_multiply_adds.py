"""Multiply-adds that a mask leaves: against a network that is run and counted, by hand, and where they say nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import Outcome, record
from torch import Tensor, nn

from benchmark.claims.observations import Observations
from benchmark.networks import build
from benchmark.protocols import Protocol, load
from benchmark.protocols.cells import Cell
from benchmark.records.schema import LayerCount, MaskFacts
from benchmark.records.store import Store
from benchmark.report.html import site
from benchmark.report.mask_rankings import share_table
from benchmark.report.multiply_adds import MULTIPLY_ADDS, mean_share, share_left, share_text, tells_more
from benchmark.report.rankings import standing_table, standings

LENET5, VGG, RESNET = (
    load("tost/lenet5-fashion"),
    load("synflow/vgg16-cifar100-masks"),
    load("lth/resnet18-low-cifar10"),
)


def facts(protocol: Protocol, kept: dict[str, int]) -> MaskFacts:
    """A mask that keeps so many weights of these layers, and the others whole."""
    sizes = protocol.pruning.layer_sizes
    layers = {layer: LayerCount(kept=kept.get(layer, size), size=size) for layer, size in sizes.items()}
    total, left = sum(sizes.values()), sum(layer.kept for layer in layers.values())
    empty = tuple(layer for layer, count in layers.items() if not count.kept)
    return MaskFacts(
        kept=left, prunable=total, density=left / total, layers=layers, collapsed_layers=empty, sha256="0" * 64
    )


@pytest.mark.parametrize("protocol", [LENET5, VGG, RESNET], ids=lambda protocol: protocol.id)
def test_a_network_that_runs_is_counted(protocol: Protocol) -> None:
    """Random masks of unequal layers: of every layer that multiplies, its weights that stay at every pixel it makes."""
    module, counted, rng = build(protocol).eval(), [0, 0], torch.Generator().manual_seed(3)
    names = {layer: name for name, layer in module.named_modules()}
    kept: dict[str, int] = {}

    def count(layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        name, weight, pixels = names[layer], layer.get_parameter("weight"), math.prod(output.shape[2:])
        left = weight.numel()
        if name in protocol.pruning.layer_sizes:
            mask = torch.rand(weight.shape, generator=rng) < 0.05 * (1 + len(kept))
            left = kept[name] = int(mask.sum())
        counted[0] += left * pixels
        counted[1] += weight.numel() * pixels

    for layer in names:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    module(torch.zeros(1, *protocol.network.input_shape))
    assert share_left(protocol, facts(protocol, kept)) == pytest.approx(counted[0] / counted[1])


def test_lenet5_by_hand() -> None:
    """The 500 weights of conv1 are used at 24 x 24 pixels: 13 % of all multiply-adds, and 0.1 % of the weights."""
    total = 500 * 576 + 25_000 * 64 + 800 * 500 + 500 * 10
    assert LENET5.network.multiply_adds == total == 2_293_000  # LeNet-5-Caffe
    assert share_left(LENET5, facts(LENET5, {})) == 1
    assert share_left(LENET5, facts(LENET5, {"conv1": 0})) == pytest.approx(1 - 288_000 / total)
    assert share_left(LENET5, facts(LENET5, {"head.fc1": 0})) == pytest.approx(1 - 400_000 / total)


def test_equal_shares_of_all_layers_are_that_share() -> None:
    half = {layer: size // 2 for layer, size in VGG.pruning.layer_sizes.items()}
    assert share_left(VGG, facts(VGG, half)) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["lth/lenet-mnist", "mnist1d/mlp", "oes/pepper-64"])
def test_where_density_says_it_all_or_layers_are_mixed_nothing_is_shown(name: str) -> None:
    """Every weight of an MLP is used once; OES prunes biases and batch norms in the layers of weights."""
    protocol = load(name)
    assert not tells_more(protocol)
    sizes = {layer: size // 2 for layer, size in protocol.pruning.layer_sizes.items()}
    seen = record(protocol, Cell("dense", 0, protocol.seeds[0]), Outcome(50.0))
    assert mean_share(protocol, [seen.model_copy(update={"mask": facts(protocol, sizes)})]) is None


def test_the_column_of_a_ranking(tiny_protocol: Protocol) -> None:
    """Means over seeds, beside their methods; no such column for fully connected networks."""
    masks = {(method, seed): facts(LENET5, {"conv1": (1 + seed) * 200 if method == "random" else 0})
             for method in ("random", "synflow") for seed in (0, 1)}  # fmt: skip
    records = [
        record(LENET5, Cell(method, 1, LENET5.seeds[seed]), Outcome(80.0 + seed)).model_copy(update={"mask": mask})
        for (method, seed), mask in masks.items()
    ]
    seen = Observations(LENET5, records)
    headings, rows = standing_table(seen, standings(seen, 1), ranked=True)
    column = headings.index("multiply-adds %")
    by_method = {row[headings.index("method")]: row[column] for row in rows}
    expected = 1 - 576 * (500 - 300) / 2_293_000
    assert by_method == {"random": f"{100 * expected:.3g}", "synflow": f"{100 * (1 - 288_000 / 2_293_000):.3g}"}
    _, table = share_table(seen, [1, 2])
    assert next(row for row in table if row[0] == "random")[1:] == [by_method["random"], ""]
    plain = Observations(tiny_protocol, [record(tiny_protocol, Cell("random", 1, 0), Outcome(50.0))])
    assert "multiply-adds %" not in standing_table(plain, standings(plain, 1), ranked=True)[0]


def test_pages_of_the_report_name_and_explain_it(tmp_path: Path) -> None:
    """Where masks are measured, its table has a title of its own; where networks are trained, the ranking a column."""
    store, cells = Store(tmp_path / "results"), {VGG: Cell("random", 4, VGG.seeds[0]), LENET5: Cell("random", 1, 2200)}
    kept = {VGG: {"conv1": 864}, LENET5: {"conv1": 250}}
    for protocol, cell in cells.items():
        made = record(protocol, cell, Outcome(80.0)).model_copy(update={"mask": facts(protocol, kept[protocol])})
        store.write(protocol, cell, made, None)
    site.build(store, [VGG, LENET5], tmp_path / "report")
    for protocol, words in (
        (VGG, "<caption>Multiply-adds left, percent of the dense"),
        (LENET5, "multiply-adds %</th>"),
    ):
        page = (tmp_path / "report" / "protocols" / f"{protocol.id.replace('/', '--')}.html").read_text()
        assert words in page
        assert "called theoretical speedup" in page


def test_its_words() -> None:
    assert [share_text(share) for share in (1.0, 0.0421, 1.234e-5, 0.0)] == ["100", "4.21", "0.00123", "0"]
    assert "theoretical speedup" in MULTIPLY_ADDS
