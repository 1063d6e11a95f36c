"""Masks and weights of another protocol's networks: transfer of pruned networks from a source task to a target.

A target's method with `masks_from` takes each level's mask from a method of the source protocol, at the same seed, and
starts from that network's trained weights, from its initial ones or from others. The source is named with its version,
or as a file; the target's digest covers the source's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmark.utils.errors import BadInput, did_you_mean
from benchmark.utils.strict_model import ADDED, Frozen

if TYPE_CHECKING:
    from benchmark.protocols.protocol import Protocol


Reset = Literal["theta0", "trained", "fine-tuned", "random", "resampled"]


class MasksFrom(Frozen):
    """Where a method's masks, and what its trainings start from, are taken from.

    `protocol`: the source, `id@version`, or the path of a file from the folder of the target's. `digest`: of its
    document, filled in where it is left out. `level`: the source's level whose mask is taken; absent = for each level
    of the target the one that leaves as many weights, of which 0 is the dense network. `reset`: the body starts from
    the weights of the source's dense network at the end of its training ("trained", Mehta's late reset), from those it
    began with ("theta0"), from those of the very network whose mask it is ("fine-tuned"), from weights that neither
    the source nor the target's dense network began with ("random"), or from values drawn with replacement, tensor by
    tensor, from the initial weights that the mask leaves ("resampled"). `noise`: normal numbers are added to initial
    weights, of so many times the deviation that these were drawn with. `head`: layers of the target that the source
    does not give: they start as those of the target's dense network, whatever the reset.
    """

    protocol: str
    digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    method: str
    level: int | None = Field(default=None, ge=0)
    reset: Reset
    noise: Annotated[float | None, ADDED] = Field(default=None, gt=0)
    head: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _initial_weights_are_disturbed(self) -> Self:
        if self.noise is not None and self.reset != "theta0":
            raise ValueError(f"noise is added to initial weights: reset: theta0, not {self.reset}")
        return self


_LOADING: ContextVar[tuple[str, ...]] = ContextVar("protocols whose sources are being loaded", default=())


@contextmanager
def _without_cycle(path: str) -> Iterator[None]:
    """While the sources of the protocol at `path` are loaded. Raises BadInput if one of them takes from it in turn."""
    loading = _LOADING.get()
    if path in loading:
        circle = " from ".join([Path(each).stem for each in (*loading[loading.index(path) :], path)])
        raise BadInput(f"{path}: masks_from", f"is a circle: {circle}", "Take masks of a protocol that takes none")
    token = _LOADING.set((*loading, path))
    try:
        yield
    finally:
        _LOADING.reset(token)


def with_sources(protocol: Protocol, path: Path) -> Protocol:
    """A protocol just read from `path`, with the sources of its methods loaded, checked and entered by digest.

    Raises BadInput, naming file and method, if a source is not there, is another one by now, takes masks from this one
    in turn, or does not fit.
    """
    taking = {name: spec.masks_from for name, spec in protocol.pruning_methods.items() if spec.masks_from is not None}
    if not taking:
        return protocol
    sources: dict[str, Protocol] = {}
    methods = dict(protocol.methods)
    with _without_cycle(str(path)):
        for name, taken in taking.items():
            place = f"{path}: methods.{name}.masks_from"
            source = sources.setdefault(taken.protocol, _loaded(taken.protocol, path.parent, place))
            if taken.digest not in {None, source.digest}:
                fix = f"Its digest is {source.digest} now: correct the field, or restore the source"
                raise BadInput(f"{place}.digest", f"{taken.protocol} is another document", fix)
            if why := misfit(protocol, name, taken, source):
                raise BadInput(place, *why)
            named = {"masks_from": taken.model_copy(update={"digest": source.digest})}
            methods[name] = methods[name].model_copy(update=named)
    return protocol.model_copy(update={"methods": methods}).with_mask_sources(sources)


def _loaded(name: str, folder: Path, place: str) -> Protocol:
    from benchmark.protocols import protocol as protocols

    if name.endswith((".yaml", ".yml")):
        return protocols.load_file(folder / name)
    if not re.fullmatch(protocols.VERSIONED_ID, name):
        hint = did_you_mean(name, [protocols.load(each).key for each in protocols.available() if each == name])
        raise BadInput(f"{place}.protocol", f"'{name}' is neither id@version nor a .yaml file", hint)
    return protocols.load(name, need_lock=False)  # that there is a lock, who loads the target has asked


def misfit(target: Protocol, method: str, taken: MasksFrom, source: Protocol) -> tuple[str, str] | None:
    """Why a target's method cannot take these masks of a source, with the way out; None if it can."""
    of = source.pruning_methods.get(taken.method)
    if of is None:
        return f"{source.id} has no pruning method '{taken.method}'", did_you_mean(
            taken.method, [*source.pruning_methods]
        )
    own = target.pruning_methods[method]
    if not source.trains or of.masks_from is not None or of.hook is not None or of.schedule.training == "none":
        cause = f"'{taken.method}' of {source.id} leaves no trained network under a mask of its own"
        return cause, "Take a method that prunes and trains, without hook or masks_from"
    if (own.pruner, own.allocation) != (of.pruner, of.allocation):
        return (
            f"the masks are by {of.pruner}, {of.allocation}",
            f"Write pruner: {of.pruner}, allocation: {of.allocation}",
        )
    return _other_network(target, taken, source) or _other_cells(target, method, taken, source)


