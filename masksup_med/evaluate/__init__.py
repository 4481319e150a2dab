"""Predictions against labels: protocols, statistics, comparison."""
