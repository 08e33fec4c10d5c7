"""Rollouts that are steered, watched, driven elsewhere, remembered and undone."""
