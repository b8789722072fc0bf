"""Captioning."""

import warnings

from mmdet.registry import MODELS
from mmengine.model import ModuleDict
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments

from ..batch import EncodedBatch, PairEncoder
from ..caption_decoder import EncoderStates
from ..captioner import Captioner
from .base import ObjectiveHead
from .caption_objective import CaptionObjective

DECODINGS = ('beam', 'greedy', 'nucleus')
FORMER_NAMES = dict(mle='MLELoss', gold='GoldLoss', cider='CiderLoss')


@MODELS.register_module()
@strict_arguments
class CaptionHead(ObjectiveHead):
    """Captions, word by word from the image.

    The paper trains with :class:`MLELoss`, :class:`GoldLoss` and :class:`CiderLoss`, one
    after the other.

    Args:
        dim: channels of the joint space.
        objective: config of a :class:`CaptionObjective`; None for :class:`MLELoss`.
        beam_size: beams per image.
        max_new_tokens: longest caption in tokens, the end token included.
        decoding: 'beam', 'greedy', or 'nucleus' for a sampled caption.
        top_p: share of the probability that 'nucleus' samples from.
        temperature: divides the logits of 'nucleus'.
        legacy_beam: the reference's beam search, see :func:`beam_search`.
        gold: deprecated: the arguments of ``objective='gold'``.
        cider: deprecated: the arguments of ``objective='cider'``.
        loss_weight: factor of the loss.

    Raises:
        ValueError: an unknown ``objective`` or ``decoding``, or captions longer
            than the text tower's positions.
    """

    uses_words = True

    def __init__(
        self,
        dim: int,
        objective: dict | str | None = None,
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
        if decoding not in DECODINGS:
            raise ValueError(f'decoding={decoding!r} must be one of {", ".join(DECODINGS)}')
        self.beam_size = beam_size
        self.max_new_tokens = max_new_tokens
        self.decoding = decoding
        self.top_p = top_p
        self.temperature = temperature
        self.legacy_beam = legacy_beam
        self.objective: CaptionObjective = MODELS.build(objective_config(objective, gold, cider))

    def bind(self, model: PairEncoder) -> None:
        """Make the adapters, for layers that otherwise read a narrower stage.

        Raises:
            ValueError: captions longer than the text tower's positions, or no text layer that reads
                the image.
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

    def captioner(self, model: PairEncoder) -> Captioner:
        """What encodes images, generates and scores captions."""
        return Captioner(model, self.adapters, self.max_new_tokens)

    def loss(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """The losses of the objective, and what it logs."""
        return self.objective.loss(self.captioner(batch.model), batch)

    def predict(self, batch: EncodedBatch) -> list[dict]:
        """``pred_caption``, generated once for samples of the same image."""
        images = [sample.get('image_id', ('sample', i)) for i, sample in enumerate(batch.samples)]
        distinct = list(dict.fromkeys(images))
        captioner = self.captioner(batch.model)
        states = captioner.encode(batch.image().select([images.index(image) for image in distinct]))
        texts = captioner.texts(self.generate(captioner, states))
        captions = dict(zip(distinct, texts))
        return [dict(pred_caption=captions[image]) for image in images]

    def generate(self, captioner: Captioner, states: EncoderStates) -> Tensor:
        """(B, T) int64 captions of B images, without ``<s>``."""
        if self.decoding == 'beam':
            return captioner.beam_search(states, self.beam_size, self.legacy_beam)
        if self.decoding == 'greedy':
            return captioner.greedy(states)
        return captioner.sample(states, temperature=self.temperature, top_p=self.top_p)


def objective_config(
    objective: dict | str | None, gold: dict | None = None, cider: dict | None = None
) -> dict:
    """The config of a captioning objective, also from the arguments of version 0.1.

    Args:
        objective: a config, None for maximum likelihood, or a former name.
        gold: arguments for GOLD, as before: ignored if that is not the objective.
        cider: arguments for CIDEr, likewise.

    Raises:
        ValueError: a name that has never been an objective.
    """
    if isinstance(objective, str) and objective not in FORMER_NAMES:
        raise ValueError(
            f"objective={objective!r} must be a config such as dict(type='MLELoss'), or one of the "
            f'former names {", ".join(FORMER_NAMES)}'
        )
    config = (
        dict(type=FORMER_NAMES[objective])
        if isinstance(objective, str)
        else dict(objective or dict(type='MLELoss'))
    )
    for name, arguments in dict(gold=gold, cider=cider).items():
        if arguments and config['type'] == FORMER_NAMES[name]:
            config.update(arguments)
    if isinstance(objective, str) or gold is not None or cider is not None:
        spelt = ', '.join(f'{key}={value!r}' for key, value in config.items())
        warnings.warn(
            "CaptionHead: objective='mle', 'gold' or 'cider' and the arguments gold and cider are "
            f'deprecated: write objective=dict({spelt})',
            FutureWarning,
            stacklevel=2,
        )
    return config
