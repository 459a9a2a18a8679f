"""`history.jsonl`: one line per epoch and replicate, cut back to the checkpoint when a run resumes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class History:
    """An append-only file of JSON lines; `length` (bytes that stand) goes into checkpoints.

    `constants` (such as {"arm": "pertvae"}) stand in every line. NaN and infinity are written as null.
    """

    def __init__(self, path: Path, constants: Mapping[str, Any] | None = None, length: int = 0):
        self.path, self.constants, self.length = path, dict(constants or {}), length
        self.path.touch(exist_ok=True)

    def confirm(self, length: int) -> None:
        """The first `length` bytes belong to finished work."""
        self.length = max(self.length, length)

    def rewind(self) -> None:
        """Forgets what was written after the confirmed bytes: epochs that a resumed run will write again."""
        if self.path.stat().st_size > self.length:
            with self.path.open("r+b") as file:
                file.truncate(self.length)

    def write(self, line: Mapping[str, Any]) -> None:
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
        text = json.dumps({**self.constants, **finite}) + "\n"
        with self.path.open("a") as file:
            file.write(text)
        self.length += len(text)
