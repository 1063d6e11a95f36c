"""The claims ledger: what was published, what was measured, the verdict, and how to re-run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from benchmark.published import Published
from benchmark.scoring.observations import Observations
from benchmark.scoring.wording import needed_text
from benchmark.units import unit_name

if TYPE_CHECKING:
    from benchmark.verdicts import Check, Decision

VERDICTS = ("reproduced", "deviates", "inconclusive", "not measured")


def summary(decided: Sequence[tuple[Published, Sequence[Decision]]]) -> str:
    """Counts of verdicts per paper."""
    rows = [
        [
            f"[{paper.paper.title}](#claims-{paper.paper.key}), {paper.paper.authors} {paper.paper.year}",
            *(str(sum(d.verdict == verdict for d in decisions)) for verdict in VERDICTS),
        ]
        for paper, decisions in decided
    ]
    return _table(["claims of", *VERDICTS], rows, ["left", *["right"] * len(VERDICTS)])


def ledger(paper: Published, decisions: Sequence[Decision], seen: Mapping[str, Observations]) -> str:
    """All claims of one paper, decided or not; those of which nothing is measured stand folded behind the others."""
    units = sorted({unit_name(seen[decision.protocol].protocol) for decision in decisions})
    started = [d for d in decisions if any(check.found for check in d.checks)]
    waiting = [d for d in decisions if not any(check.found for check in d.checks)]
    parts = [
        f'### <a id="claims-{paper.paper.key}"></a>{paper.paper.title}\n\n{paper.paper.authors} {paper.paper.year}, '
        f"[arXiv {paper.paper.arxiv}](https://arxiv.org/abs/{paper.paper.arxiv}). Densities are {', '.join(units)}. "
        "Of several quantities in one check the weakest is shown. A crossing is decided by tests of the curve at the "
        "two ends of its window and, against the margin, at every level outside it; the interval printed for it is a "
        "jackknife's.\n",
    ]
    if started:
        headings = ["claim", "statement", "published", "measured", "seeds", "verdict", "run again"]
        title = "How each claim is decided: every check with its rule, window and p value"
        parts += [_table(headings, [_row(decision) for decision in started]), _folded(title, _checks(started))]
    if waiting:
        title = f"{len(waiting)} claim{'s' if len(waiting) > 1 else ''} of which nothing is measured yet"
        table = _table(["claim", "statement", "published", "verdict", "run"], [_waiting_row(d) for d in waiting])
        parts.append(_folded(title, f"{table}\nHow each will be decided:\n\n{_checks(waiting)}"))
    if paper.not_decided:
        parts.append(_folded("Claims that are not decided, and why", _reasons(paper)))
    return "\n".join(parts)


def undecided(papers: Sequence[Published]) -> str:
    """The statements of papers of which no rule decides any; empty if there is no such paper."""
    parts = [
        _folded(f"{p.paper.title}, {p.paper.authors} {p.paper.year}: {len(p.not_decided)}", _reasons(p))
        for p in papers
        if silent(p)
    ]
    if not parts:
        return ""
    return "\n".join(["### Papers of which no rule decides a statement\n", *parts])


def silent(paper: Published) -> bool:
    """Whether a paper states something, and no rule decides any of it."""
    return bool(paper.not_decided) and not paper.claims


def _reasons(paper: Published) -> str:
    left = [[n.id, f"{n.statement} ({n.source})", n.reason] for n in paper.not_decided]
    return _table(["claim", "statement", "reason"], left)


def verdict_text(verdict: str, needed: int | None, provisional: bool = False) -> str:
    """A verdict with what it would take to decide."""
    if verdict != "inconclusive":
        return (f"**{verdict}**" if verdict == "deviates" else verdict) + (", provisional" if provisional else "")
    return f"inconclusive; {needed_text(needed)}"


def _waiting_row(decision: Decision) -> list[str]:
    claim, statement, published, *_, verdict, run = _row(decision)
    return [claim, statement, published, verdict, run]


def _row(decision: Decision) -> list[str]:
    parts = [_brief(check) for check in decision.checks if check.found]
    if len(decision.checks) > 1:
        parts = [f"{_brief(check)}: {check.verdict}" for check in decision.checks if check.found]
    if not all(check.found for check in decision.checks):
        parts.append("not measured")
    if decision.failures:
        parts.append(f"{len(decision.failures)} failed")
    measured = "<br>".join(parts)
    return [
        f'<a id="{decision.claim}"></a>{decision.claim}',
        f"{decision.statement} ({decision.source})",
        decision.published,
        measured,
        decision.seeds,
        verdict_text(decision.verdict, decision.seeds_still_needed, decision.provisional),
        f"`{decision.command}`",
    ]


def _brief(check: Check) -> str:
    """What was measured and where it must lie."""
    return f"{check.measured} (needs {check.window})"


def _checks(decisions: Sequence[Decision]) -> str:
    blocks = []
    for decision in decisions:
        note = f" Note: {decision.note}." if decision.note else ""
        lines = [f"- **{decision.claim}**.{note}", *(f"  - {_check(check)}" for check in decision.checks)]
        lines += [f"  - failed: {failure}" for failure in decision.failures]
        blocks.append("\n".join(lines))
    return "\n".join(blocks) + "\n"


def _check(check: Check) -> str:
    if not check.found:
        return f"{check.rule}: not measured"
    p = "" if check.p_reproduced is None else f", p = {check.p_reproduced:.2g}"
    seeds = f", {len(check.seeds)} seed{'s' if len(check.seeds) > 1 else ''}" if check.seeds else ""
    return f"{check.rule}: {_brief(check)}{seeds}{p}; {verdict_text(check.verdict, check.seeds_still_needed)}"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n</details>\n"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str] | None = None) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    text = tabulate(
        escaped, headers=headings, tablefmt="github", disable_numparse=True, colalign=align or ["left"] * len(headings)
    )
    return text + "\n"
