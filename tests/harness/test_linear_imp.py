"""The harness's own IMP on a linear model: trained to convergence, it is backward elimination by least squares.

With full column rank the limit of training does not depend on the initial weights (docs/recovery.md, S1), so any order
but that of least squares betrays a wrong mask, a threshold that is off, or a rewinding that keeps what was pruned.
"""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from made_once import run_all

from benchmark.analyses.linear.flow import order_of_elimination, order_of_one_shot, order_of_projection
from benchmark.datasets.source import DataSource, digest_of
from benchmark.protocols import Protocol, parse
from benchmark.protocols.recipe import DATASETS
from benchmark.records.store import Store

if TYPE_CHECKING:
    from benchmark.datasets.source import Arrays

FEATURES = 5


def regression() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Correlated centred features (60, 5), float32, and whole-number targets of which the largest is 0.

    Class numbers are whole, and a data set counts one class for a network of one output: 0 is the highest label.
    """
    rng = np.random.default_rng(15)
    mixing = np.eye(FEATURES) + 0.3 * rng.standard_normal((FEATURES, FEATURES))
    inputs = rng.standard_normal((60, FEATURES)) @ mixing
    inputs -= inputs.mean(0)
    target = inputs @ np.array([3.0, -2.6, 2.2, 1.9, -1.5]) + rng.standard_normal(60)
    labels = np.rint(4 * target).astype(np.int64)
    return inputs.astype(np.float32), labels - labels.max()


class LinearRegression(DataSource):
    """`regression`, tested on what it is trained on."""

    name = "linear-regression"
    generated = flat = True

    def read(self, root: Path) -> Arrays:  # noqa: ARG002
        inputs, labels = regression()
        return inputs, labels, inputs, labels, digest_of(inputs, labels)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """For these tests alone: others of the same process list what the package has."""
    monkeypatch.setitem(DATASETS._registered, LinearRegression.name, LinearRegression)


def linear(tiny: Protocol) -> Protocol:
    """Full-batch gradient descent of a linear model for as long as it takes to converge, one weight a round."""
    steps = 200
    document = {
        **deepcopy(tiny.document),
        "id": "tests/linear",
        "task": "sparse-recovery",
        "network": {"name": "mlp", "initialiser": "glorot-normal", "bias": "zeros", "widths": [FEATURES, 1]},
        "data": {"name": "linear-regression", "scaling": "as-generated", "validation": 0, "split": "none"},
        "levels": {"rule": "listed", "densities": [0.8, 0.6, 0.4, 0.2]},
    }
    document["recipe"] |= {"optimizer": "sgd", "learning_rate": 0.15, "batch_size": 60, "steps": steps}
    document["recipe"]["order"] = "as-stored"
    document["evaluation"] |= {
        "first": steps, "every": steps, "test_every": steps, "test_at_validation_minima": False,
        "reported": "last", "early_stop": "none",
    }  # fmt: skip
    document["pruning"] |= {"prunable": {"fc1.weight": [1, FEATURES]}, "layer_rates": {}}
    document["methods"] = {"imp": document["methods"]["imp"] | {"levels": [1, 2, 3, 4], "later": []}}
    return parse(document, "linear.yaml")


def test_imp_is_backward_elimination(tiny_protocol: Protocol, tmp_path: Path) -> None:
    protocol = linear(tiny_protocol).model_copy(update={"seeds": (0,)})
    run_all(protocol, tmp_path)
    nested = Store(tmp_path).read_nested_masks(protocol, "imp", 0)
    kept = [set(np.flatnonzero(nested.mask(level)["fc1.weight"][0])) for level in range(1, 5)]
    inputs, labels = regression()
    removed = order_of_elimination(inputs.astype(np.float64), labels - labels.mean(), keep=1)
    once = order_of_one_shot(inputs.astype(np.float64), labels - labels.mean(), np.zeros(FEATURES), math.inf)
    assert kept == [set(range(FEATURES)) - set(removed[:gone]) for gone in range(1, 5)]
    assert removed not in (order_of_projection(inputs, labels - labels.mean()), once), "other rules would do as well"
