"""Which claims hold, decided together at planned looks (rules 2). Pure functions of p values' sources.

Claims of one protocol and one section of its paper were planned together, so they are corrected together. They form
chains: a claim that names another one under `after` is tested once that one holds, at the level that it leaves behind
(a size after the ordering that it is the size of). At a look, with m chains not exhausted, the first open claim of each
is tested at the level that the look has for a test of alpha / m (Holm's procedure; Bretz et al. 2009, doi
10.1002/sim.3495, and over looks Maurer & Bretz 2013, doi 10.1080/19466315.2013.807748). What was decided at a look
stays decided. That claims deviate is tested in the same way, without chains. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.claims import statistics
from benchmark.claims.evidence import Evidence, Verdict
from benchmark.claims.looks import nominal_levels
from benchmark.claims.observations import Observations
from benchmark.claims.published import Claim
from benchmark.claims.rules.base import Rule
from benchmark.protocols import Protocol


@dataclass
class Judged:
    """A claim as the looks up to now leave it.

    `rows`: the evidence on each check at the last look that was reached, or on the seeds there are before the first.
    `look`: its number, from 1; 0 before the first. `level_for`, `level_against`: levels of the last tests.
    `seeds_done`: how many of the protocol's first seeds have everything. `waits_for`: the claim whose test comes first;
    `in_vain`: whether that one, or one before it, can hold no more.
    """

    claim: Claim
    rows: tuple[Evidence, ...] = ()
    look: int = 0
    level_for: float = 0.0
    level_against: float = 0.0
    verdict: Verdict | None = None
    seeds_done: int = 0
    waits_for: str | None = None
    in_vain: bool = False

    @property
    def p_for(self) -> float:
        """Every check holds."""
        return max(e.p_reproduced for e in self.rows)

    @property
    def p_against(self) -> float:
        """Some check does not, corrected for their number."""
        return min(self.each_against)

    @property
    def each_against(self) -> list[float]:
        """The same by check."""
        return statistics.holm([e.p_deviates for e in self.rows])

    @property
    def failed(self) -> bool:
        """Whether a run failed, which forbids `reproduced`."""
        return any(e.failures for e in self.rows)


@dataclass
class Family:
    """Claims of one protocol and section."""

    protocol: Protocol
    claims: Sequence[Claim]
    judged: dict[str, Judged] = field(default_factory=dict)

    def judge(self, observations: Mapping[str, Observations]) -> Mapping[str, Judged]:
        """Every claim after all looks that its records reach."""
        looks = self.protocol.statistics.looks
        usable = [claim for claim in self.claims if claim.cells.keys() <= observations.keys()]
        self.judged = {claim.id: Judged(claim, seeds_done=_seeds_done(claim, observations)) for claim in self.claims}
        looked_into = {self.protocol.id, *(name for claim in usable for name in claim.cells)}
        fewest_open = max((j.seeds_done for j in self.judged.values()), default=0)
        for number, look in enumerate(looks, start=1):
            if look.seeds > fewest_open:
                break
            # Another protocol goes on being measured: a look that took all its seeds would be another test each time.
            view = {name: observations[name].at_look(look.seeds) for name in looked_into}
            reached = [
                judged
                for claim in usable
                if (judged := self.judged[claim.id]).verdict is None and judged.seeds_done >= look.seeds
            ]
            for judged in reached:
                judged.rows, judged.look = _evidence(judged.claim, view), number
            self._test_for(reached, number)
            self._test_against(reached, number)
        for claim in usable:
            judged = self.judged[claim.id]
            if not judged.rows:
                judged.rows = _evidence(claim, observations)
            if claim.after is not None and self.judged[claim.after].verdict != "reproduced":
                judged.waits_for, judged.in_vain = claim.after, self._is_shut(claim.after)
        return self.judged

    def _is_shut(self, gate: str) -> bool:
        """Whether a claim, or one that it waits for, deviates, or has no planned look left at which it could hold."""
        judged, last = self.judged[gate], self.protocol.statistics.looks[-1].seeds
        if judged.verdict is not None:
            return judged.verdict == "deviates"
        before = judged.claim.after
        return judged.seeds_done >= last or (before is not None and self._is_shut(before))

    def _heads(self) -> list[Judged]:
        """The first claim of each chain that is not shown to hold; a claim with two followers starts two chains."""
        followed = {claim.after for claim in self.claims}
        heads: dict[str, Judged] = {}
        for last in (claim for claim in self.claims if claim.id not in followed):
            chain = [last]
            while (gate := chain[0].after) is not None:
                chain.insert(0, self.judged[gate].claim)
            head = next((c for c in chain if self.judged[c.id].verdict != "reproduced"), None)
            if head is not None:
                heads[last.id] = self.judged[head.id]
        return list(heads.values())

    def _test_for(self, reached: Sequence[Judged], number: int) -> None:
        plan = self.protocol.statistics
        while heads := self._heads():
            level = nominal_levels(plan.looks, plan.alpha / len(heads))[number - 1]
            passed = None
            for judged in heads:
                if judged in reached and judged.verdict is None:
                    judged.level_for = level
                    if judged.p_for <= level and not judged.failed:
                        passed = judged
            if passed is None:
                return
            passed.verdict = "reproduced"

    def _test_against(self, reached: Sequence[Judged], number: int) -> None:
        plan = self.protocol.statistics
        while True:
            left = sum(1 for judged in self.judged.values() if judged.verdict != "deviates")
            open_ = [judged for judged in reached if judged.verdict is None]
            if not open_:
                return
            level = nominal_levels(plan.looks, plan.alpha / left)[number - 1]
            for judged in open_:
                judged.level_against = level
            worst = min(open_, key=lambda judged: judged.p_against)
            if worst.p_against > level:
                return
            worst.verdict = "deviates"


def families(claims: Sequence[Claim], protocols: Mapping[str, Protocol]) -> list[Family]:
    """The claims of one paper that are decided by rules 2, by protocol and section; not those that need no seed."""
    groups: dict[tuple[str, str], list[Claim]] = {}
    for claim in claims:
        by_looks = claim.protocol in protocols and protocols[claim.protocol].statistics.rules == 2
        if by_looks and any(claim.cells.values()):
            groups.setdefault((claim.protocol, claim.section), []).append(claim)
    return [Family(protocols[name], group) for (name, _), group in groups.items()]


def _evidence(claim: Claim, observations: Mapping[str, Observations]) -> tuple[Evidence, ...]:
    return tuple(rule.evaluate(observations[claim.protocol], observations) for rule in claim.checks)


def _seeds_done(claim: Claim, observations: Mapping[str, Observations]) -> int:
    """How many seeds, in the order of the protocol's, have every cell of every check; of other protocols that checks
    look into, as many seeds in their own order, or all that there are."""
    own = observations[claim.protocol]
    done = _first_complete(own, [(rule, rule.needed_cells) for rule in claim.checks])
    for name in claim.cells.keys() & observations.keys() - {claim.protocol}:
        theirs = observations[name]
        others = [(rule, other) for rule in claim.checks if (other := rule.other_protocol) is not None]
        complete = _first_complete(theirs, [(rule, points.cells) for rule, (where, points) in others if where == name])
        done = done if complete == len(theirs.protocol.seeds) else min(done, complete)
    return done


def _first_complete(seen: Observations, asked: Sequence[tuple[Rule, Iterable[tuple[str, int]]]]) -> int:
    """How many seeds of a protocol, from its first on, have every cell that rules need of it."""
    done = [frozenset(seen.complete_seeds(rule.metric, cells)) for rule, cells in asked]
    places = (place for place, seed in enumerate(seen.protocol.seeds) if not all(seed in seeds for seeds in done))
    return next(places, len(seen.protocol.seeds))
