"""Compression: trained networks replaced by cheaper ones whose bits and multiply-adds are counted, not claimed.

`interface` is what a compressor gives, `coding` what stored values cost, `applying` runs a compressor and holds it to
its budget, `cycles` models a machine. Imports `pruning` and below; never `training` or `harness`.
"""
