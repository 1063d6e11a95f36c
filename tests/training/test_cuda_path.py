"""What a CPU can show of the path that only CUDA takes: memory that is out, stacks, tables, settings, checkpoints."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from imitated_graphs import Tape
from replica_groups import NETWORKS, Killed, close, recipe_of, replicas_of, resumable, went
from torch import Tensor, nn

from benchmark.networks import make
from benchmark.protocols import Protocol
from benchmark.tasks import load_task
from benchmark.training import batches, replicas
from benchmark.training.checkpoint import load_weights
from benchmark.training.cuda_graphs import BRANCHES
from benchmark.training.device import channels_last, cuda_settings, no_memory, require_device
from benchmark.training.evaluate import Observed, chunk_of
from benchmark.training.loop import Placement
from benchmark.training.replicas import GROUPS
from benchmark.training.stacked_layers import LAYERS
from benchmark.training.step import Single, Stack
from benchmark.utils.errors import EnvironmentProblem

# Out of memory, in all the words that it is said in.


def hidden() -> RuntimeError:
    """A capture that ended badly because memory was short inside."""
    try:
        try:
            raise torch.OutOfMemoryError("no memory left")
        finally:
            raise RuntimeError("CUDA error: capturing stream has unjoined work")
    except RuntimeError as error:
        return error


SHORT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    torch.AcceleratorError("CUDA error: out of memory") if hasattr(torch, "AcceleratorError") else RuntimeError(""),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    hidden(),
]


@pytest.mark.parametrize("error", SHORT, ids=lambda error: str(error)[:40])
def test_out_of_memory_has_many_shapes(error: RuntimeError) -> None:
    assert no_memory(error)


@pytest.mark.parametrize("error", SHORT[-2:], ids=lambda error: str(error)[:40])
def test_every_shape_of_out_of_memory_halves_the_group(
    tiny_protocol: Protocol, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    tried, made = list[int](), GROUPS["stacked"]

    def scarce(replicas: Any, *rest: Any) -> Any:
        tried.append(len(replicas))
        if len(replicas) > 1:
            raise error
        return made(replicas, *rest)

    monkeypatch.setitem(GROUPS, "stacked", scarce)
    two = [replace(replica, last_step=1) for replica in replicas_of("resnet-20", 2)]
    found = went("resnet-20", two, recipe_of(tiny_protocol), tiny_protocol, Placement("cpu", "stacked"))
    assert tried == [2, 1, 1]
    assert found[0].replica_group == "1 side by side, stacked; 2 did not fit into memory"


def test_other_errors_are_not_taken_for_it(tiny_protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where not even one fits, the device's own words are told."""

    def broken(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def full(*_: Any) -> Any:
        raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")

    arguments = ("resnet-20", replicas_of("resnet-20", 1), recipe_of(tiny_protocol), tiny_protocol)
    monkeypatch.setitem(GROUPS, "stacked", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        went(*arguments, Placement("cpu", "stacked"))
    monkeypatch.setitem(GROUPS, "stacked", full)
    with pytest.raises(EnvironmentProblem, match=r"enough memory to train one network: .*ALLOC_FAILED"):
        went(*arguments, Placement("cpu", "stacked"))


# One arithmetic for both strategies.


class Outputs:
    """A loss that keeps what the network gave."""

    def __init__(self) -> None:
        self.given: list[Tensor] = []

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        self.given.append(outputs)
        return nn.functional.cross_entropy(outputs.float(), labels)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_stack_calculates_as_its_networks_alone(name: str, precision: str) -> None:
    """The same types through every layer, so the same outputs, losses and gradients to that type's rounding."""
    states = [dict(replica.start) for replica in replicas_of(name, 2)]
    inputs, labels = torch.randn(2, 6, 3, 8, 8), torch.arange(12).reshape(2, 6) % 4
    words = torch.randint(0, 2**32, (2, 2))
    seen = Outputs()
    stack = Stack(make(NETWORKS[name]), states, precision, "cpu", Outputs())
    losses = stack.losses(inputs, labels, words)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    rounding = 1e-5 if precision == "fp32" else 0.02
    for number, state in enumerate(states):
        module = make(NETWORKS[name])
        module.load_state_dict(state)
        single = Single(module, precision, seen)
        loss = single.losses(inputs[number], labels[number], words[number])
        loss.backward()  # type: ignore[no-untyped-call]
        assert seen.given[number].dtype == (torch.float32 if precision == "fp32" else torch.bfloat16)
        assert float(losses[number].detach()) == pytest.approx(float(loss.detach()), rel=rounding)
        for key, parameter in single.parameters.items():
            gradient = stack.parameters[key].grad
            assert gradient is not None
            assert parameter.grad is not None
            off = (gradient[number] - parameter.grad).norm() / (parameter.grad.norm() + 1e-3)
            assert float(off) < 10 * rounding, key
        for key, buffer in module.named_buffers():
            assert stack.buffers[key].dtype == buffer.dtype
            assert torch.allclose(stack.buffers[key][number], buffer, rtol=rounding, atol=rounding), key
    stacked_types = {outputs.dtype for outputs in stack.loss.given}  # type: ignore[attr-defined]
    assert stacked_types == {seen.given[0].dtype}


def test_each_layer_of_a_stack_is_one_kernel() -> None:
    """For three networks as for one: as many convolutions, batch norms and products as the network has layers."""
    fields, states = NETWORKS["resnet-20"], [dict(replica.start) for replica in replicas_of("resnet-20", 3)]
    stack, tape = Stack(make(fields), states, "fp32", "cpu", Outputs()), Tape()
    inputs, labels = torch.randn(3, 4, 3, 8, 8), torch.zeros(3, 4, dtype=torch.int64)
    with tape:
        stack.losses(inputs, labels, torch.zeros(3, 2, dtype=torch.int64))
    called = [str(func) for func, *_ in tape.operations]
    layers = [type(layer) for layer in make(fields).modules() if type(layer) in LAYERS]
    assert called.count("aten.convolution.default") == layers.count(nn.Conv2d) == 5
    assert called.count("aten.native_batch_norm.default") == layers.count(nn.BatchNorm2d) == 5
    assert called.count("aten.baddbmm.default") == layers.count(nn.Linear) == 1


# Tables of the next epoch.


def test_tables_are_drawn_ahead_in_a_thread(tiny_protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, the first by whoever asks, none behind the last epoch; training is the same to the bit."""
    recipe, three = recipe_of(tiny_protocol, steps=12), [replace(r, last_step=12) for r in replicas_of("conv-2", 2)]
    before = went("conv-2", three, recipe, tiny_protocol, Placement("cpu", "streams"))
    drawn: list[tuple[int, int, bool]] = []
    tables = batches.ReplicaExamples.tables

    def noted(source: batches.ReplicaExamples, recipe: Any, dataset: Any, epoch: int) -> dict[str, Tensor]:
        drawn.append((source.seed, epoch, threading.current_thread() is threading.main_thread()))
        return tables(source, recipe, dataset, epoch)

    monkeypatch.setattr(batches.ReplicaExamples, "tables", noted)
    monkeypatch.setattr(batches, "draws_ahead", lambda _device: True)
    after = went("conv-2", three, recipe, tiny_protocol, Placement("cpu", "streams"))
    # 70 rows in batches of 16: 5 updates an epoch, 12 in all, so epochs 0 to 2.
    assert sorted(drawn) == [(seed, epoch, epoch == 0) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(torch.equal(a.weights[n], b.weights[n]) for a, b in zip(before, after, strict=True) for n in a.weights)


def test_what_goes_wrong_in_the_thread_is_told() -> None:
    def draw(epoch: int) -> dict[str, Tensor]:
        if epoch:
            raise ValueError("epoch 1 cannot be drawn")
        return {}

    ahead = batches.Ahead(draw, 3)
    ahead(0)
    with pytest.raises(ValueError, match="epoch 1"):
        ahead(1)


# Settings, chunks, layouts, copies.


def test_as_many_queues_as_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for before the driver is first used, and only where the user has said nothing."""
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "to be taken back")  # of a variable that is not there nothing is
    monkeypatch.delenv("CUDA_DEVICE_MAX_CONNECTIONS")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "CUDA_DEVICE_MAX_CONNECTIONS" in os.environ)
    require_device("cuda")
    assert int(os.environ["CUDA_DEVICE_MAX_CONNECTIONS"]) > BRANCHES
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "4")
    require_device("cuda")
    assert os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] == "4"


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_tf32_flags_agree_and_come_back(precision: str) -> None:
    """torch refuses to read `allow_tf32` where its old flags and the new ones differ."""
    before = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    with cuda_settings(precision):
        wanted = precision == "tf32"
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (wanted, wanted)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before


