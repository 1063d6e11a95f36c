"""Functions of finished networks or masks to named numbers. May import `training` and below."""
