"""From records and published numbers to verdicts: papers, their tables, rules, statistics, words.

Pure functions of what is on disk. Imports `plugins` and below; no torch.
"""
