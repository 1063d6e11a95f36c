"""What readers see: the leaderboard, rankings, figures and the HTML report, all derived from records.

Imports `harness` and below, but nothing that loads torch.
"""
