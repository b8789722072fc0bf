"""Training engine: only what mmengine lacks."""
from .checkpoint_check import CheckpointCheckHook

__all__ = ['CheckpointCheckHook']
