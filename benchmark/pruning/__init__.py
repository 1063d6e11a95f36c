"""From scores to masks: the plugin interface of pruners, exact cuts, schedules of rounds, sparse views of weights.

`schedule` runs the rounds and asks a `Scorer`; it never knows whether the plugin is in this process or a confined one.
Imports `datasets`, `networks`, `records`, `protocols`, `utils`; never `training` or `harness`.
"""
