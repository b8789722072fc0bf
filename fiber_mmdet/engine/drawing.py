"""mmdet's drawings of tests and of its inferencer, on the pixels that the model saw."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import HOOKS, VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.fileio import get
from mmengine.runner import Runner

from fiber_mmdet.images import decode_image
from fiber_mmdet.outputs import distinct_name, write_image
from fiber_mmdet.text import PromptError, parse_prompt
from fiber_mmdet.text.parsing import prompt_options


@VISUALIZERS.register_module()
class SeenImageVisualizer(DetLocalVisualizer):
    """mmdet's visualizer, which draws on the image as the model saw it.

    Differs from mmdet's: where the pipeline ignored the EXIF orientation of a photo, so does the
    drawing, which mmdet would turn upright under boxes of the stored image. The best boxes are
    drawn last, so that their labels are not hidden under those of worse ones. True boxes bear the
    phrases of the sample's own prompt, not "class 2". Drawings are written whole, in a folder that
    is made, and never onto the image.
    """

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        *args: Any,
        out_file: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Draw a sample; see mmdet's.

        Args:
            name: of the image.
            image: (H, W, 3) RGB as read by mmdet, upright.
            data_sample: with ``img_path`` and ``ori_shape`` and, if the pipeline's pack keeps it,
                ``img_upright``.
            *args: see mmdet's.
            out_file: where to write the drawing; by default the backends get it.
            **kwargs: see mmdet's.

        Raises:
            OutputError, OSError: the drawing cannot be written.
        """
        path = None if data_sample is None else data_sample.get('img_path')
        if data_sample is not None and path:
            image = seen_pixels(image, path, data_sample)
        if data_sample is not None:
            data_sample = best_last(with_true_names(data_sample))
        if out_file is None:
            super().add_datasample(name, image, data_sample, *args, **kwargs)
            return
        backends: Any = self._vis_backends  # type: ignore[has-type]
        self._vis_backends = {}
        try:
            super().add_datasample(name, image, data_sample, *args, **kwargs)
        finally:
            self._vis_backends = backends
        write_image(out_file, self.get_image(), [path])


def best_last(data_sample: DetDataSample) -> DetDataSample:
    """A sample whose predictions are in the order of their scores, the best at the end."""
    found = data_sample.get('pred_instances')
    if found is None or 'scores' not in found:
        return data_sample
    ordered = data_sample.new()
    ordered.pred_instances = found[found.scores.argsort()]
    return ordered


def with_true_names(data_sample: DetDataSample) -> DetDataSample:
    """A sample whose true boxes have names, if it has its own prompt; otherwise the same sample."""
    true, text = data_sample.get('gt_instances'), data_sample.get('text')
    if true is None or text is None or 'labels' not in true or 'label_names' in true:
        return data_sample
    try:
        phrases = parse_prompt(text, **prompt_options(data_sample)).phrases
    except PromptError:  # which the model reports
        return data_sample
    spans = data_sample.get('tokens_positive')
    names = dict(zip(sorted(spans) if isinstance(spans, dict) else range(len(phrases)), phrases))
    labels = true.labels.tolist()
    if not names.keys() >= set(labels):
        return data_sample
    named = data_sample.new()
    named.gt_instances = true.new()
    named.gt_instances.label_names = [names[label] for label in labels]
    return named


def seen_pixels(image: np.ndarray, path: str, data_sample: DetDataSample) -> np.ndarray:
    """The image in the orientation that its boxes refer to.

    Args:
        image: (H, W, 3) RGB, upright.
        path: where it was read.
        data_sample: see :class:`SeenImageVisualizer`. Without ``img_upright``, a size that is not
            that of the image tells that the orientation was ignored.

    Returns:
        (H, W, 3) RGB: the same, or the file as stored.
    """
    upright = data_sample.get('img_upright')
    if upright is None:
        shape = data_sample.get('ori_shape')
        upright = shape is None or tuple(shape[:2]) == image.shape[:2]
    if upright:
        return image
    return decode_image(get(path), str(path), upright=False)


@HOOKS.register_module()
class SeenImageVisualizationHook(DetVisualizationHook):
    """mmdet's hook for drawings of a test, which reads images as the pipelines do.

    Differs from mmdet's: every format that a pipeline reads is drawn, in the orientation that the
    model saw; drawings of images of one name in several folders do not overwrite each other; and
    relative work directories are not repeated in the path. Drawings have the ending of the image
    where such files can be written, and ``.png`` added where not.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._folder: Path | None = None
        self._taken: set[str] = set()

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[DetDataSample],
    ) -> None:
        """Draw the first image of every so many batches of a validation."""
        step = runner.iter + batch_idx
        if self.draw and step % self.interval == 0:
            self._draw(outputs[0], 'val_img', step)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[DetDataSample],
    ) -> None:
        """Draw all images of a test."""
        if not self.draw:
            return
        if self.test_out_dir is not None and self._folder is None:
            self._folder = Path(runner.work_dir, runner.timestamp, self.test_out_dir)
        for sample in outputs:
            self._test_index += 1
            out_file = None
            if self._folder is not None:
                name = drawing_name(Path(sample.img_path).name)
                out_file = str(self._folder / distinct_name(name, self._taken))
            self._draw(sample, 'test_img', self._test_index, out_file)

    def _draw(
        self, sample: DetDataSample, name: str, step: int, out_file: str | None = None
    ) -> None:
        path = sample.img_path
        content = get(path, backend_args=self.backend_args)
        self._visualizer.add_datasample(
            Path(path).name if self.show else name,
            decode_image(content, str(path)),
            data_sample=sample,
            show=self.show,
            wait_time=self.wait_time,
            pred_score_thr=self.score_thr,
            out_file=out_file,
            step=step,
        )


def drawing_name(name: str) -> str:
    """Name of the drawing of an image: the same, if a drawing can be written in its format."""
    common = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
    return name if Path(name).suffix.lower() in common else f'{name}.png'
