"""What a command shows while it works.

On a terminal a bar with the remaining time, elsewhere a line now and then.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from omics_jax.errors import UserError

LINE_EVERY = 15.0  # seconds between lines where there is no terminal
log = logging.getLogger(__name__)

OnProgress = Callable[[int, int, str], None]  # steps done, steps in total, what is being done


def print_and_log(text: str) -> None:
    """To the user and to the log.

    Raises:
      UserError: standard output cannot be written: the disk is full, or its reader has ended.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        sys.stdout = None  # or Python writes it again at its end, and fails again
        raise UserError(f"standard output could not be written: {error.strerror}") from error
    log.info(text)


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "12 min", "3 h 20 min"."""
    if seconds < 60:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def progress(task: str) -> Iterator[OnProgress]:
    """Yields on_progress(done, total, doing); the remaining time is by the pace so far."""
    if sys.stderr.isatty():
        yield from _bar(task)
    else:
        yield from _lines(task)


def _bar(task: str) -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[doing]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task_id = bar.add_task(task, total=None, doing="")

        def on_progress(done: int, total: int, doing: str) -> None:
            bar.update(task_id, completed=done, total=total, doing=doing)

        yield on_progress


def _lines(task: str) -> Iterator[OnProgress]:
    first, last_line = None, time.monotonic()

    def on_progress(done: int, total: int, doing: str) -> None:
        nonlocal first, last_line
        now = time.monotonic()
        # The pace counts from the first report: before it lies compilation, or what an interrupted
        # run had already done.
        first_time, first_done = first = first or (now, done)
        if now - last_line < LINE_EVERY or done == first_done:
            return
        last_line = now
        left = (now - first_time) * (total - done) / (done - first_done)
        line = f"{task}: {done / total:.0%}, about {duration(left)} left ({doing})"
        print(line, file=sys.stderr, flush=True)

    yield on_progress
