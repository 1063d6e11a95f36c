"""`lotterybench speed`: the harness beside what people write and what the device could do.

Imports `sharing` and below.
"""
