"""Schedules of the learning rate: steps at fractions of epochs, linear warm-up and decay."""

from collections.abc import Sequence

from mmdet.registry import PARAM_SCHEDULERS
from mmengine.optim import MultiStepLR, _ParamScheduler

ENDLESS = int(1e9)  # mmengine's default for `end`


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

    @classmethod
    def build_iter_from_epoch(cls, *args, epoch_length: int = 1, **kwargs) -> 'RoundedMultiStepLR':
        """Built from lengths in epochs; called by mmengine.

        Args:
            *args: of mmengine's method.
            epoch_length: iterations of an epoch; without any, :class:`TrainingCheckHook` says why.
            **kwargs: of mmengine's method.
        """
        return super().build_iter_from_epoch(*args, epoch_length=max(epoch_length, 1), **kwargs)


@PARAM_SCHEDULERS.register_module()
class WarmupDecayLR(_ParamScheduler):
    """From 0 up to the learning rate over a share of the training, then linearly down to 0.

    The schedule of the paper's image-text stage.

    Optimizer steps are counted: iterations whose gradients are accumulated all
    have the learning rate of their step. The first step has
    learning rate 0, as in the reference.

    Differs from mmengine's ``LinearLR`` followed by ``PolyLR``, which cannot start at 0, count
    iterations, and require the length of the data when the config is written.

    Args:
        optimizer: the optimizer or its wrapper, whose ``accumulative_counts`` is
            taken into account.
        warmup: share of the optimizer steps that lead up, rounded down.
        begin: first iteration.
        end: iteration after the last one, or, with ``by_epoch=True,
            convert_to_iter_based=True``, the epoch; the runner fills in the length
            of the training.
        last_step: as for mmengine's schedulers.
        by_epoch: only together with ``convert_to_iter_based=True``.
        verbose: log every change.

    Raises:
        ValueError: ``warmup`` outside [0, 1], no ``end``, or epochs that are not converted
            to iterations.
    """

    def __init__(
        self,
        optimizer,
        warmup: float = 0.1,
        begin: int = 0,
        end: int = ENDLESS,
        last_step: int = -1,
        by_epoch: bool = False,
        verbose: bool = False,
    ) -> None:
        if not 0 <= warmup <= 1:
            raise ValueError(f'warmup={warmup} must be a share between 0 and 1')
        if end >= ENDLESS:
            raise ValueError('WarmupDecayLR needs the length of the training: end')
        if by_epoch:
            raise ValueError(
                'WarmupDecayLR counts iterations: by_epoch=False, or '
                'convert_to_iter_based=True beside by_epoch=True'
            )
        self.accumulated = getattr(optimizer, '_accumulative_counts', 1)
        self.total = max((end - begin) // self.accumulated, 1)
        self.rising = int(warmup * self.total)
        super().__init__(optimizer, 'lr', begin, end, last_step, by_epoch, verbose)

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args,
        begin: float = 0,
        end: float = ENDLESS,
        by_epoch: bool = True,
        epoch_length: int = 1,
        **kwargs,
    ) -> 'WarmupDecayLR':
        """The scheduler of lengths in epochs; called by mmengine.

        Args:
            *args: of the constructor.
            begin: first epoch.
            end: epoch after the last one.
            by_epoch: True.
            epoch_length: iterations of an epoch; without any, :class:`TrainingCheckHook` says why.
            **kwargs: of the constructor.
        """
        epoch_length = max(epoch_length, 1)
        span = dict(begin=int(begin * epoch_length), end=int(end * epoch_length))
        return cls(*args, **{**kwargs, **span, 'by_epoch': False})

    def factor(self, step: int) -> float:
        """Share of the full learning rate in optimizer step ``step``, counted from 0."""
        if step < self.rising:
            return step / self.rising
        return max(self.total - step, 0) / max(self.total - self.rising, 1)

    def _get_value(self) -> list[float]:
        factor = self.factor(self.last_step // self.accumulated)
        return [value * factor for value in self.base_values]
