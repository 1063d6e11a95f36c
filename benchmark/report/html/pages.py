"""Pages of the report, as text. The same records give the same pages."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmark.claims.evidence import UNDECIDED
from benchmark.claims.observations import ANALYSED, Observations, failure_text, reported_metric
from benchmark.claims.published import Published
from benchmark.claims.verdicts import Decision, decide_paper
from benchmark.claims.wording import metric_words
from benchmark.protocols.cells import DENSE, density_text, method_names, method_words
from benchmark.records.schema import Metric
from benchmark.records.store import Store
from benchmark.report.analysis_tables import numbers_of
from benchmark.report.board.claims_pages import found_words
from benchmark.report.board.protocol_pages import RANKS
from benchmark.report.drawings import drawings
from benchmark.report.html import charts, compare, facts, overview, pictures
from benchmark.report.html.guides import Guide
from benchmark.report.html.looks import Look, looks_of
from benchmark.report.html.overview import by_verdict
from benchmark.report.html.series import layer_map, learning, line, published_lines, steps_shown
from benchmark.report.multiply_adds import MULTIPLY_ADDS, tells_more
from benchmark.report.overall import EXPLAINED
from benchmark.report.rankings import has_records, progress_words, shown_levels
from benchmark.report.stated import NOT_OF_THE_PAPER, own_words, published_and_own
from benchmark.report.summary_svg import summary_svg
from benchmark.report.taxonomy import is_control

Seen = Mapping[str, Observations]

# A page stays below 300 KB however much is measured.
MOST_CURVES = 12  # methods whose learning curves are shown with those of their controls
MOST_CHARTS = 8  # protocols whose chart is on the first page


@dataclass(frozen=True)
class Site:
    """All that pages are made of."""

    store: Store
    seen: Seen
    papers: Sequence[Published]
    decided: Sequence[tuple[Published, Sequence[Decision]]]
    looks: Mapping[str, Look]
    guides: Sequence[Guide]

    @cached_property
    def comparisons(self) -> dict[str, Any]:
        """What the page of comparisons computes with."""
        return compare.document(list(self.seen.values()), self.looks)

    @property
    def decisions(self) -> list[Decision]:
        """Every claim, in the order of the papers' files."""
        return [decision for _, found in self.decided for decision in found]


def pages(store: Store, seen: Seen, papers: Sequence[Published], guides: Sequence[Guide] = ()) -> dict[str, str]:
    """Path inside the site -> HTML of every page; `guides` are pages of the documentation."""
    decided = [(paper, by_verdict(found)) for paper in papers if (found := decide_paper(paper, seen))]
    submitted = {method for observations in seen.values() for method in _measured(observations)}
    looks = looks_of((observations.protocol for observations in seen.values()), submitted)
    site = Site(store, seen, papers, decided, looks, guides)
    made = {
        "index.html": _first(site),
        "claims.html": _claims(site),
        "forest.html": _every_claim(site),
        "compare.html": _compare(site),
    }
    for paper, found in decided:
        made[f"claims/{paper.paper.key}.html"] = _render(
            "paper.html", "../", paper=paper, found=found, costs=_costs(site, found)
        )
    for observations in seen.values():
        path = f"protocols/{facts.slug(observations.protocol.id)}.html"
        made[path] = _render("protocol.html", "../", **_protocol(site, observations))
    for method in dict.fromkeys(m for o in seen.values() for m in _measured(o)):
        made[f"methods/{facts.slug(method)}.html"] = _render(
            "method.html", "../", **_method(method, list(seen.values()))
        )
    for guide in guides:
        # What its file holds is escaped by the parser.
        made[f"docs/{guide.name}.html"] = _render("guide.html", "../", guide=guide, content=Markup(guide.html))
    return made


def _first(site: Site) -> str:
    """The first page: what holds by paper, what does not, findings, the protocol with most evidence; then the rest."""
    protocols = list(site.seen.values())
    most = overview.most_evidence(protocols, site.decisions)
    papers = sorted(site.decided, key=_open_claims_last)
    shown = overview.marks(site.decisions)
    others = sorted((o for o in protocols if has_records(o) and o is not most), key=lambda o: -len(o.records))
    return _render(
        "index.html",
        "",
        headline=overview.headline(site.decisions),
        summary=b64encode(summary_svg(site.decided, findings=False).encode()).decode() if shown else "",
        wrong=[(verdict, marks) for verdict, marks in shown if verdict in overview.WRONG],
        forest_size=sum(len(marks) for _, marks in shown),
        findings=overview.findings([found for _, found in site.decided]),
        gains=overview.gains(protocols),
        decided=[
            (
                paper,
                overview.counts(published_and_own(found)[0]),
                own_words(found),
                overview.cost_to_decide(found, site.seen),
            )
            for paper, found in papers
        ],
        verdicts=overview.VERDICTS,
        card=_card(site, most) if most else None,
        cards=[_card(site, o) for o in others[:MOST_CHARTS]],
        further=[(o.protocol, progress_words(o)) for o in others[MOST_CHARTS:]],
        waiting=[o.protocol for o in protocols if not has_records(o)],
        overall=facts.overall_facts(protocols, site.papers),
        explained=EXPLAINED,
        guides=site.guides,
    )


def _every_claim(site: Site) -> str:
    """The forest plot: a row for every measured claim, to be narrowed to those of one paper."""
    shown = overview.marks(site.decisions)
    keys = {mark.row.paper for _, marks in shown for mark in marks}
    papers = [paper for paper in site.papers if paper.paper.key in keys]
    return _render("every_claim.html", "", forest=shown, forest_papers=papers)


