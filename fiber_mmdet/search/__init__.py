"""Vectors of images on disk, and the nearest of them."""
