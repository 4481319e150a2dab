"""A folder of images in, a folder of results out: discovery, pipeline, manifest, resume."""
