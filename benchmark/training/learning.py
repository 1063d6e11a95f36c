"""Networks of which a mask is learned, for the one loop: scores in the weights' place, and nothing else that trains.

Each replica has a network and an update of its own, on a CPU one after another, on CUDA each on a stream. Parameters of
the module are never given to an optimizer. Batch norm's running statistics move as in any training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.networks.layers import dropouts, give_words
from benchmark.training.batches import ReplicaExamples, Tables
from benchmark.training.device import arithmetic
from benchmark.training.evaluate import measure
from benchmark.training.hooks import Run
from benchmark.training.learner import Learner
from benchmark.training.optim import make_optimizer, rate_table, under
from benchmark.training.replicas import Replica, TrainingSetup, generators
from benchmark.training.separate import SeparateReplicas
from benchmark.training.step import Loss, Step, Tensors
from benchmark.utils.errors import BadInput


class LearnedNetwork:
    """One network under the mask that its scores mean. See `Trained`: what an update changes are the scores."""

    def __init__(self, module: nn.Module, learner: Learner, scores: Tensors, precision: str, loss: Loss) -> None:
        self.module, self.learner, self.precision, self.loss = module.requires_grad_(False), learner, precision, loss
        self.parameters: Mapping[str, Tensor] = {name: score.requires_grad_() for name, score in scores.items()}
        self.weights = {name: module.get_parameter(name) for name in scores}
        self.left = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self.weights.items()}
        self._dropouts = dropouts(module)

    def losses(self, inputs: Tensor, labels: Tensor, words: Tensor) -> Tensor:
        """See `Trained`: the loss under the mask, and what the learner adds to it."""
        self.learner.words = words
        masks = self.learner.mask(self.parameters, self.left)
        self.learner.words = None
        give_words(self._dropouts, words)
        with arithmetic(self.precision, inputs.device.type):
            outputs = self.outputs(inputs, masks)
        give_words(self._dropouts, None)
        loss, penalty = self.loss(outputs, labels), self.learner.penalty(self.parameters)
        return loss if penalty is None else loss + penalty

    def outputs(self, inputs: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """(n, ...) of inputs (n, ...) with the weights under a mask."""
        outputs: Tensor = functional_call(self.module, self.masked(masks), (inputs,))
        return outputs

    def masked(self, masks: Mapping[str, Tensor]) -> Tensors:
        """The prunable weights under a mask."""
        return {name: weight * masks[name] for name, weight in self.weights.items()}


class LearningStep(Step):
    """An update of the scores, after which the learner brings them back to where they may be. See `Step`."""

    def __init__(
        self, network: LearnedNetwork, tables: Tables, optimizer: torch.optim.Optimizer, rates: Tensor, acts: bool
    ) -> None:
        super().__init__(network, tables, optimizer, rates, network.left, moving=acts)
        self._learner, self._scores = network.learner, network.parameters

    def __call__(self, size: int) -> None:
        """See `Step`."""
        super().__call__(size)
        with torch.no_grad():
            self._learner.bound(self._scores)


class LearnedReplica:
    """One replica: its network, its update, and how it is measured."""

    def __init__(self, replica: Replica, setup: TrainingSetup, learner: Learner) -> None:
        self.replica, self.setup, self.learner = replica, setup, learner
        recipe, device, dataset = setup.recipe, setup.device, setup.dataset
        module = setup.make_module(None)
        module.load_state_dict(dict(replica.start))
        module.to(device)
        rng = generators(replica.seed, 0)
        scores = {
            name: learner.first_scores(replica.start[name], rng(f"scores of {name}")).to(device, torch.float32)
            for name in replica.masks
        }
        self.network = LearnedNetwork(module, learner, scores, recipe.precision, setup.task.loss)
        tables = Tables(
            recipe,
            dataset,
            dataset.train_inputs,
            ReplicaExamples(replica.split.training, replica.seed),
            replica.first_step,
            replica.last_step,
        )
        rates = rate_table(recipe, tables.per_epoch, replica.last_step, device.type)
        optimizer = make_optimizer(recipe, list(self.network.parameters.values()))
        acts = any(True for _ in learner.when(recipe, tables.per_epoch))
        self.step = LearningStep(self.network, tables, optimizer, rates, acts)

    def recorded(self) -> tuple[Tensors, Tensors]:
        """(boolean masks, ranking) of the scores as they are."""
        scores, left = self.network.parameters, self.network.left
        return self.learner.recorded_mask(scores, left), self.learner.ranking(scores, left)

    @torch.no_grad()
    def shown(self) -> Tensors:
        """The masks under which the network is measured now: those of the updates, at the end the recorded ones."""
        if int(self.step.tables.counter) >= self.replica.last_step:
            return self.recorded()[0]
        return self.learner.mask(self.network.parameters, self.network.left)

    def test_metrics(self) -> Tensor:
        """See `Separate`."""
        return self._metrics(self.setup.dataset.test_inputs, self.setup.dataset.test_labels)

    def validation_metrics(self) -> Tensor:
        """See `Separate`."""
        return self._of_training_set(self.replica.split.validation)

    def train_metrics(self) -> Tensor:
        """See `Separate`."""
        return self._of_training_set(self.replica.split.training)

    def state(self) -> Tensors:
        """See `Separate`: the weights under the mask that the network is measured with."""
        own = {name: tensor.detach().clone() for name, tensor in self.network.module.state_dict().items()}
        return own | self.network.masked(self.shown())

    def _of_training_set(self, rows: Tensor) -> Tensor:
        return self._metrics(self.setup.dataset.train_inputs[rows], self.setup.dataset.train_labels[rows])

    def _metrics(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """(metrics,) on stored examples: batch norm by its running statistics, no dropout, no augmentation."""
        module, setup, masked = self.network.module, self.setup, self.network.masked(self.shown())

        def forward(x: Tensor) -> Tensor:
            outputs: Tensor = functional_call(module, masked, (x,))
            return outputs

        module.eval()
        found = measure(forward, inputs, labels, setup.task, setup.dataset.prepare, setup.recipe.precision)
        module.train()
        return found

    def saved(self) -> Tensors:
        """See `Separate`."""
        found = {f"module.{name}": tensor.clone() for name, tensor in self.network.module.state_dict().items()}
        for place, (name, score) in enumerate(self.network.parameters.items()):
            found[f"scores.{name}"] = score.detach().clone()
            for key, (tensor, _) in self.step.optimizer_state(place).items():
                found[f"optimizer.{place}.{key}"] = tensor.clone()
        return found

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """See `Separate`."""
        self.network.module.load_state_dict(under("module.", saved))
        with torch.no_grad():
            for place, (name, score) in enumerate(self.network.parameters.items()):
                score.copy_(saved[f"scores.{name}"])
                own = under(f"optimizer.{place}.", saved)
                self.step.optimizer.state[score] = {key: tensor.to(score.device) for key, tensor in own.items()}

    def run(self, done: int) -> Run:
        """The replica for its learner: the weights that are left are `masks`."""
        network, scores = self.network, {name: score.detach() for name, score in self.network.parameters.items()}
        batch, rng = partial(self.step.tables.coming, done), generators(self.replica.seed, done)
        return Run(network.module, dict(network.left), {}, network.loss, batch, rng, scores)

    def apply(self, run: Run) -> bool:
        """Go on as the learner has left the run. Raises BadInput if it has touched more than scores and masks.

        A learner's own numbers may have changed, which a captured update would not see: it is always another one.
        """
        network = self.network
        if (
            run.network is not network.module
            or run.loss is not network.loss
            or run.extra_parameters
            or any(m.any() for m in run.frozen.values())
        ):
            raise BadInput(
                "a learner", "changes the network, its loss, what is frozen or trained", "Change scores and masks only"
            )
        moved = {name: mask for name, mask in run.masks.items() if not torch.equal(mask, network.left[name])}
        self.step.move_masks(moved)
        for name, mask in moved.items():  # in place: a captured update reads them there
            network.left[name].copy_(mask)
        return True


class LearnedGroup(SeparateReplicas[LearnedReplica]):
    """Replicas of which masks are learned, each by a learner of its own. See `ReplicaGroup`."""

    def __init__(self, replicas: Sequence[Replica], setup: TrainingSetup, learners: Sequence[Learner]) -> None:
        pairs = zip(replicas, learners, strict=True)
        super().__init__([LearnedReplica(replica, setup, learner) for replica, learner in pairs])

    def shown(self, number: int) -> Tensors:
        """The masks under which one replica is measured now."""
        return self._members[number].shown()

    def learned(self, number: int) -> tuple[Tensors, Tensors]:
        """(boolean masks to be recorded, ranking that they were cut from) of one replica."""
        return self._members[number].recorded()
