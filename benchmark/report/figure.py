"""The README's pictures: measured curves over the published ones where the paper gives them. No torch.

A method has one colour in these pictures and in the HTML report.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from benchmark.claims import papers as published
from benchmark.claims.observations import Observations, reported_metric
from benchmark.claims.wording import metric_words
from benchmark.protocols import Protocol, load_earlier
from benchmark.protocols.cells import DENSE, axis_name, axis_value
from benchmark.records.schema import Metric
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput, EnvironmentProblem

if TYPE_CHECKING:
    from matplotlib.axes import Axes


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, told apart by all readers; markers and lines differ too."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
METHODS = ("imp", "imp+reinit", "one-shot", "random", "imp+shuffle")  # those that the papers plot
LOWEST = 60  # points below dense at which the accuracy axis ends
LABELS = {"imp": "iterative", "imp+reinit": "reinitialized", "imp+shuffle": "shuffled mask", "random": "random mask"}
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "lotterybench",  # else the ids in an SVG are drawn at random
    "svg.fonttype": "path",  # text looks the same wherever the picture is shown; fonts differ between machines
}


def draw(store: Store, protocol: Protocol, path: Path) -> None:
    """Draw a protocol's measured methods into a .png or .svg file; the same records give the same picture.

    Curves are means over seeds; bars, or a band where levels are many, run from the lowest seed to the highest, as
    the bars of LTH's figures do. Raises BadInput if nothing is measured or the ending is unknown, EnvironmentProblem
    if `path` cannot be written.
    """
    if path.suffix not in (".png", ".svg"):
        raise BadInput(str(path), "a figure is a .png or .svg file", "Give one of these endings")
    if not protocol.trains:
        raise BadInput(protocol.id, "trains nothing, so it has no accuracies to draw", "See its page: make report")
    seen = Observations(protocol, store.records(protocol))
    methods = _shown_methods(seen)
    if not methods:
        raise BadInput(protocol.id, "nothing is measured yet", f"Run `lotterybench run {protocol.argument}` first")
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    with mpl.rc_context(STYLE):
        stops = protocol.evaluation.early_stop != "none"
        figure, axes = pyplot.subplots(1, 1 + stops, figsize=(8.4 if stops else 6.4, 3.6), squeeze=False)
        accuracy: list[Axes] = list(axes[0])
        _panel(accuracy[0], seen, methods, reported_metric(protocol))
        accuracy[0].set_ylabel(f"{metric_words(reported_metric(protocol))}, %")
        if stops:
            _panel(accuracy[1], seen, methods, "early-stop-step")
            accuracy[1].set_ylabel("early-stop step")
        _crop(accuracy[0], seen)
        accuracy[0].legend(frameon=False, fontsize=8, loc="lower left")
        figure.suptitle(_title(seen, methods), fontsize=9)
        figure.tight_layout()
        try:
            metadata: dict[str, Any] = {"Software": None}
            if path.suffix == ".svg":
                metadata = {"Date": None, "Creator": drawn_by()}
            figure.savefig(path, dpi=160, metadata=metadata)
        except OSError as error:
            raise EnvironmentProblem(
                str(path), f"cannot be written ({error.strerror or error})", "Give another path"
            ) from error
        finally:
            pyplot.close(figure)


def _title(seen: Observations, methods: Sequence[str]) -> str:
    """Which protocol, of how many seeds, and what bars mean."""
    metric = reported_metric(seen.protocol)
    counts = {len(seen.by_seed(metric, (method, p[0]))) for method in methods for p in points(seen, metric, method)}
    few, many = min(counts), max(counts)
    seeds = f"{few} seeds" if few == many else f"{few} to {many} seeds"
    return f"{seen.protocol.key}: means of {seeds}; bars and bands from the lowest seed to the highest"


def drawn_by() -> str:
    """What an SVG says made it: another version of matplotlib may give other bytes for the same records."""
    from importlib.metadata import version

    return f"lotterybench, matplotlib {version('matplotlib')}"


def _shown_methods(seen: Observations) -> list[str]:
    """The measured methods that a picture shows, in its order."""
    protocol = seen.protocol
    return [m for m in METHODS if m in protocol.methods and points(seen, reported_metric(protocol), m)]


def readme_figures(folder: Path, protocols: Sequence[Protocol], store: Store) -> dict[Path, Protocol]:
    """The pictures `<paper>-<network>-<dataset>.svg` in `folder` with the protocols whose records they show: of each
    the version with most to show, of two the newer."""
    pictures: dict[Path, Protocol] = {}
    most: dict[Path, int] = {}
    for protocol in (*load_earlier(), *protocols):
        path = folder / f"{protocol.id.replace('/', '-')}.svg"
        if path.is_file():
            seen, metric = Observations(protocol, store.records(protocol)), reported_metric(protocol)
            places = sum(len(points(seen, metric, method)) for method in _shown_methods(seen))
            if places >= most.get(path, 0):
                pictures[path], most[path] = protocol, places
    return pictures


def points(seen: Observations, metric: Metric, method: str) -> list[tuple[int, float, float, float]]:
    """(level, mean, lowest seed, highest seed) wherever the method is measured, dense excluded."""
    levels = sorted({level for name, level, _ in seen.records if name == method})
    return [_point(seen, metric, method, level) for level in levels if seen.by_seed(metric, (method, level))]


def _point(seen: Observations, metric: Metric, method: str, level: int) -> tuple[int, float, float, float]:
    values = list(seen.by_seed(metric, (method, level)).values())
    return level, fmean(values), min(values), max(values)


def _panel(axes: Axes, seen: Observations, methods: Sequence[str], metric: Metric) -> None:
    protocol = seen.protocol
    if seen.by_seed(metric, (DENSE, 0)):
        _, mean, _, _ = _point(seen, metric, DENSE, 0)
        axes.axhline(mean, color="0.45", linewidth=1, label="dense")
    for i, method in enumerate(methods):
        found = points(seen, metric, method)
        xs, means = [axis_value(protocol, level) for level, *_ in found], [mean for _, mean, _, _ in found]
        lows, highs = [low for _, _, low, _ in found], [high for *_, high in found]
        line: Any = {"color": COLOURS[i], "linestyle": LINES[i % len(LINES)], "label": LABELS.get(method, method)}
        if len(found) > 30:
            axes.plot(xs, means, linewidth=1.4, **line)
            axes.fill_between(xs, lows, highs, color=COLOURS[i], alpha=0.2, linewidth=0)
        else:
            bars = [[m - low for m, low in zip(means, lows, strict=True)]]
            bars.append([high - m for m, high in zip(means, highs, strict=True)])
            axes.errorbar(xs, means, bars, marker=MARKERS[i], markersize=3.5, linewidth=1.2, capsize=2, **line)
        _published(axes, protocol, method, metric, i)
    _scale(axes, protocol)


def _published(axes: Axes, protocol: Protocol, method: str, metric: Metric, i: int) -> None:
    """Published values of every round, as points, where a claim of the paper has the whole curve."""
    claims = [claim for paper in published.load_all() for claim in paper.claims if claim.protocol == protocol.id]
    for rule in (rule for claim in claims for rule in claim.checks):
        if rule.metric == metric and [points.method for points in rule.points] == [method]:
            runs = rule.published_runs(protocol)
            if not runs:
                continue
            pairs = [(axis_value(protocol, level), v) for level, values in runs.items() for v in values]
            xs, ys = [a for a, _ in pairs], [b for _, b in pairs]
            label = f"{LABELS.get(method, method)}, published"
            axes.scatter(xs, ys, s=7, color=COLOURS[i], marker=MARKERS[i], alpha=0.45, label=label)


def _crop(axes: Axes, seen: Observations) -> None:
    """Leave out what lies far below the dense network, and say so: collapse would flatten all that matters."""
    dense = seen.by_seed(reported_metric(seen.protocol), (DENSE, 0)).values()
    bottom = 5 * round((fmean(dense) - LOWEST) / 5) if dense else 0
    if axes.get_ylim()[0] < bottom:
        axes.set_ylim(bottom=bottom)
        axes.set_xlabel(f"{axes.get_xlabel()} (values below {bottom} % not shown)")


def _scale(axes: Axes, protocol: Protocol) -> None:
    axes.set_xlabel(axis_name(protocol))
    if protocol.reports_density_as != "percent-remaining":
        return
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.invert_xaxis()  # from dense to sparse, as the paper draws it
    places: list[float] = []
    for level in sorted(level for paper in published.load_all() for level in paper.densities.get(protocol.id, {})):
        place = axis_value(protocol, level)
        if not places or place < places[-1] / 1.6:  # else the labels run into each other
            places.append(place)
    axes.set_xticks(places, [f"{place:.3g}" if place >= 100 else f"{place:.1f}" for place in places])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
