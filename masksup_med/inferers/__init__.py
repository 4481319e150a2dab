"""Inference beyond one run of a network: several views of an image, and runtimes other than torch."""
