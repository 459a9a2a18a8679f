"""`history.jsonl`: one line per epoch and replicate.

Every line names its arm, stage, replicate and epoch, so a resumed run drops exactly the lines that
it will write again, in whatever order stages were finished, damaged or trained anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omics_jax.durable import as_user_error, write_atomically


class History:
    """A file of JSON lines that grows at its end. NaN and infinity are written as null.

    constants: (such as {"arm": "main"}) stand in every line; lines with other constants belong to
      other histories in the same file and are left alone.

    Raises:
      UserError: the file cannot be written.
    """

    def __init__(self, path: Path, constants: Mapping[str, Any] | None = None):
        self.path = path
        self.constants = dict(constants or {})
        with as_user_error(self.path):
            self.path.touch(exist_ok=True)
        text = self.path.read_text()
        if text and not text.endswith("\n"):  # a process died while it wrote this line
            end = text.rfind("\n") + 1
            write_atomically(self.path, text[:end])
        self._earlier = {
            (line["stage"], line["replicate"])  # what an earlier process has written
            for line in self._our_lines()
        }

    def lines(self) -> list[dict[str, Any]]:
        """All lines, those with other constants too."""
        return [json.loads(text) for text in self.path.read_text().splitlines()]

    def forget(self, stage: str, replicates: Sequence[int], epoch: int) -> None:
        """Drops the lines of these replicates in this stage from `epoch` on.

        A resumed run writes them again.
        """
        if not any((stage, replicate) in self._earlier for replicate in replicates):
            return

        def comes_again(line: dict[str, Any]) -> bool:
            if not self._is_ours(line) or line["stage"] != stage:
                return False
            return line["replicate"] in replicates and line["epoch"] >= epoch

        remaining = [
            text for text in _complete_lines(self.path) if not comes_again(json.loads(text))
        ]
        write_atomically(self.path, "".join(remaining))

    def values(
        self, stage: str, replicates: Sequence[int], before: int
    ) -> Iterator[tuple[int, int, dict[str, float]]]:
        """(replicate, epoch, logged values) of these replicates' epochs before the given one.

        Epoch by epoch and, within one, replicate by replicate; null comes back as NaN.
        """
        lines = [
            line
            for line in self._our_lines()
            if line["stage"] == stage and line["replicate"] in replicates and line["epoch"] < before
        ]
        lines.sort(key=lambda line: (line["epoch"], line["replicate"]))
        place = {"stage", "replicate", "label", "epoch", *self.constants}
        for line in lines:
            values = {
                name: math.nan if value is None else value
                for name, value in line.items()
                if name not in place
            }
            yield line["replicate"], line["epoch"], values

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds one line; it holds at least "stage", "replicate" and "epoch"."""
        entries = dict(self.constants)
        for name, value in line.items():
            is_finite = not isinstance(value, float) or math.isfinite(value)
            entries[name] = value if is_finite else None
        with as_user_error(self.path), self.path.open("a") as file:
            file.write(json.dumps(entries) + "\n")

    def adopt(self, other: Path) -> None:
        """Replaces the lines with these constants by those of another run's file."""
        others = [
            text  # of other histories in this file
            for text in _complete_lines(self.path)
            if not self._is_ours(json.loads(text))
        ]
        adopted = [text for text in _complete_lines(other) if self._is_ours(json.loads(text))]
        write_atomically(self.path, "".join(others + adopted))

    def _our_lines(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if self._is_ours(line)]

    def _is_ours(self, line: Mapping[str, Any]) -> bool:
        return all(line.get(name) == value for name, value in self.constants.items())


def _complete_lines(path: Path) -> list[str]:
    """The lines of a file, each with its newline, without one that was cut short."""
    if not path.exists():
        return []
    texts = path.read_text().splitlines(keepends=True)
    return [text for text in texts if text.endswith("\n")]
