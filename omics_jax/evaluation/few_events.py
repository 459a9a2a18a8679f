"""Outcomes with so few events or cases that no score of them says much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from omics_jax.evaluation.tables import Frame

FEWEST = 10


def too_few_events(frames: Mapping[str, Frame]) -> list[str]:
    """A sentence for every outcome with fewer than `FEWEST` events, or cases of a class.

    frames: name -> rows that were tested, of the kinds "survival" (with a column event),
      "classification" (label) and "binary" (label, 0 or 1); others are passed over, and so is a
      binary frame of an outcome that has another frame. A row that several models or arms predicted
      counts once.
    """
    sentences = []
    for name, frame in frames.items():
        if frame.kind == "binary" and name.removeprefix("binary ") in frames.keys() - {name}:
            continue
        rows = frame.rows.drop_duplicates("id") if "id" in frame.rows else frame.rows
        for count, of_what in _rarest(name, frame.kind, rows):
            if count < FEWEST:
                sentences.append(
                    f"{of_what} among the {len(rows):,} tested patients: too few for scores, "
                    f"intervals and tests that can be relied on ({FEWEST} or more)."
                )
    return sentences


def _rarest(name: str, kind: str, rows: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """(how many, in words) of the events, or of the rarest class, of a frame."""
    if rows.empty:
        return
    if kind == "survival":
        count = int(rows["event"].sum())
        yield count, f"{name}: {_counted(count, 'event')}"
    elif kind == "classification":
        counts = rows["label"].value_counts()
        label, count = counts.index[-1], int(counts.iloc[-1])
        yield count, f"{name}: {_counted(count, 'case')} of the rarest class ({label})"
    elif kind == "binary":
        count = int(min(rows["label"].sum(), (1 - rows["label"]).sum()))
        yield count, f"The outcome: {_counted(count, 'case')} of its rarer value"


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
