"""Mirroring all pictures of a sample, and the words that tell left from right."""

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from fiber_mmdet.arguments import strict_arguments

from .caption_flip import mirror_words


@TRANSFORMS.register_module()
@strict_arguments
class FlipViews(BaseTransform):
    """Mirror all views of a sample together, and optionally what its words say.

    With ``swap_words`` the sample stays true: "left" and "right" change places in
    ``text`` and ``captions`` (see :class:`CaptionFlip`). Of two images side by
    side (view ``image_1``), "the left image" is about the pair, so the two
    images change places too.

    (The reference mirrors each view for itself, without a change of words: that is
    mmcv's ``RandomFlip`` in :class:`EachView`.)

    Args:
        prob: probability of mirroring.
        swap_words: whether what words say is mirrored too.

    Raises:
        ValueError: ``prob`` is not within 0 and 1; or ``swap_words`` for questions
            whose answers are classes, which may be sides as well.
    """

    def __init__(self, prob: float, swap_words: bool = False) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob={prob} must be within 0 and 1')
        self.prob = prob
        self.swap_words = swap_words

    def transform(self, results: dict) -> dict:
        """Mirror one sample, or leave it as it is."""
        if self.swap_words and 'answer_labels' in results:
            raise ValueError(
                'FlipViews(swap_words=True) cannot mirror the answers to questions '
                '("on the left"): leave it out, or set swap_words=False'
            )
        flip = bool(np.random.random() < self.prob)
        for view in results['views'].values():
            view['flip'] = flip
            if flip:
                view['img'] = mmcv.imflip(view['img'])
        if flip and self.swap_words:
            results['text'] = mirror_words(results['text'])[0]
            if 'captions' in results:
                results['captions'] = [mirror_words(text)[0] for text in results['captions']]
            views = results['views']
            if 'image_1' in views:
                views['image'], views['image_1'] = views['image_1'], views['image']
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, swap_words={self.swap_words})'
