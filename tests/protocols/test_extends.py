"""Protocol files that extend others, and sets of tensors written out: the whole document is what counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from image_networks import spec

from benchmark.cli.main import cli
from benchmark.networks import make
from benchmark.protocols import load, load_file, parse
from benchmark.protocols.network import MlpSpec, count, prunable
from benchmark.protocols.protocol import read_document
from benchmark.utils import strict_yaml
from benchmark.utils.errors import BadInput

FAMILIES = [
    MlpSpec(name="mlp", initialiser="glorot-normal", bias="zeros", widths=(12, 8, 4)),
    spec("lenet-5-caffe"),
    spec("conv-2"),
    spec("conv-6", input=(3, 64, 64)),
    spec("vgg-11", convolution_bias=False),
    spec("vgg-16", classes=200, hidden=(1024, 1024), input=(3, 64, 64), last_pool="max-2x2"),
    spec("small-vgg", input=(1, 28, 28)),
    spec("resnet-20", shortcut="zero-padding"),
    spec("resnet-32", width=2),
    spec("resnet-18", stem={"kernel": 7, "stride": 2, "max_pool": "3x3-stride-2"}),
]


@pytest.mark.parametrize("network", FAMILIES, ids=lambda network: str(network.name))
def test_shapes_are_the_networks_own(network: object) -> None:
    """In order, without torch, all but batch norm's."""
    own = {
        name: tuple(parameter.shape)
        for name, parameter in make(network).named_parameters()  # type: ignore[arg-type]
        if ".bn" not in f".{name}" and "_bn" not in name
    }
    found = prunable(network, "weights-and-biases")  # type: ignore[arg-type]
    assert list(found.items()) == list(own.items())
    assert prunable(network, "weights") == {n: s for n, s in own.items() if n.endswith("weight")}  # type: ignore[arg-type]


def test_sets_of_the_lottery_ticket_networks() -> None:
    """LTH: of Resnet-18 neither 2,560 shortcut nor 640 output weights, of VGG-19 not 5,120 output weights."""
    resnet, vgg = spec("resnet-20"), spec("vgg-19")
    assert count(prunable(resnet, "weights")) - count(prunable(resnet, "convolutions")) == 2560 + 640
    assert count(prunable(vgg, "weights")) - count(prunable(vgg, "convolutions")) == 5120
    with pytest.raises(KeyError):
        prunable(resnet, "everything")


@pytest.fixture
def folder(tmp_path: Path, tiny_path: Path) -> Path:
    """A folder with the tiny protocol, to be extended."""
    (tmp_path / "_base.yaml").write_text(tiny_path.read_text())
    return tmp_path


@pytest.mark.parametrize("name", ["mnist1d/mlp", "lth/conv2-cifar10", "synflow/vgg16-cifar100-masks"])
def test_a_protocol_that_was_printed_is_the_same_protocol(name: str, tmp_path: Path) -> None:
    printed = CliRunner().invoke(cli, ["info", name, "--yaml"])
    (tmp_path / "mine.yaml").write_text(printed.stdout)
    assert load_file(tmp_path / "mine.yaml").digest == load(name).digest


def test_a_file_of_ones_own_may_extend_a_protocol_of_the_package(tmp_path: Path) -> None:
    """Other seeds, say. What else counts is the document of the package; a wrong name comes with the nearest."""
    path = tmp_path / "mine.yaml"
    path.write_text("extends: mnist1d/mlp\nid: mine/mlp\nversion: 1\nseeds: [1000, 1001]\nsources: {}\n")
    own, base = load_file(path), load("mnist1d/mlp")
    assert (own.id, own.seeds) == ("mine/mlp", (1000, 1001))
    assert own.recipe == base.recipe
    assert own.digest != base.digest
    path.write_text("extends: mnist1d/mpl\nid: mine/mlp\n")
    with pytest.raises(BadInput, match=r"there is no 'mnist1d/mpl' in the package.*Did you mean 'mnist1d/mlp'"):
        load_file(path)
    path.write_text("extends: ../mnist1d/mlp\nid: mine/mlp\n")
    with pytest.raises(BadInput, match="in its folder"):
        load_file(path)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def test_fields_are_taken_over_and_replaced(folder: Path, tiny_path: Path) -> None:
    path = written(
        folder,
        "own",
        "extends: _base\nid: tests/own\nrecipe: {steps: 30}\nseeds: [7]\ndeviations: [mine]\nsources: {seeds: chosen}",
    )
    base, own = load_file(tiny_path), load_file(path)
    assert (own.id, own.recipe.steps, own.seeds, own.deviations) == ("tests/own", 30, (7,), (*base.deviations, "mine"))
    assert own.recipe.model_copy(update={"steps": base.recipe.steps}) == base.recipe
    assert own.sources == {**base.sources, "seeds": "chosen"}
    assert own.digest != base.digest
    whole = strict_yaml.load_file(tiny_path)
    whole |= {"id": "tests/own", "seeds": [7], "deviations": ["mine"], "recipe": {**whole["recipe"], "steps": 30}}
    whole["sources"] = {**whole["sources"], "seeds": "chosen"}
    assert parse(whole, "whole").digest == own.digest  # however it was written


def test_a_named_set_is_the_list_of_its_tensors(folder: Path, tiny_path: Path) -> None:
    named = written(folder, "named", "extends: _base\npruning: {prunable: weights}")
    assert load_file(named).digest == load_file(tiny_path).digest


def test_a_change_of_the_base_is_a_change_of_all(folder: Path) -> None:
    middle = written(folder, "middle", "extends: _base\nid: tests/middle")
    last = written(folder, "last", "extends: middle\nid: tests/last")
    before = load_file(last).digest
    written(folder, "_base", (folder / "_base.yaml").read_text().replace("steps: 20", "steps: 21"))
    assert load_file(last).digest != before
    assert load_file(middle).recipe.steps == 21


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: _bse\n", "there is no '_bse' in its folder. Did you mean '_base'"),
        ("extends: ../_base\n", "there is no '../_base' in its folder"),
        ("extends: own\n", "there is no 'own' in its folder"),
        ("extends: {a: 1}\n", "in its folder"),
        ("extends: _base\npruning: {prunable: wieghts}\n", "there is no set 'wieghts'. Did you mean 'weights'"),
        ("extends: _base\nnetwork: {name: vgg-15}\npruning: {prunable: weights}\n", "there is no 'vgg-15'"),
    ],
)
def test_mistakes_are_named(folder: Path, text: str, message: str) -> None:
    path = written(folder, "own", text)
    with pytest.raises(BadInput) as caught:
        load_file(path)
    assert message in str(caught.value)


def test_files_that_extend_each_other_end(folder: Path) -> None:
    written(folder, "one", "extends: two\n")
    with pytest.raises(BadInput, match="chain of extends"):
        read_document(written(folder, "two", "extends: one\n"))
