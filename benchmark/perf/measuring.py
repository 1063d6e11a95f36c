"""A run of `lotterybench speed`: which loops are timed against each other, and the ratios between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from benchmark.perf.device import ceiling
from benchmark.perf.kernels import Compared, Name, compare
from benchmark.perf.loops import LABELS, Contender
from benchmark.perf.pruning import prune_times, synflow_times
from benchmark.perf.rates import Rate, rates_of
from benchmark.perf.report import LoopRate, SpeedReport
from benchmark.perf.verbs import MANY, Timed, many_times, verb_times
from benchmark.protocols import Protocol
from benchmark.training.device import device_name
from benchmark.training.replicas import Strategy

PARTS = ("train", "prune", "verbs", "many", "synflow", "kernels")
STRATEGIES: tuple[Strategy, ...] = ("stacked", "streams")
USUAL = ("train", "prune", "verbs")
WORDS: dict[Name, str] = {
    "kernels": "the kernels",
    "torch": "torch",
    "in-memory": LABELS["in-memory"],
    "dataloader": LABELS["dataloader"],
}


def contenders(device: str, counts: Sequence[int], normalised: bool = False) -> list[Contender]:
    """The engine with each of `counts` replicas, then the two plain loops; on a CPU with one thread and with all.

    `normalised`: the network has batch norms, so on CUDA the engine is also timed with them fused.
    """
    cores = os.cpu_count() or 1
    if device == "cpu":
        engine = [Contender("engine", processes=count) for count in counts]
        threads = sorted({1, cores})
        return [*engine, *(Contender(loop, threads=n) for loop in ("in-memory", "dataloader") for n in threads)]
    engine = [
        Contender("engine", device, 1, 1, count, strategy, fused)
        for count in counts
        for strategy in STRATEGIES
        for fused in ((False, True) if normalised else (False,))
    ]
    return [*engine, Contender("in-memory", device), Contender("dataloader", device, threads=cores)]


def measure_speed(
    protocol: Protocol,
    device: str,
    counts: Sequence[int],
    parts: Sequence[str],
    seconds: float,
    turns: int,
    say: Callable[[str], None],
) -> SpeedReport:
    """Measure the `parts` (of `PARTS`) asked for, `say`ing what is next.

    `counts`: replicas of the engine. Each loop is timed `turns` times for `seconds`. The report's load average is of
    the minute before. Raises EnvironmentProblem if a process that is timed ends.
    """
    load = os.getloadavg()[0]
    rates: list[Rate] = []
    top: dict[str, float] = {}
    timed: list[Timed] = []
    if "train" in parts:
        compared = contenders(device, counts, protocol.network.has_batch_norm)
        how = "take turns" if device == "cpu" else "one after the other"
        say(f"Training {protocol.id} on random data: {len(compared)} loops {how}, {turns} x {seconds:.0f} s each.")
        found = ceiling(device, protocol.recipe.precision)
        top = {"matmul_flops": found.matmul_flops, "copy_bytes_per_second": found.copy_bytes}
        rates = rates_of(compared, protocol.argument, seconds, turns)
    if "prune" in parts:
        say("Pruning once with every pruner.")
        timed += [Timed(f"prune with {p.what}, {p.rounds} round(s)", p.seconds) for p in prune_times(protocol)]
    if "verbs" in parts:
        say("Verbs that only read.")
        timed += verb_times()
    if "many" in parts:
        say(f"Verbs that only read, where there are {MANY:,} records: a minute.")
        timed += many_times()
    ratios = _ratios(rates)
    if "synflow" in parts:
        say("SynFlow on VGG-16, 100 rounds, twice: some minutes.")
        ours, direct = synflow_times()
        timed += [Timed(p.what, p.seconds) for p in (ours, direct)]
        ratios["synflow VGG-16: direct implementation / this harness"] = direct.seconds / ours.seconds
    if "kernels" in parts:
        say(f"The portable kernels beside torch and two plain loops, {turns} turns at each of some densities.")
        compared_to, top["fused_multiply_add_flops"] = compare(protocol, turns)
        for each in compared_to:
            seconds_of, ratios_of = _of_kernels(each, protocol)
            timed += seconds_of
            ratios |= ratios_of
    flops = 6 * protocol.network.multiply_adds * protocol.recipe.batch_size
    loops = [
        LoopRate(r.contender.label, r.contender.loop, r.contender.networks, r.median, r.lowest, r.highest,
             r.per_core_second, r.median * flops / top["matmul_flops"], r.peak_bytes)
        for r in rates
    ]  # fmt: skip
    return SpeedReport(protocol.id, device_name(device), load, loops, ratios, top, timed)


def _of_kernels(compared: Compared, protocol: Protocol) -> tuple[list[Timed], dict[str, float]]:
    """Seconds of updates and of whole cells at one density, and how many times as long the others take."""
    where, ours = f"{compared.density:.1%} of the weights", compared.taken["kernels"]
    timed, ratios = list[Timed](), dict[str, float]()
    for name, taken in compared.taken.items():
        timed.append(Timed(f"1,000 updates by {WORDS[name]}, {where}", 1000 * taken.update))
        timed.append(Timed(f"a whole cell by {WORDS[name]}, {where}", taken.cell(protocol)))
        if name != "kernels":
            ratios[f"kernels / {name}, {where}"] = taken.update / ours.update
            ratios[f"kernels / {name}, whole cell, {where}"] = taken.cell(protocol) / ours.cell(protocol)
    ratios[f"kernels / peak of the core, {where}"] = compared.of_peak
    return timed, ratios


def _ratios(rates: Sequence[Rate]) -> dict[str, float]:
    """The engine at its best over each plain loop at its best, in networks' updates per second.

    Not more processes than cores: on a busy machine they would be given more of it than a loop of one process.
    """
    fair = [r for r in rates if r.contender.processes <= (os.cpu_count() or 1)]
    best = {loop: max((r.median for r in fair if r.contender.loop == loop), default=0.0) for loop in
            ("engine", "in-memory", "dataloader")}  # fmt: skip
    ratios = {f"engine / {loop}": best["engine"] / best[loop] for loop in ("in-memory", "dataloader") if best[loop]}
    return ratios | _gains(rates)


def _gains(rates: Sequence[Rate]) -> dict[str, float]:
    """By strategy: the engine at its best with fused batch norms over its best without (`training.fused.decisions`)."""
    best: dict[tuple[Strategy, bool], float] = {}
    for rate in (rate for rate in rates if rate.contender.loop == "engine"):
        key = (rate.contender.strategy, rate.contender.fused)
        best[key] = max(rate.median, best.get(key, 0.0))
    return {f"fused / unfused, {s}": best[s, True] / best[s, False] for s in STRATEGIES if (s, True) in best}
