"""Learning-rate steps at fractions of a training."""

from collections.abc import Sequence

from mmdet.registry import PARAM_SCHEDULERS
from mmengine.optim import MultiStepLR


@PARAM_SCHEDULERS.register_module()
class RoundedMultiStepLR(MultiStepLR):
    """mmengine's ``MultiStepLR`` with milestones at fractions of epochs.

    With ``by_epoch=True, convert_to_iter_based=True`` a milestone of 0.67 x 24 =
    16.08 epochs becomes the nearest iteration; mmengine's class never reaches a
    milestone that is not an integer.

    Args:
        optimizer: the optimizer or its wrapper.
        milestones: when the learning rate is multiplied by ``gamma``, in
            epochs, or in iterations with ``by_epoch=False``; rounded to whole
            iterations (whole epochs without ``convert_to_iter_based``).
        **kwargs: as for mmengine's ``MultiStepLR``.
    """

    def __init__(self, optimizer, *, milestones: Sequence[float], **kwargs) -> None:
        super().__init__(optimizer, milestones=[round(m) for m in milestones], **kwargs)
