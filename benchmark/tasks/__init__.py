"""What is learned and how it is measured: losses, outputs, metrics with units.

Imports `networks` and below.
"""
