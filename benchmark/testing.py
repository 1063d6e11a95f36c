"""The conformance suite that a plugin must pass, for authors and for CI. This path never moves.

In an author's own tests:

    import pytest
    from benchmark.testing import conformance
    from my_method import MyMethod

    @pytest.mark.parametrize("duty", conformance(MyMethod), ids=str)
    def test_it_is_a_fair_pruner(duty):
        duty()

On the command line: `lotterybench check my_method.py`.
"""

from __future__ import annotations

from benchmark.plugins.conformance.checks import Check, Finding, Report
from benchmark.plugins.conformance.suite import CHECKS, Duty, conformance, examine, examined, tiny
from benchmark.plugins.conformance.trainings import training_report
from benchmark.plugins.conformance.trials import Subject

__all__ = [
    "CHECKS",
    "Check",
    "Duty",
    "Finding",
    "Report",
    "Subject",
    "conformance",
    "examine",
    "examined",
    "tiny",
    "training_report",
]
