"""Pruning of linear models trained by exact gradient flow, which the analysis `linear-imp` uses.

Elesedy, Kanade & Teh, "Lottery Tickets in Linear Models", arXiv 2007.08243, of which the abstract was read; the
statements checked are derived here, not the paper's theorems. Imports numpy alone.
"""
