"""Data sets: fetched or found under the data root, checked by digest, split by seed, prepared for a protocol.

One module for each data set, registered under its name, with `source` for files, `dataset` for tensors and splits,
`augment` for crops and flips. May import `records`, `protocols` and `utils`.
"""
