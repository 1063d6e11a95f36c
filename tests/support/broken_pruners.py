# ruff: noqa: ARG002 - the signature is the api's
"""Pruners that each break one rule. Class attribute `breaks` names the check that must catch it."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmark.api import MaskLearner, Pruner
from benchmark.pruning.masks import masks_from_scores

SEEN: dict[str, torch.Tensor] = {}


class Plain(Pruner):
    """Magnitude, the frame of the others."""

    def score(self, network, examples, rng):
        return {name: self.one(w, rng) for name, w in network.weights.items()}

    def one(self, w, rng):
        return w.abs()


class Learner(MaskLearner):
    """Magnitude again, as a mask."""

    def learn(self, network, examples, density, rng):
        total = sum(w.numel() for w in network.weights.values())
        return self.largest(network, self.alive(network), self.count(density, total))

    def count(self, density, total):
        return round(density * total)

    def alive(self, network):
        return dict(network.masks)

    def largest(self, network, alive, count):
        scores = {name: w.abs() for name, w in network.weights.items()}
        return masks_from_scores(scores, alive, {"all": list(alive)}, {"all": count})


class OnlyMatrices(Plain):
    breaks = "runs on every family"

    def one(self, w, rng):
        return w.abs() * w.sum(dim=0, keepdim=True) / w.shape[1] if w.dim() < 4 else w.reshape(2, 3)


class TransposedShape(Plain):
    breaks = "runs on every family"

    def one(self, w, rng):
        return w.abs().permute(*reversed(range(w.dim())))


class LabelsInSecret(Pruner):
    breaks = "declared needs"

    def score(self, network, examples, rng):
        grads = network.gradients(lambda w: cross_entropy(network.logits(examples.inputs, w), examples.labels))
        return {name: g.abs() for name, g in grads.items()}


class LabelsAsInputs(LabelsInSecret):
    breaks = "declared needs"
    needs = "inputs"

    def score(self, network, examples, rng):
        assert (examples.labels >= 0).all(), "no labels were given"
        return super().score(network, examples, rng)


class Half(Plain):
    breaks = "dtype and device"

    def one(self, w, rng):
        return w.abs().half()


class Elsewhere(Plain):
    breaks = "dtype and device"

    def one(self, w, rng):
        return torch.empty_like(w, device="meta")


class NotANumber(Plain):
    breaks = "finite scores"

    def one(self, w, rng):
        return w.abs() / 0


class OneTooMany(Learner):
    breaks = "exact density"

    def count(self, density, total):
        return round(density * total) + (density < 1)


class MoreThanThereIs(Pruner):
    """Gives every layer the whole budget."""

    breaks = "exact density"
    allocation = "by-pruner"

    def budgets(self, shapes, kept):
        return dict.fromkeys(shapes, float(kept))

    def score(self, network, examples, rng):
        return {name: w.abs() for name, w in network.weights.items()}


class Revives(Learner):
    breaks = "nested masks"

    def alive(self, network):
        return {name: torch.ones_like(mask) for name, mask in network.masks.items()}

    def largest(self, network, alive, count):
        # The masked weights are zero; those of the module are not, and here the smallest of them come back.
        own = dict(network.module.named_parameters())
        order = {name: -own[name].detach().abs() * (-1.0 if network.masks[name].all() else 1.0) for name in alive}
        return masks_from_scores(order, alive, {"all": list(alive)}, {"all": count})


class InPlace(Plain):
    breaks = "nothing changed"

    def one(self, w, rng):
        return w.abs_()


class LeavesEvalMode(Plain):
    breaks = "nothing changed"

    def score(self, network, examples, rng):
        network.module.train(not network.module.training)
        return super().score(network, examples, rng)


class Entropy(Plain):
    breaks = "same seed, same mask"

    def one(self, w, rng):
        fresh = torch.Generator()
        fresh.seed()
        return torch.rand(w.shape, generator=fresh)


class GlobalTorch(Plain):
    breaks = "own generator"

    def one(self, w, rng):
        return torch.rand(w.shape)


class GlobalNumpy(Plain):
    breaks = "own generator"

    def one(self, w, rng):
        return torch.from_numpy(np.random.rand(*w.shape))


class GlobalPython(Plain):
    breaks = "own generator"

    def one(self, w, rng):
        return w.abs() * random.random()


class SeedOfGlobal(Plain):
    """Draws nothing from the global generator, yet follows its seed."""

    breaks = "own generator"

    def one(self, w, rng):
        return torch.rand(w.shape, generator=torch.Generator().manual_seed(torch.initial_seed()))


class FirstNetworkForAll(Plain):
    breaks = "no global state"

    def one(self, w, rng):
        return SEEN.setdefault(str(tuple(w.shape)), w.abs().clone())


class DefaultDtype(Plain):
    breaks = "settings kept"

    def one(self, w, rng):
        torch.set_default_dtype(torch.float64)
        return w.abs()


class NoGradients(Plain):
    breaks = "settings kept"

    def one(self, w, rng):
        torch.set_grad_enabled(False)
        return w.abs()


class NeverAll(Learner):
    breaks = "density 1"

    def count(self, density, total):
        return min(round(density * total), total - 1)


class ShareOfTheSum(LabelsInSecret):
    breaks = "one weight per layer"
    needs = "labels"

    def score(self, network, examples, rng):
        scores = {n: s * network.weights[n].abs() for n, s in super().score(network, examples, rng).items()}
        total = torch.stack([score[network.masks[n]].sum() for n, score in scores.items() if score.dim() > 1][1:2])
        return {name: score / total for name, score in scores.items()}


class UnusedLabels(Plain):
    """Only notes: labels, and with them inputs, are declared and never used."""

    needs = "labels"


class UnusedTraining(Plain):
    """Only a note: trained weights are declared, and any would do."""

    needs = "trained weights"

    def one(self, w, rng):
        return torch.arange(w.numel(), dtype=torch.float32).reshape(w.shape)


class UnusedSet(UnusedTraining):
    """Only notes: a set of needs, and nothing of it is used."""

    needs = frozenset({"trained weights", "inputs"})


class EmptiesLayers(Plain):
    """Only a note: all scores of one layer are below all others."""

    def score(self, network, examples, rng):
        scores = super().score(network, examples, rng)
        first = next(iter(scores))
        return {name: s - 1000 * (name == first) for name, s in scores.items()}


class Dice(Plain):
    """Only a note: random."""

    def one(self, w, rng):
        return torch.rand(w.shape, generator=rng)
