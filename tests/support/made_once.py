"""Results that take seconds to make, made by one test process for all of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from filelock import FileLock

from benchmark.datasets import mnist1d
from benchmark.harness.harness import Harness, Settings
from benchmark.planning.plan import jobs
from benchmark.protocols import Protocol
from benchmark.protocols.cells import method_names
from benchmark.records.store import Store
from benchmark.training.device import configure_cpu


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` fills, made by the first of pytest's workers that asks; no test may change it."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each worker has a folder of its own in it
    folder = root / f"made-once-{name}"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder


def run_all(protocol: Protocol, root: Path, methods: Iterable[str] | None = None) -> None:
    """Run every cell of a protocol as a worker does, one job after another."""
    configure_cpu()
    store = Store(root)
    harness = Harness(protocol, store, Settings(data_root=root))
    for job in jobs(protocol, list(methods or method_names(protocol)), store):
        assert harness.run(job)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def tiny_results(tmp_path_factory: pytest.TempPathFactory, tiny_protocol: Protocol) -> Path:
    """A results folder with every cell of the tiny protocol, and its scratch files. Copy it before changing it."""
    return made_once(tmp_path_factory, "tiny", lambda root: run_all(tiny_protocol, root))


def copy_of(results: Path, to: Path, protocol: Protocol, methods: Iterable[str]) -> Store:
    """The records of some methods, in another folder, without scratch files."""
    for method in methods:
        shutil.copytree(results / protocol.key / method, to / protocol.key / method)
    return Store(to)


@pytest.fixture(scope="session", autouse=True)
def _mnist1d_is_generated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Its package takes five seconds for it. Every reading still compares the arrays with the pinned digest."""
    own = mnist1d.generate

    def generate() -> dict[str, Any]:
        folder = made_once(tmp_path_factory, "mnist1d", lambda folder: np.savez(folder / "arrays.npz", **own()))
        with np.load(folder / "arrays.npz") as arrays:
            return dict(arrays)

    with mock.patch.object(mnist1d, "generate", generate):
        yield
