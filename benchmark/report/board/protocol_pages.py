"""One page a protocol that something is measured of: methods by density, what they are, rankings with costs."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.claims.observations import Observations, failure_text, reported_metric
from benchmark.claims.published import Published
from benchmark.claims.wording import metric_words, percent
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, density_text, method_words, unit_name
from benchmark.records.submissions import value_text
from benchmark.report.analysis_tables import NOTE as NUMBERS_NOTE
from benchmark.report.analysis_tables import analysis_tables
from benchmark.report.board.markdown import as_cell, as_foreign, folded, joined, table
from benchmark.report.board.questions import QUESTIONS, answer, gain_text
from benchmark.report.mask_rankings import empty_table, mask_standings, mask_table, share_table
from benchmark.report.multiply_adds import MULTIPLY_ADDS, tells_more
from benchmark.report.rankings import (
    Standing,
    finished_and_planned,
    other_measured,
    planned,
    progress_words,
    shown_levels,
    spread,
    standing,
    standing_table,
    standings,
)
from benchmark.report.taxonomy import is_control, taxonomy

NOTE = """\
Mean ± half of the 95 % interval (seeds). Bold: in the first group of its cost group at that density. `...`: still to \
be measured; empty: not part of the protocol. Kind: when the mask is decided, from what data, those of a hook \
included; the weights that the final training starts from; whether the mask moves.
"""

PLUGINS = """\
Methods of plugins. `reported`: measured by whoever sent it; `verified`: cells measured again by somebody else, and
found equivalent.
"""

MASKS = """\
Whole compression: the largest measured density at which no layer is empty. Slope: of the logarithm of a layer's mean
score on that of its size, where the whole network is scored; -1 if every layer's scores have one sum. Error at units:
the largest relative difference between the scores that enter and leave a hidden unit.
"""

RANKS = """\
Methods are ranked within their cost group, from the highest mean down; a rank is a group of methods of which no two \
are told apart (paired t tests, Holm's correction over all pairs of the cost group), and the next begins with the \
first that is told apart from one of them. Controls are not ranked. Mask steps: updates spent on networks that only \
served to find the mask.
"""

MOST_OTHER_LEVELS = 40  # beyond this the levels that the paper names must do


def protocol_page(seen: Observations, papers: Sequence[Published], heading: str = "#") -> str:
    """What is measured of one protocol. `heading`: the mark of the page's title, `##` where it is part of another."""
    protocol = seen.protocol
    levels = shown_levels(protocol, papers)
    finished, _ = finished_and_planned(seen)
    what = "Nothing is trained, so there is no accuracy: the masks themselves are measured"
    if protocol.trains:
        as_reported = ", as the paper reports it" if of_a_paper(protocol) else ""
        what = f"Accuracy: {metric_words(reported_metric(protocol))}, in percent{as_reported}"
    if protocol.measures == "analysis":
        what = "What is measured are analyses of networks or masks, which have no record of their own here"
    densities = "weights remaining"
    if of_a_paper(protocol) and protocol.reports_density_as != "percent-remaining":
        densities = f"{unit_name(protocol)}, as the paper has it, and weights remaining"
    parts = [
        f"{heading} {protocol.id}\n\n{protocol.title} ({cited(protocol)}).\n"
        f"{progress_words(seen)}. {what}. Densities: {densities}.\n"
    ]
    if finished and protocol.measures == "analysis":
        parts.append(_analyses(seen))
    elif finished and not protocol.trains:
        parts += [_masks(seen, levels), *_plugins(seen)]
    elif finished:
        parts += [_overview(seen, levels), *_plugins(seen), _details(seen, levels)]
    else:
        parts.append(f"Not measured yet. Start with `lotterybench run {protocol.argument}`.\n")
    if seen.failures:
        lines = "\n".join(f"- {as_foreign(failure_text(protocol, record))}" for record in seen.failures)
        parts.append(f"**Failed runs**, which count against every claim that needs them:\n\n{lines}\n")
    return joined(parts)


def of_a_paper(protocol: Protocol) -> bool:
    """Whether a paper's setting; else this suite's own."""
    return protocol.paper.key != "suite"


def column_text(protocol: Protocol, level: int) -> str:
    """A level as a column of a page: the share of weights that remain, behind the paper's own unit where it has one."""
    left = percent_text(protocol.level_table[level].density)
    if not of_a_paper(protocol):
        return left
    own = density_text(protocol, level)
    return own if protocol.reports_density_as == "percent-remaining" else f"{own} ({left})"


def percent_text(density: float) -> str:
    """A share of the weights in two significant digits, never with an exponent: 0.9 %, 98 %, 100 %."""
    return f"{percent(density, 2)} %"


def cited(protocol: Protocol) -> str:
    """Authors and year of the protocol's paper, with its address."""
    paper = protocol.paper
    arxiv = f", [arXiv {paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})" if paper.arxiv[:1].isdigit() else ""
    return f"{paper.authors} {paper.year}{arxiv}"


def _masks(seen: Observations, levels: Sequence[int]) -> str:
    """What a protocol that trains nothing measured: collapse, and properties of the scores."""
    headings, rows = mask_table(seen, mask_standings(seen))
    layers = len(seen.protocol.pruning.layer_sizes)
    by_level = table(*empty_table(seen, levels), len(levels))
    parts = [f"{table(headings, rows)}\n{MASKS}\nEmpty layers of {layers}, mean over seeds (seeds):\n\n{by_level}"]
    if tells_more(seen.protocol):
        parts.append(f"{MULTIPLY_ADDS}\n{table(*share_table(seen, levels), len(levels))}")
    return joined(parts)


def _analyses(seen: Observations) -> str:
    """Every number that analyses found, by density, and what the analyses are."""
    parts = [f"{found.title}:\n\n{table(found.headings, found.rows, len(found.headings) - 1)}" for found in
             analysis_tables(seen)]  # fmt: skip
    lines = [f"- {name}: {method_words(seen.protocol, name)}" for name in seen.protocol.analyses]
    return joined([*parts, NUMBERS_NOTE, "\n".join(lines)])


def _overview(seen: Observations, levels: Sequence[int]) -> str:
    """Methods by density, then controls."""
    protocol, alpha = seen.protocol, seen.protocol.statistics.alpha
    by_level = {level: {s.method: s for s in standings(seen, level)} for level in levels}
    rows = []
    for method in sorted(protocol.all_methods, key=lambda method: is_control(protocol, method)):
        cells = []
        for level in levels:
            found = by_level[level].get(method)
            text = "..." if planned(protocol, method, level) else ""
            if found:
                text = f"**{spread(found.accuracy, alpha)}**" if found.rank == 1 else spread(found.accuracy, alpha)
            cells.append(text)
        mark = seen.marks.get(method)
        name = f"{method} ({as_foreign(mark)})" if mark else method
        rows.append([name, taxonomy(seen, method).words, *cells])
    dense = standing(seen, DENSE, 0)
    reference = f"Dense network: {spread(dense.accuracy, alpha)}" if dense else "Dense network: not measured"
    if dense and dense.early_stop_step:
        reference += f", early stop at step {spread(dense.early_stop_step, alpha, 0)}"
    headings = ["method", "kind", *(column_text(protocol, level) for level in levels)]
    return f"{table(headings, rows, len(levels))}\n{reference}.\n\n{NOTE}"


def _plugins(seen: Observations) -> list[str]:
    """What the methods of plugins are."""
    rows = []
    for name, submission in seen.submissions.items():
        values = ", ".join(f"{key} = {value_text(value)}" for key, value in sorted(submission.parameters.items()))
        schedule = submission.method.schedule
        cut = f"{submission.method.allocation}, {schedule.rounds} round{'s' if schedule.rounds != 1 else ''}"
        rows.append(
            [
                name,
                values or "defaults",
                submission.needs,
                cut,
                as_foreign(submission.paper),
                as_foreign(seen.marks[name]),
            ]
        )
    headings = ["method", "hyper-parameters", "needs", "cut", "paper", "trust"]
    return [f"{PLUGINS}\n{table(headings, rows)}"] if rows else []


def _details(seen: Observations, levels: Sequence[int]) -> str:
    """A ranking at each density that the paper names and at each that the board asks for; then all other densities."""
    asked = [given for question in QUESTIONS if (given := answer(seen, question))]
    parts = [RANKS, MULTIPLY_ADDS] if tells_more(seen.protocol) else [RANKS]
    for level in sorted({*levels, *(given.level for given in asked)}):
        if not (found := standings(seen, level)):
            continue
        anchors = "".join(f'<a id="at-{100 * g.question:g}"></a>' for g in asked if g.level == level)
        left = f"{percent_text(seen.protocol.level_table[level].density)} of the weights"
        title = f"Ranking at {density_text(seen.protocol, level)} ({unit_name(seen.protocol)}: {left}), with costs"
        gains = [f"\nTickets minus the best at initialization: {text}." for g in asked if g.level == level
                 and (text := gain_text(g))]  # fmt: skip
        ranking = _ranking(seen, found, ranked=True) + "".join(gains[:1])
        parts.append(f"{anchors}{folded(title, ranking, opened=bool(anchors))}")  # where the board's links lead
    others = other_measured(seen, levels)
    if others and len(seen.protocol.level_table) <= MOST_OTHER_LEVELS:
        parts.append(folded("All other measured densities", _ranking(seen, others, ranked=False)))
    return joined(parts)


def _ranking(seen: Observations, found: Sequence[Standing], ranked: bool) -> str:
    headings, rows = standing_table(seen, found, ranked)
    cells = [
        [(as_foreign if s.mark and text == s.label else as_cell)(text) for text in row]
        for s, row in zip(found, rows, strict=True)
    ]
    return table(headings, cells, len(headings) - (3 if ranked else 2))
