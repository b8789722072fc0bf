"""Models of the configs with random weights, and made-up inputs for them."""

import copy
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

import fiber_mmdet  # noqa: F401
from fiber_mmdet.text import PromptTokenizer, category_prompt

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIGS = CHECKOUT / 'configs/_base_/models'
SHARED = CHECKOUT.parent / 'shared'
DETECTORS = {'mini': 'fiber_mini', 'swin-t': 'fiber_swin-t', 'swin-b': 'fiber_swin-b'}
IMAGE_TEXT = {'mini': 'fiber_vl_mini', 'swin-t': 'fiber_vl_swin-t', 'swin-b': 'fiber_vl_swin-b'}
SIZES = {'mini': (192, 192), 'swin-t': (800, 1344), 'swin-b': (800, 1344)}
SIDES = {'mini': 192, 'swin-t': 224, 'swin-b': 384}
ENDED = -1e4


def detector_config(size: str, tokenizer: str | None = None) -> Config:
    """The config of a detector that resizes images to ``test_pipeline[1].scale``.

    It has no dropout, which would keep two training steps from agreeing.
    """
    config = Config.fromfile(CONFIGS / f'{DETECTORS[size]}.py')
    config.merge_from_dict(
        {
            'model.backbone.image.drop_path': 0.0,
            'model.backbone.text.dropout': 0.0,
            'model.neck.drop_prob': 0.0,
        }
    )
    height, width = SIZES[size]
    config.test_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(width, height), keep_ratio=False),
        dict(
            type='PackDetInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'scale_factor')
        ),
    ]
    return with_tokenizer(config, tokenizer)


def image_text_config(size: str, heads: dict, tokenizer: str | None = None) -> Config:
    """The config of an image-text model with these heads."""
    config = Config.fromfile(CONFIGS / f'{IMAGE_TEXT[size]}.py')
    config.model.heads = heads
    return with_tokenizer(config, tokenizer)


def with_tokenizer(config: Config, tokenizer: str | None) -> Config:
    """The config with a tokenizer that needs no hub.

    RoBERTa's files are taken from ``shared/roberta-base`` beside the checkout. Without them the
    packaged tokenizer is used, which needs more tokens for the same words.
    """
    wanted = config.model.tokenizer.name_or_path
    if tokenizer is None and wanted == 'roberta-base':
        folder = SHARED / 'roberta-base'
        tokenizer = str(folder) if folder.is_dir() else 'fiber_mmdet:mini'
    config.model.tokenizer.name_or_path = tokenizer or wanted
    return config


@torch.no_grad()
def fill_randomly(model: nn.Module) -> None:
    """Fill a model with weights that no error can hide behind.

    Gates are open, norms differ from identities, activations have unit size. Text tokens stay
    distinct through many layers, and box and token logits are spread out. A tensor's values depend
    only on its name.
    """
    for name, parameter in model.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        x = torch.randn(parameter.shape, generator=generator)
        if name.endswith('gate'):
            x = 0.5 + 0.1 * x
        elif name.endswith(('log_scale', 'temp')) or '.scales.' in name:
            x = 1 + 0.1 * x
        elif name.endswith('bias_table'):
            x = 0.3 * x
        elif 'norm' in name and name.endswith('weight'):
            x = 1 + 0.1 * x
        elif parameter.dim() < 2:
            x = 0.05 * x
        else:
            x = x / math.sqrt(parameter[0].numel())
            x = x * (
                0.25
                if name.endswith(('.proj.weight', 'fc2.weight'))
                else 8
                if 'token_proj' in name
                else 1
            )
        parameter.copy_(x)


@torch.no_grad()
def set_score_level(model: nn.Module, images: Tensor, share: float = 0.02) -> None:
    """Move the bias of the token logits so that ``share`` of them pass the score threshold."""
    from mmdet.structures import DetDataSample

    names = ['red circle', 'blue square', 'star']
    samples = [DetDataSample(metainfo=dict(text=names)) for _ in images]
    logits = torch.cat(model(images, samples, mode='tensor')[0], 1).flatten()
    level = logits.float().cpu().numpy()
    threshold = model.bbox_head.test_cfg['score_thr']
    model.bbox_head.token_bias0 += float(
        math.log(threshold / (1 - threshold)) - np.quantile(level, 1 - share)
    )


