"""What is lost where a trained network is compressed so many times and trained on in its compressed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import ClassVar

from torch import nn

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.setting import Setting
from benchmark.compression.cycles import Machine
from benchmark.compression.interface import DENSE_BITS, Compressed, budget_for, compressed, dense_bits
from benchmark.plugins.load import make_compressor
from benchmark.plugins.registry import PluginSource, locate
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import ANALYSES
from benchmark.protocols.cells import DENSE, Cell
from benchmark.pruning.interface import Network
from benchmark.pruning.masks import full_masks
from benchmark.tasks import load_task
from benchmark.training.evaluate import evaluate


@ANALYSES.register("compression")
class Compression(Analysis):
    """Compresses the dense network of the seed by `compressor`, at most dense bits / `times`, and trains the result by
    the protocol's recipe from its first update on, in the same order of examples.

    Bits are of the prunable tensors, 32 each before; `compression_of_all` counts every other parameter with 32 bits on
    both sides. Accuracies are of the test set after the last update, of what the stored bits compute. `multiply_adds`
    are of both stages for one example. `modelled_speedup` is of `cycles.Machine`: a model, compared with nothing
    published. Other parameters are the compressor's.
    """

    paper = "Li et al. 2021, ESCALATE, MICRO, 10.1145/3466752.3480043 (abstract read)"
    units: ClassVar[Mapping[str, str]] = {
        "accuracy": "percent",
        "accuracy_lost": "points",
        "accuracy_before_training": "percent",
        "bits": "bits",
        "compression": "times",
        "compression_of_all": "times",
        "zeros": "percent",
        "multiply_adds": "multiply-adds",
        "multiply_adds_saved": "times",
        "modelled_speedup": "times",
    }

    def __init__(
        self,
        compressor: str = "escalate",
        times: float = 100.0,
        multipliers: int = 64,
        lanes: int = 64,
        **parameters: bool | int | float | str,
    ) -> None:
        self.name, self.times, self.machine = compressor, times, Machine(multipliers, lanes)
        self.source = locate(compressor, kind="compressor")
        self.compressor = make_compressor(self.source, parameters)

    def plugins(self) -> tuple[PluginSource, ...]:
        """The compressor."""
        return (self.source,)

    def needs(self, protocol: Protocol, cell: Cell) -> tuple[Cell, ...]:  # noqa: ARG002
        """The seed's dense network."""
        return (Cell(DENSE, 0, cell.seed),)

    def measure(self, setting: Setting) -> Findings:
        """See `Analysis`."""
        dense = setting.networks[Cell(DENSE, 0, setting.seed)]
        network = as_network(setting.protocol, dense)
        found = compressed(self.name, self.compressor, network, budget_for(network, self.times))
        whole, before = (_test_accuracy(setting, module) for module in (dense, found.module))
        outcome = setting.train(found.module.state_dict(), module=found.module)
        accuracy = math.nan if outcome.failure else outcome.history.test[-1]["accuracy"]
        tuned = deepcopy(found.module)
        tuned.load_state_dict(outcome.weights)
        numbers = {
            "accuracy": accuracy,
            "accuracy_lost": whole - accuracy,
            "accuracy_before_training": before,
            **self.sizes(setting.protocol, network, Compressed(tuned, found.input_shape)),
        }
        return Findings(numbers, updates=outcome.steps, examples=outcome.examples)

    def sizes(self, protocol: Protocol, network: Network, found: Compressed) -> dict[str, float]:
        """Bits and operations of a compressed network beside those of the dense one."""
        bits, dense, layers = found.bits(), dense_bits(network), found.layers()
        weights = dense // DENSE_BITS
        others = DENSE_BITS * (sum(p.numel() for p in network.module.parameters()) - weights)
        places = sum(layer.places for layer in layers.values())
        kept = sum(sum(layer.work.second) for layer in layers.values())
        multiply_adds = protocol.network.multiply_adds
        return {
            "bits": bits,
            "compression": dense / bits,
            "compression_of_all": (dense + others) / (bits + others),
            "zeros": 100 * (1 - kept / places),
            "multiply_adds": found.multiply_adds(),
            "multiply_adds_saved": multiply_adds / found.multiply_adds(),
            "modelled_speedup": self.machine.dense_cycles(multiply_adds) / self.machine.cycles(layers.values()),
        }


def as_network(protocol: Protocol, module: nn.Module) -> Network:
    """A finished network as compressors are given it; its prunable tensors are what is compressed."""
    state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    weights = {name: state[name] for name in protocol.pruning.prunable}
    others = {name: tensor for name, tensor in state.items() if name not in weights}
    network = protocol.network
    return Network(module, weights, others, full_masks(protocol.pruning.prunable), network.input_shape, network.outputs)


def _test_accuracy(setting: Setting, module: nn.Module) -> float:
    data, recipe = setting.data, setting.protocol.recipe
    assert data is not None  # a protocol that trains has data
    quality = evaluate(
        module.eval(),
        data.test_inputs,
        data.test_labels,
        load_task(setting.protocol.task),
        data.prepare,
        recipe.precision,
    )
    return quality["accuracy"]