def _other_network(target: Protocol, taken: MasksFrom, source: Protocol) -> tuple[str, str] | None:
    if target.pruning.prunable != source.pruning.prunable:
        return (
            f"the masks of {source.id} are of another network",
            "pruning.prunable has to name the same tensors and shapes",
        )
    own, given = target.network.tensors, source.network.tensors
    layers = {name.rpartition(".")[0] for name in own}
    if unknown := [layer for layer in taken.head if layer not in layers]:
        return f"head: there is no layer '{unknown[0]}'", did_you_mean(unknown[0], sorted(layers))
    for name, (_, shape) in own.items():
        if name.rpartition(".")[0] not in taken.head and given.get(name, (None, None))[1] != shape:
            return f"{source.id} has no {name} of shape {list(shape)}", "Name its layer in head, or take another source"
    if target.network.family != source.network.family or target.network.has_batch_norm != source.network.has_batch_norm:
        return f"{source.id} is on another network, {source.network.name}", "Take a source on the target's network"
    rules = source.network.initial_rules
    if taken.noise and (other := [each for each in (rules.convolution, rules.linear) if "normal" not in each]):
        return f"noise is in deviations of normal weights, those of {source.id} are {other[0]}", "Leave noise out"
    return None


def _other_cells(target: Protocol, method: str, taken: MasksFrom, source: Protocol) -> tuple[str, str] | None:
    for level in target.measured_levels(method):
        if source_level(target, taken, source, level) is None:
            kept = target.level_table[level].kept
            levels = {n: source.level_table[n].kept for n in (0, *sorted(source.measured_levels(taken.method)))}
            words = ", ".join(f"{n} ({count:,})" for n, count in levels.items())
            wanted = f"no level with the {kept:,} weights of level {level}"
            if taken.level is not None:
                wanted = f"no level {taken.level} with the {kept:,} weights of level {level}"
            return f"{taken.method} of {source.id} has {wanted}", f"Its levels and their weights: {words}"
    if missing := sorted({*target.seeds} - {*source.seeds}):
        return f"{source.id} has no seed {missing[0]}", f"Its seeds: {', '.join(map(str, source.seeds))}"
    return None


def source_level(target: Protocol, taken: MasksFrom, source: Protocol, level: int) -> int | None:
    """The source's level whose mask a level of the target takes; None if there is none with as many weights."""
    kept = target.level_table[level].kept
    measured: Iterable[int] = (0, *sorted(source.measured_levels(taken.method)))
    if taken.level is not None:
        measured = [taken.level] if taken.level in measured else []
    return next((number for number in measured if source.level_table[number].kept == kept), None)
