"""Features of the image-text model, of images and texts alone and fused."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from fiber_mmdet.checkpoints.names import COARSE_IMAGE, COARSE_TEXT, RANK
from fiber_mmdet.models.backbone.windows import window_partition
from fiber_mmdet.models.image_text import EncodedBatch, PairFeatures

PROBE = 'probe/'
_IMAGE, _TEXT = re.escape(COARSE_IMAGE), re.escape(COARSE_TEXT)
_NAME = re.compile(
    rf'{_IMAGE}(?P<patches>patch_embed)'
    rf'|{_IMAGE}layers\.(?P<stage>\d+)(\.downsample)?'
    rf'|{_IMAGE}layers\.(?P<s>\d+)\.blocks\.(?P<b>\d+)(?P<attention>\.attn)?'
    rf'|{_TEXT}(?P<embeddings>embeddings)'
    rf'|{_TEXT}encoder\.layer\.(?P<layer>\d+)(\.(?P<part>attention|crossattention_t2i))?'
)


def unimodal(model: nn.Module, batch: EncodedBatch) -> dict[str, Tensor]:
    """Tokens and pooled features of each modality alone, and their similarities."""
    _, last = model.backbone.finish_image(batch.image())
    return {
        'image_only/image_feats': model.contrast.image(model.image_norm(last))[0],
        'image_only/cls_feats': batch.image_features,
        'text_only/text_feats': model.contrast.text(model.backbone.finish_text(batch.text))[0],
        'text_only/cls_feats': batch.text_features,
        'itc_eval/scores': batch.image_features @ batch.text_features.T,
    }


def fused(model: nn.Module, pairs: PairFeatures, extras: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tokens and pooled features of the pairs, and their matching logits.

    Args:
        model: the model.
        pairs: the fused pairs.
        extras: official entries without a place in the model, including the ranking head.
            The reference loads it into the matching head's row for
            a match (``itm_logits_aliased``).
    """
    found = {'text_feats': pairs.text, 'image_feats': pairs.image, 'cls_feats': pairs.pooled}
    if 'itm' in model.heads:
        head = model.heads.itm
        found['itm_logits'] = head.fc(pairs.pooled)
        if f'{RANK}.weight' in extras:
            with replaced_row(head.fc, 1, extras[f'{RANK}.weight'][0], extras[f'{RANK}.bias'][0]):
                found['itm_logits_aliased'] = head.fc(pairs.pooled)
                found['rank_output'] = head.match_scores(pairs.pooled)[:, None]
    return {f'fused/{name}': value for name, value in found.items()}


@contextmanager
def replaced_row(layer: nn.Linear, row: int, weight: Tensor, bias: Tensor) -> Iterator[None]:
    """Other values in one row of a linear layer, within the context.

    Args:
        layer: the layer, whose weight is (O, C).
        row: number of the row.
        weight: (C,).
        bias: scalar.
    """
    kept = layer.weight[row].clone(), layer.bias[row].clone()
    layer.weight[row], layer.bias[row] = weight, bias
    try:
        yield
    finally:
        layer.weight[row], layer.bias[row] = kept


# -------------------------------------------------------------- probes
class Probes:
    """Outputs of sub-modules, under their official names, while it is entered.

    Args:
        model: the model.
        names: fixture names, ``probe/vit_model.layers.0`` and so on.
    """

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        self.model = model
        self.wanted = {name: recipe for name in names if (recipe := self._recipe(name))}
        self.seen: dict[nn.Module, Tensor] = {}
        self.hooks = ExitStack()

    def __enter__(self) -> 'Probes':
        for modules, _ in self.wanted.values():
            for module in modules:
                self.hooks.callback(module.register_forward_hook(self._keep).remove)
        return self

    def __exit__(self, *error) -> None:
        self.hooks.close()

    def _keep(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        self.seen[module] = output

    def found(self) -> Iterator[tuple[str, Tensor]]:
        """Name and output of each."""
        for name, (modules, value) in self.wanted.items():
            yield name, value(*(self.seen[module] for module in modules))

    def _recipe(self, name: str) -> tuple[list[nn.Module], Callable[..., Tensor]] | None:
        """Modules to watch and a function of their outputs; None for an unknown name."""
        found = _NAME.fullmatch(name.removeprefix(PROBE))
        if found is None:
            return None
        image, text = self.model.backbone.image, self.model.backbone.text
        if found['patches']:
            return [image.patch_embed], _as_tokens
        if found['stage']:
            stage = image.stages[int(found['stage'])]
            return [stage.blocks[-1] if stage.downsample is None else stage.downsample], _as_tokens
        if found['attention']:
            return _attention(image.stages[int(found['s'])].blocks[int(found['b'])])
        if found['s']:
            return [image.stages[int(found['s'])].blocks[int(found['b'])]], _as_tokens
        if found['embeddings']:
            return [text.embeddings], torch.Tensor.clone
        layer = text.layers[int(found['layer'])]
        if found['part'] == 'crossattention_t2i':  # before the gate
            return [layer.image_attention.proj], torch.Tensor.clone
        return [layer.attention if found['part'] else layer], torch.Tensor.clone


def _as_tokens(x: Tensor) -> Tensor:
    """(B, H, W, C) to (B, H * W, C)."""
    return x.flatten(1, 2)


def _attention(block: nn.Module) -> tuple[list[nn.Module], Callable[..., Tensor]]:
    """The attention of a block as recorded: windows of the shifted map, text attention included."""
    attention = block.attn

    def windows(own: Tensor, read: Tensor | None = None) -> Tensor:
        height, width = own.shape[1:3]
        if read is not None:
            own = own + read.unflatten(1, (height, width))
        shift = attention.shift if max(height, width) > attention.window else 0
        return window_partition(own.roll((-shift, -shift), dims=(1, 2)), attention.window)

    reading = getattr(block, 'text_attention', None)
    return ([attention] if reading is None else [attention, reading]), windows
