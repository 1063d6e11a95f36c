"""Masks from scores that torch computes: the same on every processor where arithmetic is portable.

The digests are constants of the protocol, like those of trained weights in training/kernels/test_bits.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from benchmark.harness.harness import Harness, Settings
from benchmark.protocols import load
from benchmark.protocols.cells import Cell
from benchmark.records.masks import mask_digest
from benchmark.records.store import Store

ONE_ROUND = (Cell("snip", 4, 101), Cell("grasp", 4, 100), Cell("prospr", 4, 100))
CELLS = (*ONE_ROUND, Cell("synflow", 4, 100))

GOLDEN = {
    "snip": "e0812c05650a50d52b87ff52ba6763ae",
    "grasp": "cd80599b6c335cb5b9d0d8b118ca7611",
    "prospr": "48a3474c7ba8e3710387e47f20968d53",
    "synflow": "b6dc03364c05ff54633d32067b9e48ce",
}


def digests(cells: Sequence[Cell], folder: Path) -> dict[str, str]:
    """The first half of each cell's mask digest."""
    maker = Harness(load("suite/mlp-mnist1d"), Store(folder), Settings()).masks
    made = {}
    for cell in cells:
        masks = maker.make(cell)[0]
        made[cell.method] = mask_digest({name: mask.numpy() for name, mask in masks.items()})[:32]
    return made


def test_masks_are_the_constants(tmp_path: Path) -> None:
    """In float32 this mask of `snip` is another one here."""
    assert digests(ONE_ROUND, tmp_path) == {cell.method: GOLDEN[cell.method] for cell in ONE_ROUND}


@pytest.mark.long
def test_on_other_instructions_too(tmp_path: Path) -> None:
    settings = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, __file__, str(tmp_path)]
    output = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == {"capability": "DEFAULT", **GOLDEN}


def test_plugins_see_float64_there_and_float32_elsewhere(tmp_path: Path) -> None:
    for name, dtype in (("suite/mlp-mnist1d", torch.float64), ("mnist1d/mlp@1", torch.float32)):
        protocol = load(name)
        maker = Harness(protocol, Store(tmp_path), Settings()).masks
        state, _ = maker.start(Cell("random", 1, protocol.seeds[0]))
        assert {tensor.dtype for tensor in state.values()} == {torch.float32}  # what is trained
        scored = maker._scored_network("labels", protocol.seeds[0], state)
        examples = maker._examples("labels", protocol.seeds[0])
        assert examples is not None
        assert examples.inputs.dtype == dtype
        assert {tensor.dtype for tensor in scored.state.values()} == {dtype}
        assert all(torch.equal(scored.state[name].float(), state[name]) for name in state)


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "capability": torch.backends.cpu.get_cpu_capability(),
                **digests(CELLS, Path(sys.argv[1])),
            }
        )
    )
