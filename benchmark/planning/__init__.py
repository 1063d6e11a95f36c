"""Which cells are missing, in which order they are measured, and what they cost. No torch.

Imports `claims` and below.
"""
