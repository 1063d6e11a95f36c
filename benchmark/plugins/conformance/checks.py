"""The checks: each looks at one duty of a pruner on one network, and yields what it found.

What checks found. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import torch

from benchmark.datasets.dataset import Examples
from benchmark.plugins.conformance import trials as shared
from benchmark.plugins.conformance.cases import CLASSES, Case, one_per_layer
from benchmark.plugins.conformance.trials import (
    DENSITIES,
    Broken,
    Subject,
    answer,
    attempt,
    cut,
    given,
    needs_of,
    rounds,
    same,
    size,
)
from benchmark.protocols.needs import OF_TRAINED, examples_of
from benchmark.pruning.interface import Network
from benchmark.training.device import cpu_settings


@dataclass(frozen=True)
class Finding:
    """One failure, or a note that fails nothing: what was expected, what was seen, and why it matters."""

    check: str
    network: str
    failed: bool
    expected: str
    seen: str
    why: str

    def __str__(self) -> str:
        word = "FAILED" if self.failed else "note"
        return (
            f"{word}: {self.check}, on {self.network}\n"
            f"  expected  {self.expected}\n  seen      {self.seen}\n  why       {self.why}"
        )


@dataclass(frozen=True)
class Report:
    """What all checks found on all networks. `seconds`: wall time. `not_run`: checks that no network was left for,
    since the first ones failed on all."""

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    networks: tuple[str, ...]
    seconds: float
    not_run: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Findings that make the pruner unfit for a run."""
        return tuple(finding for finding in self.findings if finding.failed)


Look = Callable[[Subject, Case], Iterator[tuple[bool, str, str]]]


@dataclass(frozen=True)
class Check:
    """One duty. `look` yields (failed, expected, seen); it raises Broken where it cannot go on."""

    name: str
    why: str
    look: Look

    def on(self, subject: Subject, case: Case) -> list[Finding]:
        """Findings on one network, with the harness's processor settings; those and random states are put back.

        With a thread for each core, small networks on a busy machine wait for each other's threads: ten times as long.
        """
        found: list[Finding] = []
        with shared.put_back(), cpu_settings():
            try:
                for failed, expected, seen in self.look(subject, case):
                    found.append(Finding(self.name, case.name, failed, expected, seen, self.why))
            except Broken as broken:
                found.append(Finding(self.name, case.name, True, broken.expected, broken.seen, self.why))
        return found


def _ask(subject: Subject, case: Case, rng: int = 0, weights: int = 0) -> dict[str, torch.Tensor]:
    plugin = subject.make()
    return answer(plugin, case.network(weights), given(plugin, case), rng=rng)


