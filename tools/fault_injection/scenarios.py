"""The scenarios by name; nothing here imports torch, so that ``--help`` is quick."""

from dataclasses import dataclass


@dataclass
class Scenario:
    """A scenario.

    Attributes:
        help: a line for the command line.
        module: of this package.
        function: in it.
        tries: how often by default.
    """

    help: str
    module: str
    function: str
    tries: int


SCENARIOS = {
    'stop': Scenario('SIGTERM and SIGUSR1 as from a scheduler', 'stops', 'stop', 6),
    'stop-two': Scenario('SIGTERM to a job of two processes', 'stops', 'stop_two', 3),
    'kill': Scenario('kill -9 at random moments, also during writes', 'stops', 'kill', 20),
    'kill-one': Scenario('kill -9 of one of two processes', 'stops', 'kill_one', 4),
    'restart': Scenario('kill -9 under torchrun --max-restarts', 'stops', 'restart', 6),
    'two-jobs': Scenario('two jobs in one work directory', 'folders', 'two_jobs', 2),
    'full-disk': Scenario('a full disk, for all that is written', 'folders', 'full_disk', 1),
    'read-only': Scenario('a read-only folder, for all that is written', 'folders', 'read_only', 1),
    'no-boxes': Scenario('a process without boxes in a training step', 'sharing', 'no_boxes', 3),
    'workers': Scenario('0, 1 and 2 data workers, forked and spawned', 'sharing', 'workers', 1),
    'threads': Scenario('threads that share an inferencer', 'sharing', 'threads', 4),
    'processes': Scenario('several demos at a time', 'sharing', 'processes', 1),
    'memory': Scenario('resident memory of long runs', 'endurance', 'memory', 2000),
    'checkpoints': Scenario('damaged checkpoints', 'damage', 'checkpoints', 1000),
    'checks': Scenario('the cost of the checks of a checkpoint', 'damage', 'checks', 3),
}
