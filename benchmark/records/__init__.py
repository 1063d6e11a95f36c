"""Records of cells: schema, store, leases, nested masks, provenance. No torch.

Imports `protocols` and `utils`.
"""
