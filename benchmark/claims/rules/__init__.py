"""Rules that decide claims: data, evaluation and wording of each."""
