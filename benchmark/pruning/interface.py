"""What a pruner is given and what it must give; authors import it as `benchmark.api`.

A pruner says which weights stay; it never trains the final network and never sees the test set. Subclass
`Pruner` (score every weight, higher stays) or `MaskLearner` (return the mask itself), and register the class
as an entry point of group `lotterybench.pruners`, or name the file on the command line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.datasets.dataset import Examples
from benchmark.protocols.methods import Allocation, Return
from benchmark.protocols.needs import Needs
from benchmark.protocols.recipe import Recipe
from benchmark.pruning.sparse import Copied, Masked, Pattern, SparseWeight
from benchmark.tasks import load_task

Scores = dict[str, Tensor]
Masks = dict[str, Tensor]


@dataclass
class Cost:
    """What a pruner caused, counted here rather than reported by its author."""

    forward_passes: int = 0
    backward_passes: int = 0
    examples_seen: int = 0
    inner_steps: int = 0


@dataclass(frozen=True)
class ScoringRound:
    """Which round of a mask is scored: `number` of `rounds`, from 1.

    `density`: the fraction of prunable weights that this round leaves; `target`: that after the last. In a chain that
    trains between rounds each level is a round, and the chain up to the level asked for has its number of rounds.
    """

    number: int
    rounds: int
    density: float
    target: float


def as_they_are(gradients: Scores) -> Scores:
    """The direction of plain gradient descent."""
    return gradients


@dataclass(frozen=True)
class Network:
    """A network to be pruned: a pure function of its weights.

    `weights`: the prunable tensors by name, already multiplied by `masks`; `others`: every other parameter and
    buffer; `initial`: the initial values of the prunable tensors, for a pruner that needs "initial and trained
    weights" (None for others). `round`: see `ScoringRound`; None where the scores serve all densities. `recipe`: how
    the final network will be trained (optimizer, rate, batch size, ...), with the loss that `loss` computes; None where
    none is. Nothing here may be changed in place: the harness compares and refuses.
    """

    module: nn.Module
    weights: Mapping[str, Tensor]
    others: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    input_shape: tuple[int, ...]
    classes: int
    cost: Cost = field(default_factory=Cost)
    initial: Mapping[str, Tensor] | None = None
    round: ScoringRound | None = None
    recipe: Recipe | None = None
    task: str = "classification"

    def unmasked(self) -> Scores:
        """The prunable tensors before they were multiplied by `masks`, in new tensors: the pruned weights' values too.

        For methods in which a pruned weight may return.
        """
        state = self.weights.state if isinstance(self.weights, Masked) else self.weights
        return {name: state[name].clone() for name in self.weights}

    def kept(self) -> Scores:
        """The weights that `masks` keep, in new tensors: (kept,) each, in order; whole ones, in their shape.

        For methods of many rounds: such vectors may stand for whole tensors in `logits`, `gradients` and a pruner's
        scores. The later rounds of a large network are then several times as fast: what is pruned is neither
        multiplied nor differentiated.
        """
        state = self.weights.state if isinstance(self.weights, Masked) else self.weights
        return {name: self._patterns[name].of(state[name]) for name in self.weights}

    @cached_property
    def _patterns(self) -> Mapping[str, Pattern]:
        masks = self.masks.given if isinstance(self.masks, Copied) else self.masks
        return {name: Pattern(masks[name]) for name in self.weights}

    def logits(
        self, inputs: Tensor, weights: Mapping[str, Tensor], others: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Outputs of shape (n, classes) for `inputs` (n, *input_shape) with the given weights: each a whole tensor or
        what `kept` gives of it.

        In train mode batch norm uses the statistics of `inputs`; the update of its running statistics is discarded.
        """
        self.cost.forward_passes += 1
        self.cost.examples_seen += len(inputs)
        given = {name: self._whole_or_kept(name, weight) for name, weight in weights.items()}
        state = {**dict(self.module.named_buffers()), **(self.others if others is None else others), **given}
        # In train mode a forward pass writes to the buffers it is given: give it copies.
        state |= {name: state[name].clone() for name, _ in self.module.named_buffers()}
        outputs: Tensor = functional_call(self.module, state, (inputs,))
        return outputs

    def _whole_or_kept(self, name: str, weight: Tensor) -> Tensor:
        whole = weight.shape == self.module.get_parameter(name).shape
        return weight if whole else SparseWeight(weight, self._patterns[name])

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """() the mean loss of the protocol's task, by which the final network is trained."""
        return load_task(self.task).loss(outputs, labels)

    def gradients(
        self,
        value: Callable[[Scores], Tensor],
        weights: Mapping[str, Tensor] | None = None,
        *,
        create_graph: bool = False,
    ) -> Scores:
        """d value(w) / d w at w = `weights` (default: the network's own): a tensor of each one's shape.

        With `create_graph` the gradients can be differentiated again, with respect to `weights` and to what those that
        require gradients were made of: Hessian products, meta-gradients. Each call counts as one backward pass.
        """
        leaves = {
            name: w if create_graph and w.requires_grad else w.detach().requires_grad_()
            for name, w in (weights or self.weights).items()
        }
        self.cost.backward_passes += 1
        found = torch.autograd.grad(value(leaves), list(leaves.values()), create_graph=create_graph)
        return dict(zip(leaves, found, strict=True))

    def step(
        self,
        value: Callable[[Scores], Tensor],
        weights: Mapping[str, Tensor],
        rate: float,
        *,
        create_graph: bool = False,
        direction: Callable[[Scores], Scores] = as_they_are,
    ) -> Scores:
        """One update of a training inside the pruner, counted: w - rate * direction(d value(w) / d w), in new tensors.

        `weights`: of any parameters by name, those of `others` too. `direction`: from gradients to what is subtracted,
        with a pruner's momentum or Adam. With `create_graph` the update itself can be differentiated (ProsPr).
        """
        self.cost.inner_steps += 1
        towards = direction(self.gradients(value, weights, create_graph=create_graph))
        return {name: (w if create_graph else w.detach()) - rate * towards[name] for name, w in weights.items()}


