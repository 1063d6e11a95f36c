"""One page a paper: its claims, decided ones first, each with its statement, numbers, verdict and how it is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.claims.observations import Observations
from benchmark.claims.published import Published
from benchmark.claims.verdicts import CheckResult, Decision
from benchmark.claims.wording import needed_text
from benchmark.protocols.cells import unit_name
from benchmark.report.board.markdown import folded, joined
from benchmark.report.stated import NOT_OF_THE_PAPER, is_own, marked, published_and_own

UNITS = """\
Of several quantities in one check the weakest is shown. A crossing is decided by tests of the curve at the two ends \
of its window and, against the margin, at every level outside it; the interval printed for it is a jackknife's.
"""


def claims_page(paper: Published, decisions: Sequence[Decision], seen: Mapping[str, Observations]) -> str:
    """All statements of one paper: decided claims, open ones, those of which nothing is measured, and what no rule
    decides."""
    p = paper.paper
    arxiv = f"[arXiv {p.arxiv}](https://arxiv.org/abs/{p.arxiv})" if p.arxiv[:1].isdigit() else f"arXiv: {p.arxiv}"
    units = sorted({unit_name(seen[decision.protocol].protocol) for decision in decisions})
    densities = f"Densities are {', '.join(units)}. {UNITS}" if decisions else ""
    parts = [
        f'# <a id="claims-{p.key}"></a>{p.title}\n\n{p.authors} {p.year}, {arxiv}. {densities}',
        *map(_counts, published_and_own(decisions), ("Claims", "Asked by this suite")),
    ]
    started = [d for d in decisions if any(check.is_known for check in d.checks)]
    for title, wanted in (("Decided", True), ("Open", False)):
        if shown := [d for d in started if decided(d) == wanted]:
            parts += [f"## {title}\n", *(_claim(d) for d in shown)]
    if waiting := [d for d in decisions if d not in started]:
        parts += [f"## Nothing measured yet ({len(waiting)})\n", *(_claim(d) for d in waiting)]
    if paper.not_decided:
        reasons = [f'- <a id="{n.id}"></a>**{n.id}** {n.statement} ({n.source}). {n.reason}' for n in paper.not_decided]
        parts += ["## Not decided by any rule, and why\n", "\n".join(reasons)]
    return joined(parts)


def _counts(decisions: Sequence[Decision], what: str) -> str:
    """How many claims have which verdict, those that are decided by name; nothing without claims."""
    parts = []
    for verdict in dict.fromkeys(d.verdict for d in sorted(decisions, key=decided, reverse=True)):
        same = [d for d in decisions if d.verdict == verdict]
        names = ", ".join(f"[{marked(d)}](#{d.claim})" for d in same)
        parts.append(f"{len(same)} {verdict}{f' ({names})' if verdict != 'not measured' else ''}")
    return f"**{what}:** {'; '.join(parts)}.\n" if parts else ""


def decided(decision: Decision) -> bool:
    """Whether a claim has a verdict and not only measurements."""
    return decision.verdict not in ("inconclusive", "not measured")


def is_open(decision: Decision) -> bool:
    """Whether something is measured of a claim, and no verdict follows yet."""
    return decision.verdict == "inconclusive"


def silent(paper: Published) -> bool:
    """Whether a paper states something, and no rule decides any of it."""
    return bool(paper.not_decided) and not paper.claims


def verdict_text(verdict: str, needed: str, provisional: bool = False) -> str:
    """A verdict with what it would take to decide, in words."""
    if verdict != "inconclusive":
        return (f"**{verdict}**" if verdict == "deviates" else verdict) + (", provisional" if provisional else "")
    return f"inconclusive; {needed}"


def _claim(decision: Decision) -> str:
    """Statement, published, measured, verdict, command: one line each; how it is decided folded behind them."""
    verdict = verdict_text(decision.verdict, decision.needed_words, decision.provisional)
    lines = [
        f'### <a id="{decision.claim}"></a>{marked(decision)}: {verdict}\n',
        *([f"*{NOT_OF_THE_PAPER[:1].upper()}{NOT_OF_THE_PAPER[1:]}.*\n"] if is_own(decision) else []),
        f"{decision.statement} ({decision.source})\n",
        f"- published: {decision.published}",
    ]
    if measured := measured_parts(decision):
        lines += [f"- measured ({decision.seeds_words}): {measured[0]}", *(f"  - {part}" for part in measured[1:])]
    lines.append(f"- run again: `{decision.command}`\n")
    return "\n".join([*lines, folded("How it is decided", _checks(decision))])


def measured_parts(decision: Decision) -> list[str]:
    """What was measured and where it must lie, check by check; nothing where nothing is."""
    known = [check for check in decision.checks if check.is_known]
    parts = [f"{_brief(check)}{f': {check.verdict}' if len(decision.checks) > 1 else ''}" for check in known]
    if parts and len(known) < len(decision.checks):
        parts.append(f"not measured: {len(decision.checks) - len(known)} of {len(decision.checks)} checks")
    if decision.failures:
        parts.append(f"{len(decision.failures)} runs failed")
    return parts


def found_words(decision: Decision) -> str:
    """What was measured, in one line: of a claim that deviates the checks that do, else every check; behind a number
    that is held against a bound other than 0, what it needs."""
    against = [check for check in decision.checks if check.verdict == "deviates"]
    return "; ".join(dict.fromkeys(f"{check.measured}{_bound_words(check)}" for check in against or decision.checks))


def _bound_words(check: CheckResult) -> str:
    bounds = [bound for bound in check.bounds if bound is not None]
    return f", needs {check.window}" if len(bounds) == 1 and bounds[0] != 0 else ""


def _brief(check: CheckResult) -> str:
    return f"{check.measured} (needs {check.window})"


def _checks(decision: Decision) -> str:
    lines = [f"Note: {decision.note}.\n"] if decision.note else []
    lines += [f"- {_check(check, decision)}" for check in decision.checks]
    lines += [f"- failed: {failure}" for failure in decision.failures]
    return "\n".join(lines)


def _check(check: CheckResult, decision: Decision) -> str:
    if not check.is_known:
        return f"{check.rule}: not measured"
    p = f", {check.untested}" if check.untested else ""
    if check.verdict == "deviates" and check.p_deviates is not None:
        p = f", p = {check.p_deviates:.2g} against"
    elif check.p_reproduced is not None:
        p = f", p = {check.p_reproduced:.2g}"
    seeds = f", {len(check.seeds)} seed{'s' if len(check.seeds) > 1 else ''}" if check.seeds else ""
    needed = needed_text(check.seeds_still_needed, decision.looks_left, not decision.runs_missing)
    return f"{check.rule}: {_brief(check)}{seeds}{p}; {verdict_text(check.verdict, needed)}"
