"""SIGTERM and SIGINT: within training a request to stop, elsewhere an exception.

A first signal stops; a second one ends the process at once. Training is stopped after the running
block: there the handler only sets a flag, and saving and leaving are the loop's business. Left out:
two signals that arrive during one uninterruptible call (a compilation, a block) are seen when it
returns, and count as one.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from omics_jax.errors import Interrupted

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

    def note(signum: int) -> None:
        request.received = signum

    with _at_first_signal(note):
        yield request


@contextmanager
def interruptions() -> Iterator[None]:
    """Raises `Interrupted` at the first SIGTERM or SIGINT within the context, as `stop_signals`.

    What Python cannot raise, because the signal came in a callback of the garbage collector or a
    finaliser, ends the process with the same sentence and status.
    """

    def interrupt(signum: int) -> None:
        raise Interrupted(signum)

    def end(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Interrupted):
            return previous_hook(unraisable)
        print(f"error: {unraisable.exc_value}", file=sys.stderr, flush=True)
        os._exit(unraisable.exc_value.exit_status)

    previous_hook, sys.unraisablehook = sys.unraisablehook, end
    try:
        with _at_first_signal(interrupt):
            yield
    finally:
        sys.unraisablehook = previous_hook


@contextmanager
def _at_first_signal(action: Callable[[int], None]) -> Iterator[None]:
    """Calls `action` with the number of the first signal, see `stop_signals`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    handled = [number for number in _SIGNALS if previous[number] is not signal.SIG_IGN]

    def handle(signum: int, frame: Any) -> None:
        # Not a second handler of ours: Python's handlers wait until a C call returns.
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
        action(signum)

    try:
        for number in handled:
            signal.signal(number, handle)
        yield
    finally:
        for number in handled:
            # None stands for a handler that was not installed from Python; that one cannot be put
            # back from here.
            signal.signal(number, previous[number] or signal.SIG_DFL)
