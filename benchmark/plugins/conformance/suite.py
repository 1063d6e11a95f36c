"""The conformance suite that a pruner must pass, for authors and for CI.

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

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from benchmark.datasets.dataset import Examples
from benchmark.plugins.conformance import checks as look
from benchmark.plugins.conformance.cases import Case, cases
from benchmark.plugins.conformance.checks import Check, Finding, Report
from benchmark.plugins.conformance.trials import Subject
from benchmark.pruning.interface import Network, Plugin

SEPARATOR = ", "  # between the networks of one finding
CHECKS = (
    Check("runs on every family", "a protocol may use any of these networks", look.runs),
    Check(
        "declared needs", "what a method is given decides with which others it may be compared", look.declared_needs
    ),
    Check("dtype and device", "a coarser type merges scores that differ, so ties decide", look.dtype_and_device),
    Check("finite scores", "NaN has no rank; the harness refuses it and the cell fails", look.finite),
    Check("exact density", "methods are compared at equal counts of weights", look.exact_density),
    Check(
        "nested masks",
        "network.masks is partial after the first round and on the levels of a chain: a weight that returns would have "
        "been trained as if it were zero",
        look.nested,
    ),
    Check("nothing changed", "the harness trains these very weights afterwards", look.nothing_changed),
    Check("same seed, same mask", "a number that cannot be repeated cannot be verified", look.same_seed),
    Check("own generator", "a shared generator ties results to whatever ran before", look.own_generator),
    Check("no global state", "a network's result must not depend on its neighbours", look.no_global_state),
    Check("settings kept", "they would change how everything after it is computed", look.settings_kept),
    Check("density 1", "the dense end of every curve", look.density_one),
    Check("one weight per layer", "at high sparsity a network may be dead, and then every gradient is zero",
          look.one_weight_per_layer),
    Check("layer collapse", "an emptied layer cuts the network; more rounds or layerwise allocation may keep it",
          look.layer_collapse),
    Check("another seed", "a random method needs more seeds until it can be told apart", look.another_seed),
)  # fmt: skip


@dataclass(frozen=True)
class Duty:
    """One check of one pruner, to be called in a test. Raises AssertionError with every failure in words.

    `fitting`: the networks that all but the first two checks are made on.
    """

    check: Check
    subject: Subject
    fitting: Callable[[], Sequence[Case]]

    def __str__(self) -> str:
        return self.check.name.replace(" ", "-").replace(",", "")

    def __call__(self) -> None:
        networks = cases() if self.check in CHECKS[:2] else self.fitting()
        failures = [str(f) for f in findings(self.subject, self.check, networks) if f.failed]
        assert not failures, "\n" + "\n".join(failures)


def conformance(kind: type[Plugin], **parameters: Any) -> list[Duty]:
    """Every check of a pruner class with its hyper-parameters, for `pytest.mark.parametrize`."""
    subject = Subject(kind, parameters)
    fitting = cache(lambda: _without_failures([f for check in CHECKS[:2] for f in findings(subject, check, cases())]))
    return [Duty(check, subject, fitting) for check in CHECKS]


def examine(kind: type[Plugin], **parameters: Any) -> Report:
    """Run all checks on all networks."""
    return examined(Subject(kind, parameters))


def examined(subject: Subject, tell: Callable[[str], None] | None = None) -> Report:
    """Run all checks on all networks; `tell` hears the name of each check before it is made."""
    started = time.perf_counter()
    found: list[Finding] = []
    networks: Sequence[Case] = cases()
    for check in CHECKS:
        if tell is not None:
            tell(check.name)
        found += findings(subject, check, networks)
        if check == CHECKS[1]:
            networks = _without_failures(found)
    names = tuple(check.name for check in CHECKS)
    not_run = () if networks else names[2:]
    return Report(tuple(found), names, tuple(case.name for case in cases()), time.perf_counter() - started, not_run)


def tiny(name: str = "mlp") -> tuple[Network, Examples]:
    """A tiny network as a pruner sees it and five examples of each of four classes, for an author's own tests.

    Raises ValueError for a name that is not mlp, residual-mlp, lenet-5, conv-2, vgg-11 or resnet-20.
    """
    for case in cases():
        if case.name == name:
            return case.network(), case.examples()
    raise ValueError(f"'{name}': there are only {', '.join(case.name for case in cases())}")


def _without_failures(first: Sequence[Finding]) -> Sequence[Case]:
    """Networks worth trying a check on, by what the first two found: one that fails these would fail them all."""
    failing = {name for finding in first if finding.failed for name in finding.network.split(SEPARATOR)}
    return [case for case in cases() if case.name not in failing]


def findings(subject: Subject, check: Check, networks: Sequence[Case]) -> list[Finding]:
    """What one check finds; the same finding on several networks is told once, with their names."""
    found: dict[tuple[bool, str, str], list[Finding]] = {}
    for case in networks:
        for finding in check.on(subject, case):
            found.setdefault((finding.failed, finding.expected, finding.seen), []).append(finding)
    return [
        Finding(check.name, SEPARATOR.join(f.network for f in group), failed, expected, seen, check.why)
        for (failed, expected, seen), group in found.items()
    ]
