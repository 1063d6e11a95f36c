"""Colours of methods, the same in the README's pictures and in the report."""

from __future__ import annotations

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, told apart by all readers; markers and lines differ too."""
