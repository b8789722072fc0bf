"""Everything between pixels and head outputs, under the names of the fixtures."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fiber_mmdet.checkpoints.names import HEAD

from .compare import Row, Table, scaled_row
from .inputs import Inputs

FIRST_LEVEL = 3  # P3


@dataclass
class Outputs:
    """Results of one forward pass of the detector.

    Attributes:
        pyramid: (B, C, H_s, W_s) output stages of the image tower.
        levels: (B, C, H_l, W_l) levels of the neck.
        text: (B, L, C) text states.
        mask: (B, L) bool, True at real tokens.
        head: token logits, box deltas and centerness, a list over levels each.
        named: all intermediate results by name; empty if not recorded.
    """

    pyramid: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]
    text: Tensor
    mask: Tensor
    head: tuple[list[Tensor], list[Tensor], list[Tensor]]
    named: dict[str, Tensor] = field(default_factory=dict)


def forward(model: nn.Module, inputs: Inputs) -> Outputs:
    """Run the detector on the inputs, in the precision of its weights."""
    images = inputs.images.to(model.bbox_head.log_scale.dtype)
    fused = model.backbone(images, inputs.ids, inputs.mask)
    levels = model.neck(fused.pyramid)
    head = model.bbox_head(levels, fused.text, fused.mask)
    return Outputs(fused.pyramid, tuple(levels), fused.text, fused.mask, head)


@torch.no_grad()
def observe(model: nn.Module, inputs: Inputs, extras: dict[str, Tensor]) -> Outputs:
    """Run the detector and record the output of every block.

    Args:
        model: the detector.
        inputs: its inputs.
        extras: official entries without a place in the model; if they include the unused
            ``cls_logits``, that convolution is computed too.
    """
    named: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name, module in _blocks(model):
            hooks.callback(module.register_forward_hook(_keep(named, name)).remove)
        outputs = forward(model, inputs)

    for name, x in list(named.items()):  # from (B, H, W, C)
        if name.startswith('dbg_swin'):
            named[name] = x.flatten(1, 2)
        elif name.startswith(('stage', 'dbg_patch')):
            named[name] = x.permute(0, 3, 1, 2)
    levels, (logits, deltas, centerness) = outputs.levels, outputs.head
    for stage, x in zip(model.backbone.image.out_indices, outputs.pyramid):
        named[f'stage{stage + 2}'] = x
    named.update(text_hidden=outputs.text, text_embedded=outputs.text * outputs.mask[..., None])
    last = len(model.bbox_head.tower) - 1
    columns = dict(
        fpn=levels,
        dot_product_logits=logits,
        bbox_reg=deltas,
        centerness=centerness,
        tower=[named[f'dbg_dyconv_{last}_p{i + FIRST_LEVEL}'] for i in range(len(levels))],
    )
    weight, bias = (extras.get(f'{HEAD}cls_logits.{p}') for p in ('weight', 'bias'))
    if weight is not None:
        columns['cls_logits'] = [F.conv2d(x, weight, bias) for x in columns['tower']]
    for name, column in columns.items():
        named.update({f'{name}_p{i + FIRST_LEVEL}': x for i, x in enumerate(column)})
    return replace(outputs, named=named)


def _blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name in fixtures and module of every block whose output is recorded."""
    image, text = model.backbone.image, model.backbone.text
    yield 'dbg_patch_embed', image.patch_embed
    yield 'dbg_text_embeddings', text.embeddings
    for s, stage in enumerate(image.stages):
        for b, block in enumerate(stage.blocks):
            yield f'dbg_swin_{s}_{b}', block
        yield f'stage{s + 2}', stage.blocks[-1]  # not normalised; overwritten for output stages
        if stage.downsample is not None:
            yield f'dbg_swin_{s}_down', stage.downsample
    for i, layer in enumerate(text.layers):
        yield f'dbg_roberta_{i}', layer
    for i, block in enumerate(model.bbox_head.tower):
        yield f'dbg_dyconv_{i}', block


def _keep(named: dict[str, Tensor], name: str):
    def hook(module, args, output):
        if isinstance(output, list):
            named.update({f'{name}_p{i + FIRST_LEVEL}': x for i, x in enumerate(output)})
        else:
            named[name] = output

    return hook


def compare_features(table: Table, outputs: Outputs) -> Iterator[Row]:
    """A row for each recorded intermediate result."""
    for name in table.take(outputs.named.__contains__):
        yield scaled_row(table.fixture, table.prefix + name, outputs.named[name], is_output=True)


@torch.no_grad()
def settle_margins(inputs: Inputs, model: nn.Module, table: Table) -> None:
    """Find out whether the reference saw generated pixels or zeros beyond ``image_sizes``.

    The calls that generate the images do not say; the recorded patch embedding does.

    Args:
        inputs: the inputs, changed in place if zeros fit better.
        model: the detector, with the weights of the table's set.
        table: the first set of the fixture.
    """
    name = table.prefix + 'dbg_patch_embed'
    zeroed = inputs.without_margins()
    if name not in table.fixture or zeroed.equal(inputs.images):
        return
    errors = [
        scaled_row(
            table.fixture, name, model.backbone.image.patch_embed(x).permute(0, 3, 1, 2)
        ).error
        for x in (inputs.images, zeroed)
    ]
    if errors[1] < errors[0]:
        inputs.images = zeroed
