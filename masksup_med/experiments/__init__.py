"""Grids of trainings: every cell a bundle, tracked, measured, compared with its baseline."""
