"""How many networks are trained side by side on a GPU: found by trying, remembered in records. No torch.

Where nothing was measured nobody knows: layers that leave a GPU idle alone fill it together, and whether sixteen are
faster than eight depends on the network, the GPU and its memory. So as long as throughput rose by a tenth when the
group was last doubled, it is doubled again; then the smallest group that comes near the best is used. Records say how
large their group was, how long it took, and how many did not fit, so the next run goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

MOST = 64  # networks that are tried side by side
RISE = 1.1  # times the throughput that makes a further doubling worth trying
NEARLY = 0.9  # of the best throughput; a larger group only ends later, and loses more if it is killed


@dataclass(frozen=True)
class Widths:
    """What is known of one protocol on one device: seconds of an update by the size of the group.

    `first`: the size to begin with, a guess. `too_many`: the fewest that did not fit into memory.
    """

    seconds: Mapping[int, float] = field(default_factory=dict)
    first: int = 1
    too_many: int | None = None

    @property
    def most(self) -> int:
        """No more fit, as far as is known."""
        return MOST if self.too_many is None else max(1, min(MOST, self.too_many - 1))

    @property
    def exploring(self) -> bool:
        """Whether a larger group than any so far is to be tried."""
        return bool(self.seconds) and self.width > max(self.seconds)

    @property
    def width(self) -> int:
        """How many to train side by side next."""
        if not self.seconds:
            return min(self.first, self.most)
        rates = {size: size / took for size, took in self.seconds.items() if took > 0}
        if not rates:
            return min(self.first, self.most)
        widest = max(rates)
        narrower = max((rate for size, rate in rates.items() if size <= widest / 2), default=0.0)
        if rates[widest] >= RISE * narrower and 2 * widest <= self.most:
            return 2 * widest
        best = max(rates.values())
        enough = [size for size, rate in rates.items() if rate >= NEARLY * best]
        return min(*enough, self.most)

    def __str__(self) -> str:
        """In words, for people: `8, exploring; 16 did not fit`."""
        how = "" if self.seconds and not self.exploring else ", exploring" if self.seconds else ", to begin with"
        return f"{self.width}{how}{f'; {self.too_many} did not fit' if self.too_many else ''}"

    def measured(self, size: int, seconds: float, too_many: int | None = None) -> Widths:
        """With one more group: what an update of it took, and how many had not fitted before."""
        known = min((n for n in (self.too_many, too_many) if n is not None), default=None)
        return replace(self, seconds={**self.seconds, size: seconds}, too_many=known)


def too_many_in(words: str | None) -> int | None:
    """How many did not fit, as a record's provenance says it: `5 side by side, stacked; 10 did not fit into memory`."""
    _, semicolon, rest = (words or "").partition("; ")
    return int(rest.split()[0]) if semicolon and rest.split()[0].isdecimal() else None


def strategy_in(words: str) -> str:
    """How a group shared the device, by the same words."""
    return words.partition("side by side, ")[2].partition(";")[0]
