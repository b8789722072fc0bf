"""Fusion patterns: which image blocks and text layers read each other, and in which order."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor

from fiber_mmdet.arguments import strict_arguments

from .prefixes import Fused, ImagePrefix, TextPrefix

Block = tuple[int, int]  # stage, number in the stage
# Names of the parameters that belong to the fusion rather than to one of the towers.
CROSS_MODAL = r'(.*\.(text_attention|image_attention)|(backbone\.)?fusion)\..*'


class Towers(NamedTuple):
    """What a fusion pattern knows of the towers, which are built after it.

    Attributes:
        blocks: all image blocks, in order.
        image_dims: channels of each image stage.
        num_layers: number of text layers.
        text_dim: channels of the text tokens.
    """

    blocks: tuple[Block, ...]
    image_dims: tuple[int, ...]
    num_layers: int
    text_dim: int

    @classmethod
    def of(cls, depths: Sequence[int], embed_dim: int, num_layers: int, text_dim: int) -> 'Towers':
        """The towers that these arguments of the image and the text tower make."""
        return cls(
            tuple((stage, block) for stage, depth in enumerate(depths) for block in range(depth)),
            tuple(embed_dim * 2**stage for stage in range(len(depths))),
            num_layers,
            text_dim,
        )


class Step(NamedTuple):
    """A step of the shared tail: a block and a layer; each reads what the other side held before.

    Attributes:
        block: the image block that runs, None for none.
        layer: number of the text layer that runs, None for none.
        block_reads: the block's cross-attention reads the text.
        layer_reads: the layer's cross-attention reads the image.
    """

    block: Block | None
    layer: int | None
    block_reads: bool = True
    layer_reads: bool = True


class Fusion(BaseModule):
    """Base class of fusion patterns; ``docs/extending/fusion.md`` shows how to add one.

    A pattern is a list of steps, which :meth:`FIBERBackbone.fuse` walks. What comes before the
    first step depends on one modality only: the prefixes. The steps run the last blocks and
    layers of the towers; a pattern without steps leaves both towers in the prefixes. A pattern
    with layers of its own, on top of the towers, overrides :meth:`on_top`.

    Args:
        towers: the towers that are to be fused; given by the backbone.
        steps: the steps, in order.

    Attributes:
        image_start: number of image blocks in the prefix.
        text_start: number of text layers in the prefix.
        prefix_dim: channels of the image prefix.
        text_readers: the image blocks that read the text.
        text_steps: the steps without what comes too late for the text: the image blocks after
            which no text layer reads the image.
        image_dims: per text layer, channels of the map that it reads, None if it reads none.
        out_dims: channels of the fused text and of the fused image map.

    Raises:
        ValueError: the steps do not run the last blocks, or the last layers, once each, in order.
    """

    def __init__(self, towers: Towers, steps: Sequence[Step] = ()) -> None:
        super().__init__()
        self.towers = towers
        self.steps = tuple(steps)
        blocks = [step.block for step in self.steps if step.block is not None]
        layers = [step.layer for step in self.steps if step.layer is not None]
        self.image_start = len(towers.blocks) - len(blocks)
        self.text_start = towers.num_layers - len(layers)
        for name, found, whole, start in (
            ('image blocks', blocks, towers.blocks, self.image_start),
            ('text layers', layers, range(towers.num_layers), self.text_start),
        ):
            if found != list(whole[max(start, 0) :]):
                raise ValueError(
                    f'{type(self).__name__}: the steps run the {name} {found}; they must be the '
                    f'last of {list(whole)}, in order'
                )
        self.text_readers = frozenset(
            step.block for step in self.steps if step.block is not None and step.block_reads
        )
        reading = [step.layer is not None and step.layer_reads for step in self.steps]
        last = max((i for i, reads in enumerate(reading) if reads), default=-1)
        self.text_steps = tuple(
            step if i < last else step._replace(block=None) for i, step in enumerate(self.steps)
        )
        # the map that enters a block has the channels of its stage, the last one those of the end
        widths = [towers.image_dims[stage] for stage, _ in (*towers.blocks, towers.blocks[-1])]
        self.prefix_dim = widths[self.image_start]
        dims: list[int | None] = [None] * self.text_start
        position = self.image_start
        for step in self.steps:
            if step.layer is not None:
                dims.append(widths[position] if step.layer_reads else None)
            position += step.block is not None
        self.image_dims = tuple(dims)
        self.out_dims: tuple[int, int] = (towers.text_dim, towers.image_dims[-1])

    def tap_image(self, stage: int, index: int, x: Tensor) -> Tensor | None:
        """What the image prefix keeps of one of its blocks, for :meth:`on_top`.

        Args:
            stage: stage of the block.
            index: number of the block in the stage.
            x: (B, H, W, C) its output.

        Returns:
            (B, …), appended to ``ImagePrefix.taps``; None for nothing, the default.
        """
        return None

    def tap_text(self, layer: int, x: Tensor) -> Tensor | None:
        """What the text prefix keeps of one of its layers, for :meth:`on_top`.

        Args:
            layer: number of the layer.
            x: (B, L, C) its output.

        Returns:
            (B, L, …), appended to ``TextPrefix.taps``; None for nothing, the default.
        """
        return None

    def on_top(
        self, fused: Fused, image: ImagePrefix, text: TextPrefix, run: Callable[..., Tensor]
    ) -> Fused:
        """What a pattern's own layers make of pairs after the last step; by default the same.

        Args:
            fused: output of the last step, or both towers' if there is none.
            image: prefix of B images.
            text: prefix of B texts.
            run: ``run(layer, *args)`` calls a layer, whose activations are recomputed in the
                backward pass if the backbone's ``with_cp`` asks for it.
        """
        return fused

    def init_weights(self) -> None:
        """Initialise the pattern's own layers; by default there are none."""


class FusionLayer(BaseModule):
    """Base class of a pattern's own layers: each is sharded as a unit, like a block of a tower."""


@MODELS.register_module()
@strict_arguments
class LockStepFusion(Fusion):
    """FIBER's pattern: the last image blocks and text layers in pairs (section 3.1).

    Args:
        towers: given by the backbone.
        num_fused: number of steps, counted from the end of both towers.

    Raises:
        ValueError: one of the towers has fewer blocks than ``num_fused``.
    """

    def __init__(self, towers: Towers, num_fused: int = 6) -> None:
        if not 0 < num_fused <= min(len(towers.blocks), towers.num_layers):
            raise ValueError(
                f'num_fused={num_fused} must lie between 1 and the number of '
                f'image blocks ({len(towers.blocks)}) and of text layers ({towers.num_layers})'
            )
        layers = range(towers.num_layers)
        super().__init__(towers, list(map(Step, towers.blocks[-num_fused:], layers[-num_fused:])))


@MODELS.register_module()
@strict_arguments
class NoFusion(Fusion):
    """Two towers that do not read each other: nothing is left to do for a pair.

    Args:
        towers: given by the backbone.
    """

    def __init__(self, towers: Towers) -> None:
        super().__init__(towers)