def _open_claims_last(pair: tuple[Published, Sequence[Decision]]) -> int:
    """Orders papers by their decided claims, most first."""
    return -sum(decision.verdict not in UNDECIDED for decision in pair[1])


def _claims(site: Site) -> str:
    """Every claim in a line, to search and filter; the whole of it is on its paper's page."""
    papers = sorted(site.decided, key=_open_claims_last)
    undecided = [paper for paper in site.papers if paper.not_decided and not paper.claims]
    return _render("claims.html", "", decided=papers, verdicts=overview.VERDICTS, undecided=undecided)


def _costs(site: Site, found: Sequence[Decision]) -> dict[str, str]:
    return {d.claim: overview.cost_to_decide([d], site.seen) for d in found if d.verdict in UNDECIDED}


def _compare(site: Site) -> str:
    return _render("compare.html", "", document=site.comparisons)


@cache
def _environment() -> Environment:
    folder = resources.files("benchmark") / "report" / "html" / "templates"
    made = Environment(
        loader=FileSystemLoader(str(folder)), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters["script_json"] = script_json
    made.globals["not_of_the_paper"] = NOT_OF_THE_PAPER
    made.filters["found"] = found_words
    made.filters["slug"] = facts.slug
    made.filters["margins"] = lambda end: "without end" if end is None else f"{end:.1f}"
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


def _curves(site: Site, seen: Observations, metric: Metric) -> dict[str, Any]:
    lines = [line(seen, metric, method) for method in _measured(seen) if method != DENSE]
    lines = [found for found in lines if found.places]
    dense = line(seen, metric, DENSE)
    published = published_lines(seen.protocol, metric, site.papers)
    digits = 0 if metric == "early-stop-step" else 2
    tables = [facts.numbers(found, digits) for found in (dense, *lines) if found.places]
    return {
        "heading": metric_words(metric),
        "chart": charts.curves(seen.protocol, metric, lines, dense, published, site.looks),
        "tables": tables,
        "published": [p for p in published if p.places],
    }


def _card(site: Site, seen: Observations) -> dict[str, Any]:
    metric = reported_metric(seen.protocol)
    return {"protocol": seen.protocol, "progress": progress_words(seen), **_curves(site, seen, metric)}


def _protocol(site: Site, seen: Observations) -> dict[str, Any]:
    protocol = seen.protocol
    metrics: list[Metric] = [reported_metric(protocol)]
    if protocol.measures == "analysis":  # what is of one density stands in the tables of analyses, and is no curve
        several = any(len(spec.levels) > 1 for spec in protocol.analyses.values())
        metrics = [f"{ANALYSED}{name}" for name in numbers_of(seen)] if several else []
    elif protocol.evaluation.early_stop != "none":
        metrics.append("early-stop-step")
    measured = _measured(seen)
    maps = [found for method in measured if method != DENSE and (found := layer_map(seen, method))]
    decisions = by_verdict([d for d in site.decisions if d.protocol == protocol.id])
    return {
        "protocol": protocol,
        "progress": progress_words(seen),
        "comparable": any(found["id"] == protocol.id for found in site.comparisons["protocols"]),
        "curves": [_curves(site, seen, metric) for metric in metrics],
        "learning": _learning(site, seen),
        "layers": {found.method: charts.layer_chart(found) for found in maps},
        "pictures": pictures.of_protocol(site.store, seen),
        "rankings": facts.rankings(seen, site.papers),
        "ranks": RANKS,
        "counted": MULTIPLY_ADDS if tells_more(protocol) else "",
        "masks": facts.masks(seen),
        "analyses": facts.analyses(seen),
        "drawings": [Markup(drawing.svg) for drawing in drawings(site.store, seen)],
        "methods": [
            (method, method_words(protocol, method), facts.kind_words(seen, method), method in measured)
            for method in method_names(protocol)
        ],
        "fields": facts.fields(protocol),
        "provenance": facts.provenance(seen),
        "failures": [failure_text(protocol, record) for record in seen.failures],
        "known": [d for d in decisions if d.verdict != "not measured"],
        "unknown": [d for d in decisions if d.verdict == "not measured"],
        "costs": _costs(site, decisions),
    }


def _learning(site: Site, seen: Observations) -> dict[str, dict[str, Any]]:
    """density -> what -> chart, for the densities that the paper names; of many methods without their controls."""
    found: dict[str, dict[str, Any]] = {}
    if not seen.protocol.trains:
        return found
    methods = [method for method in _measured(seen) if method != DENSE]
    if len(methods) > MOST_CURVES:
        methods = [method for method in methods if not is_control(seen.protocol, method)]
    levels = shown_levels(seen.protocol, site.papers)
    most_steps = steps_shown(2 * len(levels) * (1 + len(methods)))  # accuracy and loss
    dense = learning(site.store, seen, DENSE, 0, most_steps)
    for level in levels:
        curves = [c for method in methods if (c := learning(site.store, seen, method, level, most_steps))]
        if not curves:
            continue
        curves = [*([dense] if dense else []), *curves]
        views = {"accuracy": charts.learning_chart(curves, "accuracy", site.looks)}
        with_loss = [curve for curve in curves if curve.validation_loss.mean]
        if with_loss:
            views["loss"] = charts.learning_chart(with_loss, "loss", site.looks)
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
                "metric": metric_words(reported_metric(seen.protocol)),
            }
        )
    return {"method": method, "parts_": parts}


def _identity(record: Any) -> tuple[str, str, str]:
    method = record.method
    parameters = ", ".join(f"{key} = {value}" for key, value in method.parameters.items())
    return method.pruner or "none", parameters, (method.pruner_digest or "")[:16]
