"""What the verbs of the command line do, one function each; `benchmark.verbs` says what they are called and take.

None imports torch before it must.
"""
