"""Bundles: a plugin with all that is needed to measure its results again, in one file."""
