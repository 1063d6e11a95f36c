"""leaderboard.md: methods by density and every claim's verdict, generated from committed records. No torch.

The same records give the same bytes, so the committed file is itself a test of the committed results.
"""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from benchmark import published
from benchmark.board_words import HEADER, LEGEND, MASKS, NOTE, PLUGINS, RANKS, WAITING
from benchmark.errors import BadInput, EnvironmentProblem
from benchmark.protocol import Protocol
from benchmark.published import Published
from benchmark.records import DENSE
from benchmark.scoring.gathering import all_gathered, gathered
from benchmark.scoring.ledger import ledger, summary, undecided
from benchmark.scoring.mask_standings import empty_table, mask_standings, mask_table
from benchmark.scoring.observations import Observations, failure_text, reported_metric
from benchmark.scoring.overall import EXPLAINED, overall, overall_table
from benchmark.scoring.standing_table import finished_and_planned, has_records, progress_words, spread, standing_table
from benchmark.scoring.standings import Standing, other_measured, planned, shown_levels, standing, standings
from benchmark.scoring.wording import METRICS
from benchmark.store import Store
from benchmark.submissions import value_text
from benchmark.units import density_text, unit_name
from benchmark.verdicts import decide_paper

MOST_OTHER_LEVELS = 40  # beyond this the levels that the paper names must do


def render(store: Store, protocols: Sequence[Protocol], extra: Sequence[Store] = ()) -> str:
    """The whole file. Deterministic; an empty results folder gives a board of what is not measured.

    `extra`: further results folders that are read too. Raises BadInput if their plugins contradict each other.
    """
    papers = published.load_all()
    seen = all_gathered(protocols, [store, *extra])
    decided = [(paper, decide_paper(paper, seen)) for paper in papers]
    shown = [(paper, decisions) for paper, decisions in decided if decisions]
    shown.sort(key=lambda each: not any(check.found for d in each[1] for check in d.checks))  # measured papers first
    parts = [HEADER, *_other_folders(extra), summary(shown), LEGEND, *_overall(list(seen.values()), papers)]
    parts.append("## Methods by density\n")
    parts += [board(each, papers) for each in seen.values() if has_records(each)]
    parts += _waiting([each for each in seen.values() if not has_records(each)])
    parts += ["## Claims\n", *(ledger(paper, decisions, seen) for paper, decisions in shown), undecided(papers)]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts if part)


def _waiting(unmeasured: Sequence[Observations]) -> list[str]:
    """Protocols that nobody has measured yet, one row each."""
    if not unmeasured:
        return []
    rows = []
    for seen in unmeasured:
        protocol, (_, runs) = seen.protocol, finished_and_planned(seen)
        rows.append([f"`{protocol.id}`", as_cell(protocol.title), _cited(protocol), f"{runs:,}"])
    return [f"### Not measured yet\n\n{WAITING}\n{table(['protocol', 'setting', 'paper', 'runs'], rows, 1)}"]


def _cited(protocol: Protocol) -> str:
    paper = protocol.paper
    return f"{paper.authors} {paper.year}, [arXiv {paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})"


def render_touched(store: Store, protocols: Sequence[Protocol], extra: Sequence[Store]) -> str:
    """The standings of those protocols alone that `extra` folders hold records of. Raises BadInput if there is none."""
    touched = [protocol for protocol in protocols if any(other.records(protocol) for other in extra)]
    if not touched:
        folders = ", ".join(str(other.root) for other in extra)
        raise BadInput(folders, "holds no record of a protocol of this package", "Give the --results folder of a run")
    papers = published.load_all()
    return "\n".join(board(gathered(protocol, [store, *extra]), papers) for protocol in touched)


def _other_folders(extra: Sequence[Store]) -> list[str]:
    return [f"**With records from {', '.join(f'`{other.root}`' for other in extra)}.**\n"] if extra else []


def write(store: Store, protocols: Sequence[Protocol], path: Path, extra: Sequence[Store] = ()) -> None:
    """Write the board. Raises EnvironmentProblem if `path` cannot be written."""
    content = render(store, protocols, extra).encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EnvironmentProblem(
            str(path), f"cannot be written ({error.strerror or error})", "Give another path"
        ) from error


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: int = 0) -> str:
    """A GitHub table; the last `right` columns are aligned right. Cells are text already."""
    align = ["left"] * (len(headings) - right) + ["right"] * right
    return tabulate(rows, headers=headings, tablefmt="github", disable_numparse=True, colalign=align) + "\n"


