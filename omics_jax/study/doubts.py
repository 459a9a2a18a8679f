"""What makes a training doubtful, judged by its validation loss and by what it predicts.

A training that broke down or learned nothing has scores all the same. It is never left out of a
mean, because that would choose trainings by their result: it is named, and the mean without it is
shown beside the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from omics_jax.training.outcome import StageOutcome

EXPLOSION = 10.0  # times its start by which a validation loss may grow where something else decides
MARGIN = 1.0  # widths of the observed range by which a prediction may leave it at either end
SAME = 1e-6  # relative difference below which two predictions are one


# The kinds of doubt. A stage that only adds to what was trained before may well make no progress.
BROKEN, LEARNED_NOTHING, NO_PROGRESS = "broken", "learned nothing", "no progress"


class Doubt(NamedTuple):
    """A sentence about a training and its kind."""

    kind: str
    text: str


Ends = float | Shaped[np.ndarray, " f"]


class Span(NamedTuple):
    """The least and the greatest observed value: numbers, or one per feature."""

    low: Ends
    high: Ends


PROBABILITY = Span(0.0, 1.0)
UNBOUNDED = Span(-np.inf, np.inf)


def observed_range(
    values: Shaped[np.ndarray, " *n"], mask: Bool[np.ndarray, " *n"], by_feature: bool = False
) -> Span:
    """The range of the observed cells, of all together or of every feature (the last axis).

    Without an observed cell it is unbounded.
    """
    axes = tuple(range(values.ndim - 1)) if by_feature else None
    low = np.min(values, axis=axes, where=mask, initial=np.inf)
    high = np.max(values, axis=axes, where=mask, initial=-np.inf)
    is_known = low <= high
    return Span(np.where(is_known, low, -np.inf), np.where(is_known, high, np.inf))


def doubts_of_training(outcomes: Sequence[StageOutcome]) -> Iterator[Doubt]:
    """What speaks against the stages of one training, in their order."""
    for outcome in outcomes:
        stage = f"stage {outcome.stage!r}"
        kept_start = outcome.best_epoch < 0
        if not math.isfinite(outcome.best):
            yield Doubt(BROKEN, f"{stage}: its validation monitor was never a number")
        elif kept_start and outcome.trained_before:
            yield Doubt(NO_PROGRESS, f"{stage}: no epoch was better than the start, which was kept")
        elif kept_start:
            text = "no epoch was better than the untrained parameters, which were kept"
            yield Doubt(LEARNED_NOTHING, f"{stage}: {text}")
        elif outcome.best >= outcome.start:
            yield Doubt(
                LEARNED_NOTHING,
                f"{stage}: its validation monitor was at best {outcome.best:.4g}, no lower than "
                f"the {outcome.start:.4g} before training",
            )
        elif outcome.best_loss - outcome.start_loss > EXPLOSION * abs(outcome.start_loss):
            text = f"its validation loss grew from {outcome.start_loss:.4g} to"
            yield Doubt(BROKEN, f"{stage}: {text} {outcome.best_loss:.4g}")
        elif outcome.best_epoch == 0 and outcome.epochs > 1 and not outcome.trained_before:
            text = "its validation monitor was lowest after the first epoch"
            yield Doubt(LEARNED_NOTHING, f"{stage}: {text}")


def doubts_of_predictions(
    predictions: Mapping[str, np.ndarray],
    ranges: Mapping[str, Span],
    groups: Shaped[np.ndarray, " n"],
) -> Iterator[Doubt]:
    """What speaks against the predictions of n rows.

    ranges: field -> the range of the observed values that it predicts.
    groups: of the rows; rows of one group may well have the same prediction.
    """
    for field, (low, high) in ranges.items():
        if field not in predictions:
            continue
        values = np.asarray(predictions[field], np.float64)
        width = np.where(np.isfinite(low), high - low, 0)
        outside = (values < low - MARGIN * width) | (values > high + MARGIN * width)
        if outside.any():
            worst = np.unravel_index(np.where(outside, np.abs(values), 0).argmax(), values.shape)
            least, most = (end[worst[-1]] if np.ndim(end) else end for end in (low, high))
            text = (
                f"{outside.sum():,} of {outside.size:,} values are far outside the data, such as "
                f"{values[worst]:.4g} where {least:.4g} to {most:.4g} were observed"
            )
            yield Doubt(BROKEN, f"{field}: {text}")
        if len(np.unique(groups.astype(str))) > 1 and _are_all_the_same(values):
            text = f"all {len(values):,} rows have the same prediction"
            yield Doubt(LEARNED_NOTHING, f"{field}: {text}")


def doubts_of_null(doubts: Sequence[Doubt]) -> list[Doubt]:
    """Those that also speak against a training on permuted outcomes, which should learn nothing.

    A stage that reads no outcome should learn there, too; that it did not is no longer told.
    """
    return [doubt for doubt in doubts if doubt.kind == BROKEN]


def _are_all_the_same(values: Shaped[np.ndarray, " n *f"]) -> bool:
    spread = values.max(axis=0) - values.min(axis=0)
    return bool((spread <= SAME * np.abs(values).max(axis=0)).all())
