"""Analyses: functions of finished networks or masks to named numbers, measured where a protocol says so.

One file per analysis, registered by name and imported when it is asked for. Imports `training` and below (`planning`
and `claims` too, which it has no use for); `harness`, which trains what an analysis needs, may not be imported.
"""

from benchmark.analyses.analysis import Analysis, Findings, checked, digest_of, load_analysis
from benchmark.protocols.analysis import ANALYSES

__all__ = ["ANALYSES", "Analysis", "Findings", "checked", "digest_of", "load_analysis"]
