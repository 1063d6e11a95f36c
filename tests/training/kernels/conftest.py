"""What a process finds out once about the kernels, found out again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmark.training.kernels import engine


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """For tests in which the kernels are there or not; the next test is to ask for itself."""
    answers = (engine.missing, engine.portable, engine.described)
    for answer in answers:
        answer.cache_clear()
    yield
    for answer in answers:
        answer.cache_clear()
