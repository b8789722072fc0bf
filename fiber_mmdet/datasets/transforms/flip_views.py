"""Mirroring all images of a sample and, optionally, "left" and "right" in its text."""

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from fiber_mmdet.arguments import strict_arguments

from .caption_flip import mirror_words


@TRANSFORMS.register_module()
@strict_arguments
class FlipViews(BaseTransform):
    """Mirror all views of a sample together, and optionally swap "left" and "right" in its text.

    With ``swap_words`` the sample stays true: "left" and "right" are exchanged in ``text`` and
    ``captions``, of all its texts if it has several (see :class:`CaptionFlip`). With two images
    (view ``image_1``), "the left image" refers to the pair, so the two images are exchanged, too.

    (The reference mirrors each view independently and leaves the words unchanged: that is mmcv's
    ``RandomFlip`` in :class:`EachView`.)

    Args:
        prob: probability of mirroring.
        swap_words: whether the words are exchanged, too.

    Raises:
        ValueError: ``prob`` is outside 0 to 1; or ``swap_words`` for questions whose answers are
            classes, which may name sides as well.
    """

    def __init__(self, prob: float, swap_words: bool = False) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob={prob} must be between 0 and 1')
        self.prob = prob
        self.swap_words = swap_words

    def transform(self, results: dict) -> dict:
        """Mirror one sample, or leave it unchanged.

        Raises:
            ValueError: see the class.
        """
        texts = results.get('texts', (results,))
        if self.swap_words and any('answer_labels' in text for text in texts):
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
            for text in texts:
                text['text'] = mirror_words(text['text'])[0]
                if 'captions' in text:
                    text['captions'] = [mirror_words(caption)[0] for caption in text['captions']]
            views = results['views']
            if 'image_1' in views:
                views['image'], views['image_1'] = views['image_1'], views['image']
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, swap_words={self.swap_words})'
