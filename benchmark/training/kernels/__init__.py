"""Portable CPU kernels: fully connected networks and LeNet-5 trained and evaluated with the same bits on every machine.

`engine` says which arithmetic a protocol gets on this machine, and `group` is what the training loop drives, another
`ReplicaGroup` with updates of its own; everything else is inside. `vector`, `products`, `dense_convolutions`,
`sparse_convolutions`, `functions`, `optimizers`, `program` and `image_program` are numba's language, from single
operations up to whole runs of updates; `layout` and `image_layout` say what lies where. Imports `training` and below;
numba is imported only when a protocol asks for portable arithmetic.
"""
