"""Public weights of text towers: RoBERTa, XLM-R, BERT and what is built like them."""

from collections.abc import Mapping
from pathlib import Path
from pickle import PickleError
from typing import Any

import torch
from torch import Tensor

from fiber_mmdet.checkpoints.account import Conversion, ConversionError
from fiber_mmdet.checkpoints.archive import DamagedFile, check_archive, safetensors_header
from fiber_mmdet.checkpoints.names import (
    PUBLIC_POSITIONS,
    PUBLIC_TYPES,
    PUBLIC_WORDS,
    TEXT_CROSS_ATTENTION,
)
from fiber_mmdet.checkpoints.published_layout import TEXT_PREFIXES, find_prefix, from_official
from fiber_mmdet.checkpoints.reading import official_weights, read_checkpoint
from fiber_mmdet.checkpoints.soundness import not_finite, refuse_infinite
from fiber_mmdet.text import hub_answers

OURS = 'backbone.text.'
# What a config's model_type means for the position of a text's first token in the table: row
# pad + 1, as in our tower, or row 0.
FROM_PAD = ('roberta', 'xlm-roberta', 'camembert')
FROM_ZERO = ('bert', 'ernie', 'electra')


def public_text_weights(source: str, tower: Any) -> Conversion:
    """A Hugging Face model's weights for a text tower, checked for what shapes do not tell.

    Models of RoBERTa's and of BERT's kind have the same layers, and weights of the same names. What
    differs is turned into RoBERTa's form: BERT's first token reads row 0 of the position table and
    ours row ``pad_id + 1``, so that its rows move; of its two token types a single text uses the
    first alone.

    Args:
        source: local directory or hub name, or a checkpoint file of a larger model with such a
            tower (METER, BridgeTower, GLIP and others), which says less of what it is.
        tower: a :class:`TextTower`.

    Returns:
        The weights under the tower's own keys.

    Raises:
        ConversionError: no model is there, one of another architecture, or its weights are damaged,
            missing or not finite.
    """
    if Path(source).expanduser().is_file():
        return _of_file(source, tower)
    model, missing = _read(source)
    # transformers draws what it does not find
    if lacking := sorted(key for key in missing if not key.startswith('pooler.')):
        raise ConversionError(
            f'{source}: {len(lacking)} weights are missing, such as {", ".join(lacking[:3])}'
        )
    weights = dict(model.state_dict())
    refuse_infinite(not_finite(weights), source)
    shift = _first_row(model.config, source, tower.pad_id)
    _check_settings(model.config, source, tower, shift)
    return _as_ours(weights, shift, f'of {model.config.model_type}', tower)


def _as_ours(weights: Mapping[str, Tensor], shift: int, whose: str, tower: Any) -> Conversion:
    """Weights of a tower's own names under ours, positions and types as ours has them."""
    weights, notes = dict(weights), []
    if shift and PUBLIC_POSITIONS in weights:
        weights[PUBLIC_POSITIONS] = _lowered(weights[PUBLIC_POSITIONS], shift)
        notes.append(
            f'positions are those {whose}, which count from 0: row i of the table became row '
            f'i + {shift}'
        )
    if PUBLIC_TYPES in weights and len(weights[PUBLIC_TYPES]) > 1:
        notes.append(
            f'of {len(weights[PUBLIC_TYPES])} token types the first was kept: a text has no other'
        )
        weights[PUBLIC_TYPES] = weights[PUBLIC_TYPES][:1]
    found = from_official(weights, 'public', {OURS + key for key in tower.state_dict()})
    found.state = {key.removeprefix(OURS): value for key, value in found.state.items()}
    found.notes += notes
    return found


