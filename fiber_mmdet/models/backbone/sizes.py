"""Sizes of the fused backbone that have to fit each other, and what others have to fit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..sizes import Options, class_of, divisible, is_kind, is_whole, positive
from .fusion import LockStepFusion, NoFusion
from .fusion_encoder import FusionEncoder
from .image_tower import ImageTower
from .text_tower import TextTower, text_tower


@dataclass
class BackboneSizes:
    """What follows from a backbone's options; None where only the built backbone knows.

    Attributes:
        problems: options that do not fit each other, a sentence each.
        levels: channels of the pyramid.
        strides: pixels per position of the pyramid.
        text_dim: channels of the fused text.
        text_said: the option that sets them, with its value.
        image_said: the options that make the pyramid, with their values.
        max_tokens: longest text, and what says so.
        tokens_said: see ``max_tokens``.
        prompt_rows: longest text under prompt tuning, 0 without.
    """

    problems: list[str] = field(default_factory=list)
    levels: list[int] | None = None
    strides: list[int] | None = None
    text_dim: int | None = None
    text_said: str = ''
    image_said: str = ''
    max_tokens: int | None = None
    tokens_said: str = ''
    prompt_rows: int = 0


def backbone_sizes(cfg: Mapping, cls: type, path: str = 'backbone.') -> BackboneSizes:
    """Compare the options of a backbone.

    Args:
        cfg: its config.
        cls: its class, a ``FIBERBackbone``.
        path: its place in ``model``, with a dot at its end.
    """
    found = BackboneSizes()
    own = Options(cfg, path, cls)
    image_cfg = {'embed_dim': 128, 'depths': (2, 2, 18, 2), **(own.image or {})}
    image = Options(image_cfg, f'{path}image.', ImageTower)
    tower, text_cfg = text_tower(own.text)
    text = Options(text_cfg, f'{path}text.', tower)
    found.problems += _image_problems(image)
    found.problems += _text_problems(text, tower)
    found.problems += _fused_problems(own, image, text)
    stages = len(image.depths)
    if is_whole(image.embed_dim, image.patch) and not found.problems:
        out = list(own.out_indices)
        found.levels = [image.embed_dim * 2**stage for stage in out]
        found.strides = [image.patch * 2**stage for stage in out]
        found.image_said = f'{image.named("embed_dim")} and {own.named("out_indices")}'
    if not is_whole(own.frozen_stages + 2) or own.frozen_stages > stages:
        found.problems.append(
            f'{own.named("frozen_stages")} must lie between -1 and {stages}, the number of '
            f'entries of {image.named("depths")}'
        )
    fusion = class_of(own.fusion, LockStepFusion)
    if fusion is FusionEncoder:
        encoder = Options(own.fusion, f'{path}fusion.', FusionEncoder)
        found.text_dim, found.text_said = encoder.dim, encoder.named('dim')
    elif fusion in (LockStepFusion, NoFusion):
        found.text_dim, found.text_said = text.dim, text.named('dim')
    if is_kind(tower, TextTower) and is_whole(text.max_positions):
        found.max_tokens = text.max_positions - text.pad_id - 1
        found.tokens_said = f'{text.named("max_positions")} and {text.named("pad_id")}'
        found.prompt_rows = text.prompt_rows
    return found


def _image_problems(image: Options) -> Iterator[str]:
    yield from positive(image, 'embed_dim', 'window', 'patch')
    if not image.depths or not is_whole(*image.depths):
        yield f'{image.named("depths")} must be whole numbers of at least 1'
    if len(image.depths) != len(image.num_heads):
        yield (
            f'{image.named("depths")} has {len(image.depths)} stages, and '
            f'{image.named("num_heads")} {len(image.num_heads)}: they must have one entry per stage'
        )
    if not is_whole(image.embed_dim):
        return
    for stage, heads in enumerate(image.num_heads):
        yield from divisible(
            image.embed_dim * 2**stage,
            heads,
            f'{image.named("embed_dim")} makes {image.embed_dim * 2**stage} channels in stage '
            f'{stage}, which',
            image.named('num_heads', stage),
        )
    side: Any = image.position_side
    if side and not is_whole(side):
        yield f'{image.named("position_side")} must be a number of positions, 0 for none'


def _text_problems(text: Options, tower: type) -> Iterator[str]:
    yield from positive(text, *(x for x in ('dim', 'num_layers') if x in text.values))
    heads = text.values.get('num_heads')
    if heads is not None:
        yield from divisible(text.dim, heads, text.named('dim'), text.named('num_heads'))
    if not is_kind(tower, TextTower):
        return
    yield from positive(text, 'vocab_size', 'max_positions')
    if text.pad_id >= text.vocab_size:
        yield f'{text.named("pad_id")} must be one of the {text.named("vocab_size")} words'
    if text.max_positions < text.pad_id + 2:
        yield (
            f'{text.named("max_positions")} leaves no position for a token: they count from after '
            f'{text.named("pad_id")}'
        )


def _fused_problems(own: Options, image: Options, text: Options) -> Iterator[str]:
    stages = len(image.depths)
    out = list(own.out_indices)
    if out != sorted(set(out)) or any(not 0 <= stage < stages for stage in out):
        yield (
            f'{own.named("out_indices")} must be some of the {stages} stages of '
            f'{image.named("depths")}, 0 to {stages - 1}, in order'
        )
    if not is_whole(*image.depths, text.num_layers):
        return
    blocks = sum(image.depths)
    fusion = class_of(own.fusion, LockStepFusion)
    if fusion is LockStepFusion:
        place = own if own.fusion is None else Options(own.fusion, f'{own.path}fusion.', fusion)
        if not is_whole(place.num_fused) or place.num_fused > min(blocks, text.num_layers):
            yield (
                f'{place.named("num_fused")} must lie between 1 and the number of image blocks '
                f'({blocks}, {image.named("depths")}) and of text layers '
                f'({text.named("num_layers")})'
            )
    elif fusion is FusionEncoder:
        encoder = Options(own.fusion, f'{own.path}fusion.', fusion)
        yield from positive(encoder, 'num_layers', 'dim', 'num_heads')
        yield from divisible(
            encoder.dim, encoder.num_heads, encoder.named('dim'), encoder.named('num_heads')
        )


def token_problems(
    sizes: BackboneSizes, tokenizer: Mapping, limit: int | None = None, limit_said: str = ''
) -> Iterator[str]:
    """Prompts that are longer than what reads them.

    Args:
        sizes: of the backbone.
        tokenizer: its config.
        limit: of the head, None without.
        limit_said: the option that sets it.
    """
    longest: Any = tokenizer.get('max_tokens')
    if not is_whole(longest):
        return
    if sizes.max_tokens is not None and longest > sizes.max_tokens:
        yield (
            f'tokenizer.max_tokens={longest}, but the text tower has positions for '
            f'{sizes.max_tokens} tokens ({sizes.tokens_said}): raise backbone.text.max_positions '
            'or lower max_tokens'
        )
    if limit is not None and longest > limit:
        yield f'tokenizer.max_tokens={longest}, but {limit_said}={limit}, the longest prompt'
    if sizes.prompt_rows and sizes.prompt_rows < longest:
        yield (
            f'tokenizer.max_tokens={longest}, but backbone.text.prompt_rows={sizes.prompt_rows}: '
            'each token of a prompt needs a row'
        )
