"""Exceptions that end a command with a sentence and an exit status instead of a traceback.

Any other exception is a fault of this package and keeps its traceback.
"""


class RunEnded(Exception):
    """The common type of exceptions that the command line reports in words.

    Attributes:
      exit_status: of the process.
    """

    exit_status = 1


class UserError(RunEnded, ValueError):
    """A mistake in a file, column, id, flag or value that the user can mend.

    The message is a sentence or two that name the thing, its place and what to do about it.
    """

    exit_status = 2


class TrainingDiverged(RunEnded, RuntimeError):
    """A step's objective or update was not finite. Nothing of it was applied or saved."""


class Stopped(RunEnded):
    """A signal (`signum`) asked the training to stop; the state is saved."""

    def __init__(self, signum: int):
        super().__init__(
            f"stopped by signal {signum}; the state is saved; the same command continues from here"
        )
        self.signum = signum
        self.exit_status = 128 + signum


class Interrupted(KeyboardInterrupt):
    """A signal (`signum`) ended a command outside of training, wherever it was.

    Not an Exception, so that nothing that handles mistakes takes it for one.
    """

    def __init__(self, signum: int):
        super().__init__(
            f"stopped by signal {signum}; what is finished is saved; the same command continues "
            "from there"
        )
        self.signum = signum
        self.exit_status = 128 + signum
