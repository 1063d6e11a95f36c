"""Which solution a sparse network is trained to: runs from one start, beside the pruned solution that gave the mask.

Evci, Ioannou, Keskin, Dauphin, "Gradient Flow in Sparse Neural Networks and How Lottery Tickets Win" (AAAI 2022, arXiv
2010.03533): lottery tickets are trained back to the pruned solution, from which their mask was taken, and so are like
one another; the same mask with other weights is trained elsewhere. There is one pruned solution, that of the protocol's
first seed; a seed is a run, whose order of examples is its own, and that of no pruned solution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.line import Curves, barrier, metrics_along, shares
from benchmark.analyses.setting import Setting, State
from benchmark.datasets.dataset import Dataset
from benchmark.networks import initial_state
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import ANALYSES
from benchmark.protocols.cells import Cell
from benchmark.pruning.interface import Masks
from benchmark.tasks import load_task
from benchmark.training.evaluate import chunk_of, evaluate
from benchmark.utils.errors import BadInput

Start = Literal["ticket", "scratch", "scratch-each", "solution", "pruned-each"]


@ANALYSES.register("solutions")
class Solutions(Analysis):
    """Of one run: its accuracy, how it differs from the other runs and from the pruned solution, and the line to that.

    `of`: what the pruned solution is, a method whose trained network is sparse. `start`: weights that a run begins with
    under the solution's mask: "ticket", those that the solution began with; "scratch", new ones, the same for all runs;
    "scratch-each", new ones for each; "solution", the solution's own. "pruned-each": runs are pruned solutions of all
    seeds, each with its own mask. `decays`: False leaves out the recipe's weight decay. `parts`: of the line.
    `train_examples`: as many of the training set, drawn once a seed, for the loss on the line; 0 for all.
    """

    paper = "Evci et al. 2022, Gradient Flow in Sparse Neural Networks and How Lottery Tickets Win, arXiv 2010.03533"
    units: ClassVar[Mapping[str, str]] = {
        "test_accuracy": "percent",
        "ensemble_accuracy": "percent",
        "ensemble_gain": "points",
        "pairwise_disagreement": "percent",
        "pruned_disagreement": "percent",
        "train_loss_barrier": "nats",
        "highest_train_loss": "nats",
        "train_loss": "nats",
        "test_loss": "nats",
        "weights_left": "weights",
    }

    def __init__(
        self, start: str = "ticket", decays: bool = True, parts: int = 10, train_examples: int = 10000
    ) -> None:
        if start not in get_args(Start):
            raise ValueError(f"start is '{start}', none of {', '.join(get_args(Start))}")
        if parts < 1 or train_examples < 0:
            raise ValueError(f"parts {parts}, train_examples {train_examples}: at least 1 and 0")
        if start == "pruned-each" and not decays:
            raise ValueError("decays is of runs that are trained here, and pruned solutions are not")
        self.start, self.decays, self.parts, self.train_examples = start, decays, parts, train_examples

    def needs(self, protocol: Protocol, cell: Cell) -> tuple[Cell, ...]:
        """The pruned solution; those of all seeds for "pruned-each".

        Raises BadInput without `of`, for a single seed, and where nothing is classified.
        """
        of, thing = protocol.analyses[cell.method].of, f"{protocol.id}: methods.{cell.method}"
        if of is None or cell.level == 0 or protocol.task != "classification" or not protocol.examined.trains:
            raise BadInput(thing, "compares runs under a trained classifier's mask", "Name a method as of:, level 1 on")
        if len(protocol.seeds) < 2:
            raise BadInput(thing, "compares runs of several seeds, and there is one", "Add seeds")
        seeds = protocol.seeds if self.start == "pruned-each" else protocol.seeds[:1]
        return tuple(Cell(of, cell.level, seed) for seed in seeds)

    def measure(self, setting: Setting) -> Findings:
        """The numbers of `units`; curves `train_loss`, `train_accuracy` along the line from the run (place 0) to the
        pruned solution (1).

        Disagreements are percent of test examples, `pairwise` the mean over the other runs. An ensemble names the class
        with the largest mean probability over all runs. "pruned-each" has neither line nor `pruned_disagreement`: one
        of its runs is the solution. Updates are those of the cell's own run; the others are those of other cells.
        """
        data = setting.data
        assert data is not None  # networks were trained on it
        solution = setting.networks[self._solution(setting)]
        runs, steps, examples = self._runs(setting, solution)
        probabilities = {seed: _probabilities(network, data) for seed, network in runs.items()}
        answers = {seed: found.argmax(1) for seed, found in probabilities.items()}
        own = runs[setting.seed]
        quality = evaluate(own, data.test_inputs, data.test_labels, load_task("classification"), data.prepare)
        together = torch.stack(list(probabilities.values())).mean(0).argmax(1)
        ensemble = 100 - _differ(together, data.test_labels)
        apart = [_differ(answers[setting.seed], answers[seed]) for seed in runs if seed != setting.seed]
        numbers = {
            "test_accuracy": quality["accuracy"],
            "ensemble_accuracy": ensemble,
            "ensemble_gain": ensemble - quality["accuracy"],
            "pairwise_disagreement": sum(apart) / len(apart),
            "test_loss": quality.loss,
            "weights_left": float(sum(int(mask.sum()) for mask in mask_of(own, setting.protocol).values())),
        }
        if self.start == "pruned-each":
            return Findings(numbers)
        away = _differ(answers[setting.seed], _probabilities(solution, data).argmax(1))
        line, curves = self._line(setting, own, solution, data)
        return Findings({**numbers, "pruned_disagreement": away, **line}, curves, steps, examples)

    def _solution(self, setting: Setting) -> Cell:
        assert setting.spec.of is not None  # see `needs`
        return Cell(setting.spec.of, setting.cell.level, setting.protocol.seeds[0])

    def _runs(self, setting: Setting, solution: nn.Module) -> tuple[dict[int, nn.Module], int, int]:
        """Every seed's network, and the updates and examples of the cell's own."""
        protocol = setting.protocol
        if self.start == "pruned-each":
            return {cell.seed: network for cell, network in setting.networks.items()}, 0, 0
        runs, mask, took = dict[int, nn.Module](), mask_of(solution, protocol), (0, 0)
        for number, seed in enumerate(protocol.seeds):
            of_run = setting.of_seed(seed)
            decay = None if self.decays else 0.0
            copy = of_run.train_once(self._begin(setting, seed, solution), mask, decay, order="run")
            network = setting.network()
            network.load_state_dict(copy.weights)
            runs[seed] = network.eval()
            if seed == setting.seed:
                took = (copy.steps, copy.examples)
            setting.progress(number + 1, len(protocol.seeds) + 1)
        return runs, *took

    def _begin(self, setting: Setting, seed: int, solution: nn.Module) -> State:
        """What the run of a seed starts from, before the mask."""
        first = setting.of_seed(setting.protocol.seeds[0])
        if self.start == "solution":
            return {name: value.detach().clone() for name, value in solution.state_dict().items()}
        if self.start == "ticket":
            return dict(first.network().state_dict())
        drawn = first if self.start == "scratch" else setting.of_seed(seed)
        return initial_state(drawn.network(), setting.protocol.network, drawn.rng("new weights"))

    def _line(
        self, setting: Setting, own: nn.Module, solution: nn.Module, data: Dataset
    ) -> tuple[dict[str, float], Curves]:
        """Training loss from the run to the pruned solution: its barrier, highest value and beginning; the curves."""
        rows = setting.split().training
        if 0 < self.train_examples < len(rows):
            rows = rows[torch.randperm(len(rows), generator=setting.rng("training examples"))[: self.train_examples]]
        examples = {"train": (data.train_inputs[rows], data.train_labels[rows])}
        places = shares(self.parts + 1)
        curves = metrics_along(own, solution, places.tolist(), data, load_task("classification"), examples)
        line = curves["train_loss"]
        numbers = {"train_loss_barrier": barrier(line), "highest_train_loss": line.max(), "train_loss": line[0]}
        return {name: float(value) for name, value in numbers.items()}, {"place": places, **curves}


def mask_of(network: nn.Module, protocol: Protocol) -> Masks:
    """Where a sparse network's prunable weights are not zero, by tensor."""
    return {name: network.get_parameter(name).detach() != 0 for name in protocol.pruning.prunable}


@torch.no_grad()
def _probabilities(network: nn.Module, data: Dataset) -> Tensor:
    """(n, classes) of the test examples."""
    chunk = chunk_of(data.test_inputs.dim() == 4, data.test_inputs.device.type)
    parts = torch.split(data.test_inputs, chunk)
    return torch.cat([network(data.prepare(part)).softmax(1) for part in parts])


def _differ(one: Tensor, other: Tensor) -> float:
    """Percent of examples for which two lists of classes (n,) differ."""
    return 100.0 * float((one != other).double().mean())
