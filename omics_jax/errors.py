"""Exceptions that end a command with a sentence and an exit status instead of a traceback.

Anything else that escapes is a fault of ours and keeps its traceback.
"""


class RunEnded(Exception):
    """Base of the exceptions that the command line reports in words. `exit_status` is the
    process's.
    """

    exit_status = 1


class UserError(RunEnded, ValueError):
    """A mistake in a file, column, id, flag or value that the user can mend.

    The message is one sentence or two that name the thing, the place and the mend.
    """

    exit_status = 2


class TrainingDiverged(RunEnded, RuntimeError):
    """A step's objective or update was not finite. Nothing of it was applied or saved."""


class Stopped(RunEnded):
    """A signal asked a training to stop; its state is saved. `signum` is the signal."""

    def __init__(self, signum: int):
        super().__init__(
            f"stopped by signal {signum}; the state is saved, the same command goes on from here"
        )
        self.signum = signum
        self.exit_status = 128 + signum
