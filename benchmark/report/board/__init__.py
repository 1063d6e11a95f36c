"""The board that people look at: `leaderboard.md`, one screen, and the generated pages behind it.

Text from observations and decisions; `benchmark.report.leaderboard` puts the files together. No torch.
"""