def shared_copy(model: nn.Module) -> nn.Module:
    """A copy with its own attributes and the same parameters and buffers."""
    memo = {id(x): x for x in [*model.parameters(), *model.buffers()]}
    if 'tokenizer' in vars(model):
        memo[id(model.tokenizer)] = model.tokenizer
    return copy.deepcopy(model, memo)


def rgb_images(count: int, height: int, width: int, seed: int = 0) -> list[np.ndarray]:
    """RGB images, (height, width, 3) uint8, with large and small patches of colour."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        coarse = rng.integers(0, 200, (-(-height // 32), -(-width // 32), 3), np.uint8)
        fine = rng.integers(0, 56, (-(-height // 4), -(-width // 4), 3), np.uint8)
        image = (
            coarse.repeat(32, 0).repeat(32, 1)[:height, :width]
            + fine.repeat(4, 0).repeat(4, 1)[:height, :width]
        )
        images.append(np.ascontiguousarray(image))
    return images


def pixels(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """:func:`rgb_images`, normalised: (count, 3, height, width)."""
    x = (
        torch.from_numpy(np.stack(rgb_images(count, height, width, seed)))
        .permute(0, 3, 1, 2)
        .float()
    )
    return (x - 115) / 57


# -------------------------------------------------------------------- words
COLORS = 'red blue green yellow purple orange black white grey brown pink silver'.split()
THINGS = (
    'person bicycle car motorcycle airplane bus train truck boat traffic_light bench bird cat '
    'dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase '
    'frisbee skis snowboard kite surfboard bottle cup fork knife spoon bowl banana apple '
    'sandwich orange broccoli carrot pizza donut cake chair couch bed toilet laptop mouse '
    'remote keyboard microwave oven toaster sink refrigerator book clock vase scissors'
).split()


def vocabulary(count: int) -> list[str]:
    """Category names: those of LVIS if its file is in ``shared``, filled up with made-up ones."""
    found = []
    file = SHARED / 'data/lvis/lvis_val_100.json'
    if file.is_file():
        import json

        categories = json.loads(file.read_text())['categories']
        found = [category['name'] for category in sorted(categories, key=lambda c: c['id'])]
    found += [name for name in made_up_names(count) if name not in found]
    return found[:count]


def made_up_names(count: int) -> list[str]:
    """Distinct names: things, coloured things, numbered coloured things."""
    names = list(dict.fromkeys(THINGS))
    names += [f'{color} {thing}' for color in COLORS for thing in dict.fromkeys(THINGS)]
    return names + [f'{name} {i}' for i in range(2, 3 + count // len(names)) for name in names]


def names_of_length(tokenizer: PromptTokenizer, tokens: int) -> list[str]:
    """As many names as a prompt of ``tokens`` tokens, special ones included, can hold.

    Raises:
        ValueError: not even one fits.
    """
    names: list[str] = []
    for name in made_up_names(tokens):
        caption = category_prompt([*names, name]).caption
        if len(tokenizer.tokenizer(caption)['input_ids']) > tokens:
            break
        names.append(name)
    if not names:
        raise ValueError(f'a prompt of {tokens} tokens holds no name')
    return names


def sentences(count: int) -> list[str]:
    """Captions of different lengths."""
    ends = (
        '',
        ' on the left',
        ' beside a large tree and two small benches',
        ' in front of an old house with a red door, seen from the other side of the street',
    )
    names = made_up_names(4 * count + 8)
    return [
        f'a {names[(7 * i) % len(names)]} and a {names[(5 * i + 3) % len(names)]}'
        f'{ends[i % len(ends)]}'
        for i in range(count)
    ]


def prompts_of(count: int, names_each: int = 3) -> list[list[str]]:
    """Short prompts: lists of names, all different."""
    names = made_up_names(count * names_each)
    return [names[i * names_each : (i + 1) * names_each] for i in range(count)]


def endless(model: nn.Module, tokens: Sequence[int]) -> None:
    """Keep the model from choosing these tokens, so that captions never end."""
    with torch.no_grad():
        model.words.bias[list(tokens)] = ENDED
