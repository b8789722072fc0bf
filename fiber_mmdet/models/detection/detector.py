"""FIBER as an MMDetection detector: image and words in, boxes out (section 3.3)."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from mmdet.models.detectors import SingleStageDetector
from mmdet.models.utils import samplelist_boxtype2tensor
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmdet.utils import InstanceList
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from torch import Tensor

from fiber_mmdet.arguments import refuse_unknown, strict_arguments
from fiber_mmdet.structures import samples_of_images
from fiber_mmdet.text import (
    Prompt,
    PromptError,
    PromptTokenizer,
    build_tokenizer,
    label_tokens,
    parse_prompt,
    positive_map,
    prompt_options,
    prompt_passes,
)
from fiber_mmdet.text.prompts import Span

from ..backbone import ImagePrefix, TextPrefix
from ..brief_initialization import BriefInitialization
from ..cached_prefixes import PrefixReader
from ..freezing import train_only
from ..mean_losses import MeanLoggedLosses
from ..prompt_cache import PromptCache
from ..sizes import refuse_misfits
from .sizes import detector_problems

# Positions of an image of 800 x 1344 pixels where FIBER-B's towers meet.
LARGE_IMAGE = 50 * 84
TEST_KEYS = (
    'score_thr',
    'nms_pre',
    'iou_threshold',
    'max_per_img',
    'exclusive_boxes',
    'chunked_size',
    'pairs_per_pass',
)


@dataclass(frozen=True)
class EncodedPrompts:
    """Prompts after the text prefix; equal prompts share a row.

    Attributes:
        prefix: text prefix of the distinct prompts.
        label_tokens: per row, token positions of each label.
        queries: per sample, its passes as (row, label offset).
        phrases: per sample, the caller's phrases; a label is an index into them.
    """

    prefix: TextPrefix
    label_tokens: list[list[list[int]]]
    queries: list[list[tuple[int, int]]]
    phrases: list[tuple[str, ...]]

    def repeat(self, times: int) -> 'EncodedPrompts':
        """The single prompt of this batch for ``times`` images, still encoded once.

        Raises:
            ValueError: the batch has several prompts.
        """
        if len(self.queries) != 1:
            raise ValueError(f'only a single prompt can be repeated, not {len(self.queries)}')
        return EncodedPrompts(
            self.prefix, self.label_tokens, self.queries * times, self.phrases * times
        )


@MODELS.register_module()
@strict_arguments
class FIBERDetector(MeanLoggedLosses, BriefInitialization, SingleStageDetector):
    """Fused backbone, pyramid and grounding head under prompts.

    Data samples carry the prompt in mmdet's keys (those of its Grounding DINO):
    ``text`` (list of categories or a caption), ``custom_entities``,
    ``tokens_positive`` and ``caption_prompt``, or ``phrases`` of the caption; see
    :func:`fiber_mmdet.text.parse_prompt`. Each sample may have its own. A sample of ``chunk_sizes``
    is asked with that many names at a time in testing, whatever ``chunked_size`` says.

    Args:
        backbone: config of a :class:`FIBERBackbone`.
        neck: config of the pyramid.
        bbox_head: config of the :class:`GroundingHead`.
        tokenizer: ``dict(name_or_path=…, max_tokens=256)``, loaded at first use by the class that
            the text tower brings.
        data_preprocessor: config of the image normalisation and padding.
        train_cfg: training config of the head.
        test_cfg: test config of the head, and

            - ``chunked_size``: categories per fused pass (-1: all in one);
            - ``pairs_per_pass``: (image, prompt) pairs fused at a time. By default as
              many as there are images; more if they are small, up to as many positions
              as an image of 800 x 1344 pixels has.
        trainable: names of parameters, or beginnings of them up to a dot, that
            are trained; all others are frozen and their modules stay in
            evaluation mode (prompt tuning, linear probing). None: all are trained.
        init_cfg: mmengine initialisation config.

    Raises:
        TypeError: an unknown key in ``train_cfg`` or ``test_cfg``.
        SizeError: options that do not fit each other, see :func:`detector_problems`.
        ValueError: more tokens than the text tower has positions, or a name in ``trainable``
            that fits no parameter.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        bbox_head: dict,
        tokenizer: dict,
        data_preprocessor: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        trainable: Sequence[str] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        refuse_unknown('train_cfg', train_cfg or (), ('assigner',))
        refuse_unknown('test_cfg', test_cfg or (), TEST_KEYS)
        problems = detector_problems(backbone, neck, bbox_head, tokenizer)
        refuse_misfits(type(self).__name__, problems)
        super().__init__(
            backbone=backbone,
            neck=neck,
            bbox_head=bbox_head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.tokenizer_cfg = dict(tokenizer)
        positions = self.backbone.text.max_tokens
        longest = self.tokenizer_cfg.setdefault(
            'max_tokens', min(self.bbox_head.max_tokens, positions)
        )
        if longest > positions:
            raise ValueError(
                f'tokenizer.max_tokens={longest}, but the text tower has positions for '
                f'{positions} tokens: raise backbone.text.max_positions or lower '
                'max_tokens'
            )
        self.trainable = trainable
        self._cache = PromptCache()
        self._cached_images = PrefixReader()
        if trainable is not None:
            train_only(self, trainable)

    def train(self, mode: bool = True) -> 'FIBERDetector':
        """Set the mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        self._cache.clear()  # averaged weights are swapped in through .data
        if self.trainable is not None:
            train_only(self, self.trainable)
        return self

    @cached_property
    def tokenizer(self) -> PromptTokenizer:
        """The prompt tokenizer, checked against the text tower's words and padding."""
        text = self.backbone.text
        return build_tokenizer(
            self.tokenizer_cfg, text.tokenizer_class, text.vocab_size, text.pad_id
        )

    # --------------------------------------------------------------- loss
    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of a batch; prompts beyond the token limit are truncated.

        An image with several prompts is encoded once up to the first fused block.

        Args:
            batch_inputs: (B, 3, H, W) normalised images.
            batch_data_samples: of each image a sample, or a group of them, with a prompt and
                ``gt_instances`` (``bboxes`` inclusive xyxy in pixels, ``labels`` indices into the
                categories or phrases, or keys of ``tokens_positive``).

        Returns:
            ``loss_token``, ``loss_bbox`` and ``loss_centerness``.

        Raises:
            PromptError: a malformed prompt, or a label without a phrase.
        """
        images = self._encode_images(batch_inputs, batch_data_samples)
        groups = samples_of_images(batch_data_samples)
        image_rows = [i for i, group in enumerate(groups) for _ in group]
        batch_data_samples = [sample for group in groups for sample in group]
        samplelist_boxtype2tensor(batch_data_samples)  # the preprocessor does not look into groups
        prompts = []
        for sample in batch_data_samples:
            with self._naming(sample):
                prompts.append(self._training_prompt(sample))
        rows, distinct = number_distinct(caption for caption, _ in prompts)
        tokens = self.tokenizer(distinct, truncate=True).to(batch_inputs.device)
        for sample, (_, spans), row in zip(batch_data_samples, prompts, rows):
            maps = positive_map(tokens, row, spans, strict=False)
            if not maps.any(1).all():
                lost, place = int((~maps.any(1)).sum()), sample.get('img_path', 'a sample')
                MMLogger.get_current_instance().warning(
                    f'{place}: {lost} boxes whose phrase lies beyond '
                    f'{self.tokenizer.max_tokens} tokens or on none'
                )
            sample.gt_instances.positive_maps = maps.to(batch_inputs.device)
        image = images.select(image_rows)
        text = self.backbone.encode_text(tokens.ids, tokens.mask).select(rows)
        levels, states, mask = self._features(image, text)
        return self.bbox_head.loss(levels, states, mask, batch_data_samples)

    def _encode_images(self, images: Tensor, samples: SampleList) -> ImagePrefix:
        """The prefix of the images of a batch, computed or from a cache."""
        cached = self._cached_images(self, samples)
        return cached['image'] if cached else self.backbone.encode_image(images)

    @staticmethod
    @contextmanager
    def _naming(sample: DetDataSample) -> Iterator[None]:
        """Prompt errors inside name the image they came with."""
        try:
            yield
        except PromptError as error:
            if 'img_path' not in sample:
                raise
            raise PromptError(f'{sample.img_path}: {error}') from error

    def _training_prompt(self, sample: DetDataSample) -> tuple[str, list[tuple[Span, ...]]]:
        """The caption and, for each box, the spans of its phrase."""
        options = prompt_options(sample, training=True)
        spans = options['tokens_positive']
        labels = sample.gt_instances.labels.tolist()
        text = self._text_of(sample)
        unmarked = any(options[key] in ([], {}) for key in ('tokens_positive', 'phrases'))
        if isinstance(text, str) and unmarked and not labels:
            return text, []  # a caption without phrases: nothing but background
        prompt = parse_prompt(text, **options)
        keys = sorted(spans) if isinstance(spans, dict) else range(len(prompt.phrases))
        spans_of = dict(zip(keys, prompt.spans))
        unknown = set(labels).difference(spans_of)
        if unknown:
            raise PromptError(
                f'label {max(unknown)} has no phrase: the prompt has {len(prompt.phrases)}. Check '
                'that the classes of the dataset and the text agree'
            )
        return prompt.caption, [spans_of[label] for label in labels]

    # ------------------------------------------------------------ predict
    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Detections under each sample's own prompt.

        Args:
            batch_inputs: (B, 3, H, W) normalised images.
            batch_data_samples: with a prompt, ``img_shape`` and ``scale_factor``.
            rescale: return boxes in the original image.

        Returns:
            The samples with ``pred_instances``: ``bboxes`` (M, 4) xyxy,
            ``scores`` (M,), ``labels`` (M,) indices into the caller's phrases
            and ``label_names``, these phrases.

        Raises:
            PromptError: a malformed prompt.
            ValueError: several prompts of an image.
        """
        if any(len(group) != 1 for group in samples_of_images(batch_data_samples)):
            raise ValueError(
                'predictions are made for one prompt of an image at a time: leave texts_per_image '
                'and EachText out of tests'
            )
        image = self._encode_images(batch_inputs, batch_data_samples)
        prompts = self.encode_prompts([self._prompts_of(s) for s in batch_data_samples])
        metas = [sample.metainfo for sample in batch_data_samples]
        results = self.ground(image, prompts, metas, rescale)
        return self.add_pred_to_datasample(batch_data_samples, results)

    def encode_prompts(self, prompts: Sequence[Prompt | Sequence[Prompt]]) -> EncodedPrompts:
        """The text prefix of a batch; equal prompts are encoded once.

        In testing, prompts seen shortly before are not encoded again (see
        :class:`PromptCache`): a closed vocabulary is encoded for the first image only.

        Args:
            prompts: per sample a prompt or, for a chunked vocabulary, a list.

        Returns:
            What :meth:`ground` needs; reusable for any number of images.

        Raises:
            PromptError: on a prompt over the token limit, or a phrase without tokens.
        """
        chunks = [[p] if isinstance(p, Prompt) else list(p) for p in prompts]
        numbers, distinct = number_distinct(p for sample in chunks for p in sample)
        rows = iter(numbers)
        queries = []
        for sample in chunks:
            offset, passes = 0, []
            for prompt in sample:
                passes.append((next(rows), offset))
                offset += len(prompt.phrases)
            queries.append(passes)
        prefix, tokens_of = self._cache.get(
            self.backbone.text, tuple(distinct), lambda: self._encode_distinct(distinct)
        )
        return EncodedPrompts(
            prefix, tokens_of, queries, [sum((p.phrases for p in sample), ()) for sample in chunks]
        )

    def _encode_distinct(
        self, prompts: Sequence[Prompt]
    ) -> tuple[TextPrefix, list[list[list[int]]]]:
        """The text prefix of these prompts and, per prompt, the tokens of each label."""
        tokens = self.tokenizer(prompts)
        device = self.data_preprocessor.device
        prefix = self.backbone.encode_text(tokens.ids.to(device), tokens.mask.to(device))
        return prefix, [label_tokens(tokens, i, p) for i, p in enumerate(prompts)]

    def ground(
        self,
        image: ImagePrefix,
        prompts: EncodedPrompts,
        metas: Sequence[dict],
        rescale: bool = True,
    ) -> InstanceList:
        """Fuse image prefixes with their prompts and detect.

        Args:
            image: prefix of B images.
            prompts: B prompts, see :meth:`encode_prompts`.
            metas: per image, ``img_shape`` and ``scale_factor``.
            rescale: return boxes in the original image.

        Returns:
            Per image, ``bboxes``, ``scores``, ``labels`` and ``label_names``.
        """
        pairs = [
            (i, row, offset) for i, passes in enumerate(prompts.queries) for row, offset in passes
        ]
        found: list[list[InstanceData]] = [[] for _ in prompts.queries]
        step = (self.test_cfg or {}).get('pairs_per_pass') or max(
            len(image), LARGE_IMAGE // image.tokens[0, ..., 0].numel()
        )
        for start in range(0, len(pairs), step):
            batch = pairs[start : start + step]
            features = self._features(
                image.select([i for i, _, _ in batch]),
                prompts.prefix.select([row for _, row, _ in batch]),
            )
            results = self.bbox_head.predict(
                *features,
                [prompts.label_tokens[row] for _, row, _ in batch],
                [metas[i] for i, _, _ in batch],
                rescale,
            )
            for (i, _, offset), result in zip(batch, results):
                result.labels = result.labels + offset
                found[i].append(result)
        return [self._merge(results, phrases) for results, phrases in zip(found, prompts.phrases)]

    @staticmethod
    def _merge(chunks: list[InstanceData], phrases: Sequence[str]) -> InstanceData:
        """Chunks of one image as one result, by descending score, with names."""
        result = chunks[0]
        if len(chunks) > 1:
            result = InstanceData.cat(chunks)
            result = result[result.scores.argsort(descending=True, stable=True)]
        result.label_names = [phrases[label] for label in result.labels.tolist()]
        return result

    def _text_of(self, sample: DetDataSample) -> str | Sequence[str]:
        """The words of a sample, by default the classes of the dataset."""
        text = sample.get('text', None)
        if text is None:
            text = (getattr(self, 'dataset_meta', None) or {}).get('classes')
        if text is None:
            raise PromptError(
                'no prompt: give each sample a `text` (a list of categories or a '
                'caption), or return_classes=True to the dataset'
            )
        return text

    def phrases_of(self, sample: DetDataSample) -> tuple[str, ...]:
        """The phrases of a sample's prompt, which labels count.

        Raises:
            PromptError: a malformed prompt.
        """
        return sum((prompt.phrases for prompt in self._prompts_of(sample)), ())

    def _prompts_of(self, sample: DetDataSample) -> list[Prompt]:
        """The passes of a sample: one prompt, or one per chunk of its categories."""
        with self._naming(sample):
            return prompt_passes(
                self._text_of(sample),
                chunked_size=sample.get(
                    'chunk_sizes', (self.test_cfg or {}).get('chunked_size', -1)
                ),
                **prompt_options(sample),
            )

    # ------------------------------------------------------------ features
    def _features(
        self, image: ImagePrefix, text: TextPrefix
    ) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """Neck levels, text states and text mask of (image, prompt) pairs."""
        fused = self.backbone.fuse(image, text)
        return self.neck(fused.pyramid), fused.text, fused.mask

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> tuple[list[Tensor], ...]:
        """Raw head outputs under each sample's prompt (one pass, no chunks)."""
        image = self._encode_images(batch_inputs, batch_data_samples)
        encoded = self.encode_prompts(
            [parse_prompt(self._text_of(s), **prompt_options(s)) for s in batch_data_samples]
        )
        text = encoded.prefix.select([passes[0][0] for passes in encoded.queries])
        return self.bbox_head(*self._features(image, text))


def number_distinct(items: Iterable[Hashable]) -> tuple[list[int], list]:
    """Index of each item among the distinct ones, and these in order of appearance."""
    distinct: dict = {}
    rows = [distinct.setdefault(item, len(distinct)) for item in items]
    return rows, list(distinct)