class Plugin(ABC):  # noqa: B024 - the abstract methods are its two kinds'
    """What every pruner declares about itself.

    `needs`: "nothing", "inputs" (examples without labels), "labels" (examples with them), or "trained weights": the
    network is then shown at the end of dense training, and the final training starts again at its initial weights.
    "initial and trained weights": so too, with `network.initial` beside. Or a set of these:
    {"trained weights", "labels"} shows the trained network with labelled examples. It is given no more than that.
    `fresh_examples`: whether each round is given another draw of examples, instead of the first round's again.
    `paper`: where the method was published, in words.
    """

    needs: ClassVar[Needs | AbstractSet[Needs]] = "nothing"
    fresh_examples: ClassVar[bool] = False
    paper: ClassVar[str] = ""


class Pruner(Plugin):
    """Scores weights; the harness does allocation, rounds, ties, rewinding and controls.

    `rounds` and `allocation` say how scores become a mask where the method is added to a frozen protocol with
    `--plugin`; a protocol that names the pruner itself says it there. `rounds`: in how many exponential steps the
    density is reached, with new scores for each. `allocation`: whether all layers compete ("global"), each keeps the
    protocol's share ("layerwise"), or the share that `budgets` gives it ("by-pruner"). `pruned_weights`: whether a
    later round of the same mask may keep what an earlier one has pruned.
    """

    rounds: ClassVar[int] = 1
    allocation: ClassVar[Allocation] = "global"
    pruned_weights: ClassVar[Return] = "never-return"

    @abstractmethod
    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:
        """One finite score per prunable weight, same names and shapes as `network.weights`; higher stays. Or, for any
        tensor, one per weight that is left, like `network.kept()` (not where pruned weights may return).

        `examples` is None unless `needs` says "inputs" or "labels"; `rng` is this cell's own generator; `network.round`
        says which round it is, and how dense the mask is to be.
        """

    def budgets(self, shapes: Mapping[str, tuple[int, ...]], kept: int) -> Mapping[str, float]:
        """How many of `kept` weights each prunable tensor keeps, for `allocation: by-pruner`.

        `shapes`: (outputs, inputs, ...) by name, in the network's order. Real numbers from 0 to a tensor's size that
        add up to `kept`; the harness rounds them to whole ones of that sum, largest remainders up.
        """
        raise NotImplementedError(f"{type(self).__name__} sets no budgets: allocation: layerwise or global")


class MaskLearner(Plugin):
    """Returns a mask of exactly the asked size, for methods that optimise the mask itself."""

    @abstractmethod
    def learn(self, network: Network, examples: Examples | None, density: float, rng: torch.Generator) -> Masks:
        """One boolean tensor per prunable weight tensor, keeping exactly round(density * prunable) weights."""
