"""What makes a training doubtful: each rule by itself, at its edge, and silence on sound ones."""

from dataclasses import replace

import numpy as np
import pytest

from omics_jax.study.doubts import (
    BROKEN,
    LEARNED_NOTHING,
    NO_PROGRESS,
    PROBABILITY,
    UNBOUNDED,
    Doubt,
    Span,
    doubts_of_null,
    doubts_of_predictions,
    doubts_of_training,
    observed_range,
)
from omics_jax.training.outcome import StageOutcome

SOUND = StageOutcome(
    "fit",
    trained_before=False,
    epochs=9,
    start=5.0,
    best=2.0,
    best_epoch=4,
    start_loss=0.7,
    best_loss=0.9,
)
GROUPS = np.array(["a", "b", "c"])

TRAININGS = {
    "sound": ({}, None),
    "never a number": (
        dict(best=np.inf, best_epoch=-1),
        (BROKEN, "stage 'fit': its validation monitor was never a number"),
    ),
    "kept untrained parameters": (
        dict(best_epoch=-1),
        (
            LEARNED_NOTHING,
            "stage 'fit': no epoch was better than the untrained parameters, which were kept",
        ),
    ),
    "kept trained ones": (
        dict(best_epoch=-1, trained_before=True),
        (NO_PROGRESS, "stage 'fit': no epoch was better than the start, which was kept"),
    ),
    "no lower than before": (
        dict(best=5.0),
        (
            LEARNED_NOTHING,
            "stage 'fit': its validation monitor was at best 5, no lower than the 5 before "
            "training",
        ),
    ),
    "exploded": (
        dict(best_loss=8.0),
        (BROKEN, "stage 'fit': its validation loss grew from 0.7 to 8"),
    ),
    "overfitted": (dict(best_loss=7.0), None),
    "first epoch": (
        dict(best_epoch=0),
        (LEARNED_NOTHING, "stage 'fit': its validation monitor was lowest after the first epoch"),
    ),
    "first of one epoch": (dict(best_epoch=0, epochs=1), None),
    "first epoch of trained parameters": (dict(best_epoch=0, trained_before=True), None),
    "start that is no number": (dict(start=np.nan), None),
}  # fmt: skip


@pytest.mark.parametrize("changes, expected", TRAININGS.values(), ids=TRAININGS)
def test_doubts_of_training(changes, expected):
    found = list(doubts_of_training([SOUND, replace(SOUND, **changes)]))
    assert found == ([] if expected is None else [Doubt(*expected)])


def predicted(values, span=None):
    ranges = {"y": span or Span(0.0, 10.0), "absent": Span(0.0, 1.0)}
    return [d.text for d in doubts_of_predictions({"y": np.array(values)}, ranges, GROUPS)]


def test_predictions_may_leave_the_data_by_one_width_at_either_end():
    assert predicted([-10.0, 5.0, 20.0]) == []
    assert predicted([-11.0, 5.0, 20.0]) == [
        "y: 1 of 3 values are far outside the data, such as -11 where 0 to 10 were observed"
    ]


def test_every_feature_has_its_own_range_and_the_farthest_value_is_shown():
    span = Span(np.array([0.0, 100.0]), np.array([1.0, 200.0]))
    inside = [[0.1, 150.0], [0.2, 160.0], [0.3, 170.0]]
    assert predicted(inside, span) == []
    outside = [[0.1, 150.0], [5.0, 160.0], [0.3, 900.0]]
    assert predicted(outside, span) == [
        "y: 2 of 6 values are far outside the data, such as 900 where 100 to 200 were observed"
    ]


def test_rows_of_several_groups_with_one_prediction_are_doubtful():
    assert predicted([3.0, 3.0, 3.0]) == ["y: all 3 rows have the same prediction"]
    assert predicted([3.0, 3.0, 3.1]) == []
    assert predicted([0.5, 0.5, 0.5], UNBOUNDED) == ["y: all 3 rows have the same prediction"]
    assert predicted([0.1, 0.5, 0.9], PROBABILITY) == []
    same = {"y": np.full(3, 3.0)}
    one_group = np.array(["a", "a", "a"])
    assert not list(doubts_of_predictions(same, {"y": Span(0.0, 10.0)}, one_group))


def test_a_training_on_permuted_outcomes_need_learn_nothing():
    kinds = (BROKEN, LEARNED_NOTHING, NO_PROGRESS)
    found = doubts_of_null([Doubt(kind, "a reason") for kind in kinds])
    assert found == [Doubt(BROKEN, "a reason")]


def test_the_observed_range_reads_observed_cells_alone():
    values = np.array([[1.0, -5.0, 99.0], [3.0, 4.0, 99.0]])
    mask = np.array([[True, True, False], [True, True, False]])
    assert observed_range(values, mask) == (-5.0, 4.0)
    low, high = observed_range(values, mask, by_feature=True)
    assert low.tolist() == [1, -5, -np.inf] and high.tolist() == [3, 4, np.inf]
