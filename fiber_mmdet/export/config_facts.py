"""What a runner has to know of a config and a model, as plain values for the manifest."""

import hashlib
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from fiber_mmdet.apis.image_text_loading import find_answers, views_step
from fiber_mmdet.apis.loading import first_pipeline
from fiber_mmdet.datasets.dataset_tree import type_name
from fiber_mmdet.models import FIBERDetector, FIBERForVL
from fiber_mmdet.models.detection.postprocess import detections
from fiber_mmdet.models.image_text.heads import CaptionHead, ITCHead, ITMHead, NLVR2Head, VQAHead

from .detections import FIELDS
from .image_input import FILTERS, FIXED, SHORT_SIDE, ImageInput
from .image_text_programs import head_of
from .programs import UNIT, CannotExport

TEST_DEFAULTS = dict(exclusive_boxes=False, chunked_size=-1, pairs_per_pass=None)  # FIBERDetector's
WITHOUT_PIXELS = ('Pack', 'Load', 'InferencerLoader')


def image_input(steps: Sequence[Mapping[str, Any]], preprocessor: nn.Module) -> ImageInput:
    """How images are prepared.

    Args:
        steps: the test pipeline, or the transforms of its ``EachView``.
        preprocessor: of the model.

    Raises:
        CannotExport: a step that runners do not know.
    """
    resizing = [step for step in steps if not type_name(step).startswith(WITHOUT_PIXELS)]
    if len(resizing) != 1:
        raise CannotExport(
            'a test pipeline to export resizes images and nothing else, but this one has '
            f'{", ".join(map(type_name, resizing)) or "no resizing"}'
        )
    rule, scale, kind = _resizing(resizing[0])
    mean, std = getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None)
    flips = bool(getattr(preprocessor, '_channel_conversion', False))
    return ImageInput(
        rule,
        scale,
        kind,
        'RGB' if flips else 'BGR',  # images are loaded as BGR
        (0.0, 0.0, 0.0) if mean is None else tuple(mean.flatten().tolist()),
        (1.0, 1.0, 1.0) if std is None else tuple(std.flatten().tolist()),
        getattr(preprocessor, 'pad_size_divisor', 1),
        float(getattr(preprocessor, 'pad_value', 0)),
    )


def _resizing(step: Mapping[str, Any]) -> tuple[str, tuple[int, int], str]:
    name, scale = type_name(step), step.get('scale')
    backend = step.get('backend', 'pillow' if name == 'ShortSideResize' else 'cv2')
    kind = step.get('interpolation', 'bilinear')
    fixed = name == 'Resize' and not step.get('keep_ratio', False) and scale is not None
    if name != 'ShortSideResize' and not fixed:
        raise CannotExport(
            f'the test pipeline resizes by {name}: runners know ShortSideResize, and Resize with '
            'a scale and keep_ratio=False'
        )
    if backend != 'pillow' or kind not in FILTERS:
        raise CannotExport(
            f'{name} of the test pipeline resizes with {backend} ({kind}): runners resize with '
            f'pillow ({", ".join(FILTERS)})'
        )
    width, height = (scale, scale) if isinstance(scale, int) else scale or (1333, 800)
    return FIXED if fixed else SHORT_SIDE, (width, height), kind


def detector_facts(model: FIBERDetector, config: Config) -> dict[str, Any]:
    """``image``, ``text`` and ``detection`` of a manifest.

    Raises:
        CannotExport: the config prepares images in a way that runners do not know.
    """
    prepare = image_input(first_pipeline(config, 'test'), model.data_preprocessor)
    if prepare.divisor % UNIT:
        raise CannotExport(
            f'data_preprocessor.pad_size_divisor={prepare.divisor}: programs read images whose '
            f'sides are multiples of {UNIT}'
        )
    given = {key: value for key, value in (model.test_cfg or {}).items() if key in FIELDS}
    rules = signature(detections).parameters
    defaults = {key: rules[key].default for key in FIELDS if key in rules}
    strides = [stride[0] for stride in model.bbox_head.anchors.strides]
    return dict(
        image=prepare.record(),
        text=text_facts(model),
        detection=defaults | TEST_DEFAULTS | given | dict(strides=strides),
    )


def image_text_facts(
    model: FIBERForVL, config: Config, weights: str | Path, answers: Any = None
) -> dict[str, Any]:
    """``image``, ``text`` and ``heads`` of a manifest.

    Args:
        model: the model.
        config: its config.
        weights: that it has; they may hold the answers of VQA.
        answers: see :class:`~fiber_mmdet.apis.ImageTextInferencer`.

    Raises:
        CannotExport: images are prepared, or captions generated, in a way that runners do not know.
        LoadingError, FileNotFoundError: nothing says what the classes of VQA stand for.
    """
    prepare = image_input(views_step(config)['transforms'], model.data_preprocessor)
    if prepare.rule != FIXED or prepare.scale[0] != prepare.scale[1]:
        raise CannotExport('image-text models are exported for square images of one size')
    heads: dict[str, Any] = {}
    for kind, name in ((ITMHead, 'itm'), (NLVR2Head, 'nlvr2'), (ITCHead, 'itc')):
        if head_of(model, kind) is not None:
            heads[name] = {}
    if (head := head_of(model, VQAHead)) is not None:
        found = find_answers(config, weights, answers)
        if len(found) != head.num_answers:
            raise CannotExport(
                f'the list has {len(found)} answers, VQAHead {head.num_answers} classes: give the '
                'list that the model was trained with (--answers)'
            )
        heads['vqa'] = dict(answers=found)
    if (head := head_of(model, CaptionHead)) is not None:
        if head.decoding == 'nucleus' or head.legacy_beam:
            what = 'legacy_beam=True' if head.legacy_beam else "decoding='nucleus'"
            raise CannotExport(
                f'CaptionHead({what}): runners generate captions by beam search or greedily; '
                'leave the option out'
            )
        heads['caption'] = dict(
            beam_size=head.beam_size if head.decoding == 'beam' else 1,
            max_new_tokens=head.max_new_tokens,
            mask_id=model.tokenizer.mask_id,
        )
    return dict(image=prepare.record(), text=text_facts(model), heads=heads)


def text_facts(model: Any) -> dict[str, int]:
    """``text`` of a manifest."""
    tokenizer = model.tokenizer
    return dict(
        max_tokens=tokenizer.max_tokens,
        pad_id=tokenizer.pad_id,
        start_id=tokenizer.start_id,
        end_id=tokenizer.end_id,
    )


def write_tokenizer(model: Any, path: Path) -> None:
    """Write the tokenizer of a model for the library ``tokenizers``.

    Raises:
        CannotExport: it is not one of this library.
    """
    backend = getattr(model.tokenizer.tokenizer, 'backend_tokenizer', None)
    if backend is None:
        raise CannotExport(
            f'the tokenizer {model.tokenizer.name_or_path!r} is no fast one of transformers, the '
            'only kind that is written as a file'
        )
    backend.save(str(path))


def weights_fingerprint(model: nn.Module) -> str:
    """The sha256 of all weights with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f'{name} {tuple(value.shape)} {value.dtype}\n'.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
