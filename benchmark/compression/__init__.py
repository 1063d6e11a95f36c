"""Compression: trained networks replaced by cheaper ones whose bits and multiply-adds are counted, not claimed.

`interface` is what a compressor gives, and holds it to its budget; `coding` what stored values cost, `cycles` models a
machine. Imports `pruning` and below; never `training` or `harness`.
"""
