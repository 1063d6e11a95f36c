"""From records and rules to evidence and words. Pure functions; no torch."""
