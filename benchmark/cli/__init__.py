"""The command line: `lotterybench VERB`, one file per group of verbs.

Imports everything below; nothing imports it.
"""
