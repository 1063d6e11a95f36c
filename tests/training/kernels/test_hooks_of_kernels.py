"""Hooks on networks that the kernels train: masks that move, frozen entries, what cannot be changed, resuming."""

from __future__ import annotations

from pathlib import Path

import acting_hooks
import pytest
import torch
from acting_hooks import Stop, stop_at
from mlp_training import RECIPES, data, digest, network, recipe, replica, setup
from torch import Tensor, nn

from benchmark.api import Hook, Run
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.loop import train
from benchmark.utils.errors import BadInput

SPEC = network(33, 17, 9, 5)
WEIGHT, BIAS = "fc1.weight", "fc1.bias"


class Acting(acting_hooks.Acting):
    """Told of the data that these networks are trained on."""

    told = (16, 7)


class Moving(acting_hooks.Moving):
    """Told of it too; moves weights of the first layer."""

    told, layer = (16, 7), WEIGHT

    def count(self, kept: int) -> int:  # noqa: ARG002
        """Twenty."""
        return 20


class Freezing(Acting):
    """Freezes the first units of a layer at one step, and lets them go at the next."""

    def change(self, step: int, run: Run) -> None:
        for name in (WEIGHT, BIAS):
            run.frozen[name] = torch.zeros_like(run.network.get_parameter(name), dtype=torch.bool)
            run.frozen[name][:5] = step == self.steps[0]


class Meddling(Acting):
    """Replaces the loss, or the network."""

    def __init__(self, what: str) -> None:
        super().__init__(3)
        self.what = what

    def change(self, step: int, run: Run) -> None:  # noqa: ARG002
        if self.what == "loss":
            run.loss = nn.MSELoss()
        else:
            run.network = nn.Linear(33, 5)


@pytest.mark.parametrize("kind", ["adam", "momentum"])
@pytest.mark.parametrize("density", [0.7, 0.2])
def test_masks_move_as_they_do_with_torch(kind: str, density: float) -> None:
    """From a dense layout to another or from a sparse one; the optimizer's memory goes along."""
    hooks: list[Moving] = []

    def made(_number: int) -> list[Hook]:
        hooks.append(Moving(4, 12))
        return [hooks[-1]]

    one = replica(SPEC, density)
    ours, torchs = (
        train([one], setup(SPEC, recipe(arithmetic=arithmetic, **RECIPES[kind])), hooks=made)[0]
        for arithmetic in ("portable", "torch")
    )
    assert [hook.moves for hook in hooks] == [2, 2]
    assert ours.masks is not None
    assert torchs.masks is not None
    assert all(torch.equal(mask, torchs.masks[name]) for name, mask in ours.masks.items())
    assert not torch.equal(ours.masks[WEIGHT], one.masks[WEIGHT])
    for name, tensor in ours.weights.items():
        assert not tensor[~ours.masks[name]].any()
        assert (tensor - torchs.weights[name]).abs().max() < 1e-3
    grown = ours.masks[WEIGHT] & ~one.masks[WEIGHT]
    assert ours.weights[WEIGHT][grown].count_nonzero() > int(grown.sum()) // 2  # not those of units that are dead


def test_a_hook_that_changes_nothing_changes_no_bit() -> None:
    one = replica(SPEC, 0.4)
    plain, watched = train([one], setup(SPEC))[0], train([one], setup(SPEC), hooks=lambda _: [Acting(0, 7, 16)])[0]
    assert digest(plain.weights) == digest(watched.weights)
    assert plain.history == watched.history


@pytest.mark.parametrize("density", [1.0, 0.3])
def test_frozen_entries_stay(density: float) -> None:
    hook = Freezing(6, 15)
    outcome = train([replica(SPEC, density)], setup(SPEC), hooks=lambda _: [hook])[0]
    for name in (WEIGHT, BIAS):
        frozen, later = hook.met[6][name], hook.met[15][name]
        assert torch.equal(frozen[:5], later[:5])
        assert not torch.equal(frozen[5:], later[5:])
        assert not torch.equal(later[:5], outcome.weights[name][:5])


@pytest.mark.parametrize("what", ["loss", "network"])
def test_another_loss_or_network_is_refused(what: str) -> None:
    with pytest.raises(BadInput, match="Portable arithmetic has its own: use torch's"):
        train([replica(SPEC)], setup(SPEC), hooks=lambda _: [Meddling(what)])


def test_a_hook_sees_the_next_batch() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    class Looking(Acting):
        def change(self, step: int, run: Run) -> None:  # noqa: ARG002
            seen.append(run.batch())

    train([replica(SPEC)], setup(SPEC), hooks=lambda _: [Looking(6, 7)])
    assert [len(labels) for _, labels in seen] == [14, 16]  # the last of an epoch of 110, the first of the next
    examples = data(SPEC)
    inputs, labels = seen[1]
    rows = [int((examples.train_inputs == row).all(1).nonzero()[0]) for row in inputs]
    assert torch.equal(examples.train_labels[rows], labels)


def test_moved_masks_are_resumed(tmp_path: Path) -> None:
    """A checkpoint holds weights where the first mask had none."""
    one, how = replica(SPEC, 0.2), setup(SPEC)
    whole = train([one], how, hooks=lambda _: [Moving(4, 12, 22)])[0]

    file = CheckpointFile(tmp_path / "checkpoint", tmp_path, "this", 0)
    with pytest.raises(Stop):
        train([one], how, stop_at(15), None, [file], lambda _: [Moving(4, 12, 22)])
    hook = Moving(4, 12, 22)
    resumed = train([one], how, None, None, [file], lambda _: [hook])[0]
    assert hook.moves == 3
    assert digest(resumed.weights) == digest(whole.weights)
