"""What a pruner must keep to, tried on a tiny network of every family. The public face is `benchmark.testing`."""
