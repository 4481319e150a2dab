"""What people read of an evaluation, a comparison or an occlusion test: numbers in words, plots and pictures."""