def runs(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """It answers, with the names and shapes of the network's weights."""
    plugin = subject.make()
    result = attempt(lambda: answer(plugin, case.network(), given(plugin, case)))
    if isinstance(result, Broken):
        with_all = attempt(lambda: answer(subject.make(), case.network(), case.examples()))
        if examples_of(needs_of(plugin)) == "labels" or isinstance(with_all, Broken):  # else `declared_needs` says it
            yield True, result.expected, result.seen


def declared_needs(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """It gets by on what it declares, and uses it."""
    plugin = subject.make()
    needs, examples = needs_of(plugin), case.examples()
    shown = examples_of(needs)
    first = attempt(lambda: answer(plugin, case.network(), given(plugin, case)))
    if isinstance(first, Broken):
        yield True, f"an answer from what needs = '{needs}' is given", first.seen
        return

    def unchanged(other: Examples) -> bool:
        return same(first, answer(subject.make(), case.network(), other))

    if shown == "labels" and unchanged(Examples(examples.inputs, (examples.labels + 1) % CLASSES)):
        yield False, "scores that depend on the labels", "the same scores for other labels: 'inputs' would do"
    if shown is not None:
        labels = examples.labels if shown == "labels" else torch.full_like(examples.labels, -1)
        if unchanged(Examples(case.examples(seed=1).inputs, labels)):
            less = "'nothing' would do" if needs == shown else f"do without '{shown}'"
            yield False, "scores that depend on the inputs", f"the same scores for other inputs: {less}"
    if needs in OF_TRAINED and same(first, _ask(subject, case, weights=1)):
        less = "'nothing' would do" if shown is None else f"'{shown}' would do"
        yield False, "scores that depend on the weights", f"the same scores for other weights: {less}"


def dtype_and_device(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """Scores are float32 or float64, masks boolean, all where the weights are; float64 weights had better stay so."""
    allowed = {torch.float32, torch.float64} if subject.scores else {torch.bool}
    words = "float32 or float64" if subject.scores else "bool"
    for dtype in (torch.float32, torch.float64):
        plugin, network = subject.make(), case.network(dtype=dtype)
        for name, value in answer(plugin, network, given(plugin, case, dtype)).items():
            if value.dtype not in allowed or value.device != network.weights[name].device:
                yield True, f"{words} on {network.weights[name].device}", f"{value.dtype} on {value.device}"
                return
            if subject.scores and value.dtype != dtype and dtype == torch.float64:
                yield False, "float64 scores of float64 weights", "float32: digits are lost where a caller wants them"
                return


def finite(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """No NaN, no infinity."""
    yield from _infinite(subject, _ask(subject, case))


def _infinite(subject: Subject, result: dict[str, torch.Tensor]) -> Iterator[tuple[bool, str, str]]:
    for name, value in result.items():
        wrong = 0 if value.is_meta else int((~torch.isfinite(value)).sum())
        if subject.scores and wrong:
            yield True, f"finite scores for '{name}'", f"{wrong} of {value.numel()} are NaN or infinite"
            return


def exact_density(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """As many weights stay as were asked for."""
    total = size(case.full_masks())
    for density in DENSITIES:
        plugin, full = subject.make(), case.full_masks()
        result = answer(plugin, case.network(), given(plugin, case), density)
        kept = sum(int(mask.sum()) for mask in cut(subject, result, full, round(density * total)).values())
        if kept != round(density * total):
            yield True, f"{round(density * total)} of {total} weights at density {density}", f"{kept}"
            return


def nested(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """A pruned weight stays pruned in later rounds."""
    before = case.full_masks()
    for masks in rounds(subject, case):
        back = {name: int((mask.bool() & ~before[name]).sum()) for name, mask in masks.items()}
        if worst := next((name for name in back if back[name]), None):
            yield True, "no weight that network.masks has pruned", f"{back[worst]} of them are back in '{worst}'"
            return
        before = {name: mask.bool() for name, mask in masks.items()}


def nothing_changed(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """Weights, buffers, masks, examples and the network's mode are as before."""
    plugin, network = subject.make(), case.network()
    examples = given(plugin, case)
    before, mode = _everything(network, examples), network.module.training
    answer(plugin, network, examples)
    after = _everything(network, examples)
    if changed := [name for name, value in before.items() if not torch.equal(value, after[name])]:
        yield True, f"{changed[0]} as it was", "changed in place"
    elif network.module.training != mode:
        yield True, f"the network in {'train' if mode else 'eval'} mode, as it came", "its mode was changed"


def _everything(network: Network, examples: Examples | None) -> dict[str, torch.Tensor]:
    parts = {"weight": network.weights, "other tensor": network.others, "mask": network.masks}
    found = {f"{kind} '{name}'": value for kind, group in parts.items() for name, value in group.items()}
    found |= {f"the module's '{name}'": value for name, value in network.module.state_dict().items()}
    if examples is not None:
        found |= {"the inputs": examples.inputs, "the labels": examples.labels}
    return {name: value.detach().clone() for name, value in found.items()}


def same_seed(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """A new instance with the same inputs and seed gives the same bits, whatever the global generators hold."""
    shared.seed_everything(1)
    first = _ask(subject, case)
    if not same(first, _ask(subject, case)):
        shared.seed_everything(1)
        again = same(first, _ask(subject, case))
        if not again:  # if it repeats with the global generators, `own_generator` says so
            yield True, "the same answer twice for one seed", "two different answers"


def own_generator(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """Random numbers come from `rng`, not from generators that others share."""
    shared.seed_everything(1)
    before = shared.random_states()
    first = _ask(subject, case)
    if touched := [name for name, state in shared.random_states().items() if state != before[name]]:
        yield True, "the global random states untouched", f"numbers were drawn from the global one of {touched[0]}"
        return
    shared.seed_everything(2)
    second = _ask(subject, case)
    shared.seed_everything(1)
    if not same(first, second) and same(first, _ask(subject, case)):
        yield True, "an answer that does not depend on global random states", "another answer after seeding them"


def no_global_state(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """Two networks pruned in turns get the masks that each gets alone."""
    alone = [list(rounds(subject.reloaded(), case, seed, seed)) for seed in (0, 1)]
    both = subject.reloaded()
    turns = list(zip_longest(rounds(both, case, 0, 0), rounds(both, case, 1, 1)))
    for number, pair in enumerate(turns, start=1):
        for which in (0, 1):
            if not same(alone[which][number - 1], pair[which]):
                yield (
                    True,
                    "the masks that each of two networks gets alone",
                    (f"another mask in round {number} when both are pruned in turns"),
                )
                return


def settings_kept(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """Default dtype, gradient mode, threads and the like are as before."""
    before = shared.settings()
    _ask(subject, case)
    for name, value in shared.settings().items():
        if value != before[name]:
            yield True, f"{name} {before[name]}, as it was", f"{value} afterwards"
            return


def density_one(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """At density 1 everything stays."""
    plugin, full = subject.make(), case.full_masks()
    masks = cut(subject, answer(plugin, case.network(), given(plugin, case), 1.0), full, size(full))
    if gone := sum(int((~mask.bool()).sum()) for mask in masks.values()):
        yield True, "every weight kept at density 1", f"{gone} pruned"


def one_weight_per_layer(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """A network with one weight in each layer, which may compute nothing, is scored all the same."""
    plugin = subject.make()
    masks = one_per_layer(case.network().weights)
    density = len(masks) / size(masks)
    result = answer(plugin, case.network(masks=masks), given(plugin, case), density)
    yield from _infinite(subject, result)
    kept = sum(int(mask.sum()) for mask in cut(subject, result, masks, len(masks)).values())
    if kept != len(masks):
        yield True, f"{len(masks)} weights kept, one for each layer", f"{kept}"


def layer_collapse(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """Whether a layer is emptied while others have weights."""
    *_, last = rounds(subject, case)
    if empty := [name for name, mask in last.items() if name.endswith("weight") and not mask.any()]:
        yield False, f"weights left in every layer at density {DENSITIES[-1]}", f"none in {', '.join(empty)}"


def another_seed(subject: Subject, case: Case) -> Iterator[tuple[bool, str, str]]:
    """Whether the mask depends on the generator."""
    if not same(_ask(subject, case), _ask(subject, case, rng=1)):
        yield False, "perhaps another mask for another seed", "it draws random numbers: masks differ between seeds"
