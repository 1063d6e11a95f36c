"""Records of masks alone, on the protocol whose published masks are committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builders import PROVENANCE

from benchmark.protocols import Protocol, load
from benchmark.protocols.cells import Cell
from benchmark.records.schema import (
    RECORD_SCHEMA,
    CellRef,
    LayerCount,
    MaskFacts,
    MethodRef,
    ProtocolRef,
    Record,
    ScoreFacts,
)

VGG = load("synflow/vgg16-cifar100-masks")

SIZES = list(VGG.pruning.layer_sizes.values())


def mask_record(protocol: Protocol, cell: Cell, kept: Sequence[int], scores: ScoreFacts | None = None) -> Record:
    """A record of a mask with these counts by layer."""
    sizes = protocol.pruning.layer_sizes
    layers = {name: LayerCount(kept=k, size=size) for k, (name, size) in zip(kept, sizes.items(), strict=True)}
    total = sum(sizes.values())
    return Record(
        schema=RECORD_SCHEMA,
        protocol=ProtocolRef(id=protocol.id, version=protocol.version, digest=protocol.digest),
        method=MethodRef(name=cell.method, pruner="magnitude", pruner_digest=None, parameters={}),
        cell=CellRef(level=cell.level, density_asked=0.5, seed=cell.seed, draw=0),
        status="finished",
        reason=None,
        mask=MaskFacts(
            kept=sum(kept),
            prunable=total,
            density=sum(kept) / total,
            layers=layers,
            collapsed_layers=tuple(name for name, layer in layers.items() if not layer.kept),
            sha256="0" * 64,
        ),
        scores=scores,
        measured=None,
        cost=None,
        curves_sha256=None,
        provenance=PROVENANCE,
    )


def verdict(found: Any) -> str:
    return str(found.verdict(0.05, found.p_reproduced, found.p_deviates))
