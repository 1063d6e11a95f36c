"""Fixtures for every test: one thread, no stray environment, and a protocol that runs in seconds."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmark.protocols import Protocol, load_file
from benchmark.utils.hardware import cores

pytest_plugins = ["command_line", "made_once", "bundle_fixtures", "hub_fixtures"]
TINY = Path(__file__).parent / "support" / "protocols" / "tiny.yaml"


def pytest_configure() -> None:
    """No test cuts the power, so none waits until its files have reached the disk. Processes that tests start do."""
    os.fsync = lambda _file: None


def pytest_collection_finish() -> None:
    """What is loaded by now stays: thousands of tests need not have it searched for garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(optionalhook=True)  # without xdist nobody knows it
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: one more than there are cores, since tests wait a third of their time for processes."""
    return cores() + 1


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """As workers run; a second thread would only get in the way of other tests."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _global_state_is_restored() -> Iterator[None]:
    """Neither draws from torch's global generator nor a worker's flushing of subnormals leak into other tests.

    Hypothesis refuses to draw floats while subnormals are flushed.
    """
    with torch.random.fork_rng(devices=()):  # asking whether there are any takes longer than most tests
        yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def tiny_path() -> Path:
    """File of the tiny protocol."""
    return TINY


@pytest.fixture(scope="session")
def tiny_protocol() -> Protocol:
    """Every kind of method, a 12-16-8-4 network, 20 updates a training."""
    return load_file(TINY)
