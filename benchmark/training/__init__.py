"""The one training loop of CPU and GPU: updates, batches, hooks, optimizers, evaluation, checkpoints.

Imports `pruning` and below.
"""
