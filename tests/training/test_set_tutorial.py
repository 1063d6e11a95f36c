"""What the released code of SET does that frameworks do not: each piece, and ten updates together, in plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from baselines.set_by_sign import SetBySign
from benchmark.api import Run
from benchmark.networks.layers import Dropout, dropouts
from benchmark.networks.mlp import DropoutMlp
from benchmark.protocols import load, parse
from benchmark.protocols.network import ConvSpec, MlpSpec
from benchmark.protocols.network_rules import DropoutSpec
from benchmark.protocols.recipe import Recipe
from benchmark.tasks import load_task
from benchmark.training.optim import make_optimizer, updating
from benchmark.training.step import Single, Stack
from benchmark.utils.errors import BadInput

DROP = DropoutSpec(
    rate=0.2, after="hidden-linear-layers", scaled="pre-activations-of-evaluation", errors="to-all-units"
)
RECIPE = Recipe.model_construct(
    optimizer="sgd", learning_rate=0.05, momentum=0.9, nesterov=False, weight_decay=0.02, decay="of-weights"
)
WIDTHS = (6, 5, 4, 3)
Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def noted(network: DropoutMlp, masks: list[Array]) -> list[RemovableHandle]:
    """Let every dropout append (n, units) to `masks`: 0 where it drops a unit, 1 where it does not or the unit is 0."""

    def note(_layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        masks.append(((output != 0) | (inputs[0] == 0)).double().numpy())

    return [drop.register_forward_hook(note) for drop in dropouts(network)]


def test_ten_updates_are_those_of_the_equations() -> None:
    """Forward with units dropped and not scaled, errors to all units, the odd output error, momentum, shrinking."""
    torch.manual_seed(0)
    network = DropoutMlp(WIDTHS, DROP)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.5, 1.0)
    weights = [network.get_submodule(f"fc{i}").weight.detach().double().numpy().T.copy() for i in (1, 2, 3)]
    biases = [network.get_submodule(f"fc{i}").bias.detach().double().numpy().copy() for i in (1, 2, 3)]
    speeds = [np.zeros_like(w) for w in weights], [np.zeros_like(b) for b in biases]
    task, trained = load_task("one-hot-regression"), Single(network, "fp32", load_task("one-hot-regression").loss)
    optimizer = make_optimizer(RECIPE, list(trained.parameters.values()))
    update, rng = updating(optimizer), np.random.default_rng(0)
    dropped = 0
    for step in range(10):
        inputs, labels = rng.random((8, WIDTHS[0])), rng.integers(0, 3, 8)
        words = torch.tensor([step, 7 * step + 1])
        masks = list[Array]()
        hooks = noted(network, masks)
        trained.losses(torch.from_numpy(inputs).float(), torch.from_numpy(labels), words).backward()  # type: ignore[no-untyped-call]
        for hook in hooks:
            hook.remove()
        update()
        for parameter in network.parameters():
            parameter.grad = None
        dropped += int(sum((mask == 0).sum() for mask in masks))
        hidden, slopes, h = [inputs], [], inputs
        for i in (0, 1):
            z = h @ weights[i] + biases[i]
            slopes.append(z > 0)
            h = np.maximum(z, 0) * masks[i]
            hidden.append(h)
        a = sigmoid(h @ weights[2] + biases[2])
        delta = (a - np.eye(3)[labels]) * sigmoid(a) * (1 - sigmoid(a))
        gradients = []
        for i in (2, 1, 0):
            gradients.append((i, hidden[i].T @ delta / 8, delta.mean(0)))
            if i:
                delta = (delta @ weights[i].T) * slopes[i - 1]  # no mask: dropped units get their error too
        for i, of_weights, of_biases in gradients:
            for values, speed, gradient in ((weights, speeds[0], of_weights), (biases, speeds[1], of_biases)):
                speed[i] = 0.9 * speed[i] - 0.05 * gradient
                values[i] = values[i] + speed[i] - 0.02 * values[i]
    assert dropped > 20
    for i in (1, 2, 3):
        layer = network.get_submodule(f"fc{i}")
        np.testing.assert_allclose(layer.weight.detach().numpy().T, weights[i - 1], rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(layer.bias.detach().numpy(), biases[i - 1], rtol=2e-5, atol=1e-6)
    x = rng.random((4, WIDTHS[0]))
    h = np.maximum(x @ weights[0] + biases[0], 0)
    h = np.maximum((h @ weights[1] + biases[1]) * 0.8, 0)
    outputs = network(torch.from_numpy(x).float()).detach()
    np.testing.assert_allclose(outputs.numpy(), (h @ weights[2] + biases[2]) * 0.8, rtol=1e-4)
    error = (sigmoid(outputs.double().numpy()) - np.eye(3)[[0, 1, 2, 0]]) ** 2
    labels_ = torch.tensor([0, 1, 2, 0])
    assert float(task.loss(outputs, labels_)) == pytest.approx(error.mean(), rel=1e-5)
    assert float(task.metrics(outputs, labels_)["loss"]) == pytest.approx(error.mean(1).sum(), rel=1e-5)


def test_stacked_replicas_learn_as_alone() -> None:
    """Losses and gradients of two replicas under vmap, each with its own batch and dropped units; then evaluation."""
    torch.manual_seed(1)
    modules, task = [DropoutMlp(WIDTHS, DROP) for _ in range(2)], load_task("one-hot-regression")
    stack = Stack(DropoutMlp(WIDTHS, DROP), [module.state_dict() for module in modules], "fp32", "cpu", task.loss)
    inputs, labels, words = torch.rand(2, 8, WIDTHS[0]), torch.randint(0, 3, (2, 8)), torch.tensor([[1, 2], [3, 4]])
    losses = stack.losses(inputs, labels, words)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    outputs = stack.outputs(inputs, own=True)
    for number, module in enumerate(modules):
        alone = Single(module, "fp32", task.loss).losses(inputs[number], labels[number], words[number])
        alone.backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(losses[number], alone)
        for name, parameter in module.named_parameters():
            stacked = stack.parameters[name].grad
            assert stacked is not None
            torch.testing.assert_close(stacked[number], parameter.grad)
        torch.testing.assert_close(outputs[number], module(inputs[number]))


def test_the_usual_dropout_is_as_before() -> None:
    plain = Dropout(0.5)
    plain.words = torch.tensor([1, 2])
    x = torch.ones(4, 10, requires_grad=True)
    out = plain(x)
    out.sum().backward()
    assert set(out.flatten().tolist()) == {0.0, 2.0}
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


def of_weight(weight: Tensor, mask: Tensor) -> Run:
    network = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    network.weight.data = weight * mask
    streams: dict[str, int] = {"grow": 1}
    return Run(network, {"weight": mask}, {}, lambda outputs, _labels: outputs.sum(), lambda: (weight, weight),
               lambda purpose: torch.Generator().manual_seed(streams.get(purpose, 2)))  # fmt: skip


def test_of_each_sign_the_weights_closest_to_zero_make_room() -> None:
    """Ten positive and twenty negative weights, 0.3 of each: 3 and 6 go, though the negative ones are all smaller."""
    rng = torch.Generator().manual_seed(0)
    weight = torch.cat([1 + torch.rand(10, generator=rng), -0.1 - 0.5 * torch.rand(20, generator=rng)]).reshape(5, 6)
    left = torch.ones(5, 6, dtype=torch.bool)
    weight = torch.cat([weight, torch.zeros(5, 30)], 1)
    mask = torch.cat([left, torch.zeros(5, 30, dtype=torch.bool)], 1)
    run = of_weight(weight, mask)
    SetBySign().at(50, run)
    now = run.network.get_parameter("weight").detach()
    order = weight[mask]
    went = {*order[:10].argsort()[:3].tolist(), *(10 + order[10:].abs().argsort()[:6]).tolist()}
    stayed = mask.clone()
    stayed[mask] = torch.tensor([place not in went for place in range(30)])
    assert int(run.masks["weight"].sum()) == 30
    assert bool((run.masks["weight"] & stayed).eq(stayed).all())
    assert torch.equal(now[stayed], weight[stayed])
    new = run.masks["weight"] & ~stayed
    assert int(new.sum()) == 9
    assert bool((now[new] != weight[new]).all()), "a weight that was dropped and grows again starts anew, too"
    assert 0 < float(now[new].abs().max()) < 0.5


def test_masks_move_one_update_after_an_epoch_and_not_after_the_last() -> None:
    recipe = RECIPE.model_copy(update={"steps": 200})
    assert list(SetBySign().when(recipe, 50)) == [51, 101, 151]
    assert list(SetBySign(after=0).when(recipe, 50)) == [50, 100, 150]


def test_what_the_portable_kernels_do_not_have_is_refused() -> None:
    document = load("set/mlp-fashion2k").document
    for changes, why in (
        ({"recipe": document["recipe"] | {"arithmetic": "portable"}}, "decay: of-gradient only"),
        ({"recipe": document["recipe"] | {"arithmetic": "portable", "decay": "of-gradient"}}, "without dropout"),
        ({"recipe": document["recipe"] | {"optimizer": "adam"}}, "needs optimizer: sgd"),
    ):
        with pytest.raises(BadInput, match=why):
            parse({**document, **changes}, "changed")


def test_the_masks_have_the_expected_number_of_different_draws() -> None:
    """N (1 - (1 - 1 / N)^k) of N places after k = 13 (inputs + outputs) draws, layer by layer."""
    protocol = load("set/mlp-fashion2k")
    wanted = {}
    for name, (outputs, inputs) in protocol.pruning.prunable.items():
        places, draws = outputs * inputs, 13 * (outputs + inputs)
        wanted[name.removesuffix(".weight")] = round(places * (1 - (1 - 1 / places) ** draws))
    assert protocol.level_table[1].one_shot_counts == wanted
    assert sum(wanted.values()) == 81492


@pytest.mark.parametrize(("fields", "why"), [
    ({"name": "residual-mlp", "dropout": {"rate": 0.2, "after": "hidden-linear-layers"}}, "not in residual-mlp"),
    ({"name": "mlp", "dropout": {"rate": 0.2, "after": "pools-and-hidden-linear-layers"}}, "after hidden"),
])  # fmt: skip
def test_dropout_where_there_is_none(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        MlpSpec.model_validate({"initialiser": "glorot-normal", "bias": "zeros", "widths": (3, 2), **fields})


def test_unusual_dropout_is_of_fully_connected_networks() -> None:
    fields = {"name": "conv-2", "input": (3, 8, 8), "classes": 10, "initialiser": "glorot-normal",
              "linear_initialiser": "glorot-normal", "bias": "zeros"}  # fmt: skip
    with pytest.raises(ValidationError, match="other than usual"):
        ConvSpec.model_validate({**fields, "dropout": DROP.model_dump()})
