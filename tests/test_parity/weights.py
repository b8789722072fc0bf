"""Weights and inputs of the tiny fixtures: pure functions of names, shapes and seeds.

The same interface as the generator of the reference fixtures, so that
``tools/parity.py tiny.npz --parity-dir tests/test_parity`` works.
"""

import zlib

import numpy as np
import torch

VOCAB = 500
SHARPER = ('query.weight', 'dense.weight', 'projection_text.weight')


def _random(key, seed):
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(key.encode())]))


def tensor(key: str, shape, seed: int = 0) -> torch.Tensor:
    """Float32 tensor of ``shape``: open gates, norms with weights, activations of unit scale."""
    x = _random(key, seed).standard_normal(tuple(shape)).astype(np.float32)
    if key.endswith(('alpha_i2t', 'alpha_t2i')):
        x = 0.6 + 0.1 * x
    elif key.endswith('bias0'):
        x = -2 + 0.1 * x
    elif key == 'temp':
        x = 0 * x + 0.07
    elif key.endswith(('log_scale', '.scale')) or len(shape) == 1 and key.endswith('.weight'):
        x = 1 + 0.1 * x
    elif len(shape) == 1:
        x = 0.05 * x
    elif 'table' in key or 'embeddings' in key or 'tunable' in key:
        x = 0.3 * x
    else:
        x = x / np.sqrt(np.prod(shape[1:], dtype=np.float32))
    return torch.from_numpy(np.asarray(x))


def state_dict(manifest: dict, seed: int = 0, sharp: bool = False) -> dict[str, torch.Tensor]:
    """All weights of a manifest; ``sharp`` doubles a few, to keep text tokens distinct."""
    return {
        key: tensor(key, entry['shape'], seed) * (2 if sharp and key.endswith(SHARPER) else 1)
        for key, entry in manifest['keys'].items()
    }


def image(height: int, width: int, seed: int = 0, batch: int = 1) -> np.ndarray:
    """Smooth images with a little noise, (batch, 3, height, width) float32."""
    random = _random('image', seed)
    y, x = np.mgrid[:height, :width]
    fy, fx, phase = random.uniform(0.02, 0.4, (3, batch, 3, 4, 1, 1))
    waves = np.sin(fy * y + fx * x + 15 * phase).sum(2)
    return (0.5 * waves + 0.1 * random.standard_normal(waves.shape)).astype(np.float32)


def token_ids(length: int, seed: int = 0, batch: int = 1, lengths=None):
    """Ids ``<s> … </s> <pad>`` (0, 2, 1) and mask, each (batch, length) int64."""
    lengths = np.array(lengths or [length] * batch)
    ids = _random('tokens', seed).integers(3, VOCAB, (batch, length))
    ids[:, 0] = 0
    ids[np.arange(batch), lengths - 1] = 2
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    return np.where(mask, ids, 1), mask