def _of_file(source: str, tower: Any) -> Conversion:
    """The text tower in a checkpoint file: found by its prefix, its kind by its token types."""
    weights = official_weights(read_checkpoint(source), name=source)
    prefix = find_prefix(weights, TEXT_PREFIXES, PUBLIC_WORDS)
    if prefix is None:
        places = ', '.join(repr(prefix) for prefix in TEXT_PREFIXES if prefix)
        raise ConversionError(
            f'{source}: no text tower in it: there is no {PUBLIC_WORDS}, alone or after '
            f'one of {places}'
        )
    own = {
        key.removeprefix(prefix): value
        for key, value in weights.items()
        if key.startswith(prefix) and not any(name in key for name in TEXT_CROSS_ATTENTION)
    }
    types = own.get(PUBLIC_TYPES)
    if types is None or types.dim() != 2 or own[PUBLIC_WORDS].dim() != 2:
        raise ConversionError(f'{source}: the embeddings after {prefix!r} are not of a text tower')
    of_bert = len(types) > 1
    shift = tower.pad_id + 1 if of_bert else 0
    found = _as_ours(own, shift, 'of a BERT', tower)
    found.put_back(prefix)
    found.reasons.update(
        {
            key: 'cross-attention' if key.startswith(prefix) else 'not of the text tower'
            for key in weights
            if not key.startswith(prefix) or key.removeprefix(prefix) not in own
        }
    )
    found.notes.append(
        f'the file does not say how its {"BERT" if of_bert else "RoBERTa"} is set: heads '
        f'({tower.layers[0].attention.num_heads}), norm_eps ({tower.embeddings.norm.eps}) and '
        f"pad_id ({tower.pad_id}) are the config's"
    )
    return found


def _read(source: str) -> tuple[Any, list[str]]:
    """A model of transformers, and the keys that it did not find in its file."""
    from safetensors import SafetensorError
    from transformers import AutoModel  # costs seconds, which only this path should pay

    _check_files(Path(source))
    try:
        online = not Path(source).is_dir() and hub_answers()
        model, found = AutoModel.from_pretrained(
            source,
            local_files_only=not online,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, PickleError, SafetensorError) as error:
        raise ConversionError(
            f'{source}: no Hugging Face model there ({error}). Give a local '
            'directory with config.json and weights, or a hub name'
        ) from error
    return model, found['missing_keys']


def _first_row(config: Any, source: str, pad_id: int) -> int:
    """By how many rows the position table moves to become the tower's."""
    if config.model_type in FROM_PAD:
        return 0
    if config.model_type in FROM_ZERO:
        return pad_id + 1
    raise ConversionError(
        f'{source}: model_type={config.model_type!r} is not a text tower that can be read here; '
        f'those are {", ".join(FROM_PAD + FROM_ZERO)}. How to add another: '
        'docs/extending/text_tower.md'
    )


def _check_settings(config: Any, source: str, tower: Any, shift: int) -> None:
    """Compare the settings of a model with the arguments of the tower."""
    rows = f'max_positions - {shift}' if shift else 'max_positions'
    for setting, argument, ours in (
        ('num_hidden_layers', 'num_layers', len(tower.layers)),
        ('hidden_size', 'dim', tower.dim),
        ('vocab_size', 'vocab_size', tower.vocab_size),
        ('num_attention_heads', 'num_heads', tower.layers[0].attention.num_heads),
        ('max_position_embeddings', rows, tower.embeddings.position.num_embeddings - shift),
        ('pad_token_id', 'pad_id', tower.pad_id),
        ('layer_norm_eps', 'norm_eps', tower.embeddings.norm.eps),
        ('hidden_act', 'activation, which is fixed', 'gelu'),
        ('position_embedding_type', 'positions, which are fixed', 'absolute'),
    ):
        theirs = getattr(config, setting, 'absolute' if argument.startswith('positions') else None)
        if theirs != ours:
            raise ConversionError(
                f'{source} does not fit the text tower: {setting}={theirs}, but '
                f'the tower has {ours} ({argument})'
            )


def _lowered(table: Tensor, rows: int) -> Tensor:
    """A table (R, C) below rows of zeros: (rows + R, C)."""
    return torch.cat([table.new_zeros(rows, table.shape[1]), table])


def _check_files(folder: Path) -> None:
    """Check the files of weights in a local folder, whose reader does not name them."""
    for file in sorted((*folder.glob('*.safetensors'), *folder.glob('*.bin'))):
        try:
            if file.suffix == '.bin':
                check_archive(file)
            elif safetensors_header(file) is None:
                raise DamagedFile('it does not begin as a safetensors file')
        except DamagedFile as error:
            raise ConversionError(f'{file}: {error}') from error
