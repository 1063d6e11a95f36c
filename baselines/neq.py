"""NEq, neurons at equilibrium: Bragagnolo et al., NeurIPS 2022, arXiv 2207.09455; and random freezing beside it.

A neuron is a row of a layer's weight: a channel of a convolution, with its bias and the scale and shift of the batch
norm that reads it. A frozen one has neither gradient nor momentum nor weight decay until the next look at it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from benchmark.api import Hook, Recipe, Run


@dataclass(frozen=True)
class Layer:
    """Neurons of one layer. `parameters`: names of tensors whose first axis is the neurons; `outputs`: (n, neurons,
    ...), normalised if batch norm reads them; `multiply_adds`: of one neuron in a forward pass of one example."""

    parameters: tuple[str, ...]
    outputs: Tensor
    multiply_adds: int

    @property
    def neurons(self) -> int:
        """How many there are."""
        return self.outputs.shape[1]


def layers_of(network: nn.Module, inputs: Tensor) -> dict[str, Layer]:
    """Every layer by name, with what its neurons make of `inputs` in evaluation mode."""
    calls: list[tuple[str, nn.Module, Tensor, Tensor]] = []

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_hook(lambda own, given, outputs: calls.append((name, own, given[0], outputs)))

    owners = [(name, part) for name, part in network.named_modules() if [*part.parameters(recurse=False)]]
    handles, training = [watch(*owner) for owner in owners], network.training
    network.eval()
    with torch.no_grad():
        network(inputs)
    network.train(training)
    for handle in handles:
        handle.remove()
    found = {}
    for name, module, _, outputs in calls:
        weight = module.get_parameter("weight")
        if weight.dim() < 2:  # batch norm is part of the layer in front of it
            continue
        norms = [(n, out) for n, own, given, out in calls if given is outputs and own.get_parameter("weight").dim() < 2]
        parts = [name, *(norm for norm, _ in norms)]
        own = [
            f"{part}.{leaf}".lstrip(".") for part in parts for leaf, _ in network.get_submodule(part).named_parameters()
        ]
        cost = weight[0].numel() * prod(outputs.shape[2:])
        found[name] = Layer(tuple(own), norms[-1][1] if norms else outputs, cost)
    return found


class FreezingNeurons(Hook):
    """At regular steps some neurons are frozen and all others let go; counts what back-propagation then costs.

    `every`: updates between looks; "epoch" for the end of each epoch. `layers`: whose neurons may be frozen. `counts`:
    how many were frozen in each layer is recorded look by look, as a control needs it, or on average.
    """

    paper = "Bragagnolo et al. 2022, arXiv 2207.09455"
    moves_masks = False

    def __init__(
        self,
        every: int | Literal["epoch"] = "epoch",
        layers: Literal["convolutions", "all"] = "convolutions",
        counts: Literal["by-look", "average"] = "by-look",
    ) -> None:
        self.every, self.layers, self.recorded = every, layers, counts
        self.looks = self.looked_at = self.steps = 0
        self.counts = dict[str, list[int]]()  # by layer: how many were frozen at each look
        self.full = 0  # multiply-adds of a backward pass of one example when nothing is frozen
        self.saved_now = 0  # of these, what is saved since the last look
        self.saved = 0  # that, summed over updates

    @abstractmethod
    def frozen(self, layers: Mapping[str, Layer], run: Run) -> Mapping[str, Tensor]:
        """Boolean (neurons,), by layer: which are frozen until the next look."""

    def inputs(self, run: Run) -> Tensor:
        """(n, ...) that the network is looked at with: one image, to learn shapes."""
        return run.held_out()[0][:1]

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:
        """See `Hook`. Not when training ends: nothing would be spared any more."""
        self.steps = recipe.steps
        step = updates_per_epoch if self.every == "epoch" else self.every
        return range(step, recipe.steps, step)

    def at(self, step: int, run: Run) -> None:
        """See `Hook`."""
        self.saved += self.saved_now * (step - self.looked_at)
        self.looks, self.looked_at = self.looks + 1, step
        layers = layers_of(run.network, self.inputs(run))
        # A backward pass multiplies twice as often as a forward pass: once for inputs, once for weights.
        self.full = 2 * sum(layer.neurons * layer.multiply_adds for layer in layers.values())
        eligible = {n: each for n, each in layers.items() if self.layers == "all" or each.outputs.dim() == 4}
        frozen = self.frozen(eligible, run)
        self.saved_now = 2 * sum(int(where.sum()) * layers[name].multiply_adds for name, where in frozen.items())
        for name, where in frozen.items():
            self.counts.setdefault(name, []).append(int(where.sum()))
            for parameter in layers[name].parameters:
                entries = torch.zeros_like(run.network.get_parameter(parameter), dtype=torch.bool)
                entries[where] = True
                run.frozen[parameter] = entries

    def facts(self) -> Mapping[str, int | float]:
        """See `Hook`: multiply-adds of a backward pass of one example, in the mean over all updates and with nothing
        frozen; and how many neurons were frozen, `frozen.<layer>.<look>` or `frozen.<layer>`."""
        saved = self.saved + self.saved_now * (self.steps - self.looked_at)
        if self.recorded == "average":
            counts = {f"frozen.{name}": sum(own) / len(own) for name, own in self.counts.items()}
        else:
            counts = {_key(n, look): c for n, own in self.counts.items() for look, c in enumerate(own, start=1)}
        return {
            "backward_multiply_adds": self.full - saved / self.steps,
            "backward_multiply_adds_full": self.full,
            **counts,
        }

    def state(self) -> Mapping[str, Tensor]:
        """See `Hook`."""
        numbers = [self.looks, self.looked_at, self.full, self.saved_now, self.saved]
        return {
            "numbers": torch.tensor(numbers),
            **{f"counts.{n}": torch.tensor(own) for n, own in self.counts.items()},
        }

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:  # noqa: ARG002
        """See `Hook`."""
        self.looks, self.looked_at, self.full, self.saved_now, self.saved = state["numbers"].tolist()
        self.counts = {n.removeprefix("counts."): t.tolist() for n, t in state.items() if n.startswith("counts.")}


class NEq(FreezingNeurons):
    """A neuron is at equilibrium, and frozen, if the velocity of its similarity to itself one look ago is at most eps.

    phi_t: cosine of a neuron's outputs for held-out images now and one look ago, in each image over positions and then
    averaged over images ("image", the released code), or one over everything ("set"). D_t = phi_t - phi_(t-1). Velocity
    v_t = D_t - mu v_(t-1) as printed, or D_t - sum over m >= 1 of mu^m D_(t-m) as released. There is none before the
    third look, and all neurons train until then. `images`: how many of those held out; 0 for all.
    """

    moves_masks = False

    def __init__(
        self,
        every: int | Literal["epoch"] = "epoch",
        layers: Literal["convolutions", "all"] = "convolutions",
        eps: float = 1e-3,
        mu: float = 0.5,
        velocity: Literal["printed", "released"] = "released",
        similarity: Literal["image", "set"] = "image",
        images: int = 0,
        counts: Literal["by-look", "average"] = "by-look",
    ) -> None:
        super().__init__(every, layers, counts)
        if layers == "all" and similarity == "image":
            raise ValueError("the cosine of a linear layer's single output is 1 or -1: layers all needs similarity set")
        self.eps, self.mu, self.velocity, self.similarity, self.images = eps, mu, velocity, similarity, images
        self.held = dict[str, Tensor]()  # outputs.<layer>, phi.<layer>, memory.<layer>: of the look before
        self.forward_multiply_adds = 0

    def inputs(self, run: Run) -> Tensor:
        """The held-out images."""
        inputs = run.held_out()[0]
        return inputs[: self.images] if self.images else inputs

    def frozen(self, layers: Mapping[str, Layer], run: Run) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Those at equilibrium."""
        found, images = {}, len(next(iter(layers.values())).outputs)
        self.forward_multiply_adds += images * self.full // 2
        for name, layer in layers.items():
            found[name] = self._at_equilibrium(name, layer.outputs.detach())
        return found

    def _at_equilibrium(self, name: str, outputs: Tensor) -> Tensor:
        before, self.held[f"outputs.{name}"] = self.held.get(f"outputs.{name}"), outputs
        nothing = torch.zeros(outputs.shape[1], dtype=torch.bool, device=outputs.device)
        if before is None:
            return nothing
        phi = similarity(outputs, before, self.similarity)
        phi_before, self.held[f"phi.{name}"] = self.held.get(f"phi.{name}"), phi
        if phi_before is None:
            return nothing
        change, memory = phi - phi_before, self.held.get(f"memory.{name}", torch.zeros_like(phi))
        velocity = change - memory
        self.held[f"memory.{name}"] = self.mu * (velocity if self.velocity == "printed" else memory + change)
        return velocity.abs() <= self.eps

    def facts(self) -> Mapping[str, int | float]:
        """Also what the looks themselves cost, forward passes over the held-out images."""
        return {**super().facts(), "look_multiply_adds": self.forward_multiply_adds}

    def state(self) -> Mapping[str, Tensor]:
        """See `Hook`."""
        return {**super().state(), "looks_cost": torch.tensor(self.forward_multiply_adds), **self.held}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:
        """See `Hook`."""
        super().resume(state, run)
        self.forward_multiply_adds = int(state["looks_cost"])
        device = next(run.network.parameters()).device
        kinds = ("outputs.", "phi.", "memory.")
        self.held = {name: tensor.to(device) for name, tensor in state.items() if name.startswith(kinds)}


