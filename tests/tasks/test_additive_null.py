"""Arms that learn outcomes in which no two inputs act together."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from tiny_network import SLOT, Tiny

from omics_jax.study.system import Arm, DataSpec
from omics_jax.tasks.additive_null import ADDITIVE, additive_arm, drawn_outcome, outcome_of_draw
from omics_jax.tasks.attribution import NETWORK

DRAWS = 3
READS = {"type": (0, 1), "age": (3,), "OS": (2,)}  # the features that an outcome depends on
SIGNS = {"type": 1, "age": 1, "OS": -1}  # a high hazard is a short time
FIELDS = {"type": ("y_type",), "age": ("y_age",), "OS": ("y_OS", "e_OS")}


def features_of(dataset):
    return dataset.modalities["x"].values


@pytest.fixture(scope="module")
def tiny():
    return Tiny()


@pytest.fixture(scope="module")
def network(tiny):
    """The tiny network's arm, starting from another."""
    tiny.config.interpret = SimpleNamespace(permutations=DRAWS)
    return Arm(
        name=NETWORK,
        system=tiny.system,
        config=tiny.config,
        spec=DataSpec({}, {}),
        dataset=tiny.dataset,
        replicates=tiny.replicates,
        start_from="earlier",
    )


@pytest.fixture(scope="module")
def null(tiny, network):
    return additive_arm(network, tiny.tasks, SLOT, features_of)


def read_rows(arm):
    """The rows of the first replicate whose outcomes a network reads."""
    first = arm.replicates[0]
    return np.concatenate([first.rows[SLOT], first.validation[SLOT]])


def outcomes_of(arm):
    """Group -> its fields of outcomes."""
    names = [name for own in FIELDS.values() for name in own]
    return {r.labels["group"]: {name: r.constants[name] for name in names} for r in arm.replicates}


def test_every_outcome_is_drawn_by_itself(tiny, network, null):
    """The others remain as they are; where nothing is read, or known, there is 0."""
    table, rows = network.system.arrays(network.dataset), read_rows(network)
    unread = np.setdiff1d(np.arange(len(tiny.dataset)), rows)
    found = outcomes_of(null)
    groups = [f"{task} draw {i + 1}" for task in ("type", "age", "OS") for i in range(DRAWS)]
    assert sorted(found) == sorted(groups) and len(unread) >= len(tiny.dataset) / 4
    for group, fields in found.items():
        drawn = outcome_of_draw(group)
        for task, names in FIELDS.items():
            unknown = rows[~table[f"k_{task}"][rows]]
            assert len(unknown) > 0
            for name in names:
                assert not fields[name][unread].any() and not fields[name][unknown].any()
                assert fields[name].shape == (len(tiny.dataset),)
            same = [(fields[name][rows] == table[name][rows]).all() for name in names]
            assert all(same) if task != drawn else not any(same)


def test_draws_differ_and_are_those_of_the_seed(tiny, network, null):
    found, again = (
        outcomes_of(null),
        outcomes_of(additive_arm(network, tiny.tasks, SLOT, features_of)),
    )
    for group, fields in found.items():
        for name, values in fields.items():
            assert_array_equal(again[group][name], values)
    for task, names in FIELDS.items():
        own = [found[f"{task} draw {i + 1}"][names[0]].tobytes() for i in range(DRAWS)]
        assert len(set(own)) == DRAWS
    seeds = [r.seed for r in (*network.replicates, *null.replicates)]
    assert len(set(seeds)) == len(seeds)
    config = tiny.config.copy_and_resolve_references()
    config.seed = 1
    other = outcomes_of(
        additive_arm(replace(network, config=config), tiny.tasks, SLOT, features_of)
    )
    for task, (name, *_) in FIELDS.items():
        group = f"{task} draw 1"
        assert (other[group][name] != found[group][name]).any()


def test_rows_that_are_tested_are_not_read(tiny, network, null):
    """Neither their outcomes nor their features."""
    test = network.replicates[0].test
    dataset, modality = tiny.dataset, tiny.dataset.modalities["x"]
    targets = {}
    for name, (values, mask) in dataset.targets.items():
        values = values.copy()
        values[test] = 1 - values[test] if values.dtype == np.int32 else 7 * values[test] + 1
        targets[name] = values, mask
    x = modality.values.copy()
    x[test] = 100
    changed = replace(dataset, targets=targets, modalities={"x": replace(modality, values=x)})
    other = additive_arm(replace(network, dataset=changed), tiny.tasks, SLOT, features_of)
    for group, fields in outcomes_of(other).items():
        for name, values in fields.items():
            assert_array_equal(values, outcomes_of(null)[group][name])


def test_a_row_is_drawn_by_its_own_features(tiny, network):
    """Among rows with unknown outcomes between them, in another order than the dataset's."""
    table, rows = network.system.arrays(network.dataset), read_rows(network)[::-1]
    x = features_of(tiny.dataset)
    for task in tiny.tasks:
        draw = drawn_outcome(task, tiny.dataset, rows, x[rows])
        drawn = [draw(np.random.default_rng(seed)) for seed in range(20)]
        (y, *_) = FIELDS[task.name]
        mean = np.mean([fields[y] for fields in drawn], axis=0)
        known = rows[table[f"k_{task.name}"][rows]]
        assert {tuple(fields) for fields in drawn} == {FIELDS[task.name]}
        score = SIGNS[task.name] * x[:, list(READS[task.name])].sum(axis=1)
        assert np.corrcoef(mean[known], score[known])[0, 1] > 0.75


def test_a_time_stays_with_its_event_and_a_class_is_one_that_there_is(tiny, network, null):
    table, rows = network.system.arrays(network.dataset), read_rows(network)
    known = rows[table["k_OS"][rows]]
    pairs = sorted(zip(table["y_OS"][known], table["e_OS"][known], strict=True))
    found = outcomes_of(null)
    for number in range(1, DRAWS + 1):
        drawn = found[f"OS draw {number}"]
        assert sorted(zip(drawn["y_OS"][known], drawn["e_OS"][known], strict=True)) == pairs
        assert set(found[f"type draw {number}"]["y_type"].tolist()) == {0.0, 1.0}
        assert found[f"age draw {number}"]["y_age"].dtype == np.float32


def test_the_null_is_known_as_the_null(network, null):
    first = network.replicates[0]
    assert null.name == ADDITIVE and null.labels == {ADDITIVE: True} and null.is_null
    assert not null.with_baselines and not null.main
    assert null.start_from == "earlier" and null.starts == [0] * (3 * DRAWS)
    for replicate in null.replicates:
        assert_array_equal(replicate.rows[SLOT], first.rows[SLOT])
        assert_array_equal(replicate.validation[SLOT], first.validation[SLOT])
        assert {name for name in replicate.constants if name not in first.constants} == {
            *("y_type", "y_age", "y_OS", "e_OS")
        }
        for name, values in first.constants.items():
            assert_array_equal(replicate.constants[name], values)


@pytest.mark.parametrize("name", ["OS", "a draw", "draw 7 draw "])
def test_the_outcome_of_a_draw_is_read_from_its_group(name):
    assert outcome_of_draw(f"{name} draw 12") == name
