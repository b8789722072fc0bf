"""mmdet's Grounding DINO, made to run with the versions of its host and of transformers.

Differs from mmdet's, and only where that would fail:

- ``BertModel`` was written for transformers 4. For 5, its tokenizer gets the old name of its call,
  and masks of pairs of tokens, (B, T, T), go into the model with a place for heads, (B, 1, T, T).
- The decoder of onedl-mmdetection encodes each coordinate of a box with twice as many numbers as
  the head behind it reads; those that mmdet 3.3 encodes are every other pair of them.
"""

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel


def suit_host(model: nn.Module) -> None:
    """Let a grounding detector of mmdet run with what is installed.

    Args:
        model: GLIP or Grounding DINO, as mmdet built it; changed in place.
    """
    language_model: Any = model.language_model
    tokenizer = getattr(language_model, 'tokenizer', None)
    if tokenizer is not None and not hasattr(tokenizer, 'batch_encode_plus'):
        tokenizer.batch_encode_plus = tokenizer.__call__
        berts = (part for part in language_model.modules() if isinstance(part, PreTrainedModel))
        if (bert := next(berts, None)) is not None:
            bert.register_forward_pre_hook(_with_heads, with_kwargs=True)
    head = getattr(getattr(model, 'decoder', None), 'ref_point_head', None)
    if isinstance(head, nn.Module):
        head.register_forward_pre_hook(_every_other_pair)


def _with_heads(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict]:
    mask = kwargs.get('attention_mask')
    if mask is not None and mask.dim() == 3:
        kwargs = dict(kwargs, attention_mask=mask[:, None].bool())
    return args, kwargs


def _every_other_pair(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """Of (…, 4 * 2F) numbers those of an encoding with F, whose frequencies are among them."""
    encoded = args[0]
    wanted = next(module.parameters()).shape[1]
    if encoded.shape[-1] != 2 * wanted:
        return None
    pairs = encoded.unflatten(-1, (4, -1, 2))  # sine and cosine of each frequency
    return (pairs[..., ::2, :].flatten(-3), *args[1:])
