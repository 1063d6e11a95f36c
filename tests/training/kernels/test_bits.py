"""The same bits: for every target that is compiled for, in both forms, alone or beside others, resumed or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from acting_hooks import Stop, stop_at
from compiled_targets import TARGETS, compiled_for, features_here, in_process, tell
from mlp_training import RECIPES, digest, network, recipe, replica, setup
from pairs import pairs

from benchmark.protocols.network import MlpSpec
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.device import cpu_settings
from benchmark.training.kernels import layout
from benchmark.training.loop import Placement, train
from benchmark.utils.seeding import portable_normals, stream

SPECS = [network(33, 17, 9, 5), network(33, 17, 17, 17, 5, shortcuts=True), network(784, 300, 100, 10), network(5, 3)]

GOLDEN = {
    "normals": "cc8a76e3912e811f",
    "dense": "19c644d749dc7415",
    "masked": "249cbd0209122a6a",
    "sparse": "5f72fbe026faaa70",
    "test_loss": "0x1.9a08ecb884a8fp+0",
}
"""What every machine gives; change it only together with `engine.REVISION`."""


def trained() -> dict[str, str]:
    """Digests of initial weights and of three trainings, and a loss to its last bit."""
    spec = network(33, 17, 17, 17, 5, shortcuts=True)
    found = {"normals": digest({"": portable_normals((300, 784), stream(7, "init"))})}
    for name, density in (("dense", 1.0), ("masked", 0.7), ("sparse", 0.2)):
        outcome = train([replica(spec, density)], setup(spec))[0]
        found[name] = digest(outcome.weights)
        found["test_loss"] = float(outcome.history.test[-1].loss).hex()
    return found


def main() -> None:
    """Print digests and which registers the machine code uses; with an argument, only compile."""
    from benchmark.training.kernels import program

    tell(program.train, trained)


def test_they_are_what_every_machine_gives() -> None:
    assert trained() == GOLDEN


@pytest.mark.long
@pytest.mark.skipif("avx2" not in features_here(), reason="needs a processor that runs what is compiled for others")
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_gives_them(target: str, tmp_path: Path) -> None:
    """Compiled for processors with AVX-512, with AVX2, and without fused multiply-add; the machine code differs."""
    assert compiled_for(target, __file__, tmp_path) == GOLDEN


def test_no_setting_of_torch_or_its_libraries_matters() -> None:
    settings = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "2"}
    assert in_process(__file__, **settings)["digests"] == GOLDEN


def test_nor_does_the_callers_floating_point_mode() -> None:
    """Subnormal numbers are zero in the kernels, whatever is set around them."""
    try:
        torch.set_flush_denormal(False)
        plain = trained()
        small = torch.tensor(1e-39)
        assert float(small * 0.5) > 0  # the caller's mode is as it was
        with cpu_settings():
            assert trained() == plain == GOLDEN
            assert float(small * 0.5) == 0
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize(
    ("spec", "density", "batch"), pairs(SPECS, [1.0, 0.6, 0.05], [1, 7, 8, 16, 60, 64, 100, 128]), ids=str
)
def test_both_forms_agree(spec: MlpSpec, density: float, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By surviving weights or densely, whatever the mask and however the batch fills the lanes."""
    found = set()
    one = replica(spec, density, last=6)
    for dense_from in (0.0, 2.0):
        monkeypatch.setattr(layout, "DENSE_FROM", dense_from)
        outcome = train([one], setup(spec, recipe(batch, steps=6)))[0]
        assert outcome.failure is None
        found.add((digest(outcome.weights), outcome.history.test[-1].loss, outcome.history.validation[-1].loss))
    assert len(found) == 1


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("density", [1.0, 0.2])
def test_resumed_is_uninterrupted(kind: str, density: float, tmp_path: Path) -> None:
    spec = network(33, 17, 9, 5)
    how, one = recipe(**RECIPES[kind]), replica(spec, density, snapshots=(4, 20))
    whole = train([one], setup(spec, how))[0]

    file = CheckpointFile(tmp_path / "checkpoint", tmp_path, "this", 0)
    with pytest.raises(Stop):
        train([one], setup(spec, how), stop_at(15), None, [file])
    steps: list[int] = []
    resumed = train([one], setup(spec, how), lambda _n, done, *_: steps.append(done), None, [file])[0]
    assert steps[0] == 15
    assert digest(resumed.weights) == digest(whole.weights)
    assert [digest(resumed.snapshots[step]) for step in (4, 20)] == [digest(whole.snapshots[step]) for step in (4, 20)]
    assert resumed.history == whole.history
    assert resumed.train == whole.train


@pytest.mark.parametrize("placement", [None, Placement("cpu", "streams"), Placement("cpu", "stacked")], ids=str)
def test_company_changes_nothing(placement: Placement | None) -> None:
    spec = network(33, 17, 17, 5, shortcuts=True)
    several = [replica(spec, density, seed) for seed, density in enumerate((1.0, 0.5, 0.1))]
    together = train(several, setup(spec), placement=placement)
    for one, outcome in zip(several, together, strict=True):
        assert digest(train([one], setup(spec))[0].weights) == digest(outcome.weights)


def test_a_weight_in_each_layer() -> None:
    """The least that a mask can keep; and nothing at all, which trains nothing but stays a network."""
    spec = network(33, 17, 9, 5)
    one = replica(spec)
    masks = {name: torch.zeros_like(mask) for name, mask in one.masks.items()}
    nothing = train([replace(one, masks=masks)], setup(spec))[0]
    assert not any(tensor.any() for tensor in nothing.weights.values())
    assert nothing.history.test[-1].loss == pytest.approx(np.log(5))
    masks = {name: mask.clone() for name, mask in masks.items()}
    for name, place in (("fc1.weight", (3, 30)), ("fc2.weight", (2, 3)), ("fc3.weight", (4, 2)), ("fc1.bias", (3,))):
        masks[name][place] = True
    outcome = train([replace(one, masks=masks)], setup(spec))[0]
    assert sum(int(tensor.count_nonzero()) for tensor in outcome.weights.values()) == 4
    assert outcome.weights["fc1.weight"][3, 30] != one.start["fc1.weight"][3, 30]


@pytest.mark.parametrize("dense_from", [0.0, 2.0])
@pytest.mark.parametrize("value", [1e25, float("inf"), float("nan")])
def test_weights_that_overflow_are_noticed(value: float, dense_from: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """nan passes every ReLU, maximum and exponential, so the loss shows it."""
    monkeypatch.setattr(layout, "DENSE_FROM", dense_from)
    spec = network(33, 17, 9, 5)
    one = replica(spec, 0.8)
    start = {name: tensor * value if name.endswith("weight") else tensor for name, tensor in one.start.items()}
    outcome = train([replace(one, start=start)], setup(spec))[0]
    assert outcome.failure == "diverged: the loss is not finite after 0 updates"
    assert outcome.train is None


def test_a_training_that_diverges_ends_there() -> None:
    spec = network(33, 17, 9, 5)
    outcome = train([replica(spec)], setup(spec, recipe(optimizer="sgd", learning_rate=1e30)))[0]
    assert outcome.failure is not None
    assert outcome.failure.startswith("diverged")
    assert outcome.steps <= 5


if __name__ == "__main__":
    main()
