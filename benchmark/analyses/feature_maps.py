"""Whether a pruned convolutional network holds other representations than the dense one: its feature maps and layers.

As `representations`, which is for fully connected networks. A unit is a channel; an example is one place, drawn at
random, of one image (Raghu et al. 2017, arXiv 1706.05806, Section 4, take every place). A matrix compares every layer
with every other by linear CKA over whole images (Kornblith et al. 2019, arXiv 1905.00414, Section 6.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn

from benchmark.analyses.analysis import Findings

# Renamed to be public, these would give that module, and with it its committed records, another digest.
from benchmark.analyses.representations import CHUNK, ENOUGH, Representations, _accuracy, _next_dense
from benchmark.analyses.setting import Setting
from benchmark.analyses.similarity import Layer, similarities
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import ANALYSES
from benchmark.protocols.cells import DENSE, Cell
from benchmark.utils.errors import BadInput

MATRIX_IMAGES = 1000


@ANALYSES.register("feature-maps")
class FeatureMaps(Representations):
    """Of the dense network (level 0), or of `of` at a level: its convolutions beside those of a reference.

    `reference`, `variance`: as in `representations`. `examples`: images of the training set, drawn once a seed, one
    place of each; at least 100 for each channel of the widest convolution.
    """

    def __init__(self, reference: str = "dense", variance: float = 0.99, examples: int = 5000) -> None:
        super().__init__(reference, variance, examples)

    def needs(self, protocol: Protocol, cell: Cell) -> tuple[Cell, ...]:
        """As `Representations.needs`, of convolutional networks with ReLU behind every convolution. Raises BadInput."""
        spec, thing = protocol.analyses[cell.method], f"{protocol.id}: methods.{cell.method}"
        channels = [shape[0] for shape in protocol.pruning.prunable.values() if len(shape) == 4]
        if not protocol.examined.trains or not channels:
            raise BadInput(
                thing, f"compares feature maps, and {protocol.network.name} has none", "Name another network"
            )
        if not getattr(protocol.network, "relu_after_convolutions", True):
            raise BadInput(thing, f"{protocol.network.name} has no ReLU behind its convolutions", "Set it")
        if self.reference == "earlier" and cell.level:
            raise BadInput(thing, "reference: earlier is of the dense network", "Give it level 0 alone")
        if self.reference == "independent" and len(protocol.seeds) < 2:
            raise BadInput(thing, "reference: independent needs a second seed", "Add one")
        if self.examples < ENOUGH * max(channels):
            cause = f"{self.examples} images are too few for {max(channels)} channels: independent ones look alike"
            raise BadInput(thing, cause, f"Take {ENOUGH * max(channels)}")
        examined = Cell(spec.of if spec.of and cell.level else DENSE, cell.level, cell.seed)
        further = (_next_dense(protocol, cell.seed),) if self.reference == "independent" else ()
        return tuple(dict.fromkeys((examined, Cell(DENSE, 0, cell.seed), *further)))

    def measure(self, setting: Setting) -> Findings:
        """Means over convolutions; curves hold each of them, and `matrix` (layers, layers): linear CKA of every layer
        of the reference (rows) with every layer of the examined network (columns), the output last."""
        data, networks = setting.data, setting.networks
        assert data is not None  # networks were trained on it
        examined, dense = networks[setting.examined], networks[Cell(DENSE, 0, setting.seed)]
        against, updates, examples = self._reference(setting, dense)
        inputs = self._inputs(setting, data)
        order = torch.arange(len(inputs))
        if self.reference == "shuffled":
            order = torch.randperm(len(inputs), generator=setting.rng("shuffled rows"))
        own, others = (
            maps(network, setting.protocol, inputs, setting.rng("places")) for network in (examined, against)
        )
        curves: dict[str, list[float]] = {}
        for x, y in zip(others.sampled, own.sampled, strict=True):
            there, here = Layer.of(x[order]), Layer.of(y)
            for name, value in similarities(there, here, self.variance).items():
                curves.setdefault(name, []).append(value)
            curves.setdefault("kept_directions", []).append(here.leading(self.variance).shape[1] / here.units)
        numbers = {name: float(np.mean(values)) for name, values in curves.items()}
        accuracy, whole = _accuracy(setting, examined), _accuracy(setting, dense)
        numbers |= {"test_accuracy": accuracy, "accuracy_lost": whole - accuracy}
        found = {name: np.asarray(values) for name, values in curves.items()}
        found["layer"] = np.arange(1.0, len(own.sampled) + 1)
        among = torch.randperm(len(own.grams[0]), generator=setting.rng("shuffled images"))
        rows = [gram[among][:, among] for gram in others.grams] if self.reference == "shuffled" else others.grams
        found["matrix"] = np.array([[cka(row, column) for column in own.grams] for row in rows])
        return Findings(numbers, found, updates, examples)


@dataclass(frozen=True)
class Maps:
    """What n images give. `sampled`: of each convolution (n, channels), at one place of each image. `grams`: of every
    layer (m, m), inner products of the first m images' centred outputs, all places together."""

    sampled: list[Tensor]
    grams: list[Tensor]


@torch.no_grad()
def maps(network: nn.Module, protocol: Protocol, inputs: Tensor, rng: Generator) -> Maps:
    """Outputs behind the ReLU of every layer but the last, float64; places are drawn from `rng`, layer by layer."""
    layers = {name: network.get_submodule(name) for name in protocol.pruning.layer_sizes}
    last = list(layers)[-1]
    sampled: dict[str, list[Tensor]] = {}
    whole: dict[str, list[Tensor]] = {name: [] for name in layers}

    def see(name: str, output: Tensor) -> None:
        output = output if name == last else output.relu()
        if output.ndim == 4:
            places = torch.randint(output[0, 0].numel(), (len(output),), generator=rng)
            chosen = output.flatten(2)[torch.arange(len(output)), :, places]
            sampled.setdefault(name, []).append(chosen)
        kept = MATRIX_IMAGES - sum(map(len, whole[name]))
        whole[name].append(output.flatten(1)[: max(0, kept)])

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: see(name, output))
        for name, module in layers.items()
    ]
    try:
        for part in torch.split(inputs, CHUNK):
            network(part)
    finally:
        for hook in hooks:
            hook.remove()
    grams = []
    for parts in whole.values():
        outputs = torch.cat(parts).double()
        centred = outputs - outputs.mean(0)
        grams.append(centred @ centred.T)
    return Maps([torch.cat(parts).double() for parts in sampled.values()], grams)


def cka(one: Tensor, other: Tensor) -> float:
    """Linear CKA from Gram matrices (m, m) of centred outputs: <K, L> / (|K| |L|), 0 where a layer does not vary
    (Kornblith et al. 2019, arXiv 1905.00414, equation 4)."""
    size = float(one.norm() * other.norm())
    return float((one * other).sum()) / size if size > 0 else 0.0
