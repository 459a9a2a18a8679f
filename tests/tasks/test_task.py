"""Which tasks the targets of a dataset are, and whose outcome is known."""

import numpy as np
import pytest
from outcome_rows import AGE, OS, TYPE, labelled, make_cohort

from omics_jax.errors import UserError
from omics_jax.evaluation.follow_up import no_events_error
from omics_jax.study.folds import UNKNOWN
from omics_jax.tasks.task import (
    Task,
    event_times_at,
    known_rows,
    outcome,
    outcome_arrays,
    strata_by_task,
    tasks_of,
)


@pytest.fixture(scope="module")
def cohort():
    return make_cohort()


def test_tasks_follow_the_targets(cohort):
    train, _ = cohort
    assert tasks_of(train) == (TYPE, AGE, OS)
    values, alone = (
        np.zeros(2, np.float32),
        labelled({"b.event": np.ones(2), "x.time": np.ones(2), "b.time": np.ones(2)}),
    )
    assert tasks_of(alone) == (Task("b", "survival"), Task("x.time", "regression"))
    with pytest.raises(UserError, match="'OS' is the name of a target and"):
        tasks_of(labelled({"OS": values, "OS.time": values, "OS.event": values}))


def test_an_outcome_is_known_with_all_its_parts():
    both = labelled(
        {
            "OS.time": (np.array([5.0, 6.0, 7.0]), np.array([True, True, False])),
            "OS.event": (np.array([1.0, 0.0, 1.0]), np.array([True, False, True])),
        }
    )
    assert known_rows(both, OS).tolist() == [True, False, False]
    times, events = outcome(both, OS)
    assert times.tolist() == [5, 6, 7] and events.tolist() == [1, 0, 1]


def test_a_task_knows_its_outputs_and_its_targets():
    binned = Task("OS", "survival", bins=7)
    assert [task.outputs for task in (TYPE, AGE, binned)] == [4, 1, 7]
    assert [task.fields for task in (TYPE, AGE, OS)] == [("y",), ("y",), ("y", "e")]
    assert OS.targets == ("OS.time", "OS.event") and TYPE.targets == ("type",)


def test_outcomes_of_some_rows_are_those_rows(cohort):
    train, _ = cohort
    rows = np.array([5, 1, 5])
    np.testing.assert_array_equal(outcome(train, AGE, rows), train.targets["age"][0][rows])
    times, events = outcome(train, OS, rows)
    np.testing.assert_array_equal(times, train.targets["OS.time"][0][rows])
    np.testing.assert_array_equal(events, train.targets["OS.event"][0][rows])


def test_the_device_sees_0_where_an_outcome_is_unknown(cohort):
    train, _ = cohort
    arrays = outcome_arrays(train, (TYPE, AGE, OS))
    assert set(arrays) == {"y_type", "k_type", "y_age", "k_age", "y_OS", "e_OS", "k_OS"}
    for task in (TYPE, AGE, OS):
        known = known_rows(train, task)
        assert 0 < known.sum() < len(train)
        np.testing.assert_array_equal(arrays[f"k_{task.name}"], known)
        for field, name in zip(task.fields, task.targets, strict=True):
            values = arrays[f"{field}_{task.name}"]
            assert values.dtype == np.float32 and (values[~known] == 0).all()
            np.testing.assert_array_equal(values[known], train.targets[name][0][known])


def test_a_target_that_the_data_lack_is_known_of_nobody():
    arrays = outcome_arrays(labelled({"age": np.arange(3.0)}), (AGE, OS))
    assert arrays["k_age"].all() and not arrays["k_OS"].any()
    assert arrays["y_OS"].tolist() == arrays["e_OS"].tolist() == [0, 0, 0]


def test_strata_are_the_first_classes_or_else_the_first_events(cohort):
    train, _ = cohort
    by_class = strata_by_task(train, (OS, AGE, TYPE))
    known = known_rows(train, TYPE)
    np.testing.assert_array_equal(by_class[known], outcome(train, TYPE)[known])
    assert (by_class[~known] == UNKNOWN).all()
    by_event = strata_by_task(train, (AGE, OS))
    known = known_rows(train, OS)
    np.testing.assert_array_equal(by_event[known], outcome(train, OS)[1][known])
    assert (by_event[~known] == UNKNOWN).all()
    assert strata_by_task(train, (AGE,)) is None and strata_by_task(train, ()) is None


def test_quantiles_of_times_are_of_events_alone():
    observed = (np.array([1.0, 2.0, 3.0, 100.0]), np.array([1, 1, 1, 0]))
    np.testing.assert_array_equal(event_times_at(observed, np.array([0, 0.5, 1])), [1, 2, 3])
    with pytest.raises(UserError, match=str(no_events_error(2))):
        event_times_at((np.ones(2), np.zeros(2)), np.array([0.5]))
