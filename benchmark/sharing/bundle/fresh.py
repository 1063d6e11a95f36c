"""A bundle's method at seeds that its author could not have seen: drawn here, now, from the system's own generator.

A plugin may bring along what it knows of the seeds of a protocol: a mask for each, or weights by which it recognises
them. Made again at those seeds it is perfect; at others it is what it is without that knowledge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from random import SystemRandom
from statistics import fmean

from benchmark.claims import statistics
from benchmark.harness.harness import Harness, Settings
from benchmark.harness.masks import Confinement
from benchmark.planning.plan import Job
from benchmark.protocols.cells import Cell, title
from benchmark.records.schema import ProtocolRef
from benchmark.records.store import Store
from benchmark.records.submissions import write
from benchmark.sharing.bundle.verify import Claimed
from benchmark.sharing.integrity import level_values

Say = Callable[[str, int, int], None]
SEEDS = range(10_000, 10**9)  # no protocol plans these
LEVELS = 2  # at most so many of a method's levels, drawn too
ALPHA = 0.01  # how often an honest bundle is refused here


@dataclass(frozen=True)
class FreshSample:
    """How many cells were trained at fresh seeds, `reasons` against the bundle, and in words what was seen."""

    cells: int = 0
    reasons: tuple[str, ...] = ()
    words: str = "No seed was tried that the author could not have seen."


def at_fresh_seeds(claimed: Claimed, folder: Path, count: int, say: Say) -> FreshSample:
    """Train the method at `count` fresh seeds, in the empty `folder`, and compare with the bundle's means."""
    claims = level_values(claimed.protocol, claimed.submission.name, claimed.records())
    if not count or not claims:
        return FreshSample()
    draw = SystemRandom()
    levels = sorted(draw.sample(sorted(claims), min(LEVELS, len(claims))))
    seeds = tuple(sorted(draw.sample(SEEDS, count)))
    protocol = claimed.protocol.model_copy(update={"seeds": seeds, "dense_seeds": ()})
    named = ProtocolRef(id=protocol.id, version=protocol.version, digest=protocol.digest)
    store, submission = Store(folder), claimed.submission.model_copy(update={"protocol": named})
    write(store, protocol, submission)
    plugins = {claimed.plugin.stem: claimed.plugin}
    harness = Harness(protocol, store, Settings(plugins=plugins, confinement=Confinement(all=True)))
    cells = [Cell(submission.name, level, seed) for seed in seeds for level in levels]
    failed = []
    for number, cell in enumerate(cells):
        harness.run(Job(protocol, (cell,)))
        record = store.read(protocol, cell)
        if record is None or record.status == "failed":
            failed.append(f"{title(cell)}: ends in no network at a seed drawn here: {record and record.reason}")
        say("cells at fresh seeds", number + 1, len(cells))
    found = level_values(protocol, submission.name, store.records(protocol))
    if failed or not found:
        return FreshSample(len(cells) - len(failed), tuple(failed))
    return _judged(claims, found, claimed.protocol.statistics.margins.accuracy_points)


def _judged(claims: Mapping[int, Sequence[float]], found: Mapping[int, Sequence[float]], margin: float) -> FreshSample:
    """Two samples of seeds, level by level: the mean difference against its standard error by the spread over seeds.

    sd: pooled over the claimed seeds of each level. Var = sd^2 (1 / N + sum of (n_l / N)^2 / m_l), for n_l fresh and
    m_l claimed cells at level l and N fresh ones in all. Without spread (one seed, or equal accuracies) the protocol's
    margin stands in for it.
    """
    total = sum(len(values) for values in found.values())
    difference = sum(sum(values) - len(values) * fmean(claims[level]) for level, values in found.items()) / total
    groups = [values for values in claims.values() if len(values) > 1]
    half = margin
    if groups:
        sd, df = statistics.pooled_sd([list(group) for group in groups])
        weights = sum((len(values) / total) ** 2 / len(claims[level]) for level, values in found.items())
        if sd > 0:
            half = statistics.quantile(1 - ALPHA / 2, df) * sd * sqrt(1 / total + weights)
    words = f"{total} cells at seeds drawn here differ from the bundle's means by {difference:+.2f} points"
    bound = f"{half:.2f} points are what seeds explain at {1 - ALPHA:.0%}"
    if abs(difference) > half:
        return FreshSample(total, (f"{words}, and {bound}",), "")
    return FreshSample(total, (), f"{words}; {bound}, so knowledge of the author's seeds worth more is excluded.")
