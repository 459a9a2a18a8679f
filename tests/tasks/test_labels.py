"""What a fold fits to its outcomes: scales, grids of time and bins; and when these are too few."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from outcome_rows import labelled
from tiny_network import tiny_config, tiny_dataset

from omics_jax.data.dataset.splits import Split
from omics_jax.errors import UserError
from omics_jax.nn import mtlr
from omics_jax.tasks import labels
from omics_jax.tasks.task import Task, known_rows, outcome, tasks_of

EVERY_FOLD = [np.arange(0, 60), np.arange(30, 90), np.r_[0:30, 60:90]]


def settings(bins=0, grid="quantile", times=()):
    return SimpleNamespace(
        survival=SimpleNamespace(bins=bins, grid=grid, times=times),
        balancing=SimpleNamespace(name="fixed"),
    )


@pytest.fixture(scope="module")
def dataset():
    return tiny_dataset()


@pytest.fixture(scope="module")
def tasks(dataset):
    return tasks_of(dataset)


def task_named(tasks, name):
    return next(task for task in tasks if task.name == name)


# --- bins and grids -------------------------------------------------------------------------------


def edges_of(dataset, tasks, rows, name="OS", **given):
    """A fold's grid: the bins that have a width, and how many have none."""
    edges = labels.fit_to_outcomes(settings(**given), dataset, tasks, rows, "a fold")
    edges = edges[f"{name}_edges"]
    none = int((np.diff(edges) == 0).sum())
    assert (edges[: none + 1] == 0).all() and (np.diff(edges[none:]) > 0).all()
    return edges[none:], none


def test_every_fold_has_as_many_bins_as_the_root_of_its_own_training_events(dataset, tasks):
    folds = [np.arange(12), *EVERY_FOLD]
    binned = labels.with_bins(settings(), tasks, folds)
    assert [task.name for task in binned] == [task.name for task in tasks]
    # The most that 60 training rows could have, whatever their outcomes are.
    assert task_named(binned, "OS").bins == 7
    assert all(task.bins == 0 for task in binned if task.kind != "survival")
    numbers = set()
    for rows in folds:
        times, events = labels.known_outcomes(dataset, task_named(tasks, "OS"), rows)
        edges, none = edges_of(dataset, binned, rows)
        bins = math.isqrt(int(events.sum()))
        assert len(edges) == bins + 1 and none == 7 - bins
        np.testing.assert_array_equal(edges, mtlr.time_grid(times, events, bins))
        numbers.add(bins)
    assert len(numbers) > 1


def test_a_number_that_is_asked_for_holds_in_every_fold(dataset, tasks):
    asked_for = labels.with_bins(settings(bins=5), tasks, EVERY_FOLD)
    assert task_named(asked_for, "OS").bins == 5
    for rows in EVERY_FOLD:
        edges, none = edges_of(dataset, asked_for, rows, bins=5)
        assert (len(edges), none) == (6, 0)


def test_the_bins_of_a_fold_depend_on_no_outcome_of_other_rows(dataset, tasks):
    """Without any event among its test rows, a fold fits the same grid of the same shape."""
    train, test = EVERY_FOLD[0], np.arange(60, 90)
    (events, known) = dataset.targets["OS.event"]
    censored = np.where(np.isin(np.arange(90), test), 0, events).astype(events.dtype)
    assert (censored != events).any()
    other = replace(dataset, targets={**dataset.targets, "OS.event": (censored, known)})
    grids = [
        labels.fit_to_outcomes(
            settings(), each, labels.with_bins(settings(), tasks, EVERY_FOLD), train, "a fold"
        )["OS_edges"]
        for each in (dataset, other)
    ]
    np.testing.assert_array_equal(*grids)


def test_every_survival_task_has_bins_of_its_own(dataset):
    (times, known), (events, _) = (dataset.targets[f"OS.{part}"] for part in ("time", "event"))
    rare = known & (np.cumsum(events * known) <= 6)
    targets = {**dataset.targets, "PFI.time": (times, rare), "PFI.event": (events, rare)}
    both = replace(dataset, targets=targets)
    folds = [np.arange(90), np.arange(80)]
    binned = labels.with_bins(settings(), tasks_of(both), folds)
    for rows in folds:
        bins = {name: len(edges_of(both, binned, rows, name)[0]) - 1 for name in ("OS", "PFI")}
        assert bins["OS"] > bins["PFI"] == 2


def test_there_are_no_more_bins_than_distinct_times_of_events():
    same = labelled({"OS.time": np.full(40, 5.0), "OS.event": np.ones(40)})
    binned = labels.with_bins(settings(), tasks_of(same), [np.arange(40)])
    edges, none = edges_of(same, binned, np.arange(40))
    assert edges.tolist() == [0, 5] and none == 5


def test_a_grid_that_the_events_cannot_fill_names_the_task_and_the_fold(dataset, tasks):
    many = labels.with_bins(settings(bins=80), tasks, EVERY_FOLD)
    with pytest.raises(UserError, match=r"OS, fold 1, repeat 0: .*config.survival.bins; 0 chooses"):
        labels.fit_to_outcomes(settings(bins=80), dataset, many, np.arange(60), "fold 1, repeat 0")


