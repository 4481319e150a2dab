"""From a folder of images and masks to a bundle that is ready to use."""
