"""How sparse basis coefficients have to be for a compression: arithmetic of a network's shapes, nothing trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.setting import Setting
from benchmark.compression.coding import Code
from benchmark.compression.interface import DENSE_BITS
from benchmark.protocols.analysis import ANALYSES
from benchmark.protocols.network import NetworkSpec
from benchmark.utils.errors import BadInput

STEP_BITS = 32


@ANALYSES.register("coding-bound")
class CodingBound(Analysis):
    """Of all convolutions with kernels of side `kernel`, each by `basis` kernels and ternary coefficients.

    A convolution (K, C, k, k) has K C M coefficients for K C k^2 weights of 32 bits. `zeros_needed`: the share of zero
    coefficients at which positions by an entropy code, a sign each, and basis and scales of `precision` bits compress
    `times`; `zeros_needed_alone` leaves out basis and scales. `bitmap_limit`: what a bitmap of the coefficients stays
    below whatever the sparsity, 32 k^2 / M.
    """

    paper = "bits of ESCALATE, Li et al. 2021, MICRO, 10.1145/3466752.3480043; derived, not a statement of the paper"
    units: ClassVar[Mapping[str, str]] = {
        "zeros_needed": "percent",
        "zeros_needed_alone": "percent",
        "bitmap_limit": "times",
    }

    def __init__(self, times: float = 325.0, basis: int = 5, kernel: int = 3, precision: int = 8) -> None:
        if not times > 1 or not 1 <= basis <= kernel**2 or precision < 1:
            raise ValueError(f"times {times}, basis {basis}, kernel {kernel}, precision {precision}")
        self.times, self.basis, self.kernel, self.precision = times, basis, kernel, precision

    def measure(self, setting: Setting) -> Findings:
        """See `Analysis`."""
        return Findings(self.numbers(setting.protocol.network))

    def numbers(self, network: NetworkSpec) -> dict[str, float]:
        """Of the network's shapes. Raises BadInput if it has no such kernels, or no sparsity compresses so much."""
        shapes = [shape for kind, shape in network.tensors.values() if shape[2:] == (self.kernel, self.kernel)]
        if not shapes:
            raise BadInput(f"network {network.name}", f"has no {self.kernel}x{self.kernel} kernels", "Set `kernel`")
        area = self.kernel**2
        pairs = sum(outputs * inputs for outputs, inputs, *_ in shapes)
        dense, places = DENSE_BITS * area * pairs, self.basis * pairs
        fixed = sum(self.precision * (self.basis * area + outputs) + 2 * STEP_BITS for outputs, *_ in shapes)
        code = Code("entropy", value_bits=1)
        try:
            needed, alone = (code.zero_share((dense / self.times - rest) / places) for rest in (fixed, 0))
        except ValueError as error:
            cause = f"no sparsity compresses these kernels {self.times} times ({error})"
            raise BadInput(f"network {network.name}", cause, "Ask for another compression") from error
        return {
            "zeros_needed": 100 * needed,
            "zeros_needed_alone": 100 * alone,
            "bitmap_limit": dense / places,
        }
