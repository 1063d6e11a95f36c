"""What any package may need: errors, files, strict YAML and models, seeding, signals. Imports nothing of ours."""
