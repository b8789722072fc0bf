"""Bulk jobs: labels for any number of images, in one process or on a cluster of Ray."""

from .job import Output, Report, label
from .labellers import Labeller
from .on_ray import Cluster
from .places import SourceError
from .rules import RuleError, Rules, read_thresholds
from .source import Source
from .tasks import TASKS, Task, TaskError

__all__ = [
    'TASKS',
    'Cluster',
    'Labeller',
    'Output',
    'Report',
    'RuleError',
    'Rules',
    'Source',
    'SourceError',
    'Task',
    'TaskError',
    'label',
    'read_thresholds',
]
