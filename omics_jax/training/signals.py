"""A first SIGTERM or SIGINT asks the training to stop after the running block.

A second one ends the process. The handler only sets a flag: saving and leaving are the loop's
business. Left out: two signals that arrive during one uninterruptible call (a compilation, a block)
are seen when it returns, and count as one.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass
class StopRequest:
    """`received`: the number of the signal that asked for the stop, None while there was none."""

    received: int | None = None


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turns the first SIGTERM or SIGINT within the context into `request.received`.

    From then on both signals have their default action again, so a second one of either kind ends
    the process at once, whatever it is doing. The previous handlers return on exit. A signal that
    was ignored (as SIGINT is in a shell's background jobs) stays ignored. Outside the main thread,
    where Python installs no handlers, nothing is done.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    handled = [number for number in _SIGNALS if previous[number] is not signal.SIG_IGN]

    def note(signum, frame):
        request.received = signum
        # Not a second handler of ours: Python's handlers wait until a C call returns.
        for number in handled:
            signal.signal(number, signal.SIG_DFL)

    try:
        for number in handled:
            signal.signal(number, note)
        yield request
    finally:
        for number in handled:
            # None stands for a handler that was not installed from Python; that one cannot be put
            # back from here.
            signal.signal(number, previous[number] or signal.SIG_DFL)
