"""What a cell should cost: seconds per update, from floating-point operations until records say it better. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmark.protocol import Protocol
from benchmark.provenance import cpu_name
from benchmark.records import Record

FLOPS_PER_SECOND = 3.0e10  # of one core in small matrix products; only used before anything was measured


def this_device() -> str:
    """The device that trainings of this process run on, as records name it."""
    return f"cpu: {cpu_name()}"


def flops_per_step(protocol: Protocol) -> float:
    """Operations of one update: forward, and backward at twice its cost, with evaluations in their proportion.

    A multiply-add counts as two operations.
    """
    evaluated = (10_000 + protocol.data.validation) / protocol.evaluation.every
    return float(protocol.network.multiply_adds * (6 * protocol.recipe.batch_size + 2 * evaluated))


def training_work(protocol: Protocol) -> float:
    """Operations of one whole training; 0 where nothing is trained. Orders protocols alike on every machine."""
    return protocol.recipe.steps * flops_per_step(protocol) if protocol.trains else 0.0


@dataclass(frozen=True)
class Error:
    """How far predictions were off, as a fraction of what was measured: middle and 90th percentile of `count`."""

    count: int
    middle: float
    ninetieth: float


@dataclass(frozen=True)
class CostModel:
    """Seconds per update of (protocol key, device), and operations per second of a device, learned from records."""

    speeds: Mapping[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def learn(records: Mapping[Protocol, Iterable[Record]]) -> CostModel:
        """From the records of any number of protocols."""
        speeds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for protocol, found in records.items():
            for record in found:
                if record.cost and record.cost.train_steps > 0:
                    speed = record.cost.train_seconds / record.cost.train_steps
                    speeds[protocol.key, record.provenance.device].append(speed)
        known = {protocol.key: protocol for protocol in records}
        rates: defaultdict[str, list[float]] = defaultdict(list)
        for (key, device), values in speeds.items():
            if known[key].trains and (middle := median(values)):
                rates[device].append(flops_per_step(known[key]) / middle)
        return CostModel(
            {key: tuple(sorted(values)) for key, values in speeds.items()},
            {device: median(values) for device, values in rates.items()},
        )

    def seconds_per_step(self, protocol: Protocol, device: str | None = None) -> float:
        """Measured on this device; else on another, corrected by what both are known to do; else from operations."""
        device = device or this_device()
        if own := self.speeds.get((protocol.key, device)):
            return median(own)
        elsewhere = [
            median(values) * (self.rates[other] / self.rates[device] if device in self.rates else 1.0)
            for (key, other), values in self.speeds.items()
            if key == protocol.key
        ]
        if elsewhere:
            return median(elsewhere)
        if not protocol.trains:
            return 0.0
        return flops_per_step(protocol) / self.rates.get(device, FLOPS_PER_SECOND)

    def error(self, protocol: Protocol, device: str | None = None) -> Error | None:
        """Each record of a device predicted from all others of it; None with fewer than two."""
        values = self.speeds.get((protocol.key, device or this_device()), ())
        if len(values) < 2:
            return None
        off = sorted(abs(_median_without(values, n) - value) / value for n, value in enumerate(values) if value)
        return Error(len(off), median(off), off[int(0.9 * (len(off) - 1))]) if off else None


def _median_without(values: Sequence[float], left_out: int) -> float:
    """The median of sorted values but one."""
    rest = len(values) - 1

    def at(place: int) -> float:
        return values[place if place < left_out else place + 1]

    return at(rest // 2) if rest % 2 else (at(rest // 2 - 1) + at(rest // 2)) / 2
