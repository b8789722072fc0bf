"""The sample of image-level tasks."""

from mmengine.structures import BaseDataElement


class ImageTextSample(BaseDataElement):
    """A text about one image, or about several views, and what is known or predicted of it.

    All fields are meta information (``sample.text``, ``sample.get('label')``,
    ``'label' in sample``): plain values, which neither collation nor a move to
    another device changes.

    From the data set, as far as it has them:

    - ``text`` (str), ``image_id`` (int or str), ``img_path`` (str) of the view ``image``;
    - ``captions`` (list of str): all distinct captions of the image;
    - ``question_id`` (int), ``answer_labels`` (list of int) and ``answer_scores``
      (list of float in (0, 1]), equally long, ``answer_type`` and ``question_type``
      (str): visual question answering;
    - ``label`` (1 true, 0 false), ``identifier`` (str), ``split`` (str): NLVR2.

    From the model, by ``set_metainfo``: predictions of the objectives.
    """
