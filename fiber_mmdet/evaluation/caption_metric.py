"""Evaluation of captions against reference captions."""

from collections.abc import Sequence
from typing import Any

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.datasets.image_text.karpathy_captions import karpathy_images
from fiber_mmdet.fields import ID, OBJECTS, TEXT, check_record
from fiber_mmdet.records import read_json
from fiber_mmdet.structures import need_field
from fiber_mmdet.text.cider_d import CiderD, caption_words

from .coco_caption_scores import SCORERS, coco_caption_scores
from .offline import write_json

OWN = 'CIDEr-D'
CAPTION = dict(image_id=ID, caption=TEXT)


@METRICS.register_module()
@strict_arguments
class CaptionMetric(BaseMetric):
    """CIDEr-D, and the scores of the public COCO caption evaluation if its tools are installed.

    ``CIDEr-D`` (Vedantam et al., CVPR 2015) is computed here: words are split by
    :func:`caption_words`, document frequencies come from ``df_file`` or else from the
    references. ``CIDEr`` is that of pycocoevalcap: the same formula, with words split by a
    Java program and frequencies from the references. Both are on a scale of 10; published
    tables show them times 100. The log says which metrics were left out, and why.

    Each image counts once, with its first ``pred_caption``. The references are the samples'
    ``captions``, or those of ``ann_file``.

    Args:
        ann_file: file of references, see :func:`read_references`.
        splits: splits of Karpathy's file, None for all.
        df_file: document frequencies for CIDEr-D, as written by ``tools/build_cider_df.py``.
        outfile_prefix: if given, the captions are written to
            ``{outfile_prefix}.caption.json``, in the format of the COCO server.
        metrics: 'CIDEr-D' (always computed), 'CIDEr', 'BLEU', 'ROUGE', and the slow
            'METEOR' and 'SPICE'.
        format_only: only write the file; no references are needed.
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.

    Raises:
        FileNotFoundError: ``ann_file`` or ``df_file`` does not exist.
        ValueError: an unknown metric, ``format_only`` without ``outfile_prefix``, or
            an image without reference.
    """

    default_prefix = 'caption'
    identity = ('image_id',)
    truth = ('captions',)

    def __init__(
        self,
        ann_file: str | None = None,
        splits: str | Sequence[str] | None = None,
        df_file: str | None = None,
        outfile_prefix: str | None = None,
        metrics: Sequence[str] = (OWN, 'CIDEr', 'BLEU', 'ROUGE'),
        format_only: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        metrics = [metrics] if isinstance(metrics, str) else list(metrics)
        unknown = [name for name in metrics if name != OWN and name not in SCORERS]
        if unknown:
            raise ValueError(
                f'CaptionMetric: unknown metric {unknown[0]!r}, choose from '
                f'{", ".join([OWN, *SCORERS])}'
            )
        if format_only and outfile_prefix is None:
            raise ValueError(
                'CaptionMetric: format_only=True writes a file, so outfile_prefix must say where'
            )
        if splits is not None and ann_file is None:
            raise ValueError('CaptionMetric: splits are those of ann_file, which is not given')
        self.references = read_references(ann_file, splits) if ann_file else None
        self.ann_file = ann_file
        self.cider = CiderD.load(df_file) if df_file else None
        self.outfile_prefix = outfile_prefix
        self.public_metrics = [name for name in metrics if name != OWN]
        self.format_only = format_only

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep image id, caption and references of each sample.

        Raises:
            KeyError: a sample has no ``pred_caption``, ``image_id`` or reference.
            ValueError: ``ann_file`` has no caption of an image.
        """
        for sample in data_samples:
            caption = need_field(
                sample, 'pred_caption', 'the model needs a CaptionHead that predicts'
            )
            self.results.append((need_field(sample, 'image_id'), caption, self._references(sample)))

    def _references(self, sample: dict) -> list[str] | None:
        if self.format_only:
            return None
        image_id = sample['image_id']
        if self.references is None:
            return list(need_field(sample, 'captions', 'or give the metric an ann_file'))
        if image_id not in self.references:
            raise ValueError(
                f'{self.ann_file} has no caption of image {image_id!r}: give the file '
                'and splits of the evaluated images'
            )
        return self.references[image_id]

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Scores by name and the number of ``captions``; the file is written if asked for."""
        found: dict[Any, tuple[str, Any]] = {}
        for image_id, caption, references in results:
            found.setdefault(image_id, (caption, references))
        captions = {image_id: caption for image_id, (caption, _) in found.items()}
        if self.outfile_prefix is not None:
            write_json(
                f'{self.outfile_prefix}.caption.json',
                [dict(image_id=image_id, caption=text) for image_id, text in captions.items()],
            )
        count = dict(captions=float(len(captions)))
        if self.format_only:
            return count
        logger = MMLogger.get_current_instance()
        references = {image_id: texts for image_id, (_, texts) in found.items()}
        if self.references is not None and len(captions) < len(self.references):
            logger.warning(
                f'captions of {len(captions)} of the {len(self.references)} images of '
                f'{self.ann_file} are scored'
            )
        if len(references) < 2 and 'CIDEr' in self.public_metrics:
            logger.warning('CIDEr of a single image is 0 for all captions')
        scores, left_out = coco_caption_scores(captions, references, self.public_metrics)
        for name, reason in left_out.items():
            logger.warning(f'{name} is left out: {reason}')
        return {OWN: self.cider_d(captions, references), **scores, **count}

    def cider_d(self, captions: dict[Any, str], references: dict[Any, list[str]]) -> float:
        """Mean CIDEr-D of captions by image, 0 to 10; 0 if there is no caption."""
        if not captions:
            return 0.0
        words = {
            image: [caption_words(text) for text in texts] for image, texts in references.items()
        }
        cider = self.cider or CiderD.from_captions(words.values())
        if cider.ref_len < 2:
            MMLogger.get_current_instance().warning(
                f'{OWN} of a corpus of {cider.ref_len:g} image is 0 for all captions: every '
                'n-gram is in every image. Evaluate more images, or give df_file'
            )
        end = cider.ends
        return sum(
            cider.score(caption_words(text) + end, [known + end for known in words[image]])
            for image, text in captions.items()
        ) / len(captions)


def read_references(path: str, splits: str | Sequence[str] | None = None) -> dict[Any, list[str]]:
    """All captions of each image, including repeated ones, as the public evaluation counts them.

    Args:
        path: Karpathy's file (``images`` with ``sentences``) or COCO's
            ``captions_*.json`` (``annotations`` with ``caption``).
        splits: splits of Karpathy's file, None for all.

    Returns:
        image id -> captions, in the order of the file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file lacks something, or a split.
    """
    content = read_json(path, dict, "an object with 'images' or 'annotations'")
    if 'annotations' in content:
        if splits is not None:
            raise ValueError(
                f"{path} is COCO's own file, which has no splits: leave out splits, "
                "or give Karpathy's file"
            )
        check_record(content, dict(annotations=OBJECTS), path)
        found: dict[Any, list[str]] = {}
        for number, record in enumerate(content['annotations']):
            check_record(record, CAPTION, f'{path}: annotation {number}')
            found.setdefault(record['image_id'], []).append(record['caption'])
        return found
    check_record(content, dict(images=OBJECTS), path)
    return {
        image_id: [sentence['raw'] for sentence in image['sentences']]
        for image_id, image in karpathy_images(content['images'], splits, path)
    }
