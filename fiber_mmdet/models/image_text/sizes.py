"""Sizes of the image-text model that have to fit each other."""

from collections.abc import Iterator, Mapping

from ..backbone import FIBERBackbone
from ..backbone.sizes import backbone_sizes, token_problems
from ..sizes import Options, class_of, is_kind, is_whole
from .heads.caption import CaptionHead


def image_text_problems(
    backbone: Mapping, heads: Mapping[str, Mapping | None], tokenizer: Mapping, dim: int
) -> Iterator[str]:
    """What does not fit in the configs of the parts of an image-text model.

    Yields:
        A sentence for each misfit, with the options by their paths.
    """
    if not is_whole(dim):
        yield f'dim={dim} must be a whole number of at least 1'
    cls = class_of(backbone)
    if not is_kind(cls, FIBERBackbone):
        return
    sizes = backbone_sizes(backbone, cls)
    yield from sizes.problems
    yield from token_problems(sizes, {'max_tokens': 50, **tokenizer})
    for name, cfg in heads.items():
        kind = class_of(cfg) if cfg else None
        if not is_kind(kind, CaptionHead) or sizes.max_tokens is None:
            continue
        head = Options(cfg, f'heads.{name}.', kind)
        if is_whole(head.max_new_tokens) and head.max_new_tokens > sizes.max_tokens:
            yield (
                f'{head.named("max_new_tokens")}, but the text tower has positions for '
                f'{sizes.max_tokens} tokens ({sizes.tokens_said})'
            )
