"""Phrases that the notes of several readers share."""

from __future__ import annotations

from collections.abc import Sequence

from omics_jax.data.formats.matrix import Matrix

_SHOWN = 5  # names in one phrase


def count_phrase(count: int, noun: str, names: Sequence[str]) -> str:
    """As in "2 controls (a, b) are", with at most five names."""
    shown = ", ".join(map(str, names[:_SHOWN]))
    ellipsis = ", ..." if count > _SHOWN else ""
    plural, verb = ("", "is") if count == 1 else ("s", "are")
    return f"{count} {noun}{plural} ({shown}{ellipsis}) {verb}"


def averaged_note(source: str, matrix: Matrix) -> list[str]:
    """A note that some features are the mean of several columns of the file; [] if none is."""
    if not matrix.averaged:
        return []
    features = count_phrase(len(matrix.averaged), "feature", matrix.averaged)
    return [f"{source}: {features} in the file more than once; the mean of each counts."]
