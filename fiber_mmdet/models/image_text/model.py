"""The image-text model: the fused backbone under objectives (FIBER paper, section 3.2)."""

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.logging import print_log
from mmengine.model import ModuleDict
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.text import PromptTokenizer, build_tokenizer

from ..backbone import ImagePrefix, TextPrefix
from ..brief_initialization import BriefInitialization
from ..cached_prefixes import PrefixReader
from ..freezing import train_only
from ..mean_losses import MeanLoggedLosses
from ..sizes import refuse_misfits
from .batch import EncodedBatch
from .joint_space import JointProjection, LMHead, PairFeatures
from .sizes import image_text_problems
from .tasks import TaskTable

Losses = dict[str, Tensor]


@MODELS.register_module()
@strict_arguments
class FIBERForVL(MeanLoggedLosses, BriefInitialization):
    """Backbone, joint space and a dictionary of objectives (MLM, ITM, ITC, VQA, …).

    The backbone is the detector's class with ``last_text_norm=False`` and
    ``image.always_shift=False``. Prefixes are computed once per image and once
    per text; see :class:`EncodedBatch` for what objectives read, and
    ``docs/new_objective.md`` for how to add one.

    Args:
        backbone: config of a :class:`FIBERBackbone`, usually with ``out_indices=()``.
        heads: name -> config of an objective, run in this order; None leaves one
            out (to switch off an objective of a base config).
        tokenizer: ``dict(name_or_path=…, max_tokens=50)``, loaded at first use.
            Longer texts are truncated, as in the reference.
        dim: channels of the joint space.
        predict_with: names of the heads that predict; None for all.
        tasks: task -> names of the heads that are trained on its texts, for a training with several
            tasks, whose samples carry ``task`` (``TasksOfImages``). A head that has no text in a
            batch is left out of its losses. None for a task leaves it out. None for all: all heads
            read all texts.
        trainable: names of parameters, or beginnings of them up to a dot, that are trained; all
            others are frozen and their modules stay in evaluation mode. None: all are trained.
        data_preprocessor: config of an :class:`ImageTextPreprocessor`.
        init_cfg: mmengine initialisation config.

    Raises:
        SizeError: options that do not fit each other, see :func:`image_text_problems`.
        ValueError: no objective, an unknown name in ``predict_with``, a name in ``trainable``
            that fits no parameter, more tokens than the text tower has positions, or ``tasks`` that
            do not fit the heads (:class:`TaskTable`).
    """

    def __init__(
        self,
        backbone: dict,
        heads: dict[str, dict | None],
        tokenizer: dict,
        dim: int = 768,
        predict_with: Sequence[str] | None = None,
        tasks: Mapping[str, Sequence[str] | None] | None = None,
        trainable: Sequence[str] | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        problems = image_text_problems(backbone, heads, tokenizer, dim)
        refuse_misfits(type(self).__name__, problems)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self._warned_sides: set[int] = set()  # sizes of images that the windows do not fit
        self.dim = dim
        image_dim, text_dim = self.backbone.image.dims[-1], self.backbone.text.dim
        self.image_norm = nn.LayerNorm(image_dim)
        fused_text_dim, fused_image_dim = self.backbone.fusion.out_dims
        self.fused = JointProjection(fused_text_dim, fused_image_dim, dim)
        self.contrast = JointProjection(text_dim, image_dim, dim)
        configs = {name: cfg for name, cfg in heads.items() if cfg is not None}
        if not configs:
            raise ValueError('heads: no objective is switched on')
        self.heads = ModuleDict(
            {name: MODELS.build(dict(cfg, dim=dim)) for name, cfg in configs.items()}
        )
        self.predict_with = list(self.heads if predict_with is None else predict_with)
        unknown = [name for name in self.predict_with if name not in self.heads]
        if unknown:
            raise ValueError(f'predict_with names {unknown}, but the heads are {list(self.heads)}')
        self.words = (
            LMHead(dim, self.backbone.text.vocab_size)
            if any(head.uses_words for head in self.heads.values())
            else None
        )
        self.tokenizer_cfg = dict(tokenizer)
        positions = self.backbone.text.max_tokens
        if self.tokenizer_cfg.setdefault('max_tokens', 50) > positions:
            raise ValueError(
                f'tokenizer.max_tokens={self.tokenizer_cfg["max_tokens"]}, but the '
                f'text tower has positions for {positions} tokens'
            )
        for head in self.heads.values():
            head.bind(self)
        off = [name for name, cfg in heads.items() if cfg is None]
        self.tasks = None if tasks is None else TaskTable(tasks, dict(self.heads.items()), off)
        self._cached_images = PrefixReader()
        self.trainable = trainable
        if trainable is not None:
            train_only(self, trainable)

    def train(self, mode: bool = True) -> 'FIBERForVL':
        """Set the mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        if self.trainable is not None:
            train_only(self, self.trainable)
        return self

    @cached_property
    def tokenizer(self) -> PromptTokenizer:
        """The tokenizer, checked against the text tower's words and padding."""
        text = self.backbone.text
        return build_tokenizer(
            self.tokenizer_cfg, text.tokenizer_class, text.vocab_size, text.pad_id
        )

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens, ``<s>`` and ``</s>`` included."""
        return self.tokenizer_cfg['max_tokens']

    # ------------------------------------------------------------- encoding
    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(B, L) int64 ids and (B, L) bool mask, True at real tokens.

        Texts are truncated to ``max_tokens`` and padded to the longest of them.
        """
        tokens = self.tokenizer(texts, truncate=True)
        return tokens.ids, tokens.mask

    def encode_image(self, images: Tensor) -> ImagePrefix:
        """(B, 3, S, S) normalised images to their prefix.

        In the paper a window fills the last map: S is 32 times its side. Other sizes
        work; a warning is logged the first time.
        """
        self._check_side(images.shape[-1])
        return self.backbone.encode_image(images)

    def _check_side(self, side: int) -> None:
        fitting = self.backbone.image.one_window_side
        if side != fitting and side not in self._warned_sides:
            self._warned_sides.add(side)
            print_log(
                f'images have {side} pixels, but the windows are made for {fitting}: set '
                'backbone.image.window, whose bias tables are resized when weights are '
                'loaded, or the size of the images',
                'current',
                logging.WARNING,
            )

    def encode_text(self, texts: Sequence[str]) -> TextPrefix:
        """Texts to their prefix."""
        ids, mask = self.tokenize(texts)
        device = self.image_norm.weight.device
        return self.backbone.encode_text(ids.to(device), mask.to(device))

    def fuse(self, image: ImagePrefix, text: TextPrefix) -> PairFeatures:
        """Pairs in the joint space; text i belongs to image i."""
        fused = self.backbone.fuse(image, text)
        tokens, text_summary = self.fused.text(fused.text)
        positions, image_summary = self.fused.image(fused.image)
        return PairFeatures(
            tokens, positions, torch.cat([text_summary, image_summary], -1), fused.mask
        )

    def fuse_text(self, image: ImagePrefix, text: TextPrefix) -> Tensor:
        """(B, L, dim) tokens of pairs in the joint space, as :meth:`fuse` gives them, for less."""
        return self.fused.text(self.backbone.fuse_text(image, text))[0]

    def image_features(self, image: ImagePrefix) -> Tensor:
        """(B, dim) features of the images alone, of length 1."""
        return self.features_of_map(self.backbone.finish_image(image)[1])

    def features_of_map(self, last: Tensor) -> Tensor:
        """(B, dim) features of the images alone, from the (B, H, W, C) output of the last block."""
        return F.normalize(self.contrast.image(self.image_norm(last))[1].float(), dim=-1)

    def text_features(self, text: TextPrefix) -> Tensor:
        """(B, dim) features of the texts alone, of length 1."""
        return F.normalize(self.contrast.text(self.backbone.finish_text(text))[1].float(), dim=-1)

    # ------------------------------------------------------------- mmengine
    def forward(
        self, inputs: dict[str, Tensor], data_samples: list | None = None, mode: str = 'tensor'
    ) -> Losses | list | PairFeatures:
        """Run the model.

        Args:
            inputs: view -> (B, 3, S, S) normalised images; not read if the samples carry cached
                prefixes (:class:`~fiber_mmdet.structures.SamplePrefix`).
            data_samples: one :class:`ImageTextSample` per image, with ``text``, or an
                :class:`SampleGroup` of them.
            mode: 'loss', 'predict', or 'tensor' for the fused features.

        Returns:
            Losses; the samples of all pairs with predictions; or the features of the pairs.

        Raises:
            RuntimeError: an unknown mode.
            ValueError: a head logs something that mmengine would train on; predictions for
                samples of several texts; or samples of a task that no head reads.
            KeyError: samples without ``task``, if the model has several.
        """
        cached = self._cached_images(self, data_samples or [])
        batch = EncodedBatch(self, {} if cached else inputs, data_samples or [], cached)
        if mode == 'loss':
            return self._losses(batch)
        if mode == 'predict':
            if batch.shares_images:
                raise ValueError(
                    'predictions are made for one text at a time, since the evaluation counts the '
                    'samples of the dataset: set texts_per_image=1'
                )
            for name in self.predict_with:
                for sample, found in zip(batch.samples, self.heads[name].predict(batch)):
                    sample.set_metainfo(found)
            return batch.samples
        if mode == 'tensor':
            return batch.fused
        raise RuntimeError(f"mode is {mode!r}, not 'loss', 'predict' or 'tensor'")

    def _losses(self, batch: EncodedBatch) -> Losses:
        """Weighted losses of all heads; what else they return is logged only."""
        result: Losses = {}
        parts = dict.fromkeys(self.heads, batch) if self.tasks is None else self.tasks.parts(batch)
        for name, part in parts.items():
            head = self.heads[name]
            for key, value in head.loss(part).items():
                if key.startswith('loss'):
                    result[f'loss_{name}{key[len("loss") :]}'] = head.loss_weight * value
                elif 'loss' in f'{name}_{key}':
                    raise ValueError(
                        f'head {name!r} logs {key!r}: mmengine trains on all that has '
                        "'loss' in its name, so neither name may contain it"
                    )
                else:
                    result[f'{name}_{key}'] = value
        return result
