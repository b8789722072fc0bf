"""The programs of a model: what each computes, of which inputs, and which sizes may vary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from fiber_mmdet.models import FIBERDetector
from fiber_mmdet.models.backbone import FIBERBackbone, ImagePrefix, TextPrefix

from .exportable import exportable

UNIT = 32  # pixels: sides of images are multiples of it
Size = tuple[Any, str]  # of torch.export, and what the manifest calls it
Sizes = Mapping[str, Mapping[int, Size]]


class CannotExport(ValueError):
    """A model, or a part of it, that cannot be exported; the message says which and why."""


@dataclass(frozen=True)
class Program:
    """A program that is to be exported.

    Attributes:
        name: of the program.
        module: what is recorded; its arguments are the inputs, in order.
        reference: the same of the model itself, in which no part is replaced.
        inputs: an example of each input by name, of sizes that nothing has by chance.
        sizes: of each input, the dimensions that may vary.
        outputs: names of the outputs.
    """

    name: str
    module: nn.Module
    reference: nn.Module
    inputs: Mapping[str, Tensor]
    sizes: Sizes
    outputs: tuple[str, ...]

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the model itself gives for other inputs."""
        with torch.no_grad():
            return dict(zip(self.outputs, self.reference(*(inputs[name] for name in self.inputs))))


class ImagePrefixProgram(nn.Module):
    """Images to the parts of their prefix.

    Args:
        backbone: both towers.
    """

    def __init__(self, backbone: FIBERBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) float32, normalised, to the tensors of ``ImagePrefix.parts``."""
        return tuple(self.backbone.encode_image(images).parts().values())


class TextPrefixProgram(nn.Module):
    """Tokens to the parts of their prefix.

    Args:
        backbone: both towers.
    """

    def __init__(self, backbone: FIBERBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """(B, L) int64 ids and (B, L) bool mask to the tokens and taps of the prefix."""
        prefix = self.backbone.encode_text(ids, mask)
        return prefix.tokens, *prefix.taps


class PairProgram(nn.Module):
    """Base of programs whose inputs are the prefixes of pairs.

    Args:
        parts: names of the image's parts, which come first among the arguments.
        texts: number of the text's parts, after which comes its mask.
    """

    def __init__(self, parts: Sequence[str], texts: int) -> None:
        super().__init__()
        self.parts, self.texts = tuple(parts), texts

    def prefixes(self, inputs: Sequence[Tensor]) -> tuple[ImagePrefix, TextPrefix]:
        """Image and text prefix of the arguments."""
        count = len(self.parts)
        image = ImagePrefix.from_parts(dict(zip(self.parts, inputs)))
        tokens, *taps = inputs[count : count + self.texts]
        return image, TextPrefix(tokens, inputs[count + self.texts], tuple(taps))


class DetectorTail(PairProgram):
    """Prefixes of pairs to token logits, boxes and centerness of all positions of all levels.

    Args:
        model: the detector.
        parts: see :class:`PairProgram`.
        texts: see :class:`PairProgram`.
    """

    def __init__(self, model: FIBERDetector, parts: Sequence[str], texts: int) -> None:
        super().__init__(parts, texts)
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The parts of the image, those of the text, and its mask.

        Returns:
            (P, N, L) token logits, (P, N, 4) boxes, inclusive xyxy in pixels of the padded image,
            and (P, N) centerness before the sigmoid.
        """
        head = self.model.bbox_head
        logits, deltas, centerness = head(*self.model._features(*self.prefixes(inputs)))
        boxes = [
            head.bbox_coder.decode(anchors, found.flatten(2).transpose(1, 2))
            for anchors, found in zip(head.level_anchors(deltas), deltas)
        ]
        return (
            torch.cat(logits, 1),
            torch.cat(boxes, 1),
            torch.cat([found.flatten(1) for found in centerness], 1),
        )


