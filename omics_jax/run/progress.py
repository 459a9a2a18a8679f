"""What a long run shows while it works: a bar with the remaining time on a terminal, a line now and
then elsewhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_EVERY = 15.0  # seconds between lines where there is no terminal


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "12 min", "3 h 20 min"."""
    if seconds < 60:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yields tell(done, total, doing) -> None; the remaining time is by the pace so far."""
    if sys.stderr.isatty():
        yield from _bar(what)
    else:
        yield from _lines(what)


def _bar(what: str):
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
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[doing]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None, doing="")
        yield lambda done, total, doing: bar.update(task, completed=done, total=total, doing=doing)


def _lines(what: str):
    first, last = None, time.monotonic()

    def on_progress(done: int, total: int, doing: str) -> None:
        nonlocal first, last
        now = time.monotonic()
        # Not from the beginning, which compiled, or took over what an interrupted run had done.
        began, before = first = first or (now, done)
        if now - last < LINE_EVERY or done == before:
            return
        last = now
        left = (now - began) * (total - done) / (done - before)
        print(
            f"{what}: {done / total:.0%}, about {duration(left)} left ({doing})",
            file=sys.stderr,
            flush=True,
        )

    yield on_progress
