"""Where a cell starts: which weights, at which update, and which networks have to be trained before it.

Functions of values: nothing here reads a disk, trains or draws more than the initial weights that are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.networks import build, initial_state, make
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, is_chain
from benchmark.protocols.methods import ControlSpec, HookSpec
from benchmark.utils.seeding import portable_normals, stream

State = dict[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """Kept weights of a trained network: `what` is "final", or "step-<k>" for those after k updates."""

    network: Cell
    what: str = "final"


@dataclass(frozen=True)
class Start:
    """What a training starts from, before the mask: `trained` weights, or else initial ones, drawn for `purpose`.

    `first_step`: the update that it starts at, as rewinding counts.
    """

    first_step: int = 0
    trained: Weights | None = None
    purpose: tuple[str | int, ...] = ("init",)


def untrained(protocol: Protocol, inputs: int | None = None) -> nn.Module:
    """A network of the protocol with weights that mean nothing; an MLP may read only `inputs` features (None: all)."""
    return build(protocol) if inputs is None else make(protocol.network.reading(inputs))


SCORED = "scored weights"
"""Purpose of the draw that a pruner is shown where a protocol trains another one."""


def initial_weights(protocol: Protocol, seed: int, *purpose: str | int) -> State:
    """Initial weights of a seed, by parameter name; other ones for another purpose than "init"."""
    generator, arithmetic = stream(seed, *(purpose or ("init",))), protocol.recipe.arithmetic
    state = initial_state(untrained(protocol), protocol.network, generator, arithmetic)
    if purpose[:1] == (SCORED,) and protocol.pruning.scoring.bias_values == "normal-by-length":
        # TensorFlow's variance scaling of a vector: its fan in is its length.
        draw = stream(seed, "scored biases")
        normals = torch.randn if arithmetic == "torch" else portable_normals
        for name in (name for name in state if name.endswith(".bias")):
            state[name] = normals(state[name].shape, generator=draw) / math.sqrt(len(state[name]))
    return state


def hook_of(protocol: Protocol, cell: Cell) -> HookSpec | None:
    """What acts while the cell is trained; None for most methods."""
    return None if cell.method == DENSE else protocol.method(cell.method).hook


def told_of(protocol: Protocol, cell: Cell) -> Cell | None:
    """The cell whose hook's counts the cell's own hook is given, so that both do as much; None for most."""
    spec = None if cell.method == DENSE else protocol.method(cell.method)
    both = isinstance(spec, ControlSpec) and spec.hook and protocol.pruning_method(cell.method).hook
    return masked_like(protocol, cell) if both else None


def signed_constants(weights: State, names: Iterable[str]) -> State:
    """Each of these tensors as its signs times the standard deviation of all its values (arXiv 1905.01067)."""
    return weights | {
        name: weights[name].sign() * weights[name].double().std(correction=0).to(weights[name].dtype) for name in names
    }


def masked_like(protocol: Protocol, cell: Cell) -> Cell:
    """The cell whose mask this one takes: a control's parent, any other cell itself."""
    spec = protocol.method(cell.method)
    return Cell(spec.of, cell.level, cell.seed) if isinstance(spec, ControlSpec) else cell


def learned_like(protocol: Protocol, cell: Cell) -> Cell | None:
    """The cell whose learned mask this one takes, maybe itself; None where masks are not learned."""
    if cell.method == DENSE or not protocol.trains or protocol.pruning_method(cell.method).learning is None:
        return None
    spec = protocol.method(cell.method)
    if protocol.level_table[cell.level].kept == 0:
        return None
    return Cell(spec.of, cell.level, cell.seed) if isinstance(spec, ControlSpec) else cell


def is_learning(protocol: Protocol, cell: Cell) -> bool:
    """Whether the learning itself is what the cell measures: its network is the initial one under the learned mask."""
    not_trained = cell.method != DENSE and protocol.pruning_method(cell.method).schedule.training == "none"
    return learned_like(protocol, cell) == cell and not_trained


def network_before(protocol: Protocol, cell: Cell) -> Cell:
    """The network that a cell's round begins with: of the level before in its chain, else the dense one."""
    like = masked_like(protocol, cell)
    if is_chain(protocol, like.method) and cell.level > 1:
        return Cell(like.method, cell.level - 1, cell.seed)
    return Cell(DENSE, 0, cell.seed)


def start_of(protocol: Protocol, cell: Cell) -> Start:
    """What a cell's training starts from, as its schedule says: rewinding, fine-tuning, initialising again."""
    spec = None if cell.method == DENSE else protocol.method(cell.method)
    if spec is None or (isinstance(spec, ControlSpec) and spec.control == "reset"):
        return Start()
    if isinstance(spec, ControlSpec) and spec.control == "reinitialise":
        return Start(purpose=("reinit", cell.draw))
    schedule = protocol.pruning_method(cell.method).schedule
    if schedule.restart == "trained":
        return Start(protocol.recipe.steps, Weights(network_before(protocol, cell)))
    if schedule.weights == "kept":
        return Start(schedule.restart, Weights(network_before(protocol, cell)))
    if schedule.restart == 0:
        return Start()
    return Start(schedule.restart, Weights(Cell(DENSE, 0, cell.seed), f"step-{schedule.restart}"))


def scored_at(protocol: Protocol, cell: Cell) -> Start:
    """The weights that a cell's pruner is shown: trained ones, the initial ones, or others of the same distribution."""
    if is_chain(protocol, cell.method) or protocol.pruning_method(cell.method).schedule.scores == "trained":
        return Start(trained=Weights(network_before(protocol, cell)))
    own = protocol.pruning.scoring.weights == "those-trained"
    return Start() if own else Start(purpose=(SCORED,))


def weights_needed(protocol: Protocol, cell: Cell, masks_on_disk: int) -> list[Weights]:
    """Trained weights that a cell's mask and start follow from, a chain's in the order of its levels.

    `masks_on_disk`: down to which level the masks of its chain are there already.
    """
    if cell.method == DENSE:
        return []
    like = masked_like(protocol, cell)
    first = masks_on_disk + 1 if is_chain(protocol, like.method) else cell.level
    shown = [scored_at(protocol, Cell(like.method, level, cell.seed)) for level in range(first, cell.level + 1)]
    needed = [start.trained for start in [*shown, start_of(protocol, cell)]]
    return [weights for weights in needed if weights is not None]


def weights_missing(
    protocol: Protocol, cell: Cell, on_disk: Callable[[Weights], bool], masks_on_disk: int
) -> list[Weights]:
    """One entry for each network that has to be trained before a cell can be, those first that others follow from.

    `masks_on_disk`: as in `weights_needed`; all that a cell follows from is of its own chain, or dense.
    """
    missing: dict[Cell, Weights] = {}

    def look_behind(network: Cell) -> None:
        for weights in weights_needed(protocol, network, masks_on_disk):
            if weights.network not in missing and not on_disk(weights):
                look_behind(weights.network)
                missing[weights.network] = weights

    look_behind(cell)
    return list(missing.values())


def rewind_steps(protocol: Protocol) -> tuple[int, ...]:
    """Updates after which the dense network's weights are kept, because a method rewinds to them."""
    pruning = [protocol.pruning_method(name) for name in protocol.examined.methods]
    schedules = [spec.schedule for spec in pruning]
    restarts = {schedule.restart for schedule in schedules if schedule.weights == "rewound"}
    return tuple(sorted({restart for restart in restarts if isinstance(restart, int)} - {0}))
