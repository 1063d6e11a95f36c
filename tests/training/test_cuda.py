"""What only a GPU can show: captured updates against the CPU's. Everywhere else these tests are skipped, and say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fused_values import apart, calculated, values
from replica_groups import NETWORKS, augmented, recipe_of, replicas_of, went
from torch.nn.functional import conv2d

from benchmark.networks import make
from benchmark.protocols import Protocol
from benchmark.protocols.recipe import EvaluationSpec
from benchmark.training.device import cuda_settings
from benchmark.training.fused import formulas
from benchmark.training.loop import Placement, train
from benchmark.training.replicas import TrainingSetup

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT TESTED: there is no CUDA device here"),
]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("strategy", ["stacked", "streams"])
def test_the_first_update_is_the_cpus(tiny_protocol: Protocol, name: str, strategy: Any) -> None:
    """Stated tolerance after one update in fp32: 1e-4 of each weight plus 1e-5. Same rows, crops, dropped units."""
    replicas = [replace(replica, snapshots=(1,)) for replica in replicas_of(name, 3)]
    recipe = recipe_of(tiny_protocol)
    host = went(name, replicas, recipe, tiny_protocol, None)
    device = went(name, replicas, recipe, tiny_protocol, Placement("cuda", strategy))
    for one, other in zip(host, device, strict=True):
        for key, value in one.snapshots[1].items():
            assert torch.allclose(value, other.snapshots[1][key], rtol=1e-4, atol=1e-5), key
        assert other.history.steps == one.history.steps
        assert other.history.validation[-1].loss == pytest.approx(one.history.validation[-1].loss, rel=0.02)


@pytest.mark.parametrize("strategy", ["stacked", "streams"])
@pytest.mark.parametrize("fields", [{}, {"optimizer": "adam", "momentum": 0.0, "learning_rate": 0.001}])
def test_graphs_replay_what_eager_updates_do(
    tiny_protocol: Protocol, strategy: Any, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five epochs with partial batches, so that warm-up, both graphs of a size and the partial batch's all run."""
    from benchmark.training import loop as engine
    from benchmark.training.step import Eager

    recipe = recipe_of(tiny_protocol, batch_size=4, steps=90, **fields)
    replicas = [replace(replica, last_step=90, snapshots=(4, 20)) for replica in replicas_of("conv-2", 2)]
    when = EvaluationSpec.model_validate({**tiny_protocol.evaluation.model_dump(), "every": 45, "test_every": 45})

    def trained() -> Any:
        placement = Placement("cuda", strategy)
        return train(
            replicas, TrainingSetup(lambda _: make(NETWORKS["conv-2"]), recipe, when, augmented()), placement=placement
        )

    replayed = trained()
    monkeypatch.setattr(engine.Replay, "of", Eager)
    for one, other in zip(replayed, trained(), strict=True):
        for step in (4, 20):
            for key, value in one.snapshots[step].items():
                assert torch.allclose(value, other.snapshots[step][key], rtol=1e-3, atol=1e-4), (step, key)
        assert one.history.test[-1].loss == pytest.approx(other.history.test[-1].loss, rel=0.05)
        assert (one.steps, one.examples) == (other.steps, other.examples)


def test_pruned_weights_stay_zero_in_graphs(tiny_protocol: Protocol) -> None:
    replicas = replicas_of("resnet-20", 2)
    for outcome, replica in zip(
        went("resnet-20", replicas, recipe_of(tiny_protocol), tiny_protocol, Placement("cuda", "streams")),
        replicas,
        strict=True,
    ):
        assert not any(outcome.weights[n][~mask].any() for n, mask in replica.masks.items())


def test_fp32_is_not_tf32() -> None:
    """Products and convolutions, which would be TF32 unless told otherwise, have fp32's error under `fp32`.

    Of sums of about 1,000 terms that is 1e-6 of the result, TF32's is 3e-4. Nothing is asked of `tf32`: whether there
    is a kernel with it for a shape is the library's choice.
    """
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1024, 1024, generator=rng) for _ in range(2))
    images, kernels = (torch.randn(128, 128, side, side, generator=rng) for side in (16, 3))
    for work in (lambda t: t(a) @ t(b), lambda t: conv2d(t(images), t(kernels))):
        exact = work(torch.Tensor.double)
        with cuda_settings("fp32"):
            found = work(torch.Tensor.cuda).cpu().double()
        assert float((found - exact).norm() / exact.norm()) < 2e-5


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["usual", "channels last"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2**-7)], ids=["fp32", "bf16"])
def test_fused_kernels_are_the_formulas(layout: Any, dtype: torch.dtype, tolerance: float) -> None:
    """Batch norm, shortcut and ReLU as one operation, at ResNet-20's widths; 1e-4 of the largest value in fp32."""
    from benchmark.training.fused import triton_kernels

    for shape in ((80, 16, 32, 32), (128, 64, 8, 8)):
        given = tuple(tensor.cuda() for tensor in values(shape, dtype, layout))
        for shortcut in (False, True):
            found = calculated(triton_kernels, given, shortcut)
            assert apart(found, calculated(formulas, given, shortcut)) < tolerance


@pytest.mark.parametrize("strategy", ["stacked", "streams"])
def test_fused_batch_norms_are_captured(tiny_protocol: Protocol, strategy: Any) -> None:
    """The first updates of ResNet-20 are those of the layers to rounding, and the record says which they were."""
    replicas = [replace(replica, snapshots=(1,)) for replica in replicas_of("resnet-20", 2)]
    usual, fused = (
        went("resnet-20", replicas, recipe_of(tiny_protocol), tiny_protocol, Placement("cuda", strategy, fused))
        for fused in (False, True)
    )
    for one, other in zip(usual, fused, strict=True):
        assert (other.replica_group or "").endswith("; batch norm and ReLU fused")
        for key, value in one.snapshots[1].items():
            assert torch.allclose(value, other.snapshots[1][key], rtol=1e-3, atol=1e-4), key
