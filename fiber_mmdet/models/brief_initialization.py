"""What a model says about its initial weights: a line for each part, not two for each parameter."""

import re
from collections import Counter, defaultdict
from logging import FileHandler

from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.model import BaseModel

BY_METHOD = re.compile(r'Initialized by user-defined `init_weights` in (\w+)')
UNCHANGED = 'The value is the same before and after calling `init_weights`'


class BriefInitialization(BaseModel):
    """Base of models that log how they start, part by part.

    Differs from mmengine's ``BaseModule``, which tells the console about every parameter where
    there is no log file: all parameters are in the log file alone, or at level DEBUG.
    """

    @master_only
    def _dump_init_info(self) -> None:
        """Log the account that ``init_weights`` kept; mmengine calls this once, at its end."""
        logger = MMLogger.get_current_instance()
        if any(isinstance(handler, FileHandler) for handler in logger.handlers):
            super()._dump_init_info()  # writes to the files alone
        told: dict[str, Counter[str]] = defaultdict(Counter)
        for name, parameter in self.named_parameters():
            how = how_initialized(self._params_init_info[parameter]['init_info'])
            path = name.split('.')
            deep = path[0] in ('backbone', 'heads')
            told['.'.join(path[: 2 if deep else 1])][how] += 1
            logger.debug(f'{name} {tuple(parameter.shape)}: {how}')
        lines = [
            f'  {part}: ' + ', '.join(f'{count} by {how}' for how, count in ways.most_common())
            for part, ways in told.items()
        ]
        logger.info('Initial weights, numbers of parameters\n' + '\n'.join(lines))


def how_initialized(info: str) -> str:
    """mmengine's account of a parameter in a word or two."""
    info = ' '.join(info.split())
    if found := BY_METHOD.match(info):
        return f'{found[1]}.init_weights'
    if info.startswith(UNCHANGED):
        return 'construction'
    return info.partition(':')[0]
