"""The sections of a protocol, one module each: typed, frozen, closed. `benchmark.protocol` puts them together."""
