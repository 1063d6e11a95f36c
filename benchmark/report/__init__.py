"""The HTML report: a self-contained static site from committed records and published numbers. No torch."""

from benchmark.report.site import build

__all__ = ["build"]