def as_cell(text: str) -> str:
    """An author's words inside a table of a Markdown page: one line, no markup."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|").replace("`", "'")


def _overall(seen: Sequence[Observations], papers: Sequence[Published]) -> list[str]:
    rows = overall(seen, papers)
    if not rows:
        return []
    headings, cells = overall_table(rows)
    text = table(headings, [[as_cell(cell) for cell in row] for row in cells], 2)
    return [f"## Methods overall\n\n{text}\n{EXPLAINED}\n"]


def board(seen: Observations, papers: Sequence[Published]) -> str:
    """Standings of one protocol."""
    protocol = seen.protocol
    levels = shown_levels(protocol, papers)
    finished, _ = finished_and_planned(seen)
    what = "Nothing is trained, so there is no accuracy: the masks themselves are measured"
    if protocol.trains:
        what = f"Accuracy: {METRICS[reported_metric(protocol)]}, in percent, as the paper reports it"
    parts = [
        f"### {protocol.id}\n\n{protocol.title} ({_cited(protocol)}).\n"
        f"{progress_words(seen)}. {what}. Columns: {unit_name(protocol)}.\n"
    ]
    if finished and not protocol.trains:
        parts += [_masks(seen, levels), *_plugins(seen)]
    elif finished:
        parts += [_overview(seen, levels), *_plugins(seen), _details(seen, levels)]
    else:
        parts.append(f"Not measured yet. Start with `lotterybench run {protocol.argument}`.\n")
    if seen.failures:
        lines = "\n".join(f"- {failure_text(protocol, record)}" for record in seen.failures)
        parts.append(f"**Failed runs**, which count against every claim that needs them:\n\n{lines}\n")
    return "\n".join(parts)


def _masks(seen: Observations, levels: Sequence[int]) -> str:
    """What a protocol that trains nothing measured: collapse, and properties of the scores."""
    headings, rows = mask_table(seen, mask_standings(seen))
    layers = len(seen.protocol.pruning.layer_sizes)
    by_level = table(*empty_table(seen, levels), len(levels))
    return f"{table(headings, rows)}\n{MASKS}\nEmpty layers of {layers}, mean over seeds (seeds):\n\n{by_level}"


def _overview(seen: Observations, levels: Sequence[int]) -> str:
    protocol, alpha = seen.protocol, seen.protocol.statistics.alpha
    by_level = {level: {s.method: s for s in standings(seen, level)} for level in levels}
    rows = []
    for method in protocol.all_methods:
        cells = []
        for level in levels:
            found = by_level[level].get(method)
            text = "..." if planned(protocol, method, level) else ""
            if found:
                best = found.rank == 1 and len(by_level[level]) > 1
                text = f"**{spread(found.accuracy, alpha)}**" if best else spread(found.accuracy, alpha)
            cells.append(text)
        mark = seen.marks.get(method)
        rows.append([as_cell(f"{method} ({mark})") if mark else method, *cells])
    dense = standing(seen, DENSE, 0)
    reference = f"Dense network: {spread(dense.accuracy, alpha)}" if dense else "Dense network: not measured"
    if dense and dense.early_stop_step:
        reference += f", early stop at step {spread(dense.early_stop_step, alpha, 0)}"
    headings = ["method", *(density_text(protocol, level) for level in levels)]
    return f"{table(headings, rows, len(levels))}\n{reference}.\n{NOTE}"


def _plugins(seen: Observations) -> list[str]:
    """What the methods of plugins are."""
    rows = []
    for name, submission in seen.submissions.items():
        values = ", ".join(f"{key} = {value_text(value)}" for key, value in sorted(submission.parameters.items()))
        schedule = submission.method.schedule
        cut = f"{submission.method.allocation}, {schedule.rounds} round{'s' if schedule.rounds != 1 else ''}"
        rows.append(
            [name, values or "defaults", submission.needs, cut, as_cell(submission.paper), as_cell(seen.marks[name])]
        )
    headings = ["method", "hyper-parameters", "needs", "cut", "paper", "trust"]
    return [f"{PLUGINS}\n{table(headings, rows)}"] if rows else []


def _details(seen: Observations, levels: Sequence[int]) -> str:
    protocol = seen.protocol
    parts = []
    for level in levels:
        if found := standings(seen, level):
            title = f"Ranking at {density_text(protocol, level)} ({unit_name(protocol)}), with costs"
            parts.append(_folded(title, _ranking(seen, found, ranked=True)))
    others = other_measured(seen, levels)
    if others and len(protocol.level_table) <= MOST_OTHER_LEVELS:
        parts.append(_folded("All other measured densities", _ranking(seen, others, ranked=False)))
    if parts:
        parts.append(RANKS)
    return "\n".join(parts)


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n</details>\n"


def _ranking(seen: Observations, found: Sequence[Standing], ranked: bool) -> str:
    headings, rows = standing_table(seen, found, ranked)
    return table(headings, [[as_cell(text) for text in row] for row in rows], len(headings) - 2)
