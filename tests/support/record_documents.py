"""Records as the documents that files hold."""

from __future__ import annotations

import json
from typing import Any

from benchmark.protocols import Protocol
from benchmark.records.schema import RECORD_SCHEMA, SCHEMA_1


def document_of(protocol: Protocol) -> dict[str, Any]:
    """A finished record as plain data."""
    return {
        "schema": RECORD_SCHEMA,
        "protocol": {"id": protocol.id, "version": protocol.version, "digest": protocol.digest},
        "method": {"name": "imp", "pruner": "magnitude", "pruner_digest": "ab", "parameters": {"t": 1e-4}},
        "cell": {"level": 2, "density_asked": 0.36, "seed": 1, "draw": 0},
        "status": "finished",
        "reason": None,
        "mask": {
            "kept": 5,
            "prunable": 10,
            "density": 0.5,
            "layers": {"fc1": {"kept": 5, "size": 6}, "fc2": {"kept": 0, "size": 4}},
            "collapsed_layers": ["fc2"],
            "sha256": "cd",
        },
        "measured": {
            "metrics": {
                "test_accuracy": {"unit": "percent", "last": 97.123456789012345, "best": 98.0},
                "test_loss": {"unit": "nats", "last": 0.1},
                "train_accuracy": {"unit": "percent", "last": 100.0},
                "train_loss": {"unit": "nats", "last": 1e-12},
            },
            "early_stop_step": None,
            "last_evaluation_step": 20,
        },
        "cost": {
            "train_steps": 20,
            "train_examples": 800,
            "train_seconds": 1.5,
            "train_cpu_seconds": 1.25,
            "mask_train_steps": 40,
            "prune_seconds": 0.5,
            "prune_forward_passes": 1,
            "prune_backward_passes": 1,
            "prune_examples": 10,
        },
        "curves_sha256": "ef",
        "provenance": {
            "commit": "0" * 40,
            "dirty": False,
            "python": "3.11",
            "packages": {"torch": "2"},
            "platform": "Linux",
            "device": "cpu: x",
            "driver": None,
            "threads": 1,
            "precision": "fp32",
            "data_digest": "12",
            "finished_utc": "2026-11-21T00:00:00Z",
        },
    }


def text_of(document: dict[str, Any]) -> str:
    """The text of a record's file."""
    return json.dumps(document, indent=1) + "\n"


def schema_1_of(protocol: Protocol) -> dict[str, Any]:
    """The same record as schema 1 spells it."""
    return {
        **document_of(protocol),
        "schema": SCHEMA_1,
        "measured": {
            "test_accuracy_percent": {"last": 97.123456789012345, "best": 98.0, "early_stop": None},
            "test_loss_last": 0.1,
            "early_stop_step": None,
            "last_evaluation_step": 20,
            "validation_loss_minimum": None,
            "train_loss_last": 1e-12,
            "train_accuracy_percent_last": 100.0,
        },
    }
