"""Image-text samples from tar files (shards), read as endless streams."""
