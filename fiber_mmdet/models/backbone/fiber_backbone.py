"""FIBER's backbone: two towers with a shared, gated tail (FIBER paper, section 3.1)."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fiber_mmdet.arguments import refuse_unknown, strict_arguments

from .image_tower import ImageTower
from .prefixes import Fused, ImagePrefix, TextPrefix
from .text_tower import text_tower


@MODELS.register_module()
@strict_arguments
class FIBERBackbone(BaseModule):
    """Swin and RoBERTa fused by gated cross-attention in their last layers.

    The last ``num_fused`` image blocks and text layers run in lock-step; in each
    step *both* sides read what the other held *before* the step. All before
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
        num_fused: fused steps, counted from the end of both towers.
        i2t_norm: LayerNorm on the image query of the cross-attention. The two
            published layouts differ in this only.
        last_text_norm: apply the last text layer's LayerNorm in the fused tail
            (the detector does, the image-level model does not).
        out_indices: image stages returned as the feature pyramid.
        frozen_stages: -1 for none, 0 for the patch embedding, n for the first n
            stages too (mmdet's meaning; the reference's ``FREEZE_CONV_BODY_AT
            n`` is ``frozen_stages=max(n - 1, 0)``).
        with_cp: recompute activations in the backward pass, every block, fused
            or not, of both towers.
        pretrained: read by ``init_weights``. ``dict(image=…, text=…)``, each
            optional: a Swin checkpoint (official or mmdet layout; path or URL) and
            what the text tower reads (a Hugging Face RoBERTa-like directory or hub name). Or
            ``dict(coarse=…)``: an image-level checkpoint of this project or an
            official one, for the fused backbone of a detector or of another
            image-level model. Or ``dict(towers=…)``: both towers of such a checkpoint
            or of a detector of this project, without the cross-attention.
            ``swap_rgb=True`` beside any turns the RGB input of these weights into
            the BGR of the detectors.
        init_cfg: mmengine initialisation config; with ``type='Pretrained'`` it
            takes a checkpoint of this backbone and ``pretrained`` is not read.

    Raises:
        ValueError: when the towers have fewer blocks than ``num_fused``, or
            ``pretrained`` has more than one of ``coarse``, ``towers`` and weights of
            single towers.
        TypeError: for another key in ``pretrained``.
    """

    def __init__(
        self,
        image: dict | None = None,
        text: dict | None = None,
        num_fused: int = 6,
        i2t_norm: bool = False,
        last_text_norm: bool = True,
        out_indices: Sequence[int] = (1, 2, 3),
        frozen_stages: int = -1,
        with_cp: bool = False,
        pretrained: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        tower, text = text_tower(text)
        self.image = ImageTower(
            num_fused=num_fused,
            text_dim=text['dim'],
            query_norm=i2t_norm,
            out_indices=out_indices,
            **(image or {}),
        )
        schedule = self.image.schedule
        if not 0 < num_fused <= min(len(schedule), text['num_layers']):
            raise ValueError(
                f'num_fused={num_fused} must lie between 1 and the number of '
                f'image blocks ({len(schedule)}) and of text layers ({text["num_layers"]})'
            )
        self.image_start = len(schedule) - num_fused
        fused_stages = [stage for stage, _ in schedule[self.image_start :]]
        self.text = tower(image_dims=[self.image.dims[s] for s in fused_stages], **text)
        self.text_start = len(self.text.layers) - num_fused
        self.last_text_norm = last_text_norm
        self.frozen_stages = frozen_stages
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
        x, pyramid = self.image.patch_embed(images), {}
        x = self._image_blocks(x, self.image.schedule[: self.image_start], pyramid)
        return ImagePrefix(x, pyramid)

    def encode_text(self, ids: Tensor, mask: Tensor) -> TextPrefix:
        """Everything that depends on the text only.

        Args:
            ids: (B, L) int64 token ids.
            mask: (B, L), non-zero at real tokens.

        Returns:
            The text prefix.
        """
        mask = mask.bool()
        x = self.text.embed(ids)
        for layer in self.text.layers[: self.text_start]:
            x = self._run(layer, x, mask[:, None, None])
        return TextPrefix(x, mask)

    # --------------------------------------------------------------- tails
    def fuse(self, image: ImagePrefix, text: TextPrefix) -> Fused:
        """The shared tail: blocks and layers in lock-step.

        Args:
            image: prefix of B images.
            text: prefix of B texts, text i belongs to image i.

        Returns:
            The pyramid, the final image map and the final text states.
        """
        if len(image) != len(text):
            raise ValueError(
                f'{len(image)} images but {len(text)} texts: repeat a prefix with '
                '.select(index) so that text i belongs to image i'
            )
        x, t, pyramid = image.tokens, text.tokens, dict(image.pyramid)
        steps = list(
            zip(self.image.schedule[self.image_start :], self.text.layers[self.text_start :])
        )
        for i, ((stage, index), layer) in enumerate(steps):
            block = self.image.stages[stage].blocks[index]
            last_norm = self.last_text_norm or i + 1 < len(steps)
            x, t = self._run(self._step, block, layer, x, t, text.mask, last_norm)
            x = self.image.end_block(stage, index, x, pyramid)
        return Fused(self._levels(pyramid), x, t, text.mask)

    def finish_image(self, image: ImagePrefix) -> tuple[tuple[Tensor, ...], Tensor]:
        """The image tail without text.

        Returns:
            The pyramid, (B, C, H, W) per output stage, and the (B, H, W, C)
            un-normalised output of the last block.
        """
        pyramid = dict(image.pyramid)
        x = self._image_blocks(image.tokens, self.image.schedule[self.image_start :], pyramid)
        return self._levels(pyramid), x

    def finish_text(self, text: TextPrefix) -> Tensor:
        """The text tail without image, last LayerNorm included: (B, L, C)."""
        x = text.tokens
        for layer in self.text.layers[self.text_start :]:
            x = self._run(layer, x, text.mask[:, None, None])
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
    @staticmethod
    def _step(block, layer, x, t, mask, last_norm):
        """One fused step; both sides read the values from before it."""
        return (
            block(x, t, mask),
            layer(t, mask[:, None, None], image=x.flatten(1, 2), last_norm=last_norm),
        )

    def _image_blocks(self, x, schedule, pyramid):
        for stage, index in schedule:
            x = self._run(self.image.stages[stage].blocks[index], x)
            x = self.image.end_block(stage, index, x, pyramid)
        return x

    def _levels(self, pyramid):
        return tuple(pyramid[s] for s in self.image.out_indices)

    def _run(self, function, *args):
        if self.with_cp and self.training:
            return checkpoint(function, *args, use_reentrant=False)
        return function(*args)

    # ------------------------------------------------- weights and freezing
    def init_weights(self) -> None:
        """Initialise both towers, then read ``pretrained`` or ``init_cfg``."""
        self.image.init_weights()
        self.text.init_weights()
        if self.init_cfg is not None:
            super().init_weights()
        elif 'coarse' in self.pretrained:
            from .coarse_weights import load_coarse_weights

            load_coarse_weights(self, **self.pretrained)
        elif 'towers' in self.pretrained:
            from .coarse_weights import load_tower_weights

            load_tower_weights(self, **self.pretrained)
        elif self.pretrained:
            from .public_weights import load_public_weights

            load_public_weights(self, **self.pretrained)
        self._is_init = True

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        norms = [
            self.image.out_norms[str(s)] for s in self.image.out_indices if s < self.frozen_stages
        ]
        return [self.image.patch_embed, *self.image.stages[: self.frozen_stages], *norms]

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
