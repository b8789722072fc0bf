"""FIBER's backbone: two towers with a shared, gated tail (FIBER paper, section 3.1)."""

from collections.abc import Callable, Sequence
from typing import Any

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fiber_mmdet.arguments import refuse_unknown, strict_arguments

from ..sizes import refuse_misfits
from .fusion import Fusion, LockStepFusion, Step, Towers
from .image_tower import ImageTower
from .prefixes import Fused, ImagePrefix, TextPrefix
from .pretrained import load_pretrained
from .sizes import backbone_sizes
from .text_tower import text_tower


@MODELS.register_module()
@strict_arguments
class FIBERBackbone(BaseModule):
    """Swin and RoBERTa fused by gated cross-attention in their last layers.

    The last ``num_fused`` image blocks and text layers run in lock-step; in each
    step *both* sides read what the other held *before* the step. Everything before
    depends on one modality only, hence the three calls

    - :meth:`encode_image`, once per image,
    - :meth:`encode_text`, once per prompt,
    - :meth:`fuse`, once per (image, prompt) pair,

    and ``forward(images, ids, mask) = fuse(encode_image(images), encode_text(ids, mask))``.
    :meth:`finish_image` and :meth:`finish_text` run a tail alone (contrastive
    retrieval).

    Args:
        image: arguments of :class:`ImageTower` (depths, widths, heads, window,
            drop path, shift rule, …).
        text: config of the text tower: ``type`` (:class:`TextTower` by default) and its arguments
            (layers, width, heads, vocabulary, …).
        num_fused: fused steps, counted from the end of both towers; the short form of
            ``fusion=dict(type='LockStepFusion', num_fused=…)``.
        fusion: config of another :class:`Fusion`; ``num_fused`` is then ignored.
        i2t_norm: LayerNorm on the image query of the cross-attention. The two
            published layouts differ in this only.
        last_text_norm: apply the last text layer's LayerNorm in the fused tail, if it
            runs there (the detector does, the image-text model does not).
        out_indices: image stages returned as the feature pyramid.
        frozen_stages: -1 for none, 0 for the patch embedding, n for the first n
            stages too (mmdet's meaning; the reference's ``FREEZE_CONV_BODY_AT
            n`` is ``frozen_stages=max(n - 1, 0)``).
        frozen_prefix: freeze all of the image tower before the first fused block, so that its
            output can be cached (``tools/cache_prefixes.py``).
        with_cp: recompute activations in the backward pass, every block, fused
            or not, of both towers.
        pretrained: read by ``init_weights``. ``dict(image=…, text=…)``, each
            optional: a Swin checkpoint (official or mmdet layout, alone or in a larger model;
            path or URL) and what the text tower reads (a Hugging Face RoBERTa-like directory
            or hub name, or the file of a larger model). Or
            ``dict(coarse=…)``: an image-text checkpoint of this project or an
            official one, for the fused backbone of a detector or of another
            image-text model. Or ``dict(towers=…)``: both towers of such a checkpoint
            or of a detector of this project, without the cross-attention.
            ``swap_rgb=True`` beside any turns the RGB input of these weights into
            the BGR of the detectors.
        init_cfg: mmengine initialisation config; with ``type='Pretrained'`` it
            takes a checkpoint of this backbone and ``pretrained`` is not read.

    Raises:
        SizeError: options that do not fit each other, see :func:`backbone_sizes`.
        ValueError: the towers have fewer blocks than ``num_fused``, or
            ``pretrained`` has more than one of ``coarse``, ``towers`` and weights of
            single towers.
        TypeError: for another key in ``pretrained``.
    """

    def __init__(
        self,
        image: dict | None = None,
        text: dict | None = None,
        num_fused: int = 6,
        fusion: dict | None = None,
        i2t_norm: bool = False,
        last_text_norm: bool = True,
        out_indices: Sequence[int] = (1, 2, 3),
        frozen_stages: int = -1,
        frozen_prefix: bool = False,
        with_cp: bool = False,
        pretrained: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        given = dict(
            image=image,
            text=text,
            num_fused=num_fused,
            fusion=fusion,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
        )
        refuse_misfits(type(self).__name__, backbone_sizes(given, type(self), '').problems)
        super().__init__(init_cfg)
        image = dict(dict(embed_dim=128, depths=(2, 2, 18, 2)), **(image or {}))  # FIBER-B's
        tower, text = text_tower(text)
        sizes = Towers.of(image['depths'], image['embed_dim'], text['num_layers'], text['dim'])
        pattern: Fusion = (
            LockStepFusion(sizes, num_fused)
            if fusion is None
            else MODELS.build(dict(fusion, towers=sizes))
        )
        self.image = ImageTower(
            text_readers=pattern.text_readers,
            text_dim=text['dim'],
            query_norm=i2t_norm,
            out_indices=out_indices,
            **image,
        )
        self.text = tower(image_dims=pattern.image_dims, **text)
        self.fusion = pattern
        self.last_text_norm = last_text_norm
        self.frozen_stages = frozen_stages
        self.frozen_prefix = frozen_prefix
        self.with_cp = with_cp
        self.pretrained = {
            key: value for key, value in (pretrained or {}).items() if value is not None
        }
        refuse_unknown(
            'FIBERBackbone.pretrained',
            self.pretrained,
            ('image', 'text', 'coarse', 'towers', 'swap_rgb'),
        )
        for both in {'coarse', 'towers'} & set(self.pretrained):
            others = {'image', 'text', 'coarse', 'towers'} & set(self.pretrained) - {both}
            if others:
                raise ValueError(
                    f'pretrained.{both} has weights of both towers: set '
                    f'{" and ".join(f"pretrained.{key}" for key in sorted(others))} '
                    'to None'
                )
        self._freeze()

    # ------------------------------------------------------------ prefixes
    def encode_image(self, images: Tensor) -> ImagePrefix:
        """Everything that depends on the image only.

        Args:
            images: (B, 3, H, W) float32, normalised.

        Returns:
            The image prefix.
        """
        pyramid: dict[int, Tensor] = {}
        x, taps = self.image.embed(images), []
        for stage, index in self.image.schedule[: self.fusion.image_start]:
            x = self.run(self.image.stages[stage].blocks[index], x)
            taps.append(self.fusion.tap_image(stage, index, x))
            x = self.image.end_block(stage, index, x, pyramid)
        return ImagePrefix(x, pyramid, tuple(tap for tap in taps if tap is not None))

    def image_prefix_modules(self) -> dict[str, nn.Module]:
        """All modules that :meth:`encode_image` runs, by their names in the backbone."""
        found: dict[str, nn.Module] = {'image.patch_embed': self.image.patch_embed}
        if self.image.position_embed is not None:
            found['image.position_embed'] = self.image.position_embed
        for stage, index in self.image.schedule[: self.fusion.image_start]:
            module, place = self.image.stages[stage], f'image.stages.{stage}'
            found[f'{place}.blocks.{index}'] = module.blocks[index]
            if index + 1 < len(module.blocks):
                continue
            if module.downsample is not None:
                found[f'{place}.downsample'] = module.downsample
            if stage in self.image.out_indices:
                found[f'image.out_norms.{stage}'] = self.image.out_norms[str(stage)]
        if type(self.fusion).tap_image is not Fusion.tap_image:
            found['fusion'] = self.fusion
        return found

    def encode_text(self, ids: Tensor, mask: Tensor) -> TextPrefix:
        """Everything that depends on the text only.

        Args:
            ids: (B, L) int64 token ids.
            mask: (B, L), non-zero at real tokens.

        Returns:
            The text prefix.
        """
        mask = mask.bool()
        x, taps = self.text.embed(ids), []
        for i, layer in enumerate(self.text.layers[: self.fusion.text_start]):
            x = self.run(layer, x, mask[:, None, None])
            taps.append(self.fusion.tap_text(i, x))
        return TextPrefix(x, mask, tuple(tap for tap in taps if tap is not None))

    # --------------------------------------------------------------- tails
    def fuse(self, image: ImagePrefix, text: TextPrefix) -> Fused:
        """The shared tail: the steps of the fusion, then its own layers.

        Args:
            image: prefix of B images.
            text: prefix of B texts, text i belongs to image i.

        Returns:
            The pyramid, the final image map and the final text states.

        Raises:
            ValueError: unequal numbers of images and texts.
        """
        pyramid = dict(image.pyramid)
        x, t = self._walk(self.fusion.steps, image, text, pyramid)
        fused = Fused(self._levels(pyramid), x, t, text.mask)
        return self.fusion.on_top(fused, image, text, self.run)

    def fuse_text(self, image: ImagePrefix, text: TextPrefix) -> Tensor:
        """The text of :meth:`fuse` alone, without the image blocks that it does not depend on.

        Args:
            image: prefix of B images.
            text: prefix of B texts, text i belongs to image i.

        Returns:
            (B, L, C) output of the last text layer.

        Raises:
            ValueError: unequal numbers of images and texts.
        """
        if type(self.fusion).on_top is not Fusion.on_top:
            return self.fuse(image, text).text  # its layers may read the last image block
        return self._walk(self.fusion.text_steps, image, text, dict(image.pyramid))[1]

    def finish_image(self, image: ImagePrefix) -> tuple[tuple[Tensor, ...], Tensor]:
        """The image tail without text.

        Returns:
            The pyramid, (B, C, H, W) per output stage, and the (B, H, W, C)
            un-normalised output of the last block.
        """
        x, pyramid = image.tokens, dict(image.pyramid)
        for stage, index in self.image.schedule[self.fusion.image_start :]:
            x = self.run(self.image.stages[stage].blocks[index], x)
            x = self.image.end_block(stage, index, x, pyramid)
        return self._levels(pyramid), x

    def finish_text(self, text: TextPrefix) -> Tensor:
        """The text tail without image, last LayerNorm included: (B, L, C)."""
        x = text.tokens
        for layer in self.text.layers[self.fusion.text_start :]:
            x = self.run(layer, x, text.mask[:, None, None])
        return x

    def forward(self, images: Tensor, ids: Tensor, mask: Tensor) -> Fused:
        """Image i with text i, from pixels and token ids to the fused outputs.

        Args:
            images: (B, 3, H, W) float32, normalised.
            ids: (B, L) int64 token ids.
            mask: (B, L), non-zero at real tokens.

        Returns:
            The pyramid, the final image map and the final text states.
        """
        return self.fuse(self.encode_image(images), self.encode_text(ids, mask))

    # ------------------------------------------------------------- running
    def _walk(
        self,
        steps: Sequence[Step],
        image: ImagePrefix,
        text: TextPrefix,
        pyramid: dict[int, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Both sides after some fused steps; finished levels are added to ``pyramid``."""
        if image.tokens.shape[0] != text.tokens.shape[0]:  # len() would fix the number in exports
            raise ValueError(
                f'{len(image)} images but {len(text)} texts: repeat a prefix with '
                '.select(index) so that text i belongs to image i'
            )
        x, t = image.tokens, text.tokens
        for step in steps:
            x, t = self.run(self._step, step, x, t, text.mask)
            if step.block is not None:
                x = self.image.end_block(*step.block, x, pyramid)
        return x, t

    def _step(self, step: Step, x: Tensor, t: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
        """One fused step; both sides read the values from before it."""
        new_x, new_t = x, t
        if step.block is not None:
            stage, index = step.block
            block = self.image.stages[stage].blocks[index]
            new_x = block(x, t, text_mask) if step.block_reads else block(x)
        if step.layer is not None:
            new_t = self.text.layers[step.layer](
                t,
                text_mask[:, None, None],
                image=x.flatten(1, 2) if step.layer_reads else None,
                last_norm=self.last_text_norm or step.layer + 1 < len(self.text.layers),
            )
        return new_x, new_t

    def _levels(self, pyramid: dict[int, Tensor]) -> tuple[Tensor, ...]:
        return tuple(pyramid[s] for s in self.image.out_indices)

    def run(self, function: Callable, *args) -> Any:
        """``function(*args)``, recomputed in the backward pass if ``with_cp`` is set."""
        if self.with_cp and self.training:
            return checkpoint(function, *args, use_reentrant=False)
        return function(*args)

    # ------------------------------------------------- weights and freezing
    def init_weights(self) -> None:
        """Initialise both towers, then read ``pretrained`` or ``init_cfg``."""
        self.image.init_weights()
        self.text.init_weights()
        self.fusion.init_weights()
        if self.init_cfg is not None:
            super().init_weights()
        else:
            load_pretrained(self, **self.pretrained)
        self._is_init = True

    def _frozen_modules(self) -> list[nn.Module]:
        prefix = list(self.image_prefix_modules().values()) if self.frozen_prefix else []
        if self.frozen_stages < 0:
            return prefix
        norms = [
            self.image.out_norms[str(s)] for s in self.image.out_indices if s < self.frozen_stages
        ]
        places = [] if self.image.position_embed is None else [self.image.position_embed]
        stages = self.image.stages[: self.frozen_stages]
        return [*prefix, self.image.patch_embed, *places, *stages, *norms]

    def _freeze(self) -> None:
        for module in self._frozen_modules():
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> 'FIBERBackbone':
        """Set the mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self
