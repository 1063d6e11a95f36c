"""The verbs of the command line, grouped by what they do. None imports torch before it must."""
