"""What the verbs of the command line are called and take, grouped by what they do; `benchmark.commands` does it.

Nothing here imports more than click before a verb runs, so that `--help` answers at once.
"""
