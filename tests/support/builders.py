"""Synthetic records for tests of everything that only reads: no training, no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.claims.verdicts import decide
from benchmark.planning.priority import ClaimStatus, status_of
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, cells_of, method_names
from benchmark.protocols.methods import Scoring
from benchmark.records.provenance import Provenance
from benchmark.records.schema import (
    RECORD_SCHEMA,
    CellRef,
    CostFacts,
    Measured,
    MethodRef,
    MetricValues,
    ProtocolRef,
    Record,
)
from benchmark.records.store import Store

PROVENANCE = Provenance(
    commit=None,
    dirty=None,
    python="3.11",
    packages={},
    platform="test",
    device="cpu: test",
    driver=None,
    threads=1,
    precision="fp32",
    data_digest="0" * 64,
    finished_utc="2025-01-01T00:00:00Z",
)


@dataclass(frozen=True)
class Outcome:
    """What a synthetic run gave: percent, percent, updates."""

    accuracy: float
    step: int | None = None
    train_accuracy: float = 100.0
    failed: str | None = None


def record(protocol: Protocol, cell: Cell, outcome: Outcome) -> Record:
    """A finished record in which every accuracy is `outcome.accuracy`, or a failed one."""
    pruner = None if cell.method == DENSE else protocol.pruning_method(cell.method).pruner
    figures = None
    if outcome.failed is None:
        stops = protocol.evaluation.early_stop != "none"
        figures = Measured(
            metrics={
                "test_accuracy": MetricValues(
                    unit="percent",
                    last=outcome.accuracy,
                    best=outcome.accuracy,
                    early_stop=outcome.accuracy if stops else None,
                ),
                "test_loss": MetricValues(unit="nats", last=0.1),
                "train_accuracy": MetricValues(unit="percent", last=outcome.train_accuracy),
                "train_loss": MetricValues(unit="nats", last=0.0),
                **({"validation_loss": MetricValues(unit="nats", best=0.1)} if stops else {}),
            },
            early_stop_step=outcome.step if stops else None,
            last_evaluation_step=protocol.recipe.steps,
        )
    return Record(
        schema=RECORD_SCHEMA,
        protocol=ProtocolRef(id=protocol.id, version=protocol.version, digest=protocol.digest),
        method=MethodRef(name=cell.method, pruner=pruner, pruner_digest=None, parameters={}),
        cell=CellRef(
            level=cell.level,
            density_asked=protocol.level_table[cell.level].density,
            seed=cell.seed,
            draw=cell.draw,
        ),
        status="finished" if outcome.failed is None else "failed",
        reason=outcome.failed,
        mask=None,
        measured=figures,
        cost=None
        if outcome.failed
        else CostFacts(
            train_steps=protocol.recipe.steps,
            train_examples=1,
            train_seconds=1.0,
            train_cpu_seconds=1.0,
            mask_train_steps=cell.level * protocol.recipe.steps if cell.method == "imp" else 0,
            prune_seconds=0.0,
            prune_forward_passes=0,
            prune_backward_passes=0,
            prune_examples=0,
        ),
        curves_sha256=None,
        provenance=PROVENANCE,
    )


def scoring(per_class: int, **changes: Any) -> Scoring:
    """Balanced, plain examples, or other conventions."""
    usual = {"draw": "balanced-from-training-set", "augmentation": "none", "batch": "all-at-once"}
    rest = {"batch_norm": "train", "biases": "not-scored"}
    return Scoring.model_validate({"examples_per_class": per_class, **usual, **rest, **changes})


World = Callable[[Cell], Outcome | None]


def cells(protocol: Protocol, methods: Iterable[str] | None = None) -> list[Cell]:
    """Every cell of some methods; None = of all."""
    names = method_names(protocol) if methods is None else methods
    return [cell for method in names for cell in cells_of(protocol, method)]


def records_of(protocol: Protocol, world: World, methods: Iterable[str] | None = None) -> list[Record]:
    """Records of every cell for which the world has an outcome."""
    found = [(cell, world(cell)) for cell in cells(protocol, methods)]
    return [record(protocol, cell, outcome) for cell, outcome in found if outcome is not None]


def fill(store: Store, protocol: Protocol, world: World, methods: Iterable[str] | None = None) -> None:
    """Write those records."""
    for made in records_of(protocol, world, methods):
        cell = Cell(made.method.name, made.cell.level, made.cell.seed, made.cell.draw)
        path = store.record_path(protocol, cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made.dumps(), encoding="utf-8")


def standing(store: Store, protocols: Sequence[Protocol]) -> list[ClaimStatus]:
    """How every claim on these protocols stands, by the records of a folder."""
    return [status_of(decision) for decision in decide(store, protocols)]
