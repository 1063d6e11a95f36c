"""Which jobs an order means, and how its workers take them. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.commands.selecting import Selection, protocols_in
from benchmark.costs import CostModel
from benchmark.executors.order import Order
from benchmark.executors.shards import part
from benchmark.open_claims import open_claims, status_of
from benchmark.packing import Batch, costs_of, packed
from benchmark.plan import PlannedJob, only_recorded, plan
from benchmark.priorities import wanted, wanted_methods
from benchmark.scoring.gathering import all_gathered
from benchmark.store import Store


def planned_for(order: Order, selection: Selection, store: Store) -> list[PlannedJob]:
    """The jobs that an order means now, in the order in which they are wanted."""
    protocols, store = protocols_in(selection), store.as_it_is()
    seen = all_gathered(protocols, [store])
    if order.wanted:
        from benchmark.verdicts import decide_all  # and with it all of scoring

        claims = [status_of(decision) for decision in decide_all(seen)]
    else:
        claims = open_claims(store, seen, order.retry_failed)
    # Of these protocols: what is open decides what is wanted, and by which methods.
    purpose, methods = wanted(claims, protocols, order.wanted), wanted_methods(claims, protocols)
    planned = plan(selection, store, order.retry_failed, methods, purpose, order.device)
    planned = only_recorded(planned, Store(order.like)) if order.like else planned
    return part(planned, selection, order.shard) if order.shard else planned


def batches_for(order: Order, planned: Sequence[PlannedJob], store: Store) -> list[Batch]:
    """How the workers of an order take these jobs, by what is known now of their cost."""
    # What company costs is asked where there is some: a core trains one network after another.
    costs = CostModel() if order.device == "cpu" else costs_of(planned, store)
    return packed(planned, costs, order.device, order.hands)
