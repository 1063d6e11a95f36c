"""Convolutional networks against published parameter counts, against plain formulas, and their buffers while scored."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from image_networks import network, prunable, spec
from pydantic import ValidationError
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import conv2d, max_pool2d

from baselines.grasp import Grasp
from baselines.snip import Snip
from baselines.synflow import SynFlow
from benchmark.api import Examples, Network, Pruner, Scores
from benchmark.networks import make
from benchmark.networks.registry import drawn_weight
from benchmark.protocols import Protocol
from benchmark.protocols.levels import Level
from benchmark.protocols.methods import MethodSpec, PruningSpec
from benchmark.pruning.schedule import prune
from benchmark.pruning.scorer import ScoredNetwork
from benchmark.utils.errors import BadPruner
from benchmark.utils.seeding import stream

# name, changes, convolution weights, prunable weights (convolution and linear), all parameters.
COUNTS: list[tuple[str, dict[str, Any], int, int, int]] = [
    # LTH, Fig. 2: 38K, 260K, 1.1M convolution weights, 4.3M, 2.4M and 1.7M in all. The described Conv-6 has 2.26M:
    # its 256 maps of 4x4 make 1.05M weights of the first linear layer alone. Its convolutions are the printed 1.1M.
    ("conv-2", {}, 38_592, 4_300_992, 4_301_642),
    ("conv-4", {}, 259_776, 2_425_024, 2_425_930),
    ("conv-6", {}, 1_144_512, 2_261_184, 2_262_602),
    ("lenet-5-caffe", {}, 25_500, 430_500, 431_080),  # SNIP: 431k parameters
    ("lenet-5", {}, 2_550, 44_190, 44_426),  # 61,706 with padding: LeCun et al. 1998 read 32x32
    # LTH's "Resnet-18": 2,560 shortcut and 640 linear weights; open_lth and Synaptic-Flow prune 270,896.
    ("resnet-20", {}, 270_256, 270_896, 272_474),
    ("resnet-20", {"shortcut": "zero-padding"}, 270_256 - 2_560, 270_896 - 2_560, 269_722),  # He et al.: 0.27M
    ("resnet-32", {}, 463_792, 464_432, 466_906),  # 0.464M prunable
    ("resnet-32", {"width": 2}, 1_854_304, 1_855_584, 1_860_522),  # GraSP's: 1.856M prunable
    ("resnet-44", {"shortcut": "zero-padding"}, 654_768, 655_408, 658_586),  # He et al., Table 6: 0.66M
    ("resnet-56", {"shortcut": "zero-padding"}, 848_304, 848_944, 853_018),  # He et al., Table 6: 0.85M
    ("resnet-18", {}, 11_159_232, 11_164_352, 11_173_962),  # 11.17M, the usual CIFAR form
    ("vgg-19", {"convolution_bias": False}, 20_018_880, 20_024_000, 20_035_018),  # LTH: 20.0M, 5,120 of output
    ("vgg-11", {}, 9_217_728, 9_222_848, 9_231_114),
    ("vgg-13", {}, 9_402_048, 9_407_168, 9_416_010),
    # 9 (16 + 16 32 + 32 64 + 64 64), 64 10 to the classes; 176 scales and shifts, 10 biases.
    ("small-vgg", {"input": (1, 28, 28), "widths": ((16,), (32,), (64, 64))}, 60_048, 65_808, 66_170),
]


@pytest.mark.parametrize(("name", "changes", "convolution", "weights", "parameters"), COUNTS)
def test_parameter_counts(name: str, changes: Any, convolution: int, weights: int, parameters: int) -> None:
    module = make(spec(name, **changes))
    sizes = prunable(module)
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert sum(sizes.values()) == weights
    assert sum(size for n, size in sizes.items() if module.get_parameter(n).dim() == 4) == convolution


def test_resnet20_is_the_papers_resnet18() -> None:
    """LTH, section 4 and Fig. 2: convolutions 16, then three times six of 16, 32, 64; 2,560 shortcut, 640 linear."""
    sizes = prunable(make(spec("resnet-20")))
    assert sum(size for name, size in sizes.items() if "shortcut" in name) == 2_560
    assert sizes["fc.weight"] == 640
    assert len([name for name in sizes if "shortcut" not in name]) == 20


def test_synflows_vgg16_has_the_published_tensors() -> None:
    """Sizes of the 14 prunable tensors of VGG-16 on CIFAR-100 in the authors' own result files (0520_2020 pickles)."""
    published = [1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, 1_179_648]
    published += [2_359_296] * 5 + [51_200]
    assert list(prunable(make(spec("vgg-16", classes=100))).values()) == published


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, changes) for name, changes, *_ in COUNTS if name not in ("resnet-44", "resnet-18")),
        ("resnet-20", {"input": (3, 64, 64), "stem": {"kernel": 3, "stride": 2, "max_pool": "none"}}),
        ("resnet-18", {"input": (3, 64, 64), "stem": {"kernel": 7, "stride": 2, "max_pool": "3x3-stride-2"}}),
        ("vgg-11", {"input": (3, 64, 64), "classes": 200, "last_pool": "max-2x2", "hidden": (1024, 1024)}),
        ("vgg-11", {"input": (3, 64, 64), "classes": 200, "last_pool": "average-4x4"}),
        ("small-vgg", {"input": (1, 29, 31), "last_pool": "max-2x2"}),  # pools leave out what makes no pair
        ("conv-2", {"input": (1, 28, 28)}),
    ],
)
def test_forward_and_multiply_adds(name: str, changes: Any) -> None:
    """The plan's estimate is the work that layers do, counted at their outputs; logits have the promised shape."""
    fields = spec(name, **changes)
    module, pixels, counted = make(fields).eval(), {}, []
    names = {layer: name for name, layer in module.named_modules()}

    def count(layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        pixels[f"{names[layer]}.weight"] = math.prod(output.shape[2:])
        counted.append(layer.weight.numel() * math.prod(output.shape[2:]))

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    assert module(torch.zeros(1, *fields.input)).shape == (1, fields.classes)
    assert fields.positions == pixels
    assert fields.multiply_adds == sum(counted)


def test_conv2_by_hand() -> None:
    """Convolution, ReLU, pool, three linear layers, in plain functions."""
    module, state = network("conv-2", bias="pytorch-uniform")
    x = torch.randn(3, 3, 32, 32, generator=stream(1, "x"))
    h = conv2d(x, state["conv1.weight"], state["conv1.bias"], padding=1).clamp(min=0)
    h = conv2d(h, state["conv2.weight"], state["conv2.bias"], padding=1).clamp(min=0)
    h = h.reshape(3, 64, 16, 2, 16, 2).amax((3, 5)).reshape(3, -1)
    for i in (1, 2, 3):
        h = h @ state[f"head.fc{i}.weight"].T + state[f"head.fc{i}.bias"]
        h = h.clamp(min=0) if i < 3 else h
    assert torch.allclose(module(x), h, atol=1e-4)


@pytest.mark.parametrize(("name", "relu"), [("lenet-5-caffe", False), ("lenet-5-caffe", True), ("lenet-5", True)])
def test_lenet5_by_hand_reads_flat_images(name: str, relu: bool) -> None:
    module, state = network(name, relu_after_convolutions=relu, bias="pytorch-uniform")
    x = torch.randn(2, 784, generator=stream(1, "x"))
    h = x.reshape(2, 1, 28, 28)
    for i in (1, 2):
        h = max_pool2d(conv2d(h, state[f"conv{i}.weight"], state[f"conv{i}.bias"]), 2)
        h = h.clamp(min=0) if relu else h
    h = h.flatten(1)
    last = sum(key.startswith("head") for key in state) // 2
    for i in range(1, last + 1):
        h = h @ state[f"head.fc{i}.weight"].T + state[f"head.fc{i}.bias"]
        h = h.clamp(min=0) if i < last else h
    assert torch.allclose(module(x), h, atol=1e-4)


def test_the_first_stage_may_have_a_shortcut_of_its_own() -> None:
    """TensorFlow's official model: 16 x 16 weights and a batch norm more, and as many multiplications a pixel."""
    plain, own = (spec("resnet-20", first_stage=first) for first in ("identity", "shortcut"))
    assert set(own.tensors) - set(plain.tensors) == {"stage1.block1.shortcut.weight"}
    assert own.tensors["stage1.block1.shortcut.weight"] == ("shortcut", (16, 16, 1, 1))
    assert own.multiply_adds - plain.multiply_adds == 16 * 16 * 32 * 32
    block = make(own).get_submodule("stage1.block1")
    x = torch.rand(2, 16, 4, 4)
    assert torch.equal(block.skip(x), block.shortcut_bn(block.shortcut(x)))  # type: ignore[operator]


@pytest.mark.parametrize("shortcut", ["zero-padding", "convolution"])
def test_a_resnet_without_residual_branches_is_its_shortcuts(shortcut: str) -> None:
    """With the last scale of every block at zero, ReLU of the shortcut is all that remains."""
    module, state = network("resnet-20", shortcut=shortcut)
    zeroed = {n: torch.zeros_like(t) if n.endswith("bn2.weight") else t for n, t in state.items()}
    module.load_state_dict(zeroed)
    x = torch.randn(2, 3, 32, 32, generator=stream(1, "x"))
    h = conv2d(x, state["conv.weight"], padding=1).clamp(min=0) / math.sqrt(1 + 1e-5)
    for stage, channels in ((2, 32), (3, 64)):
        if shortcut == "convolution":
            weight = state[f"stage{stage}.block1.shortcut.weight"]
            h = (conv2d(h, weight, stride=2) / math.sqrt(1 + 1e-5)).clamp(min=0)
        else:
            h = torch.cat([h[:, :, ::2, ::2], torch.zeros(2, channels // 2, *[e // 2 for e in h.shape[2:]])], 1)
    expected = h.mean((2, 3)) @ state["fc.weight"].T
    assert torch.allclose(module.eval()(x), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("rule", "variance"),
    [
        ("glorot-normal", 2 / (64 * 9 + 128 * 9)),
        ("kaiming-normal-fan-in", 2 / (64 * 9)),
        ("kaiming-normal-fan-out", 2 / (128 * 9)),
        ("normal-std-0.01", 1e-4),
        ("pytorch-uniform", 1 / (3 * 64 * 9)),
    ],
)
def test_variances_of_convolution_weights(rule: str, variance: float) -> None:
    """Mean 0 and the stated variance, within five standard errors."""
    w = drawn_weight(rule, torch.empty(128, 64, 3, 3), stream(0, rule)).double()
    assert abs(float(w.mean())) < 5 * math.sqrt(variance / w.numel())
    assert abs(float(w.square().mean()) / variance - 1) < 5 * math.sqrt(2 / w.numel())


def test_kaiming_is_torchs() -> None:
    """Same law as torch.nn.init, whose own draws it is compared with."""
    for mode, rule in (("fan_in", "kaiming-normal-fan-in"), ("fan_out", "kaiming-normal-fan-out")):
        theirs = nn.init.kaiming_normal_(torch.empty(128, 64, 3, 3), mode=mode, nonlinearity="relu")
        ours = drawn_weight(rule, theirs, stream(0, rule))
        assert float(ours.std() / theirs.std()) == pytest.approx(1, abs=0.02)


def test_initial_state_holds_buffers_and_named_rules() -> None:
    norm = {"scale": "uniform-0-1", "momentum": 0.1, "epsilon": 1e-5}
    changes: Any = {"linear_initialiser": "normal-std-0.01", "batch_norm": norm}
    module, state = network("resnet-20", **changes)
    assert set(state) == set(module.state_dict())
    scales = torch.cat([state[n] for n in state if "bn" in n and n.endswith(".weight")])
    assert 0 <= float(scales.min()) < 0.02
    assert 0.98 < float(scales.max()) < 1
    assert all(not state[n].any() for n in state if n.endswith(("bias", "running_mean", "num_batches_tracked")))
    assert all(bool((state[n] == 1).all()) for n in state if n.endswith("running_var"))
    assert float(state["fc.weight"].std()) == pytest.approx(0.01, rel=0.15)
    again, other = network("resnet-20", **changes)[1], network("resnet-20", seed=1, **changes)[1]
    assert all(torch.equal(state[n], again[n]) for n in state)
    assert not torch.equal(state["conv.weight"], other["conv.weight"])
    assert bool((network("resnet-20")[1]["bn.weight"] == 1).all())


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("vgg-16", {"input": (3, 16, 16)}, "too small"),
        ("small-vgg", {"input": (1, 7, 28)}, "an image of 7 x 28 is too small, take 8 x 8 or more"),
        ("small-vgg", {"widths": ((16,), ())}, "widths"),
        ("lenet-5", {"input": (1, 15, 28)}, "an image of 15 x 28 is too small, take 16 x 16 or more"),
        ("lenet-5-caffe", {"input": (1, 3, 3)}, "16 x 16"),  # two sides below nothing would multiply to something
        ("conv-6", {"input": (3, 32, 7)}, "take 8 x 8 or more"),
        ("resnet-20", {"input": (3, 0, 32)}, "greater than 0"),
        ("resnet-20", {"shortcut": "none"}, "shortcut"),
        ("conv-2", {"dropout": {"rate": 1.0, "after": "hidden-linear-layers"}}, "rate"),
        ("vgg-11", {"dropout": {"rate": 0.5, "after": "pools-and-hidden-linear-layers"}}, "hidden-linear-layers only"),
    ],
)
def test_impossible_fields(name: str, changes: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        spec(name, **changes)


class Keeping(Pruner):
    """Asks another pruner, and writes down what the network returned for the examples."""

    needs = "labels"

    def __init__(self, inner: Pruner) -> None:
        self.inner, self.logits = inner, torch.empty(0)

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:
        assert examples is not None
        self.logits = network.logits(examples.inputs, network.weights).detach()
        return self.inner.score(network, examples, rng)


class Meddling(Pruner):
    """Writes to a running mean."""

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        network.module.get_buffer("bn1.running_mean").add_(1)
        return {name: w.abs() for name, w in network.weights.items()}


def small_vgg(mode: str, tiny: Protocol) -> tuple[PruningSpec, ScoredNetwork, Examples]:
    """VGG-11 on 4 pictures of 32x32, in a batch-norm mode, with running statistics unlike the batch's."""
    module, state = network("vgg-11")
    state = {n: t + 0.5 if n.endswith("running_mean") else t for n, t in state.items()}
    module.load_state_dict(state)
    module.train(mode == "train")
    fields = tiny.pruning.model_dump()
    shapes = {name: tuple(module.get_parameter(name).shape) for name in prunable(module)}
    rules = PruningSpec.model_validate({**fields, "prunable": shapes, "layer_rates": {}})
    inputs = torch.randn(4, 3, 32, 32, generator=stream(0, "x"))
    return rules, ScoredNetwork(module, state, (3, 32, 32), 10), Examples(inputs, torch.tensor([0, 1, 2, 3]))


def run(plugin: Pruner, tiny: Protocol, mode: str) -> ScoredNetwork:
    """Cut VGG-11 to a tenth in one round."""
    rules, subject, examples = small_vgg(mode, tiny)
    method = MethodSpec.model_validate(
        {
            "pruner": "it",
            "allocation": "global",
            "schedule": {"rounds": 1, "scores": "initial", "restart": 0},
            "levels": (1,),
        }
    )
    total = sum(rules.tensor_sizes.values())
    level = Level(1, total // 10, total, {}, None)
    prune(plugin, method, rules, level, subject, examples, stream(0, "prune"))
    return subject


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("inner", [Snip, Grasp, SynFlow])
def test_scoring_honours_the_batch_norm_mode_and_changes_no_buffer(
    tiny_protocol: Protocol, mode: str, inner: type[Pruner]
) -> None:
    """In train mode the batch's own statistics, in eval mode the stored ones; neither is written to."""
    plugin = Keeping(inner())
    subject = run(plugin, tiny_protocol, mode)
    fresh, state = network("vgg-11")
    kept = {n: t + 0.5 if n.endswith("running_mean") else t for n, t in state.items()}
    own = dict(subject.module.named_buffers())
    assert all(torch.equal(own[n], kept[n]) and torch.equal(subject.state[n], kept[n]) for n in own)
    x = small_vgg(mode, tiny_protocol)[2].inputs
    copies = {n: t.clone() for n, t in kept.items()}
    by_store = functional_call(fresh.eval(), copies, (x,))
    by_batch = functional_call(fresh.train(), copies, (x,))  # this one writes to the copies
    assert not torch.equal(copies["bn1.running_mean"], kept["bn1.running_mean"])
    expected, other = (by_batch, by_store) if mode == "train" else (by_store, by_batch)
    assert torch.allclose(plugin.logits, expected, atol=1e-4)
    assert not torch.allclose(plugin.logits, other, atol=1e-2)


def test_a_pruner_that_writes_to_a_buffer_is_refused(tiny_protocol: Protocol) -> None:
    with pytest.raises(BadPruner, match="in place"):
        run(Meddling(), tiny_protocol, "eval")
