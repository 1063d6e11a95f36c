"""What of a selection can be run here: what fits the budget, and has its data."""

from __future__ import annotations

from benchmark.planning.plan import plan
from benchmark.planning.select import Selection, protocols_in
from benchmark.records.store import Store


def affordable(
    selection: Selection, store: Store, budget: float | None, retry_failed: bool, device: str = "cpu"
) -> tuple[Selection, str]:
    """A selection without protocols of which no training can fit `budget` seconds, so that no data is fetched for them;
    those with records first. What was named alone, or has records, stays: its plan says what is missing. Then what
    there is to say of it, if anything.
    """
    begun = {protocol.key: bool(store.records(protocol)) for protocol in protocols_in(selection)}
    too_long = set[str]()
    if budget is not None and len(begun) > 1:
        seconds: dict[str, list[float]] = {}
        for item in plan(selection, store, retry_failed, device=device):
            seconds.setdefault(item.job.protocol.key, []).append(item.seconds / len(item.job.cells))
        too_long = {key for key, each in seconds.items() if min(each) > budget and not begun[key]}
    words = f"Left out: {len(too_long)} protocols of which no single training fits the budget here."
    kept = [pair for pair in selection if pair[0].key not in too_long]
    return sorted(kept, key=lambda pair: not begun[pair[0].key]), words if too_long else ""


def with_data(selection: Selection) -> tuple[Selection, list[str]]:
    """The part of a selection whose data is here or could be fetched, and a sentence for each protocol skipped."""
    from benchmark.datasets.download import obtain_data

    reasons = {protocol.key: obtain_data(protocol) for protocol in protocols_in(selection)}
    usable = [(protocol, method) for protocol, method in selection if reasons[protocol.key] is None]
    return usable, [f"Skipped {key}: {reason}" for key, reason in reasons.items() if reason]
