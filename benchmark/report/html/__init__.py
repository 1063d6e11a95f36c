"""The HTML report: pages, charts, and the data behind them. No torch."""
