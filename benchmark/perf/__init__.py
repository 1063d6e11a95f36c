"""`lotterybench speed`: updates per second of the suite's loop beside loops that people write and what the device could
do, and seconds of pruning and of reading verbs.

May import `sharing` and everything below it.
"""
