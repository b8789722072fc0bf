"""Training engine: only what mmengine lacks."""
