"""Denoising: errors and PSNR by hand, sums over images, gradients through the sigmoid."""

from __future__ import annotations

import pytest
import torch

from benchmark.tasks import load_task

TASK = load_task("denoising")


def logits(image: torch.Tensor) -> torch.Tensor:
    return (image / (1 - image)).log()


def test_psnr_of_known_errors() -> None:
    """An error of 0.1 everywhere is 20 dB, one of 0.01 is 40 dB; the data range is 1."""
    clean = torch.full((2, 3, 4, 4), 0.5)
    outputs = logits(torch.stack([clean[0] + 0.1, clean[1] - 0.01]))
    found = TASK.metrics(outputs, clean)
    assert float(found["psnr"]) == pytest.approx(20 + 40, abs=1e-3)
    assert float(found["loss"]) == pytest.approx(0.01 + 0.0001, rel=1e-4)
    assert TASK.metric["psnr"].unit == "dB"
    assert TASK.metric["psnr"].best([20.0, 40.0]) == 40.0


def test_loss_descends_the_squared_error_of_the_sigmoid() -> None:
    """d/dz mean (s(z) - y)^2 = 2 (s - y) s (1 - s) / n, and half precision is widened."""
    rng = torch.Generator().manual_seed(0)
    z, y = torch.randn(1, 3, 2, 2, generator=rng), torch.rand(1, 3, 2, 2, generator=rng)
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(TASK.loss(z, y), z)
    s = z.detach().sigmoid()
    torch.testing.assert_close(gradient, 2 * (s - y) * s * (1 - s) / 12)
    assert TASK.loss(z.half(), y).dtype == torch.float32