def test_numbers_are_scaled_by_their_training_rows(dataset, tasks):
    rows = np.arange(40)
    binned = labels.with_bins(settings(bins=3), tasks, [rows])
    constants = labels.fit_to_outcomes(settings(bins=3), dataset, binned, rows, "a fold")
    age = task_named(tasks, "age")
    known = rows[known_rows(dataset, age)[rows]]
    assert len(known) < len(rows)
    ages = outcome(dataset, age, known).astype(np.float64)
    assert constants["age_mean"] == np.float32(ages.mean())
    assert constants["age_sd"] == np.float32(ages.std())
    assert set(constants) == {"age_mean", "age_sd", "age_low", "age_high", "OS_edges"}
    assert constants["age_low"] == ages.min() and constants["age_high"] == ages.max()
    ages = np.append(np.linspace(40, 80, 30), 999999.0).astype(np.float32)
    typed_wrong = labelled({"age": ages})
    constants = labels.fit_to_outcomes(
        settings(), typed_wrong, tasks_of(typed_wrong), np.arange(31), "a fold"
    )
    assert constants["age_high"] == 80 and constants["age_mean"] < 61
    equal = labelled({"age": np.full(5, 3.0, np.float32)})
    constants = labels.fit_to_outcomes(settings(), equal, tasks_of(equal), np.arange(5), "a fold")
    assert constants["age_sd"] == 1


def test_curves_are_read_at_quartiles_of_the_tested_events_or_where_the_config_says(dataset, tasks):
    tested = np.arange(20, 70)
    times, events = (dataset.targets[name][0][tested] for name in ("OS.time", "OS.event"))
    dead = times[(events == 1) & dataset.targets["OS.time"][1][tested]]
    chosen = labels.curve_times(settings(), dataset, tasks, tested)
    assert chosen.keys() == {"OS"}
    np.testing.assert_allclose(chosen["OS"], np.quantile(dead.astype(float), [0.25, 0.5, 0.75]))
    given = labels.curve_times(settings(times=(100.0, 365.0)), dataset, tasks, tested)
    assert given == {"OS": (100.0, 365.0)}


# --- too little to learn or to judge --------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "classes", "sentence"),
    [
        (
            {"OS.time": np.arange(1.0, 25), "OS.event": np.zeros(24)},
            {},
            "OS has no event in any of the 24 patients; check which value of its column",
        ),
        ({"type": np.zeros(24, int)}, {"type": ("LumA",)}, "type has one class, LumA, in all 24 p"),
        ({"age": np.full(24, 61.0)}, {}, "age has one value, 61, in all 24 patients"),
    ],
    ids=["no event", "one class", "one number"],
)
def test_an_outcome_that_is_the_same_in_everyone_is_named(targets, classes, sentence):
    data = replace(labelled(targets), classes=classes)
    with pytest.raises(UserError, match=sentence):
        labels.check_outcomes_vary(data, tasks_of(data))


def test_outcomes_that_vary_pass(dataset, tasks):
    labels.check_outcomes_vary(dataset, tasks)


def split_of(train, validation, test):
    parts = (np.asarray(part, int) for part in (train, validation, test))
    return Split(*parts, fold=1, repeat=0)


PARTS = (range(0, 4), range(4, 8), range(8, 12))


@pytest.mark.parametrize(
    ("targets", "classes", "sentence"),
    [
        (
            {"type": np.r_[[0, 1] * 4, [0] * 4]},
            {"type": ("A", "B")},
            "4 of 4 test rows have a known type, and these do not include two classes; check",
        ),
        (
            {"age": (np.arange(12.0), np.arange(12) != 5)},
            {},
            None,
        ),
        (
            {"age": (np.arange(12.0), ~np.isin(np.arange(12), (5, 6, 7)))},
            {},
            "1 of 4 validation rows have a known age, and these do not include two values;",
        ),
        (
            {"OS.time": np.arange(1.0, 13), "OS.event": np.r_[[0] * 4, [1] * 8]},
            {},
            "4 of 4 train rows have a known OS, and these do not include one event; check",
        ),
        (
            {"type": np.r_[[0, 1] * 2, [0, 2] * 4]},
            {"type": ("A", "B", "C")},
            "none of its training rows is of the type 'C'",
        ),
    ],
)
def test_a_fold_in_which_a_task_cannot_be_learned_or_judged_is_refused(targets, classes, sentence):
    dataset = labelled(targets, classes=classes)
    check = lambda: labels.check_labels(dataset, tasks_of(dataset), split_of(*PARTS))
    if sentence is None:
        check()
        return
    with pytest.raises(UserError, match=f"^fold 1, repeat 0: {sentence}"):
        check()


def test_a_class_with_fewer_members_than_folds_is_named():
    dataset = labelled({"type": np.r_[[0] * 9, 1, 1]}, classes={"type": ("A", "rare")})
    labels.check_class_sizes(dataset, tasks_of(dataset), 2)
    sentence = "the type 'rare' has 2 of the patients, fewer than the 3 folds; leave out"
    with pytest.raises(UserError, match=sentence):
        labels.check_class_sizes(dataset, tasks_of(dataset), 3)


def test_what_is_known_of_a_task_is_of_the_rows_asked_for(dataset):
    rows = np.array([7, 3, 20, 3])
    age = Task("age", "regression")
    known = rows[known_rows(dataset, age)[rows]]
    values = labels.known_outcomes(dataset, age, rows)
    np.testing.assert_array_equal(values, dataset.targets["age"][0][known])
    times, events = labels.known_outcomes(dataset, Task("OS", "survival"), rows)
    assert len(times) == len(events) == known_rows(dataset, Task("OS", "survival"))[rows].sum()


def test_the_tiny_config_has_what_the_labels_read():
    """The settings above stand for the section `survival` of a config."""
    assert set(vars(settings().survival)) <= set(tiny_config().survival)
