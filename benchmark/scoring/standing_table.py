"""Standings in words: the columns that leaderboard.md and the report share. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.plan import cells_of, method_names
from benchmark.scoring.observations import Observations
from benchmark.scoring.standings import Standing
from benchmark.scoring.wording import number
from benchmark.statistics import Estimate, interval
from benchmark.units import density_text, unit_name


def finished_and_planned(seen: Observations) -> tuple[int, int]:
    """Runs that finished, and runs that the protocol plans."""
    total = sum(len(cells_of(seen.protocol, method)) for method in method_names(seen.protocol))
    return sum(r.status == "finished" for group in seen.records.values() for r in group), total


def has_records(seen: Observations) -> bool:
    """Whether anything was measured of a protocol, well or not."""
    return bool(seen.failures) or finished_and_planned(seen)[0] > 0


def progress_words(seen: Observations) -> str:
    """How much of a protocol is measured."""
    finished, total = finished_and_planned(seen)
    return f"{finished:,} of {total:,} runs measured"


def spread(e: Estimate, alpha: float, digits: int = 2) -> str:
    """Mean with the half width of its interval, and the number of seeds."""
    if e.n < 2:
        return f"{e.mean:,.{digits}f} (1)"
    low, high = interval(e, 1 - alpha)
    return f"{e.mean:,.{digits}f} ± {(high - low) / 2:,.{digits}f} ({e.n})"


def standing_table(seen: Observations, found: Sequence[Standing], ranked: bool) -> tuple[list[str], list[list[str]]]:
    """Headings, and one row per standing; it begins with the rank, or with the density if `ranked` is false.

    The early-stop column is left out where no method has one.
    """
    stops = any(s.early_stop_step for s in found)
    headings = ["rank" if ranked else unit_name(seen.protocol), "method", "accuracy %", "95 % interval", "seeds"]
    headings += ["early-stop step"] * stops + ["mask steps", "training steps", "examples scored"]
    return headings, [_row(seen, s, stops, ranked) for s in found]


def _row(seen: Observations, s: Standing, stops: bool, ranked: bool) -> list[str]:
    alpha = seen.protocol.statistics.alpha
    low, high = interval(s.accuracy, 1 - alpha)
    bounds = f"{number(low)} to {number(high)}" if s.accuracy.n > 1 else "needs 2 seeds"
    row = [str(s.rank) if ranked else density_text(seen.protocol, s.level), s.label]
    row += [number(s.accuracy.mean), bounds, str(s.accuracy.n)]
    if stops:
        row.append(spread(s.early_stop_step, alpha, 0).rpartition(" (")[0] if s.early_stop_step else "")
    costs = [s.costs.mask_train_steps, s.costs.train_steps, s.costs.prune_examples] if s.costs else []
    return row + ([f"{cost:,.0f}" for cost in costs] or ["", "", ""])
