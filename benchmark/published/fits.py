"""Whether claims fit the protocols that decide them: version, methods, levels, layers and metrics exist. No torch.

A rule with a typing error would stay "not measured" for ever, and nobody would see why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import get_args

from benchmark import protocol as protocols
from benchmark.errors import BadInput, did_you_mean
from benchmark.metrics import MaskMetric
from benchmark.protocol import ControlSpec, Protocol
from benchmark.published.claims import Claim, Published
from benchmark.published.mask_rules import Collapse, LayerDensity
from benchmark.published.rules import Curve, LayerShare, Rule
from benchmark.records import DENSE

FIX = "`lotterybench info PROTOCOL` lists methods and levels; what no protocol measures stands under not_decided"


def check_fits(paper: Published, name: str) -> None:
    """Refuse a claim on a protocol, version, method, level, layer or metric that does not exist. Raises BadInput."""
    known, load = protocols.available(), cache(protocols.load)
    for claim in paper.claims:
        for protocol, cells in claim.cells.items():
            if protocol not in known:
                hint = did_you_mean(protocol, known)
                raise BadInput(f"{name}: {claim.id}", f"there is no protocol '{protocol}'", hint)
            for why in _misfits(claim, paper.paper.key, load(protocol), cells):
                raise BadInput(f"{name}: {claim.id}", why, FIX)


def _misfits(claim: Claim, paper: str, protocol: Protocol, cells: tuple[tuple[str, int], ...]) -> Iterator[str]:
    own = protocol.id == claim.protocol
    if own and protocol.version != claim.version:
        yield f"is written for {claim.protocol}@{claim.version}, and the protocol is now {protocol.key}"
    for method, own_cells in groupby(cells, key=itemgetter(0)):  # they are sorted
        yield from _levels(protocol, method, [level for _, level in own_cells])
    for rule in claim.checks if own else ():
        yield from _rule(protocol, rule)
        if isinstance(rule, Curve | Collapse | LayerDensity) and protocol.paper.key != paper:
            yield f"compares runs of {protocol.paper.key}'s protocol with a table of {paper}"


def _levels(protocol: Protocol, method: str, levels: Sequence[int]) -> Iterator[str]:
    if method == DENSE:
        if any(levels):
            yield f"names dense at level {max(levels)}; the dense network is level 0"
        return
    if method not in protocol.methods:
        yield f"{protocol.id} has no method '{method}'. {did_you_mean(method, list(protocol.methods))}"
        return
    measured, spec = protocol.measured_levels(method), protocol.method(method)
    for level in levels:
        if level not in measured:
            yield f"{protocol.id} does not measure {method} at level {level}"
        elif not isinstance(spec, ControlSpec) and level in spec.later:
            yield f"{protocol.id} measures {method} at level {level} only after all else"


def _rule(protocol: Protocol, rule: Rule) -> Iterator[str]:
    if isinstance(rule, LayerShare):
        for layer in rule.layers:
            if layer not in protocol.pruning.layer_sizes:
                yield f"{protocol.id} has no layer '{layer}'. {did_you_mean(layer, list(protocol.pruning.layer_sizes))}"
    elif protocol.trains == (rule.metric in get_args(MaskMetric)):
        yield f"{protocol.id} {'trains networks' if protocol.trains else 'trains nothing'}, so it has no {rule.metric}"
    elif rule.metric.startswith("early-stop") and protocol.evaluation.early_stop == "none":
        yield f"{protocol.id} has no early stopping, so it has no {rule.metric}"
