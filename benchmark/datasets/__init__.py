"""Data sets: fetched or found under the data root, checked by digest, split by seed, prepared for a protocol.

One module a data set. May import `records`, `protocols` and `utils`.
"""
