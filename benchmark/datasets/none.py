"""No data at all: for masks of pruners that look at none, in settings whose data set cannot be had freely."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.source import DataSource, digest_of
from benchmark.protocols.recipe import DATASETS

if TYPE_CHECKING:
    from benchmark.datasets.source import Arrays


@DATASETS.register("none")
class NoData(DataSource):
    """Examples of no rows, of any network's shape; a pruner that asks for examples is refused."""

    name = "none"
    generated = True
    has_examples, test_examples = False, 0

    def read(self, root: Path) -> Arrays:  # noqa: ARG002
        """Arrays of no rows and no numbers; `prepared` gives them the shape that the network reads."""
        import numpy as np

        inputs, labels = np.zeros((0, 0), np.float32), np.zeros(0, np.int64)
        return inputs, labels, inputs, labels, digest_of(inputs, labels)
