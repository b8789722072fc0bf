"""Public unimodal weights for the towers: Swin checkpoints and RoBERTa from Hugging Face."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_local_rank
from mmengine.logging import MMLogger
from torch import Tensor, nn

from fiber_mmdet.checkpoints import (
    Conversion,
    ConversionError,
    from_official,
    official_weights,
    read_checkpoint,
    resize_bias_table,
)
from fiber_mmdet.text import hub_answers

from .fusion import CROSS_MODAL

# What no unimodal checkpoint has: the fusion, the norms of the pyramid, prompt rows.
_FRESH = dict(
    image=rf'{CROSS_MODAL}|image\.out_norms\..*', text=rf'{CROSS_MODAL}|text\.prompt_rows'
)

URL_SCHEMES = ('http', 'https')
_MMDET_NAMES = (
    ('stages.', 'layers.'),
    ('.attn.w_msa.', '.attn.'),
    ('.ffn.layers.0.0.', '.mlp.fc1.'),
    ('.ffn.layers.1.', '.mlp.fc2.'),
    ('patch_embed.projection.', 'patch_embed.proj.'),
)


def load_public_weights(
    backbone: nn.Module, image: str | None = None, text: str | None = None, swap_rgb: bool = False
) -> None:
    """Read public weights into one or both towers, and log what became of every key.

    Args:
        backbone: a :class:`FIBERBackbone`, changed in place. The cross-attention
            and the norms of the pyramid stay as they are (unless an mmdet
            detector's checkpoint has these norms).
        image: path or URL of a Swin checkpoint, in Swin's own names or mmdet's.
            Bias tables of another window are resized.
        text: local directory or hub name of a RoBERTa-like model.
        swap_rgb: turn the input channels of the patch embedding around: Swin
            was trained on RGB, the detectors read BGR.

    Raises:
        ConversionError: if a file is missing or refused (it would run code), or
            the weights do not fit the tower; all keys at fault are listed.
    """
    if image:
        weights = _swin_weights(image)
        if swap_rgb:
            weights['patch_embed.proj.weight'] = weights['patch_embed.proj.weight'].flip(1)
        _load(backbone, 'image', image, _in_tower(weights, 'image', backbone.image))
    if text:
        _load(backbone, 'text', text, backbone.text.read_public_weights(text))


def _in_tower(weights: Mapping[str, Tensor], name: str, tower: nn.Module) -> Conversion:
    """Weights in public names under a tower's own."""
    prefix = f'backbone.{name}.'
    found = from_official(weights, 'public', {prefix + key for key in tower.state_dict()})
    found.state = {key.removeprefix(prefix): value for key, value in found.state.items()}
    return found


def _load(backbone: nn.Module, tower: str, source: str, found: Conversion) -> None:
    """Copy weights under a tower's names into it, checked and logged."""
    own = {
        key: value for key, value in backbone.state_dict().items() if key.startswith(f'{tower}.')
    }
    state = {f'{tower}.{key}': value for key, value in found.state.items()}
    declared = {f'{tower}.{key}' for key in found.fresh}
    for key, value in state.items():
        if key.endswith('relative_position_bias_table'):
            state[key] = resize_bias_table(value, len(own[key]))
    fresh = [key for key in own if key not in state]
    problems = [f'unknown here: {key}' for key in found.unknown]
    problems += [
        f'missing: {key}'
        for key in fresh
        if not re.fullmatch(_FRESH[tower], key) and key not in declared
    ]
    problems += [
        f'{key}: {tuple(value.shape)}, here {tuple(own[key].shape)}'
        for key, value in state.items()
        if value.shape != own[key].shape
    ]
    if problems:
        raise ConversionError(
            f'{source} does not fit the {tower} tower ({len(problems)}); check '
            'its depths, widths and patch size:' + ''.join(f'\n  {problem}' for problem in problems)
        )
    backbone.load_state_dict(state, strict=False)
    MMLogger.get_current_instance().info(
        f'{tower} tower: {len(state)} weights loaded from {source}; '
        f'unused: {", ".join(found.extras) or "none"}; kept fresh: {", ".join(fresh) or "none"}'
    )


# ---------------------------------------------------------------- image
def _swin_weights(source: str) -> dict[str, Tensor]:
    """A Swin checkpoint in Swin's own names."""
    weights = official_weights(read_checkpoint(local_file(source)))
    if any(key.startswith('backbone.') for key in weights):
        others = [key for key in weights if not key.startswith('backbone.')]
        if others:
            MMLogger.get_current_instance().info(
                f'{source}: not of its backbone, unused: {", ".join(others)}'
            )
        weights = {
            key.removeprefix('backbone.'): value
            for key, value in weights.items()
            if key.startswith('backbone.')
        }
    if any(key.startswith('stages.') for key in weights):
        weights = {
            _swin_name(key): _from_unfold(value) if '.downsample.' in key else value
            for key, value in weights.items()
        }
    return weights


def _swin_name(key: str) -> str:
    for mmdet, swin in _MMDET_NAMES:
        key = key.replace(mmdet, swin)
    return key


def _from_unfold(x: Tensor) -> Tensor:
    """Patch merging's input channels (last dimension) from mmdet's order to Swin's.

    ``nn.Unfold`` has the channels outside and the four positions inside, in the
    order (row, column) = 00, 01, 10, 11; Swin the positions outside, in the
    order 00, 10, 01, 11.
    """
    return x.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]].transpose(-1, -2).flatten(-2)


