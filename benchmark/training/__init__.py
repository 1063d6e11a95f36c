"""Training: recipes, the replica engine, evaluation."""
