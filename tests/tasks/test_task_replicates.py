"""Tasks and folds of a dataset, and what every replicate holds for them."""

from dataclasses import replace

import numpy as np
import pytest
from outcome_rows import labelled
from tiny_network import SLOT, tiny_config, tiny_dataset

from omics_jax.errors import UserError
from omics_jax.tasks.replicates import deal_tasks, task_replicates
from omics_jax.training.calibration import CALIBRATION


@pytest.fixture(scope="module")
def dataset():
    return tiny_dataset()


def of_tasks(dataset, *names):
    """The dataset with these targets alone."""
    targets = {name: dataset.targets[name] for name in names}
    classes = {name: dataset.classes[name] for name in names if name in dataset.classes}
    return replace(dataset, targets=targets, classes=classes)


def train_size(split):
    return {"n": np.array(len(split.train))}


# --- deal_tasks -----------------------------------------------------------------------------------


def test_tasks_are_those_of_the_data_with_their_bins(dataset):
    tasks, splits = deal_tasks(tiny_config(survival={"bins": 0}), dataset)
    kinds = {task.name: task.kind for task in tasks}
    assert kinds == {"type": "classification", "age": "regression", "OS": "survival"}
    assert [task.bins > 1 for task in tasks] == [task.kind == "survival" for task in tasks]
    assert [(split.repeat, split.fold) for split in splits] == [(0, 0), (0, 1), (0, 2)]


def known_shares(dataset, splits, name):
    """The mean of a target over the known rows of every test fold."""
    values, known = dataset.targets[name]
    return [values[rows][known[rows]].mean() for rows in (split.test for split in splits)]


def test_folds_are_stratified_by_the_classes_or_else_by_the_events(dataset):
    config = tiny_config()
    by_class = known_shares(dataset, deal_tasks(config, dataset)[1], "type")
    assert np.ptp(by_class) < 0.08
    no_class = of_tasks(dataset, "age", "OS.time", "OS.event")
    by_event = known_shares(no_class, deal_tasks(config, no_class)[1], "OS.event")
    assert np.ptp(by_event) < 0.08


def test_numbers_alone_are_dealt_without_strata(dataset):
    numbers = of_tasks(dataset, "age")
    _, splits = deal_tasks(tiny_config(), numbers)
    tested = np.sort(np.concatenate([split.test for split in splits]))
    np.testing.assert_array_equal(tested, np.arange(len(numbers)))


def test_repeats_are_dealt_anew(dataset):
    _, splits = deal_tasks(tiny_config(repeats=2), dataset)
    assert [split.repeat for split in splits] == [0, 0, 0, 1, 1, 1]
    assert set(splits[0].test) != set(splits[3].test)


@pytest.mark.parametrize(
    ("changes", "targets", "sentence"),
    [
        ({}, (), "the data hold nothing to predict; name columns with outcomes"),
        (
            {"weights": "kind=2"},
            ("type", "age"),
            "config.weights names 'kind', which is no outcome of the data; they have type, age",
        ),
        ({"folds": 60}, ("type",), "fewer than the 60 folds"),
    ],
)
def test_what_cannot_be_dealt_is_answered_in_a_sentence(dataset, changes, targets, sentence):
    with pytest.raises(UserError, match=sentence):
        deal_tasks(tiny_config(**changes), of_tasks(dataset, *targets))


# --- task_replicates ------------------------------------------------------------------------------


def test_a_replicate_holds_the_encoders_constants_and_those_of_its_outcomes(dataset):
    config = tiny_config()
    tasks, splits = deal_tasks(config, dataset)
    replicates = task_replicates(config, dataset, tasks, splits, SLOT, train_size)
    for replicate, split in zip(replicates, splits, strict=True):
        np.testing.assert_array_equal(replicate.rows[SLOT], split.train)
        scale = {"age_mean", "age_sd", "age_low", "age_high"}
        assert set(replicate.constants) == {"n", *scale, "OS_edges"}
        assert replicate.constants["n"] == len(split.train)
        values, known = dataset.targets["age"]
        ages = values[split.train][known[split.train]].astype(np.float64)
        assert replicate.constants["age_mean"] == np.float32(ages.mean())
        assert replicate.constants["OS_edges"].shape == (config.survival.bins + 1,)
        assert replicate.seed == config.seed + split.fold
    means = {float(replicate.constants["age_mean"]) for replicate in replicates}
    assert len(means) == len(replicates)


@pytest.mark.parametrize("calibrates", [True, False])
def test_calibration_rows_are_there_where_a_stage_calibrates(dataset, calibrates):
    stages = ("all", "calibration") if calibrates else ("all",)
    config = tiny_config(training={"stages": stages})
    tasks, splits = deal_tasks(config, dataset)
    for replicate in task_replicates(config, dataset, tasks, splits, SLOT, train_size):
        assert set(replicate.rows) == {SLOT, CALIBRATION} if calibrates else {SLOT}
        if calibrates:
            validation = replicate.validation[SLOT]
            np.testing.assert_array_equal(replicate.rows[CALIBRATION], validation)


def test_without_a_task_nothing_is_calibrated(dataset):
    """As the imputers of a study, whose config is that of the networks."""
    config = tiny_config(training={"stages": ("all", "calibration")})
    _, splits = deal_tasks(config, dataset)
    for replicate in task_replicates(config, dataset, (), splits, SLOT, train_size):
        assert set(replicate.rows) == {SLOT} and set(replicate.constants) == {"n"}


def test_a_fold_without_enough_outcomes_is_refused():
    values = np.arange(30.0)
    few = labelled({"age": (values, values < 3)})
    tasks, splits = deal_tasks(tiny_config(), few)
    with pytest.raises(UserError, match="have a known age, and these do not include"):
        task_replicates(tiny_config(), few, tasks, splits, SLOT, train_size)
