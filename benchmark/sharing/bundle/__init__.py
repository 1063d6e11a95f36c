"""One method in one file: plugin, records, curves and masks, built and verified."""