def detector_programs(model: FIBERDetector) -> list[Program]:
    """The three programs of a detector: both prefixes, and the tail with the head.

    Images may have any sides that are multiples of 32, texts any length.

    Raises:
        CannotExport: the fusion keeps something of an image that is no map.
    """
    image = model.backbone.image
    copied = exportable(model)
    window = image.stages[0].blocks[0].attn.window
    # at least two windows of the last map a side, different numbers, and none of them full
    pixels = torch.zeros(2, 3, UNIT * (window + 1), UNIT * (2 * window + 3))
    sides = {2: (_side('height', UNIT), 'height'), 3: (_side('width', UNIT), 'width')}
    programs = prefix_programs(copied, model, pixels, sides)
    parts, texts = programs[0].outputs, programs[1].outputs
    inputs, sizes = pair_inputs(programs, image)
    names = [name.removeprefix('image_') for name in parts]
    tail, reference = (DetectorTail(one, names, len(texts)) for one in (copied, model))
    return [
        *programs,
        Program('tail', tail, reference, inputs, sizes, ('token_logits', 'boxes', 'centerness')),
    ]


def prefix_programs(
    copied: Any, model: Any, pixels: Tensor, sides: Mapping[int, Size]
) -> list[Program]:
    """The programs of both prefixes.

    Args:
        copied: an exportable copy of the model.
        model: the model.
        pixels: (2, 3, H, W) example of images.
        sides: the dimensions of images that may vary, beside their number.
    """
    ids, mask = example_tokens(model)
    length = dict([named('texts'), named('length', model.backbone.text.max_tokens, 1)])
    with torch.no_grad():
        parts = model.backbone.encode_image(pixels[:1]).parts()
        taps = model.backbone.encode_text(ids, mask).taps
    return [
        Program(
            'image_prefix',
            ImagePrefixProgram(copied.backbone),
            ImagePrefixProgram(model.backbone),
            dict(images=pixels),
            dict(images=dict([named('images'), *sides.items()])),
            tuple(f'image_{name}' for name in parts),
        ),
        Program(
            'text_prefix',
            TextPrefixProgram(copied.backbone),
            TextPrefixProgram(model.backbone),
            dict(ids=ids, mask=mask),
            dict(ids=length, mask=length),
            ('text_tokens', *(f'text_tap{i}' for i in range(len(taps)))),
        ),
    ]


def example_tokens(model: Any) -> tuple[Tensor, Tensor]:
    """(2, 7) int64 ids and (2, 7) bool mask, with padding."""
    pad = model.backbone.text.pad_id
    ids = torch.full((2, 7), pad + 1 if pad + 1 < model.backbone.text.vocab_size else 0)
    ids[1, 5:] = pad
    return ids, ids != pad


def pair_inputs(
    programs: Sequence[Program], image: Any | None = None
) -> tuple[dict[str, Tensor], dict[str, dict[int, Size]]]:
    """Example inputs of programs for pairs, and the dimensions that may vary.

    Args:
        programs: those of both prefixes.
        image: the image tower, if images may have any size.
    """
    first, second = programs
    parts, texts = first(first.inputs), second(second.inputs)
    pairs, length = named('pairs')[1], second.sizes['ids'][1]
    sizes: dict[str, dict[int, Size]] = {}
    for name, part in parts.items():
        sizes[name] = {0: pairs}
        if image is not None:
            sizes[name] |= _map_sizes(name, part, first.inputs['images'].shape[2])
    for name in texts:
        sizes[name] = {0: pairs, 1: length}
    sizes['mask'] = {0: pairs, 1: length}
    return {**parts, **texts, 'mask': second.inputs['mask']}, sizes


def _map_sizes(name: str, part: Tensor, height: int) -> dict[int, Size]:
    """Rows and columns of a part of the image prefix."""
    if part.dim() != 4:
        raise CannotExport(f'{name} is no map of the image: what the fusion keeps must be one')
    rows, cols = (2, 3) if name.startswith('image_level') else (1, 2)
    scale = part.shape[rows] * UNIT // height  # positions for each 32 pixels
    if part.shape[rows] * UNIT != scale * height:
        raise CannotExport(f'{name} has {part.shape[rows]} rows for {height} pixels')
    stride = UNIT // scale
    return {
        rows: (_side('height', scale), f'height/{stride}'),
        cols: (_side('width', scale), f'width/{stride}'),
    }


def _side(name: str, unit: int) -> Any:
    """Multiples of a unit, from 2 on.

    torch narrows the range of a size where its own operators ask whether it is 1, and refuses that
    of a size which is declared as such: it is derived from a number that is no size of any input.
    """
    return unit * Dim(f'{name}_less_one', min=1) + unit


def named(name: str, largest: int | None = None, dim: int = 0) -> tuple[int, Size]:
    """A dimension with a size of its own, that goes by its name."""
    return dim, (Dim(name, max=largest), name)
