"""Hard thresholding with several outputs against a slow solver with autograd, and the analyses of ten digits."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
import torch
from fitted import SIDE, digits, measured
from torch import Generator, Tensor

from benchmark.analyses import load_analysis
from benchmark.analyses.recovery.classes import (
    Classes,
    Ranking,
    TwoLayers,
    all_digits,
    iht_of_classes,
    layers_of,
    uniform_start,
)
from benchmark.protocols import Protocol, load, parse
from benchmark.protocols.analysis import AnalysisSpec
from benchmark.utils.errors import BadInput

UNITS, WIDTH, OUTPUTS, SIZE = 4, 6, 3, 2.0


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def problem() -> Classes:
    labels = torch.arange(20) % OUTPUTS
    return Classes(drawn(20, WIDTH), labels, (drawn(20, WIDTH), labels))


def slow(given: Classes, generators: Tensor, start: TwoLayers, kept: int, ranked: str, steps: int) -> list[Tensor]:
    """All weights after every step, as one vector: unit by unit, gradients by autograd, weights ranked by sorting."""

    def logits(hidden: Tensor, output: Tensor, gates: Tensor) -> Tensor:
        one_by_one = [torch.outer(gates[:, j] * (given.inputs @ hidden[j]), output[j]) for j in range(UNITS)]
        return torch.stack(one_by_one).sum(0)

    gates, found = (given.inputs @ generators.T > 0).double(), []
    hidden, output = torch.zeros(UNITS, WIDTH).double(), torch.zeros(UNITS, OUTPUTS).double()
    total = torch.zeros(UNITS * (WIDTH + OUTPUTS)).double()
    for step in range(steps):
        outputs = logits(hidden, output, gates).requires_grad_()
        loss = torch.nn.functional.cross_entropy(outputs, given.labels)
        (wanted,) = torch.autograd.grad(loss, outputs)
        at = (start.hidden, start.output) if step == 0 else (hidden, output)
        leaves = [part.clone().requires_grad_() for part in at]
        gradients = torch.autograd.grad((wanted * logits(*leaves, gates)).sum(), leaves)
        move = torch.cat([-SIZE * part.flatten() for part in gradients])
        total += move
        moved = torch.cat([part.flatten() for part in at]) + move
        rank = (total if ranked == "accumulated" else moved).abs().tolist()
        order = sorted((i for i in range(len(rank)) if moved[i] != 0), key=lambda i: (-rank[i], i))
        vector = torch.zeros_like(moved)
        vector[order[:kept]] = moved[order[:kept]]
        hidden = vector[: UNITS * WIDTH].reshape(UNITS, WIDTH)
        output = vector[UNITS * WIDTH :].reshape(UNITS, OUTPUTS)
        gates = (given.inputs @ hidden.T > 0).double() if step > 0 else gates
        found.append(vector)
    return found


@pytest.mark.parametrize("ranked", ["accumulated", "magnitude"])
def test_steps_are_those_of_a_slow_solver(ranked: Ranking) -> None:
    given, generators = problem(), drawn(UNITS, WIDTH, seed=1)
    start = uniform_start(UNITS, WIDTH, OUTPUTS, Generator().manual_seed(2))
    wanted = slow(given, generators, start, 12, ranked, 12)
    found = list(islice(iht_of_classes(given, generators, start, 12, SIZE, ranked), 12))
    for layers, vector in zip(found, wanted, strict=True):
        assert torch.allclose(torch.cat([layers.hidden.flatten(), layers.output.flatten()]), vector, atol=1e-12)
    assert max(int((vector != 0).sum()) for vector in wanted) == 12
    supports = [vector != 0 for vector in wanted]
    assert any(bool((later & ~earlier).any()) for earlier, later in pairwise(supports))


def test_accuracy_is_of_the_network_itself() -> None:
    layers = TwoLayers(torch.eye(3).double(), torch.eye(3).double())  # each unit votes for its class
    inputs = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [-5.0, -1.0, 0.5]]).double()
    labels = torch.tensor([0, 1, 0])
    given = Classes(inputs, labels, (inputs[:2], labels[:2]))
    found = given.numbers(layers.logits)
    assert found["test_accuracy"] == 100.0
    assert found["train_accuracy"] == pytest.approx(200 / 3)
    assert TwoLayers(torch.eye(3)[:, :2], torch.eye(3)).dead == 1


def test_pixels_are_bytes_again() -> None:
    data = digits()
    found = all_digits(data, 255.0)
    assert torch.equal(found.inputs, 255 * data.train_inputs.double())
    assert (len(found.held_out[1]), found.labels.tolist()[:3]) == (1100, [0, 1, 2])


def small(**changes: object) -> Protocol:
    document = load("iht/ten-digits-mnist").document
    shapes = {"fc1.weight": [12, SIDE**2], "fc2.weight": [10, 12]}
    total = 12 * SIDE**2 + 120
    changed = {
        "id": "tests/classes",
        "network": {**document["network"], "widths": [SIDE**2, 12, 10]},
        "pruning": {**document["pruning"], "prunable": shapes},
        "levels": {"rule": "listed", "densities": [200 / total, 60 / total]},
    }
    return parse({**document, **changed, **changes}, "small.yaml")


def test_rows_that_are_bright_are_told_apart() -> None:
    """Six rows for ten digits: right 6 times of 10, and by chance (four standard errors) 65 of 100."""
    protocol = small()
    numbers, curves, updates = measured(protocol, 1, "iht-classes", steps=150, step_size=0.5, pixels=1.0)
    assert set(numbers) == {"test_accuracy", "train_accuracy", "train_loss", "output_weights", "dead_units"}
    assert 40.0 < numbers["test_accuracy"] <= 65.0
    assert curves["test_accuracy"][-1] == numbers["test_accuracy"]
    assert (curves["step"].tolist(), updates) == ([25, 50, 75, 100, 125, 150], 150)
    imp, curves, updates = measured(protocol, 1, "imp-classes", updates=40, learning_rate=0.02, pixels=1.0)
    assert 40.0 < imp["test_accuracy"] <= 65.0
    assert curves["weights_left"][[0, -1]].tolist() == [12 * SIDE**2 + 120, 200]
    assert updates == 40 * len(curves["round"])


def test_what_cannot_be_told_apart_is_refused() -> None:
    one = load("iht/digits-mnist")
    with pytest.raises(BadInput, match="several outputs"):
        layers_of(one)
    document = load("iht/ten-digits-mnist").document
    half = parse(
        {**document, "id": "tests/half", "pruning": {**document["pruning"], "prunable": {"fc1.weight": [20, 784]}}},
        "half.yaml",
    )
    with pytest.raises(BadInput, match="has to name both layers"):
        layers_of(half)
    for analysis, parameters, says in (
        ("iht-classes", {"ranked": "size"}, "'size' is none of accumulated, magnitude"),
        ("iht-classes", {"step_size": 0.0}, "above 0"),
        ("imp-classes", {"updates": 0}, "1 at least"),
    ):
        with pytest.raises(BadInput, match=says):
            load_analysis(AnalysisSpec(analysis=analysis, parameters=parameters, levels=(1,)))  # type: ignore[arg-type]
