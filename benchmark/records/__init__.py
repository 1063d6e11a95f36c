"""Records of cells: schema, store, locks, provenance. Imports `protocols` and `utils`; no torch."""
