"""How well the chances of `plan --buy verdicts` agree with what came out, as docs/measuring.md says it.

    python tests/support/measure_purchases.py [RESULTS]

Of every protocol the records of the first two, or three, seeds are shown to the planner; the claims that it simulates
and whose planned runs are all made are then compared with their verdicts by all seeds.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

from benchmark import protocols
from benchmark.claims.evidence import UNDECIDED
from benchmark.claims.observations import all_gathered
from benchmark.claims.verdicts import decide_all
from benchmark.planning.purchase import Market, Offer
from benchmark.records.store import Store


def main(results: Path) -> None:
    """Print the table."""
    whole = all_gathered(protocols.load_all(), [Store(results)])
    outcome = {decision.claim: decision for decision in decide_all(whole)}
    rows = []
    for seeds in (2, 3):
        hidden = {name: seen.at_look(seeds) for name, seen in whole.items()}
        last: dict[str, Offer] = {}
        with tempfile.TemporaryDirectory() as empty:
            for offer in Market(hidden, Store(Path(empty))).offers():
                if offer.basis == "simulated" and not outcome[offer.claim].runs_missing:
                    last[offer.claim] = offer
        decided = {claim: outcome[claim].verdict not in UNDECIDED for claim in last}
        likely = [claim for claim, offer in last.items() if offer.chance >= 0.5]
        rows.append(
            [
                seeds,
                len(last),
                f"{sum(offer.chance for offer in last.values()):.1f}",
                sum(decided.values()),
                f"{sum(decided[claim] for claim in likely)} of {len(likely)}",
                f"{sum(decided[claim] for claim in last if claim not in likely)} of {len(last) - len(likely)}",
            ]
        )
    headings = ["seeds seen", "claims", "expected", "decided", "of chance >= 50 %", "of less"]
    print(tabulate(rows, headings, tablefmt="github"))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("results"))
