"""Pages of the report, as text. The same records give the same pages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmark.claims.observations import Observations, failure_text, reported_metric
from benchmark.claims.published import Published
from benchmark.claims.verdicts import Decision, decide_paper
from benchmark.claims.wording import METRICS, needed_text
from benchmark.protocols.cells import DENSE, density_text, method_names, method_words
from benchmark.records.schema import Metric
from benchmark.records.store import Store
from benchmark.report.html import charts, facts
from benchmark.report.html.series import layer_map, learning, line, published_lines
from benchmark.report.leaderboard import VERDICTS, silent
from benchmark.report.overall import EXPLAINED
from benchmark.report.rankings import has_records, progress_words, shown_levels

Seen = Mapping[str, Observations]


def pages(store: Store, seen: Seen, papers: Sequence[Published]) -> dict[str, str]:
    """Path inside the site -> HTML of every page."""
    decided = [(paper, found) for paper in papers if (found := decide_paper(paper, seen))]
    decisions = [decision for _, found in decided for decision in found]
    protocols = list(seen.values())
    made = {
        "index.html": _render(
            "index.html",
            "",
            decided=decided,
            verdicts=VERDICTS,
            cards=[_card(o, papers) for o in protocols if has_records(o)],
            waiting=[o.protocol for o in protocols if not has_records(o)],
            overall=facts.overall_facts(protocols, papers),
            explained=EXPLAINED,
        ),
        "claims.html": _render(
            "claims.html", "", decided=decided, verdicts=VERDICTS, undecided=[p for p in papers if silent(p)]
        ),
    }
    for observations in protocols:
        own = [d for d in decisions if d.protocol == observations.protocol.id]
        path = f"protocols/{facts.slug(observations.protocol.id)}.html"
        made[path] = _render("protocol.html", "../", **_protocol(store, observations, papers, own))
    for method in dict.fromkeys(m for o in protocols for m in _measured(o)):
        made[f"methods/{facts.slug(method)}.html"] = _render("method.html", "../", **_method(method, protocols))
    return made


@cache
def _environment() -> Environment:
    folder = resources.files("benchmark") / "report" / "html" / "templates"
    made = Environment(
        loader=FileSystemLoader(str(folder)), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters["script_json"] = script_json
    made.filters["slug"] = facts.slug
    made.filters["needed_text"] = needed_text
    return made


def _render(template: str, root: str, **context: Any) -> str:
    return _environment().get_template(template).render(root=root, **context)


def script_json(value: Any) -> Markup:
    """JSON for the inside of a script element: no sequence in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _measured(seen: Observations) -> list[str]:
    """Methods with a record: the protocol's own in its order, then submitted ones."""
    found = {method for method, _, _ in seen.records}
    own = [method for method in method_names(seen.protocol) if method in found]
    return own + sorted(found - set(own))


def _curves(seen: Observations, metric: Metric, papers: Sequence[Published]) -> dict[str, Any]:
    lines = [line(seen, metric, method) for method in _measured(seen) if method != DENSE]
    lines = [found for found in lines if found.places]
    dense = line(seen, metric, DENSE)
    published = published_lines(seen.protocol, metric, papers)
    digits = 0 if metric == "early-stop-step" else 2
    tables = [facts.numbers(found, digits) for found in (dense, *lines) if found.places]
    return {
        "heading": METRICS[metric],
        "chart": charts.curves(seen.protocol, metric, lines, dense, published),
        "tables": tables,
        "published": [p for p in published if p.places],
    }


def _card(seen: Observations, papers: Sequence[Published]) -> dict[str, Any]:
    metric = reported_metric(seen.protocol)
    return {"protocol": seen.protocol, "progress": progress_words(seen), **_curves(seen, metric, papers)}


def _protocol(
    store: Store, seen: Observations, papers: Sequence[Published], decisions: Sequence[Decision]
) -> dict[str, Any]:
    protocol = seen.protocol
    metrics: list[Metric] = [reported_metric(protocol)]
    if protocol.evaluation.early_stop != "none":
        metrics.append("early-stop-step")
    measured = _measured(seen)
    maps = [found for method in measured if method != DENSE and (found := layer_map(seen, method))]
    return {
        "protocol": protocol,
        "progress": progress_words(seen),
        "curves": [_curves(seen, metric, papers) for metric in metrics],
        "learning": _learning(store, seen, papers),
        "layers": {found.method: charts.layer_chart(found) for found in maps},
        "rankings": facts.rankings(seen, papers),
        "masks": facts.masks(seen),
        "methods": [(method, method_words(protocol, method), method in measured) for method in method_names(protocol)],
        "fields": facts.fields(protocol),
        "provenance": facts.provenance(seen),
        "failures": [failure_text(protocol, record) for record in seen.failures],
        "decisions": decisions,
    }


def _learning(store: Store, seen: Observations, papers: Sequence[Published]) -> dict[str, dict[str, Any]]:
    """density -> what -> chart, for the densities that the paper names."""
    found: dict[str, dict[str, Any]] = {}
    dense = learning(store, seen, DENSE, 0)
    for level in shown_levels(seen.protocol, papers):
        curves = [c for method in _measured(seen) if method != DENSE and (c := learning(store, seen, method, level))]
        if not curves:
            continue
        curves = [*([dense] if dense else []), *curves]
        views = {"accuracy": charts.learning_chart(seen.protocol, curves, "accuracy")}
        with_loss = [curve for curve in curves if curve.validation_loss]
        if with_loss:
            views["loss"] = charts.learning_chart(seen.protocol, with_loss, "loss")
        found[density_text(seen.protocol, level)] = views
    return found


def _method(method: str, protocols: Sequence[Observations]) -> dict[str, Any]:
    parts = []
    for seen in protocols:
        if method not in _measured(seen):
            continue
        found = line(seen, reported_metric(seen.protocol), method)
        parts.append(
            {
                "protocol": seen.protocol,
                "words": method_words(seen.protocol, method) if method in method_names(seen.protocol) else "",
                "origins": sorted({_identity(r) for (m, _, _), g in seen.records.items() if m == method for r in g}),
                "table": facts.numbers(found),
                "metric": METRICS[reported_metric(seen.protocol)],
            }
        )
    return {"method": method, "parts_": parts}


def _identity(record: Any) -> tuple[str, str, str]:
    method = record.method
    parameters = ", ".join(f"{key} = {value}" for key, value in method.parameters.items())
    return method.pruner or "none", parameters, (method.pruner_digest or "")[:16]
