"""The programs of an image-text model: prefixes, pairs and what its heads make of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fiber_mmdet.models import FIBERForVL
from fiber_mmdet.models.backbone import ImagePrefix, TextPrefix
from fiber_mmdet.models.image_text.heads import CaptionHead, ITCHead, ITMHead, NLVR2Head, VQAHead

from .exportable import exportable
from .programs import CannotExport, PairProgram, Program, named, pair_inputs, prefix_programs

# heads whose answers depend on the pooled pair alone -> name of their output
OF_PAIRS = {ITMHead: 'itm_logits', VQAHead: 'vqa_logits'}
EXPORTED = (*OF_PAIRS, NLVR2Head, ITCHead, CaptionHead)


class PairTail(PairProgram):
    """Prefixes of pairs to their pooled features and to what the heads of pairs make of these.

    Args:
        model: the image-text model.
        parts: see :class:`PairProgram`.
        texts: see :class:`PairProgram`.
    """

    def __init__(self, model: FIBERForVL, parts: Sequence[str], texts: int) -> None:
        super().__init__(parts, texts)
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """(P, 2 * dim) pooled pairs, (P, 2) ITM logits, (P, answers) VQA logits, as there are."""
        pooled = self.model.fuse(*self.prefixes(inputs)).pooled
        outputs = [pooled]
        for kind in OF_PAIRS:
            if (head := head_of(self.model, kind)) is not None:
                outputs.append((head.fc if kind is ITMHead else head.classifier)(pooled))
        return tuple(outputs)


class Judging(nn.Module):
    """The pooled pairs of a statement with a left and a right image to the NLVR2 logits.

    Args:
        head: the NLVR2 head.
    """

    def __init__(self, head: NLVR2Head) -> None:
        super().__init__()
        self.classifier = head.classifier

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor]:
        """Two (P, 2 * dim) to (P, 2), false and true."""
        return (self.classifier(torch.cat([left, right], -1)),)


class ImageFeatures(PairProgram):
    """Image prefixes to features of length 1, comparable with those of texts."""

    def __init__(self, model: FIBERForVL, parts: Sequence[str]) -> None:
        super().__init__(parts, 0)
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """The parts of B images to (B, dim)."""
        return (self.model.image_features(ImagePrefix.from_parts(dict(zip(self.parts, inputs)))),)


class TextFeatures(PairProgram):
    """Text prefixes to features of length 1, comparable with those of images."""

    def __init__(self, model: FIBERForVL, texts: int) -> None:
        super().__init__((), texts)
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """The parts of B texts and their mask to (B, dim)."""
        tokens, *taps = inputs[: self.texts]
        return (self.model.text_features(TextPrefix(tokens, inputs[self.texts], tuple(taps))),)


class CaptionStates(PairProgram):
    """Image prefixes to what captions read of an image.

    Args:
        model: the image-text model.
        parts: see :class:`PairProgram`.
    """

    def __init__(self, model: FIBERForVL, parts: Sequence[str]) -> None:
        super().__init__(parts, 0)
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """The parts of B images to (B, N, C)."""
        image = ImagePrefix.from_parts(dict(zip(self.parts, inputs)))
        return (self.model.backbone.finish_image(image)[1].flatten(1, 2),)


class CaptionStep(nn.Module):
    """The beginnings of captions to the logits of their next tokens.

    The keys and values of earlier tokens are computed anew in each step, since a program keeps
    nothing.

    Args:
        model: the image-text model.
        head: its caption head.
    """

    def __init__(self, model: FIBERForVL, head: CaptionHead) -> None:
        super().__init__()
        self.model, self.adapters = model, head.adapters

    def forward(self, states: Tensor, ids: Tensor) -> tuple[Tensor]:
        """(R, N, C) states of the image of each caption and (R, L) int64 ids to (R, vocabulary)."""
        backbone = self.model.backbone
        layers = [
            None
            if dim is None
            else self.adapters[str(i)](states)
            if str(i) in self.adapters
            else states
            for i, dim in enumerate(backbone.fusion.image_dims)
        ]
        place = torch.arange(ids.shape[1])
        seen = place[:, None] >= place
        x = backbone.text.embed(ids)
        for layer, image in zip(backbone.text.layers, layers):
            x = layer(x, seen, image)
        assert self.model.words is not None  # of a model with a caption head
        return (self.model.words(self.model.fused.text_proj(x[:, -1])),)


def head_of(model: FIBERForVL, kind: type) -> Any:
    """The head of a class; None if the model has none."""
    return next((head for head in model.heads.values() if type(head) is kind), None)


def image_text_programs(model: FIBERForVL, side: int) -> tuple[list[Program], list[str]]:
    """The programs of an image-text model, for images of one size.

    Args:
        model: the model.
        side: of its images in pixels.

    Returns:
        The programs, and what of the model they leave out.

    Raises:
        CannotExport: none of its heads can be exported.
    """
    left_out = [
        f'{name} ({type(head).__name__}): {_why(head)}'
        for name, head in model.heads.items()
        if not isinstance(head, EXPORTED)
    ]
    if len(left_out) == len(model.heads):
        raise CannotExport(f'no head of the model can be exported: {"; ".join(left_out)}')
    copied = exportable(model)
    programs = prefix_programs(copied, model, torch.zeros(2, 3, side, side), {})
    names, texts = [n.removeprefix('image_') for n in programs[0].outputs], len(programs[1].outputs)
    inputs, sizes = pair_inputs(programs)
    outputs = [name for kind, name in OF_PAIRS.items() if head_of(model, kind) is not None]
    tail, reference = (PairTail(one, names, texts) for one in (copied, model))
    programs.append(Program('tail', tail, reference, inputs, sizes, ('pooled', *outputs)))

    def add(name: str, make: Any, inputs: Mapping[str, Tensor], sizes: Any, output: str) -> None:
        programs.append(Program(name, make(copied), make(model), inputs, sizes, (output,)))

    if head_of(model, NLVR2Head) is not None:
        pooled = programs[2](inputs)['pooled']
        pair = dict([named('pairs')])
        add(
            'judging',
            lambda one: Judging(head_of(one, NLVR2Head)),
            dict(left=pooled, right=pooled.clone()),
            dict(left=pair, right=pair),
            'nlvr2_logits',
        )
    images = {name: inputs[name] for name in programs[0].outputs}
    image_sizes = {name: dict([named('images')]) for name in images}
    if head_of(model, ITCHead) is not None:
        of_texts = {name: inputs[name] for name in (*programs[1].outputs, 'mask')}
        size = dict([named('texts'), (1, sizes['mask'][1])])
        add(
            'image_features', lambda one: ImageFeatures(one, names), images, image_sizes, 'features'
        )
        add(
            'text_features',
            lambda one: TextFeatures(one, texts),
            of_texts,
            dict.fromkeys(of_texts, size),
            'features',
        )
    if head_of(model, CaptionHead) is not None:
        add('caption_states', lambda one: CaptionStates(one, names), images, image_sizes, 'states')
        states = programs[-1](images)['states']
        captions = dict([named('captions')])
        length = named('length', model.backbone.text.max_tokens, 1)
        add(
            'caption_step',
            lambda one: CaptionStep(one, head_of(one, CaptionHead)),
            dict(states=states, ids=programs[1].inputs['ids']),
            dict(states=captions, ids={**captions, **dict([length])}),
            'word_logits',
        )
    return programs, left_out


def _why(head: nn.Module) -> str:
    if getattr(head, 'uses_words', False):
        return 'predicts words in training only'
    return 'is of training only, or of a class that the exporter does not know'
