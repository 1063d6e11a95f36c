"""Analyses: functions of finished networks to named numbers; they train nothing and change no record.

One file per analysis, registered by name and imported when it is asked for. Imports `training` and below (`planning`
and `claims` too, which it has no use for); `harness` may not be imported.
"""

from benchmark.analyses.analysis import ANALYSES, Analysis, load_analysis

__all__ = ["ANALYSES", "Analysis", "load_analysis"]