def similarity(outputs: Tensor, before: Tensor, over: Literal["image", "set"]) -> Tensor:
    """(neurons,) cosines, in float64, of outputs (n, neurons, ...) now and before; see `NEq`."""
    now, then = (t.double().flatten(2) if t.dim() > 2 else t.double().unsqueeze(2) for t in (outputs, before))
    if over == "image":
        return torch.cosine_similarity(now, then, dim=2).mean(0)
    return torch.cosine_similarity(now.transpose(0, 1).flatten(1), then.transpose(0, 1).flatten(1), dim=1)


class RandomFreezing(FreezingNeurons):
    """The control: of each layer, neurons drawn anew at every look are frozen.

    As many as the method that it is a control of froze in the same layer at the same look, if that is known; else
    `share` of each layer, as in the authors' own random runs.
    """

    moves_masks = False

    def __init__(
        self,
        every: int | Literal["epoch"] = "epoch",
        layers: Literal["convolutions", "all"] = "convolutions",
        share: float = 0.0,
        counts: Literal["by-look", "average"] = "by-look",
    ) -> None:
        super().__init__(every, layers, counts)
        self.share = share

    def frozen(self, layers: Mapping[str, Layer], run: Run) -> Mapping[str, Tensor]:
        """Drawn from the hook's own generator of this step."""
        found = {}
        for name, layer in layers.items():
            count = int(self.share * layer.neurons)
            if self.parent_facts:
                count = int(self.parent_facts[_key(name, self.looks)])
            places = torch.randperm(layer.neurons, generator=run.rng(f"freeze {name}"))[:count]
            found[name] = torch.zeros(layer.neurons, dtype=torch.bool)
            found[name][places] = True
            found[name] = found[name].to(layer.outputs.device)
        return found


def _key(layer: str, look: int) -> str:
    return f"frozen.{layer}.{look:03d}"
