"""The pruners that come with Lotterybench, one file each, registered like anybody's plugin.

Dense needs no pruner, and iterative magnitude pruning (IMP) is no pruner of its own: it is `magnitude` under a
schedule that trains and rewinds between rounds, written in the protocol.
"""