def local_file(source: str) -> Path:
    """The file at a path or behind a URL, which is fetched once.

    Args:
        source: path, or http(s) URL.

    Returns:
        Its path.

    Raises:
        ConversionError: if the URL cannot be fetched.
    """
    return _download(source) if urlparse(source).scheme in URL_SCHEMES else Path(source)


def _download(url: str) -> Path:
    """The file behind a URL, in torch's cache; one process per machine fetches it."""
    path = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(url).path).name
    if get_local_rank() == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path))
        except OSError as error:
            raise ConversionError(
                f'{url}: cannot be downloaded ({error}); fetch it yourself and '
                f'give its path, or put it at {path}'
            ) from error
    barrier()
    return path


# ----------------------------------------------------------------- text
def roberta_weights(source: str, tower: nn.Module) -> Conversion:
    """A Hugging Face model's weights for a RoBERTa tower, checked for what shapes do not tell.

    Args:
        source: local directory or hub name.
        tower: a :class:`TextTower`.

    Returns:
        The weights under the tower's own keys.

    Raises:
        ConversionError: no model is there, or one of another architecture.
    """
    from transformers import AutoModel  # costs seconds, which only this path should pay

    try:
        online = not Path(source).is_dir() and hub_answers()
        model = AutoModel.from_pretrained(source, local_files_only=not online)
    except (OSError, ValueError) as error:
        raise ConversionError(
            f'{source}: no Hugging Face model there ({error}). Give a local '
            'directory with config.json and weights, or a hub name'
        ) from error
    for setting, argument, ours in (
        ('num_hidden_layers', 'num_layers', len(tower.layers)),
        ('hidden_size', 'dim', tower.dim),
        ('vocab_size', 'vocab_size', tower.vocab_size),
        ('num_attention_heads', 'num_heads', tower.layers[0].attention.num_heads),
        ('max_position_embeddings', 'max_positions', tower.embeddings.position.num_embeddings),
        ('pad_token_id', 'pad_id', tower.pad_id),
        ('layer_norm_eps', 'norm_eps', tower.embeddings.norm.eps),
        ('hidden_act', 'activation, which is fixed', 'gelu'),
    ):
        theirs = getattr(model.config, setting, None)
        if theirs != ours:
            raise ConversionError(
                f'{source} does not fit the text tower: {setting}={theirs}, but '
                f'the tower has {ours} ({argument})'
            )
    return _in_tower(model.state_dict(), 'text', tower)