def test_chunks_of_an_evaluation() -> None:
    """Thousands of images on CUDA, over all replicas of a stack; on a CPU never other ones, which keeps its sums."""
    assert [chunk_of(images, "cpu", n) for images in (True, False) for n in (1, 64)] == [250, 250, 1000, 1000]
    assert [chunk_of(images, "cuda", n) for images in (True, False) for n in (1, 4, 64)] == [
        4000, 1000, 250, 10_000, 2500, 1000,
    ]  # fmt: skip


def test_channels_last_is_for_tensor_cores() -> None:
    assert [channels_last(p, d) for p in ("fp32", "bf16", "tf32") for d in ("cuda", "cpu")] == [
        False, False, True, False, True, False,
    ]  # fmt: skip


def test_channels_last_changes_no_number_but_rounding(tiny_protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of batch norms and shortcuts too; what comes back lies in memory as everywhere."""
    arguments = ("resnet-20", replicas_of("resnet-20", 2, snapshots=(5,)), recipe_of(tiny_protocol), tiny_protocol)
    usual = went(*arguments, Placement("cpu", "streams"))
    monkeypatch.setattr(replicas, "channels_last", lambda *_: True)
    for one, two in zip(usual, went(*arguments, Placement("cpu", "streams")), strict=True):
        assert close(one.weights, two.weights)
        assert close(one.snapshots[5], two.snapshots[5])
        assert all(weight.is_contiguous() for weight in two.weights.values())


def test_channels_last_is_resumed(tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's memory lies as the weights do again, which its fused kernel needs: the bits of one go."""
    monkeypatch.setattr(replicas, "channels_last", lambda *_: True)
    recipe = recipe_of(tiny_protocol, optimizer="adam", momentum=0.0)
    pair, layouts = replicas_of("conv-2", 2, snapshots=(5,)), list[bool]()
    whole = resumable("conv-2", pair, recipe, tiny_protocol, "streams", tmp_path / "whole", None)
    with pytest.raises(Killed):
        resumable("conv-2", pair, recipe, tiny_protocol, "streams", tmp_path / "r", 4)
    saved = load_weights(tmp_path / "r" / "0")
    assert saved is not None
    assert saved["module.conv2.weight"].is_contiguous()
    laid_out = replicas._laid_out_as

    def noted(parameter: Tensor, tensor: Tensor) -> Tensor:
        made = laid_out(parameter, tensor)
        layouts.append(made.stride() == parameter.stride() or made.shape != parameter.shape)
        return made

    monkeypatch.setattr(replicas, "_laid_out_as", noted)
    resumed = resumable("conv-2", pair, recipe, tiny_protocol, "streams", tmp_path / "r", None)
    assert layouts
    assert all(layouts)
    assert all(torch.equal(a.weights[n], b.weights[n]) for a, b in zip(whole, resumed, strict=True) for n in a.weights)


def test_a_checkpoint_reads_the_device_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each replica and evaluation: every copy makes the host wait."""
    observed = Observed.of(3, load_task("classification"))
    for step in range(5):
        observed.validated(step, torch.rand(3, 2, dtype=torch.float64))
        observed.tested(step, torch.rand(3, 2, dtype=torch.float64), [True] * 3)
    copies, cpu = list[int](), Tensor.cpu

    def counted(tensor: Tensor) -> Tensor:
        copies.append(tensor.numel())
        return cpu(tensor)

    monkeypatch.setattr(Tensor, "cpu", counted)
    first_read = list[int]()
    to_host = Observed.to_host
    monkeypatch.setattr(Observed, "to_host", lambda each: (first_read.append(1), to_host(each)))
    for number in range(3):
        observed.saved(number)
    assert len(copies) <= 2
    assert first_read, "what lies on a device is read before replicas are cut out of it"
