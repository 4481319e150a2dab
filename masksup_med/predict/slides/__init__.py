"""Whole slides: tissue found, predicted tile by tile, blended, measured and drawn, in bounded memory."""
