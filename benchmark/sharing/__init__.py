"""Records that travel: bundles, the Hub, measuring again. Imports `report`, `harness` and below."""
