"""Lotterybench: frozen protocols, pluggable pruners, one harness, and a verdict per published claim."""

__version__ = "0.1.0"
