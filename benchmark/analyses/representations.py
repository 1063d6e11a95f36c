"""Whether a pruned network holds other representations than the dense one: similarities of their layers.

Blakeney, Yan, Zong (WACV 2020), of which the abstract was read, compare by SVCCA; Ansuini et al. (ICPRAM 2020, the
abstract) find that the answer depends on the measure. So four are taken (`similarity`), between the same layers of two
networks, with controls that give them meaning: `reference` says what a network is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.setting import Setting
from benchmark.analyses.similarity import Layer, similarities
from benchmark.datasets.dataset import Dataset
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import ANALYSES
from benchmark.protocols.cells import DENSE, Cell
from benchmark.tasks import load_task
from benchmark.training.evaluate import evaluate
from benchmark.utils.errors import BadInput

Reference = Literal["dense", "independent", "shuffled", "earlier"]
ENOUGH = 100  # examples a unit of the widest layer: fewer let independent activations look alike
CHUNK = 1000


@ANALYSES.register("representations")
class Representations(Analysis):
    """Of the dense network (level 0), or of `of` at a level: its layers beside those of a reference.

    `reference`: "dense", the same seed's dense network; "independent", that of the next seed of the protocol: what two
    networks share that have nothing in common but data; "shuffled", the same seed's dense network with its examples in
    another order: the floor of each measure; "earlier", the examined network after nine tenths of its updates: the
    ceiling (level 0 only). `variance`: that SVCCA keeps of each side. `examples`: of the training set, drawn once a
    seed, without augmentation; at least 100 for each unit of the widest layer.
    """

    paper = "Blakeney, Yan, Zong 2020, Is Pruning Compression?, WACV; SVCCA: Raghu et al. 2017, arXiv 1706.05806"
    units: ClassVar[Mapping[str, str]] = {
        "svcca": "correlation",
        "mean_cca": "correlation",
        "pwcca": "correlation",
        "linear_cka": "similarity",
        "kept_directions": "share",
        "test_accuracy": "percent",
        "accuracy_lost": "points",
    }

    def __init__(self, reference: str = "dense", variance: float = 0.99, examples: int = 30000) -> None:
        if reference not in get_args(Reference):
            raise ValueError(f"reference is '{reference}', none of {', '.join(get_args(Reference))}")
        if not 0 < variance <= 1:
            raise ValueError(f"variance is {variance}, outside (0, 1]")
        self.reference, self.variance, self.examples = reference, variance, examples

    def needs(self, protocol: Protocol, cell: Cell) -> tuple[Cell, ...]:
        """The examined network, the seed's dense one, and, if asked for, that of the next seed; each once.

        Raises BadInput for networks that are not fully connected, and for what a reference cannot be had of.
        """
        spec, thing = protocol.analyses[cell.method], f"{protocol.id}: methods.{cell.method}"
        if not protocol.examined.trains or protocol.network.family != "mlp":
            raise BadInput(
                thing, f"compares units of fully connected networks, not {protocol.network.name}", "Name one"
            )
        if self.reference == "earlier" and cell.level:
            raise BadInput(thing, "reference: earlier is of the dense network", "Give it level 0 alone")
        if self.reference == "independent" and len(protocol.seeds) < 2:
            raise BadInput(thing, "reference: independent needs a second seed", "Add one")
        widest = max(shape[0] for shape in protocol.pruning.prunable.values())
        if self.examples < ENOUGH * widest:
            cause = f"{self.examples} examples are too few for {widest} units: independent layers would look alike"
            raise BadInput(thing, cause, f"Take {ENOUGH * widest}")
        examined = Cell(spec.of if spec.of and cell.level else DENSE, cell.level, cell.seed)
        further = (_next_dense(protocol, cell.seed),) if self.reference == "independent" else ()
        return tuple(dict.fromkeys((examined, Cell(DENSE, 0, cell.seed), *further)))

    def measure(self, setting: Setting) -> Findings:
        """Means over hidden layers; curves hold every layer, the output last. `kept_directions`: of the examined
        network's units, that hold `variance`; `accuracy_lost`: against the seed's dense network."""
        data, networks = setting.data, setting.networks
        assert data is not None  # networks were trained on it
        examined, dense = networks[setting.examined], networks[Cell(DENSE, 0, setting.seed)]
        against, updates, examples = self._reference(setting, dense)
        layers = list(setting.protocol.pruning.layer_sizes)
        inputs = self._inputs(setting, data)
        own, others = activations(examined, layers, inputs), activations(against, layers, inputs)
        if self.reference == "shuffled":
            order = torch.randperm(len(inputs), generator=setting.rng("shuffled rows"))
            others = [layer[order] for layer in others]
        curves: dict[str, list[float]] = {}
        for x, y in zip(map(Layer.of, others), map(Layer.of, own), strict=True):
            for name, value in similarities(x, y, self.variance).items():
                curves.setdefault(name, []).append(value)
            curves.setdefault("kept_directions", []).append(y.leading(self.variance).shape[1] / y.units)
            setting.progress(len(curves["svcca"]), len(layers))
        numbers = {name: float(np.mean(values[:-1])) for name, values in curves.items()}
        accuracy, whole = _accuracy(setting, examined), _accuracy(setting, dense)
        numbers |= {"test_accuracy": accuracy, "accuracy_lost": whole - accuracy}
        found = {name: np.asarray(values) for name, values in curves.items()}
        found["layer"] = np.arange(1.0, len(layers) + 1)
        return Findings(numbers, found, updates, examples)

    def _inputs(self, setting: Setting, data: Dataset) -> Tensor:
        """(examples, ...) as networks read them; all there are where those are fewer, as in a dry run."""
        rows = setting.split().training
        chosen = rows[torch.randperm(len(rows), generator=setting.rng("examples"))[: self.examples]]
        return data.prepare(data.train_inputs[chosen])

    def _reference(self, setting: Setting, dense: nn.Module) -> tuple[nn.Module, int, int]:
        """The network compared with, and the updates and examples that it took here."""
        if self.reference == "independent":
            return setting.networks[_next_dense(setting.protocol, setting.seed)], 0, 0
        if self.reference != "earlier":
            return dense, 0, 0
        start, first = setting.start(DENSE, 0)
        made = setting.train(start, first_step=first, steps=max(1, 9 * setting.protocol.recipe.steps // 10))
        module = setting.network()
        module.load_state_dict(made.weights)
        return module.eval(), made.steps, made.examples


def _next_dense(protocol: Protocol, seed: int) -> Cell:
    """The dense network of the seed after this one in the protocol's order, the first after the last."""
    seeds = protocol.seeds
    return Cell(DENSE, 0, seeds[(seeds.index(seed) + 1) % len(seeds)])


@torch.no_grad()
def activations(network: nn.Module, layers: list[str], inputs: Tensor) -> list[Tensor]:
    """What each layer gives for n inputs, (n, units) in float64: hidden layers behind their ReLU, the last as it is."""
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    modules = dict(network.named_modules())
    hooks = [
        modules[name].register_forward_hook(lambda _module, _inputs, output, name=name: seen[name].append(output))
        for name in layers
    ]
    try:
        for part in torch.split(inputs, CHUNK):
            network(part)
    finally:
        for hook in hooks:
            hook.remove()
    found = [torch.cat(seen[name]).double() for name in layers]
    return [layer.relu() for layer in found[:-1]] + found[-1:]


def _accuracy(setting: Setting, network: nn.Module) -> float:
    """On the test set, in percent."""
    data = setting.data
    assert data is not None
    task = load_task("classification")
    return evaluate(network, data.test_inputs, data.test_labels, task, data.prepare)["accuracy"]
