"""The experiment: ensure the dense network, then for each level make the mask, train, record.

Imports `planning`, `training` and below.
"""
