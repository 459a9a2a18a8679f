"""`history.jsonl`: one line per epoch and replicate.

Every line says what it is of (arm, stage, replicate, epoch), so a resumed run drops exactly those
that it will write again, in whatever order stages were finished, damaged or trained anew.
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

    constants: (such as {"arm": "pertvae"}) stand in every line; lines with others are left alone.

    Raises:
      UserError: the file cannot be written.
    """

    def __init__(self, path: Path, constants: Mapping[str, Any] | None = None):
        self.path, self.constants = path, dict(constants or {})
        with as_user_error(self.path):
            self.path.touch(exist_ok=True)
        whole = self.path.read_text()
        if not whole.endswith("\n") and whole:  # a process died while it wrote this line
            write_atomically(self.path, whole[: whole.rfind("\n") + 1])
        self._earlier = {
            (line["stage"], line["replicate"]) for line in self.lines() if self._ours(line)
        }

    def lines(self) -> list[dict[str, Any]]:
        """All lines, those of other constants too."""
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def forget(self, stage: str, replicates: Sequence[int], epoch: int) -> None:
        """Drops the lines of these replicates in this stage from `epoch` on, which a resumed run
        writes again.
        """
        if not any((stage, r) in self._earlier for r in replicates):
            return

        def again(line: dict[str, Any]) -> bool:
            mine = self._ours(line) and line["stage"] == stage and line["replicate"] in replicates
            return mine and line["epoch"] >= epoch

        text = self.path.read_text().splitlines(keepends=True)
        write_atomically(self.path, "".join(line for line in text if not again(json.loads(line))))

    def values(
        self, stage: str, replicates: Sequence[int], before: int
    ) -> Iterator[tuple[int, int, dict[str, float]]]:
        """(replicate, epoch, logged values) of these replicates' epochs before that one, epoch by
        epoch.
        """
        ours = [line for line in self.lines() if self._ours(line) and line["stage"] == stage]
        wanted = [
            line for line in ours if line["replicate"] in replicates and line["epoch"] < before
        ]
        place = {"stage", "replicate", "label", "epoch", *self.constants}
        for line in sorted(wanted, key=lambda line: (line["epoch"], line["replicate"])):
            values = {k: math.nan if v is None else v for k, v in line.items() if k not in place}
            yield line["replicate"], line["epoch"], values

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds one line; it holds at least "stage", "replicate" and "epoch"."""
        finite = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()
        }
        with as_user_error(self.path), self.path.open("a") as file:
            file.write(json.dumps({**self.constants, **finite}) + "\n")

    def adopt(self, other: Path) -> None:
        """Takes the lines with these constants from another run's file, instead of those that are
        here.
        """
        whole = lambda path: [
            line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")
        ]
        kept = [line for line in whole(self.path) if not self._ours(json.loads(line))]
        theirs = whole(other) if other.exists() else []
        write_atomically(
            self.path, "".join(kept + [line for line in theirs if self._ours(json.loads(line))])
        )

    def _ours(self, line: Mapping[str, Any]) -> bool:
        return all(line.get(key) == value for key, value in self.constants.items())
