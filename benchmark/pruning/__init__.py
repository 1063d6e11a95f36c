"""From scores to masks: levels and exact counts, allocation over layers, schedules, controls."""
