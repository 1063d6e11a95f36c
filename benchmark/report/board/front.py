"""leaderboard.md: what holds, what does not, which method is best, what is missing. At most 150 lines and 20 KB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, zip_longest

from benchmark.claims.observations import Observations
from benchmark.claims.published import Published
from benchmark.claims.verdicts import Decision
from benchmark.report.board.claims_pages import decided, found_words, is_open, silent
from benchmark.report.board.markdown import ELLIPSIS, as_cell, joined, listed, short, table
from benchmark.report.board.missing import Missing, missing_for
from benchmark.report.board.protocol_pages import percent_text
from benchmark.report.board.questions import QUESTIONS, BestMethods, answers, best_text, gain_text, headline_gains
from benchmark.report.rankings import has_records, progress_words, spread
from benchmark.report.stated import MARK, OWN, PUBLISHED, authors_in_short, marked, own_words, published_and_own
from benchmark.report.taxonomy import COST_GROUPS, is_control, taxonomy

VERDICTS = ("reproduced", "deviates", "contradicted", "inconclusive", "not measured")
# However much is measured, the page stays within these; what is left out stands on the pages behind it.
MOST_BYTES = 20_000
MOST_FINDINGS = 4  # that do not hold, and as many that do
MOST_NAMED = 4  # that do not hold, by name alone
MOST_OWN = 1  # statements of this suite that do not hold
MOST_ROWS = 4  # protocols of one question
MOST_KINDS = 8
MOST_PAPERS = 16
MOST_PROTOCOLS = 12  # that have a link of their own: those of which most is measured
NO_BREAK = "\N{NO-BREAK SPACE}"

INTRO = """\
*Reproduced* means: shown to agree within margin. [What each word means]({folder}/README.md#words): verdict, cell, \
look, margin, alike, place.

Do published numbers hold, and which pruner is better? Every figure follows from committed records and from \
[claims](benchmark/claims/papers) whose rules were fixed before the first run.
"""
BEST = """\
Accuracy in percent, as each paper reports it: mean ± half of the 95 % interval (seeds). Methods are ranked only \
against their cost group, by what finding a mask takes; `alike`: not told apart from the best. Controls are \
not ranked. Tickets minus best at initialization: iterative magnitude pruning against the best method \
of the first two groups, in points, paired over seeds (the best is picked on the same seeds, which the interval does \
not know). Complete rankings behind each protocol.
"""
KINDS = """\
When is the mask decided, and from what data; which weights does the final training start from; does the mask move? \
Declared by pruners, schedules and hooks, and tested against what methods do.
"""
MISSING = """\
Counts are of published claims; what this suite asks of networks that a paper does not train (°) says nothing of the \
paper. To decide the rest: planned runs without a record that open claims need, and hours of one CPU core, for \
networks that nobody trained yet from their operations alone; `lotterybench plan --budget 2h` says what to run first, \
and how long it takes on your machine.
"""


@dataclass(frozen=True)
class Front:
    """What the front page is made of. `folder`: of the pages, as links name it; `heading`: how the page begins."""

    papers: Sequence[tuple[Published, Sequence[Decision]]]
    seen: Mapping[str, Observations]
    folder: str
    heading: str

    def text(self) -> str:
        """The whole page."""
        picture = (
            f"![Published claims of each paper by verdict]({self.folder}/summary.svg)\n\n"
            f"![Forest plot of every measured claim: published value and measured interval]({self.folder}/forest.svg)"
        )
        page = joined(
            [
                f"{self.heading}\n# Leaderboard\n",
                INTRO.format(folder=self.folder),
                "\n".join([self._verdicts(), *self._gains(), self._missing()]),
                f"{picture}\n",
                *self._papers(),
                *self._findings(),
                *self._best(),
                *self._kinds(),
                *self._protocols(),
            ]
        )
        return joined([page, self._claims(MOST_BYTES - len(page.encode()))])

    def _claims_page(self, key: str) -> str:
        return f"{self.folder}/claims/{key}.md"

    def _protocol_page(self, seen: Observations) -> str:
        return f"{self.folder}/protocols/{page_name(seen.protocol.id)}.md"

    @cached_property
    def _rows(self) -> list[tuple[Published, Sequence[Decision], Missing]]:
        """Papers by how much is decided of what they state, then of all that is asked, with what is missing."""
        rows = [(paper, found, missing_for(found, self.seen)) for paper, found in self.papers if found]

        def place(decisions: Sequence[Decision]) -> tuple[int, ...]:
            return tuple(
                -sum(map(counts, part))
                for part in (published_and_own(decisions)[0], decisions)
                for counts in (decided, is_open)
            )

        return sorted(rows, key=lambda row: place(row[1]))

    def _verdicts(self) -> str:
        """How many claims have which verdict, and which do not hold: of papers, then what this suite asks besides."""
        return "\n".join(
            f"- **{what}**: {', '.join(self._counts(every))}{self._not_holding(every)}."
            for what, every in ((PUBLISHED, self._published), (OWN, self._own))
            if every or what == PUBLISHED
        )

    @staticmethod
    def _counts(decisions: Sequence[Decision]) -> list[str]:
        every: list[str] = [d.verdict for d in decisions]
        return [f"{every.count(verdict) or 'none'} {verdict}" for verdict in VERDICTS]

    def _not_holding(self, decisions: Sequence[Decision]) -> str:
        against = _against(decisions)
        more = f" and {len(against) - MOST_NAMED} more" if len(against) > MOST_NAMED else ""
        return f"; do not hold: {', '.join(map(self._link, against[:MOST_NAMED]))}{more}" if against else ""

    @cached_property
    def _published(self) -> list[Decision]:
        return published_and_own(d for _, decisions in self.papers for d in decisions)[0]

    @cached_property
    def _own(self) -> list[Decision]:
        return published_and_own(d for _, decisions in self.papers for d in decisions)[1]

    def _missing(self) -> str:
        """What deciding the rest would take, and where it takes least."""
        whole = missing_for([d for _, decisions in self.papers for d in decisions], self.seen)
        open_ = sorted((row for row in self._rows if row[2].runs), key=lambda row: row[2].core_hours)
        cheapest = [f"[{paper.paper.key}]({self._claims_page(paper.paper.key)}) ({m.hours} h)" for paper, _, m in open_]
        least = f"; least for {', '.join(cheapest[:3])}" if cheapest else ""
        hours = f", about {whole.hours} hours of one CPU core" if whole.runs else ""
        return f"- **Missing** for all open claims: {whole.runs:,} runs{hours}{least}. [By paper](#papers)."

    def _link(self, d: Decision) -> str:
        return f"[{marked(d)}]({self._claims_page(d.paper)}#{d.claim})"

    def _papers(self) -> list[str]:
        rows = self._rows
        cells = [self._paper_row(*row) for row in rows[:MOST_PAPERS]]
        headings = ["claims of", *VERDICTS, f"asked by this suite{MARK}", "to decide the rest"]
        further = self._links("Further papers", (paper for paper, *_ in rows[MOST_PAPERS:]))
        unruled = self._links("No rule decides a statement of", (paper for paper, _ in self.papers if silent(paper)))
        return ["## Papers\n", table(headings, cells, len(headings) - 1), MISSING + further + unruled]

    def _links(self, words: str, papers: Iterable[Published]) -> str:
        """One line that names papers' pages; none without papers."""
        links = [f"[{paper.paper.key}]({self._claims_page(paper.paper.key)})" for paper in papers]
        return f"{words}: {', '.join(links)}.\n" if links else ""

    def _paper_row(self, paper: Published, decisions: Sequence[Decision], missing: Missing) -> list[str]:
        """The paper by key and authors, in one line that does not break: titles stand on the pages."""
        name = f"{authors_in_short(paper.paper.authors)} {paper.paper.year}".replace(" ", NO_BREAK)
        stated, _ = published_and_own(decisions)
        counts = [str(sum(d.verdict == verdict for d in stated) or "") for verdict in VERDICTS]
        link = f"[{paper.paper.key}]({self._claims_page(paper.paper.key)}),{NO_BREAK}{name}"
        return [
            link,
            *counts,
            own_words(decisions),
            f"{missing.runs:,} runs, {missing.hours} h".replace(" ", NO_BREAK) if missing.runs else "",
        ]

    def _findings(self) -> list[str]:
        """Each published claim that does not hold, then those that do, paper by paper in turn; then what does not
        hold of what this suite asks."""
        against = _against(self._published)
        holding = [
            [d for d in published_and_own(decisions)[0] if d.verdict == "reproduced"] for _, decisions in self.papers
        ]
        turns = [d for d in chain.from_iterable(zip_longest(*holding)) if d is not None]
        turns.sort(key=lambda d: not any(d.cells.values()))  # what rests on runs before what is counted
        lines = [self._finding(d) for d in [*against[:MOST_FINDINGS], *turns[:MOST_FINDINGS]]]
        left = max(0, len(against) - MOST_FINDINGS) + max(0, len(turns) - MOST_FINDINGS)
        lines += [f"- {left} more, on the pages of the papers above."] if left else []
        lines += [self._finding(d) for d in _against(self._own)[:MOST_OWN]]
        return ["## Findings\n", "\n".join(lines) or "Nothing is decided yet."]

    def _gains(self) -> list[str]:
        """What iterative magnitude pruning gains over the best method at initialization."""
        found = headline_gains(list(self.seen.values()))
        if not found:
            return []
        parts = [f"{self._at(given)}: {gain_text(given)}" for given in found]
        question = f"{100 * found[0].question:g} %"
        what = (
            f"**IMP minus pruning at initialization**, points of accuracy (seeds), at about {question} of the weights"
        )
        return [f"- {what}: {'; '.join(parts)}."]

    def _at(self, given: BestMethods) -> str:
        link = f"[{given.seen.protocol.id}]({self._protocol_page(given.seen)}#at-{100 * given.question:g})"
        return f"{link} ({percent_text(given.density)})"

    def _finding(self, d: Decision) -> str:
        """One claim in one sentence, with its evidence and a link."""
        numbers = f"Published {short(d.published, 60)}; measured {short(found_words(d), 100)}"
        return f"- **{d.spoken_verdict}** {self._link(d)}: {short(d.statement, 130)}. {numbers}.".replace(
            f"{ELLIPSIS}.", ELLIPSIS
        )

    def _best(self) -> list[str]:
        parts = ["## Which method is best?\n", BEST]
        for question in QUESTIONS:
            found = answers(list(self.seen.values()), question)
            title = f"### At {100 * question:g} % of the weights\n"
            if not found:
                parts.append(f"{title}\nNothing is measured near this density.\n")
                continue
            headings = ["protocol (nearest density)", "dense", *COST_GROUPS, "tickets minus best at initialization"]
            parts.append(f"{title}\n{table(headings, [self._answer(given) for given in found[:MOST_ROWS]])}")
            if more := found[MOST_ROWS:]:
                parts.append(f"Also: {', '.join(self._at(given) for given in more[:MOST_ROWS])}.\n")
        return parts

    def _answer(self, given: BestMethods) -> list[str]:
        dense = spread(given.dense.accuracy, given.seen.protocol.statistics.alpha) if given.dense else ""
        best = [as_cell(best_text(given, group)) for group in COST_GROUPS]
        return [self._at(given), dense, *best, gain_text(given)]

    def _kinds(self) -> list[str]:
        """What kinds of methods there are in the measured protocols that train, and which they are."""
        kinds: dict[str, dict[str, None]] = {}
        groups: dict[str, str] = {}
        for seen in self.seen.values():
            for method in dict.fromkeys(method for method, level, _ in sorted(seen.records) if level):
                if seen.protocol.trains and not is_control(seen.protocol, method):
                    kind = taxonomy(seen, method)
                    kinds.setdefault(kind.words, {})[method] = None
                    groups[kind.words] = kind.cost_group
        if not kinds:
            return []
        order = sorted(kinds, key=lambda words: ([*COST_GROUPS].index(groups[words]), words))  # type: ignore[arg-type]
        first = {groups[words]: words for words in reversed(order)}  # one kind of every cost group at least
        others = [words for words in order if words not in first.values()]
        shown = sorted([*first.values(), *others[: MOST_KINDS - len(first)]], key=order.index)
        rows = [[words, groups[words], as_cell(listed(sorted(kinds[words]), 100))] for words in shown]
        headings = ["kind (decided, data; weights; mask)", "cost group", "methods"]
        return ["## Kinds of methods\n", KINDS, table(headings, rows)]

    def _protocols(self) -> list[str]:
        """What is measured of which protocol, under the anchors that the sections had when this file held them."""
        measured = [seen for seen in self.seen.values() if has_records(seen)]
        most = sorted(measured, key=lambda seen: -len(seen.records))[:MOST_PROTOCOLS]
        links = [
            f'<a id="{seen.protocol.id.replace("/", "")}"></a>[{seen.protocol.id}]({self._protocol_page(seen)}) '
            f"({progress_words(seen)})"
            for seen in most
        ]
        if len(measured) > MOST_PROTOCOLS:
            links.append(f"[{len(measured) - MOST_PROTOCOLS} more]({self.folder}/protocols)")
        ids = _anchors(
            ["how-to-read-this", "methods-overall", "methods-by-density", "not-measured-yet", "earlier-versions"]
        )
        guide = f"{ids}[How to read, methods overall, not measured yet, earlier versions]({self.folder}/README.md)."
        return ["## All pages\n", f"{guide} Protocols: {', '.join(links) or 'none is measured'}.\n"]

    def _claims(self, room: int) -> str:
        """Claims by paper, under the anchors that they had when this file held them, as far as `room` bytes allow:
        first those of which something is measured."""
        shown = [(paper, found) for paper, found in self.papers if found]
        decisions = [d for _, found in shown for d in found]
        measured_first = sorted(decisions, key=lambda d: not any(check.is_known for check in d.checks))
        room -= len(self._claim_links(shown, set()).encode())
        named: set[str] = set()
        for name in (d.claim for d in measured_first):
            room -= len(_anchors([name]))
            if room > 0:
                named.add(name)
        return self._claim_links(shown, named)

    def _claim_links(self, shown: Sequence[tuple[Published, Sequence[Decision]]], claims: set[str]) -> str:
        links = []
        for paper, found in shown:
            key = paper.paper.key
            ids = _anchors([f"claims-{key}", *(d.claim for d in found if d.claim in claims)])
            links.append(f"{ids}[{key}]({self._claims_page(key)})")
        return f"{_anchors(['claims'])}Claims: {', '.join(links)}.\n"


def _against(decisions: Sequence[Decision]) -> list[Decision]:
    return [d for d in decisions if d.verdict in ("deviates", "contradicted")]


def _anchors(names: Sequence[str]) -> str:
    return "".join(f'<a id="{name}"></a>' for name in names)


def page_name(protocol: str) -> str:
    """File name of a protocol's page, without its ending."""
    return protocol.replace("/", "-")
