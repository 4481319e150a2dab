"""Measures of one image each, and what sums over images become; NumPy, SciPy and scikit-image only."""
