"""Accuracy on a target by how far the masks were pruned on their source: a line for each method with `masks_from`.

One picture for all methods with the same hook, such as those whose body is frozen. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from benchmark.claims.observations import Observations, Point, reported_metric
from benchmark.claims.wording import metric_words
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, density_text, source_of, unit_name
from benchmark.protocols.methods import MethodSpec
from benchmark.report.analysis_curves import CurvePicture, Series

FROM_SCRATCH = "dense, not from the source"


def transfer_pictures(seen: Observations) -> list[CurvePicture]:
    """The pictures of what is measured; none of a protocol that takes no masks of another."""
    groups: dict[str, list[str]] = {}
    for name, spec in seen.protocol.pruning_methods.items():
        if spec.masks_from is not None:
            groups.setdefault(_trained(spec), []).append(name)
    found = ((trained, _lines(seen, methods)) for trained, methods in groups.items())
    return [_picture(seen, trained, lines) for trained, lines in found if lines]


def _trained(spec: MethodSpec) -> str:
    """Which layers are trained on the target, in words."""
    layers = "" if spec.hook is None else str(spec.hook.parameters.get("trained", ""))
    if layers:
        return f"{layers.replace(',', ' and ')} trained"
    return "all layers trained" if spec.hook is None else f"with {spec.hook.name}"


def _lines(seen: Observations, methods: Iterable[str]) -> list[Series]:
    lines: list[Series] = []
    for name in methods:
        levels = sorted(seen.protocol.measured_levels(name))
        points = {source_place(seen.protocol, name, level): (name, level) for level in levels}
        if line := _line(seen, name, points, len(lines)):
            lines.append(line)
    if lines:
        ends = {place for line in lines for place in (line.x[0], line.x[-1])}
        scratch = dict.fromkeys((min(ends), max(ends)), (DENSE, 0))
        lines += [line] if (line := _line(seen, FROM_SCRATCH, scratch, len(lines))) else []
    return lines


def source_place(protocol: Protocol, method: str, level: int) -> float:
    """How many rounds a level's mask was pruned on its source."""
    found = source_of(protocol, Cell(method, level, protocol.seeds[0]))
    return float(found[1].level) if found else 0.0


def _line(seen: Observations, name: str, points: dict[float, Point], number: int) -> Series | None:
    """A line through the places that are measured; None without any."""
    metric = reported_metric(seen.protocol)
    values = {place: [*seen.by_seed(metric, point).values()] for place, point in sorted(points.items())}
    values = {place: own for place, own in values.items() if own}
    if not values:
        return None
    runs = [*values.values()]
    mean, low, high = tuple(map(fmean, runs)), tuple(map(min, runs)), tuple(map(max, runs))
    return Series(name, tuple(values), mean, low, high, min(map(len, runs)), number, dashed=False)


def _picture(seen: Observations, trained: str, lines: list[Series]) -> CurvePicture:
    protocol = seen.protocol
    source = ", ".join(dict.fromkeys(each.id for each in protocol.mask_sources.values()))
    last = len(protocol.level_table) - 1
    ends = f"{density_text(protocol, 1)} to {density_text(protocol, last)}"
    across = f"rounds of pruning on {source}; {unit_name(protocol)}: {ends}"
    words = f"{metric_words(reported_metric(protocol))}, %"
    return CurvePicture(f"Accuracy on the target, {trained}", across, words, tuple(lines), counted=True)
