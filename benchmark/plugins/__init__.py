"""Plugins: which there are, what they say of themselves, conformance, and their sandbox.

Imports `training` and below.
"""
