"""Which way of training replicas side by side wins for which architecture, and what was measured.

Nothing has been measured on a GPU yet: `lotterybench speed` measures both ways on the device at hand, and its figures
belong here, with the device, before a way is called the faster one. Until then the choice follows from what the two
ways do. Small layers leave a GPU idle, so making each kernel larger must win: stack. Large convolutions fill it alone,
and grouped convolutions have fewer fast kernels than plain ones in channels_last: streams.
"""

from __future__ import annotations

from typing import Literal

from benchmark.spec.network import ConvSpec, LeNet5Spec, MlpSpec, NetworkSpec, ResNetSpec, VggSpec

Way = Literal["stacked", "forked"]

_EXPECTED: dict[type, Way] = {
    MlpSpec: "stacked",
    LeNet5Spec: "stacked",
    ConvSpec: "forked",
    ResNetSpec: "forked",
    VggSpec: "forked",
}


def way_for(network: NetworkSpec) -> Way:
    """How replicas of a network are trained side by side on CUDA."""
    return _EXPECTED[type(network)]
