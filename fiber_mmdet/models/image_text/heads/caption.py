"""Captions."""

import torch
from mmdet.registry import MODELS
from mmengine.model import ModuleDict
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments

from ..batch import EncodedBatch
from ..beam_search import SpecialTokens, beam_search
from ..caption_decoder import CaptionDecoder, ImageMemory, IncrementalDecoder
from ..decoding import greedy, sample
from .base import ObjectiveHead
from .caption_cider import CiderLoss
from .caption_gold import GoldLoss
from .caption_mle import MLELoss

OBJECTIVES = ('mle', 'gold', 'cider')
DECODINGS = ('beam', 'greedy', 'nucleus')


@MODELS.register_module()
@strict_arguments
class CaptionHead(ObjectiveHead):
    """Captions, word by word from the image.

    The FIBER paper trains with the three objectives one after the other.

    Args:
        dim: channels of the joint space.
        objective: 'mle' for the likelihood of the caption, 'gold' or 'cider'.
        beam_size: beams of an image.
        max_new_tokens: longest caption, the end token counted.
        decoding: 'beam', 'greedy', or 'nucleus' for a drawn caption.
        top_p: share of probability that 'nucleus' draws from.
        temperature: divides the logits of 'nucleus'.
        legacy_beam: the reference's beam search, see :func:`beam_search`.
        gold: arguments of :class:`GoldLoss`, read if that is the objective.
        cider: arguments of :class:`CiderLoss`, read if that is the objective.
        loss_weight: factor of the loss.

    Raises:
        ValueError: an unknown ``objective`` or ``decoding``, or captions longer
            than the text tower's positions.
    """

    uses_words = True

    def __init__(
        self,
        dim: int,
        objective: str = 'mle',
        beam_size: int = 5,
        max_new_tokens: int = 49,
        decoding: str = 'beam',
        top_p: float = 0.9,
        temperature: float = 1.0,
        legacy_beam: bool = False,
        gold: dict | None = None,
        cider: dict | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(dim, loss_weight)
        if objective not in OBJECTIVES:
            raise ValueError(f'objective={objective!r} must be one of {", ".join(OBJECTIVES)}')
        if decoding not in DECODINGS:
            raise ValueError(f'decoding={decoding!r} must be one of {", ".join(DECODINGS)}')
        self.beam_size = beam_size
        self.max_new_tokens = max_new_tokens
        self.decoding = decoding
        self.top_p = top_p
        self.temperature = temperature
        self.legacy_beam = legacy_beam
        self.objective = (
            GoldLoss(**gold or {})
            if objective == 'gold'
            else CiderLoss(**cider or {})
            if objective == 'cider'
            else MLELoss()
        )

    def bind(self, model: nn.Module) -> None:
        """Make the adapters: for layers that otherwise read a narrower stage.

        Raises:
            ValueError: the text tower has too few positions, or no layer that reads the image.
        """
        backbone = model.backbone
        if self.max_new_tokens > backbone.text.max_tokens:
            raise ValueError(
                f'max_new_tokens={self.max_new_tokens}, but the text tower has '
                f'positions for {backbone.text.max_tokens} tokens'
            )
        last, widths = backbone.image.dims[-1], backbone.fusion.image_dims
        if not any(widths):
            raise ValueError(
                f'captions need text layers that read the image; those of '
                f'{type(backbone.fusion).__name__} do not'
            )
        self.adapters = ModuleDict(
            {
                str(i): nn.Linear(last, width)
                for i, width in enumerate(widths)
                if width not in (None, last)
            }
        )

    def parts(self, model: nn.Module) -> CaptionDecoder:
        """The parts of the model that write captions."""
        return CaptionDecoder(model.backbone, model.fused.text_proj, model.words, self.adapters)

    def loss(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """The loss of the objective, and what it logs."""
        return self.objective(self, batch)

    def predict(self, batch: EncodedBatch) -> list[dict]:
        """``pred_caption``, written once for samples of the same image."""
        images = [sample.get('image_id', ('sample', i)) for i, sample in enumerate(batch.samples)]
        distinct = list(dict.fromkeys(images))
        parts = self.parts(batch.model)
        memory = parts.look(batch.image().select([images.index(image) for image in distinct]))
        captions = self.decode(batch.model, self.write(batch.model, memory))
        captions = dict(zip(distinct, captions))
        return [dict(pred_caption=captions[image]) for image in images]

    def write(self, model: nn.Module, memory: ImageMemory) -> Tensor:
        """Captions of B images: (B, T) int64 tokens without ``<s>``."""
        step = IncrementalDecoder(self.parts(model), memory)
        start, special = self.special_tokens(model)
        first = torch.full((len(memory.tokens),), start, device=memory.tokens.device)
        if self.decoding == 'beam':
            return beam_search(
                step, first, special, self.beam_size, self.max_new_tokens, self.legacy_beam
            )
        if self.decoding == 'greedy':
            return greedy(step, first, special, self.max_new_tokens)
        return sample(
            step,
            first,
            special,
            self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
        )

    @staticmethod
    def special_tokens(model: nn.Module) -> tuple[int, SpecialTokens]:
        """The id of ``<s>``, and the others."""
        words = model.tokenizer.tokenizer
        return words.bos_token_id, SpecialTokens(
            words.eos_token_id, words.pad_token_id, words.mask_token_id
        )

    @staticmethod
    def decode(model: nn.Module, tokens: Tensor) -> list[str]:
        """(R, T) int64 tokens to texts without special tokens, spaces as the model wrote them."""
        texts = model.tokenizer.tokenizer.batch_decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [text.strip() for text in texts]
