"""`history.jsonl`: one line per epoch and replicate.

Every line names its arm, stage, replicate and epoch, so a resumed run drops exactly the lines that
it will write again, in whatever order stages were finished, damaged or trained anew. Checkpoints
and the files of finished stages keep a sha256 of the lines that go with them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omics_jax.durable import DamagedFile, as_user_error, write_atomically

_log = logging.getLogger(__name__)

Line = Mapping[str, Any]
_MOST_NAMED = 6  # files in one message, before their folder is named


class Seal(NamedTuple):
    """The sha256 of a replicate's lines in a stage, and the file or folder that keeps it."""

    stage: str
    replicate: int
    sha256: str
    kept_in: Path


class History:
    """A file of JSON lines that grows at its end. NaN and infinity are written as null.

    A last line that was cut short is dropped, as are lines that cannot be read; of these a copy of
    the file is kept as `history.damaged`. Whether they are missed is found by `check`.

    constants: (such as {"arm": "main"}) stand in every line; lines with other constants belong to
      other histories in the same file and are left alone.

    Raises:
      UserError: the file cannot be read or written.
    """

    def __init__(self, path: Path, constants: Mapping[str, Any] | None = None):
        self.path = path
        self.constants = dict(constants or {})
        with as_user_error(self.path):
            self.path.touch(exist_ok=True)
            self._drop_damaged_lines()
        self._digests = self._digests_of_file()
        self._earlier = set(self._digests)  # the stages and replicates of an earlier process

    def lines(self) -> list[dict[str, Any]]:
        """All lines, those with other constants too."""
        return [line for _, line in _read(self.path)]

    def forget(self, stage: str, replicates: Sequence[int], epoch: int) -> None:
        """Drops the lines of these replicates in this stage from `epoch` on.

        A resumed run writes them again, and lines of a divergence whatever their epoch.
        """
        if not any((stage, replicate) in self._earlier for replicate in replicates):
            return

        def comes_again(line: Line) -> bool:
            if not self._is_ours(line) or line["stage"] != stage:
                return False
            later = line["epoch"] >= epoch or "diverged" in line
            return line["replicate"] in replicates and later

        self.keep(lambda line: not comes_again(line))

    def keep(self, is_kept: Callable[[Line], bool]) -> None:
        """Drops all other lines, those with other constants too."""
        texts = [text for text, line in _read(self.path) if is_kept(line)]
        write_atomically(self.path, "".join(texts))
        self._digests = self._digests_of_file()

    def values(
        self, stage: str, replicates: Sequence[int], before: int
    ) -> Iterator[tuple[int, int, dict[str, float]]]:
        """(replicate, epoch, logged values) of these replicates' epochs before the given one.

        Epoch by epoch and, within one, replicate by replicate; null comes back as NaN.
        """
        lines = [
            line
            for _, line in self._our_lines()
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

    def write(self, line: Line) -> None:
        """Adds one line; it holds at least "stage", "replicate" and "epoch"."""
        entries = dict(self.constants)
        for name, value in line.items():
            is_finite = not isinstance(value, float) or math.isfinite(value)
            entries[name] = value if is_finite else None
        text = json.dumps(entries) + "\n"
        with as_user_error(self.path), self.path.open("a") as file:
            file.write(text)
        self._digest(line["stage"], line["replicate"]).update(text.encode())

    def adopt(self, other: Path) -> None:
        """Replaces the lines with these constants by those of another run's file."""
        others = [text for text, line in _read(self.path) if not self._is_ours(line)]
        adopted = [text for text, line in _read(other) if self._is_ours(line)]
        write_atomically(self.path, "".join(others + adopted))
        self._digests = self._digests_of_file()

    def seal(self, stage: str, replicates: Iterable[int]) -> dict[str, str]:
        """Replicate -> sha256 of its lines in a stage, which are on the disk when this returns."""
        with as_user_error(self.path), self.path.open("a") as file:
            os.fsync(file.fileno())
        return {str(r): self._digest(stage, r).hexdigest() for r in replicates}

    def check(self, seals: Iterable[Seal]) -> None:
        """Compares the lines with what `seal` returned when they were sealed.

        Raises:
          DamagedFile: lines were lost or changed since then.
        """
        wrong = [s for s in seals if self._digest(s.stage, s.replicate).hexdigest() != s.sha256]
        if not wrong:
            return
        paths = list(dict.fromkeys(seal.kept_in for seal in wrong))
        if len(paths) > _MOST_NAMED:
            paths = list(dict.fromkeys(path.parent for path in paths))
        raise DamagedFile(
            f"{self.path} is damaged: its lines of stage {wrong[0].stage!r}, replicate "
            f"{wrong[0].replicate}, are not those that were written; put back a copy, or remove "
            f"{', '.join(map(str, paths))} and repeat the run's command with --mode=train, which "
            "trains again what is removed"
        )

    def _drop_damaged_lines(self) -> None:
        content = self.path.read_bytes()
        texts = [text for text, _ in _read(self.path)]
        whole = content[: content.rfind(b"\n") + 1]  # a process died while it wrote the rest
        if "".join(texts).encode() == content:
            return
        if len(texts) != whole.count(b"\n"):
            copy = self.path.with_suffix(".damaged")
            _log.warning("%s has lines that cannot be read; it is copied to %s", self.path, copy)
            copy.write_bytes(content)
        write_atomically(self.path, "".join(texts))

    def _digest(self, stage: str, replicate: int) -> hashlib._Hash:
        return self._digests.setdefault((stage, replicate), hashlib.sha256())

    def _digests_of_file(self) -> dict[tuple[str, int], hashlib._Hash]:
        digests: dict[tuple[str, int], hashlib._Hash] = {}
        for text, line in self._our_lines():
            place = line["stage"], line["replicate"]
            digests.setdefault(place, hashlib.sha256()).update(text.encode())
        return digests

    def _our_lines(self) -> list[tuple[str, dict[str, Any]]]:
        return [(text, line) for text, line in _read(self.path) if self._is_ours(line)]

    def _is_ours(self, line: Line) -> bool:
        return all(line.get(name) == value for name, value in self.constants.items())


def _read(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The lines of a file that are complete and can be read: their text and what it says."""
    if not path.exists():
        return []
    texts = path.read_bytes().split(b"\n")[:-1]
    read = ((text, _parse(text)) for text in texts)
    return [(f"{text.decode()}\n", line) for text, line in read if line is not None]


def _parse(text: bytes) -> dict[str, Any] | None:
    """A line, or None where it is damaged."""
    try:
        line = json.loads(text.decode())
        place = line["stage"], line["replicate"], line["epoch"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return line if [type(part) for part in place] == [str, int, int] else None
