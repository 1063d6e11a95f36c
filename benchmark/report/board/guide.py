"""docs/board/README.md: how to read the board, methods over all densities, what waits, what was replaced."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.claims.observations import Observations
from benchmark.claims.published import Published
from benchmark.protocols import Protocol
from benchmark.report.board.markdown import as_cell, joined, table
from benchmark.report.board.protocol_pages import cited
from benchmark.report.overall import EXPLAINED, overall, overall_table
from benchmark.report.rankings import finished_and_planned, has_records

LEGEND = """\
# How to read the board

| verdict | meaning |
|:--|:--|
| reproduced | shown to agree: a number inside its margin, or a significant ordering |
| deviates | shown to disagree: the interval outside the margin, or the opposite ordering significant |
| contradicted | deviates, and numbers of the paper itself, or released with it, say the same |
| inconclusive | neither is shown yet; with the next planned look (rules 2), or the further seeds that should decide \
(rules 1) |
| not measured | runs that the claim needs are missing |

<a id="words"></a>**Words.** *Cell*: one run, of a method at one density with one seed. *Margin*: how far from a \
published number still counts as the same; fixed in the protocol before its first run. *Look*: a number of seeds, \
planned before, at which claims are tested. *Alike*: not told apart from the best by a test, which does not say that \
they are equal. *Place*: one density of one protocol at which methods of a cost group are compared. *Cost group*: \
methods whose masks take as much data and training.

A claim is *published*, or *asked by this suite besides* (°): derived from a paper, or its direction \
asked of networks that it does not train. The two are counted apart; a deviation of the second kind is none of the \
paper.

Numbers are decided by two one-sided t tests, orderings by paired one-sided tests, corrected for the other claims \
that they were planned with. A claim with several checks is reproduced only if all are, and deviates if any does. \
Finding no difference is never agreement. Seeds that should decide are counted at 80 % power, if means stay. A \
verdict is provisional while runs that the protocol plans for the claim are still to be made. Margins and error level \
stand in each protocol; protocols of rules 2 are decided at planned numbers of seeds, their looks, and nothing is \
tested before the first ([docs/statistics.md](../statistics.md)). The unit of every test is the seed: draws of a \
control within a seed are averaged first, and comparisons use the same seeds on both sides. Brackets and ± give 95 % \
t intervals over seeds, without the correction for other claims and looks: one may lie in its window while the claim \
is still open.

**The picture.** One row a claim, by the check that its verdict hangs on, in margins. A number holds within one margin \
of the published value, at 0; an ordering, or another bound, to the right of 0, where one margin is the protocol's \
margin of accuracies, or of ratios. Of several quantities the weakest is shown. A share of seeds has no interval.

**Densities.** Each measured density belongs to the nearest of 10, 5, 2 and 1 % of the weights, if it is within a \
factor of 1.6. Of those of one protocol the board shows the one at which most methods are measured, then the nearest.
"""

WAITING = """\
Frozen and ready: `lotterybench run PROTOCOL` measures one, `lotterybench info PROTOCOL` says where each field comes \
from.
"""

EARLIER = """\
Records of these stay committed and checked, and no claim is decided by them. `lotterybench info PROTOCOL@VERSION` \
shows the document.
"""


def guide_page(
    seen: Sequence[Observations], papers: Sequence[Published], earlier: Sequence[tuple[Protocol, int]]
) -> str:
    """The whole page. `earlier`: earlier versions with how many records they have."""
    waiting = [each for each in seen if not has_records(each)]
    current = {each.protocol.id: each.protocol for each in seen}
    return joined([LEGEND, *_overall(seen, papers), *_waiting(waiting), *_earlier(current, earlier)])


def _overall(seen: Sequence[Observations], papers: Sequence[Published]) -> list[str]:
    rows = overall(seen, papers)
    if not rows:
        return []
    headings, cells = overall_table(rows)
    text = table(headings, [[as_cell(cell) for cell in row] for row in cells], 2)
    return [f"## Methods overall\n\n{text}\n{EXPLAINED}\n"]


def _waiting(unmeasured: Sequence[Observations]) -> list[str]:
    """Protocols that nobody has measured yet, one row each."""
    rows = []
    for seen in unmeasured:
        protocol, (_, runs) = seen.protocol, finished_and_planned(seen)
        rows.append([f"`{protocol.id}`", as_cell(protocol.title), cited(protocol), f"{runs:,}"])
    if not rows:
        return ["## Not measured yet\n\nSomething is measured of every protocol.\n"]
    return [f"## Not measured yet\n\n{WAITING}\n{table(['protocol', 'setting', 'paper', 'runs'], rows, 1)}"]


def _earlier(current: dict[str, Protocol], earlier: Sequence[tuple[Protocol, int]]) -> list[str]:
    """Earlier versions that records are committed of: what was measured, and what the current version mends."""
    lines = []
    for old, records in earlier:
        new = current.get(old.id)
        if records and new is not None and new.version > old.version:
            lines.append(f"- `{old.key}`: {records:,} records. Mended since: {as_cell(new.changes or '')}")
    return [f"## Earlier versions\n\n{EARLIER}\n" + "\n".join(lines)] if lines else []
