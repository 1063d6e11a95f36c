"""Batch norm, the sum with a shortcut and ReLU as one operation on CUDA: a quarter less memory is read and written.

`formulas` says in PyTorch what is calculated, `triton_kernels` does it on CUDA, `layers` has the operation with its
gradient and the batch norms that use it, `decisions` says on which devices they do. May import the rest of training's
leaves (`stacked_layers`), not its loop.
"""
