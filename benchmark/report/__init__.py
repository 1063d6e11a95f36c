"""The HTML report: a self-contained static site from committed records and published numbers. No torch."""
