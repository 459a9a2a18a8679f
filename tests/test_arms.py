"""What every arm of every experiment of every system owes as a value of pure functions.

Test rows reach nothing that is fitted, a prediction depends on its own row alone and keeps what was
observed, gradients are those of the objective, and frozen parameters do not move. Arms that differ
in a number of their config alone trace to one program, which is compiled and checked once.
"""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from every_arm import (
    EXPERIMENTS,
    FIRST,
    SYSTEMS,
    arms_of,
    arms_on,
    batch_of,
    data_of,
    every_experiment_of_a_system,
    fixed_splits,
    in_one_process,
    variables_of,
    with_other_outcomes,
    with_values,
)
from fitted_arms import fitted

from omics_jax.run.tuning import choose_constants
from omics_jax.study.starts import start_of
from omics_jax.training.freezing import freeze, trainable_labels
from omics_jax.training.plan import Options

ROWS = 6
STEP = 1e-5
# (system, what) -> the programs that were compiled and checked; experiments share most of them.
SEEN: dict[tuple[str, str], set[str]] = {}


def assert_same_bits(left, right, what):
    assert jax.tree.structure(left) == jax.tree.structure(right), what
    for path, (a, b) in zip(
        jax.tree_util.tree_leaves_with_path(left),
        zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True),
        strict=True,
    ):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=f"{what}: {path[0]}")


@every_experiment_of_a_system
def test_test_rows_reach_nothing_that_is_fitted(name, experiment):
    """Values and outcomes of the first fold's test rows leave no trace in what it trains on.

    That is its rows with their arrays, its constants, and the shapes of its variables: a network's
    first weights are drawn by shape.
    """
    _, dataset = data_of(name, experiment)
    with fixed_splits():
        arms = arms_on(name, experiment, dataset)
        for place, arm in enumerate(arms):
            other = arms_on(name, experiment, spoiled(dataset, arm, arms))[place]
            assert (other.name, other.spec.rows) == (arm.name, arm.spec.rows)
            first, again = arm.replicates[0], other.replicates[0]
            assert again.seed == first.seed and again.labels == first.labels
            for part in ("rows", "validation", "constants", "sampling"):
                assert_same_bits(
                    dict(getattr(again, part)), dict(getattr(first, part)), f"{arm.name}: {part}"
                )
            assert_same_bits(*map(arrays_of_training, (other, arm)), f"{arm.name}: arrays")
            assert shapes_of_variables(other) == shapes_of_variables(arm), arm.name


# Named here, because building all arms takes seconds, in every process that collects the tests.
TUNED = [("ehr", "table2"), ("ehr", "table3")]


def test_the_experiments_that_tune_are_all_named():
    assert TUNED == [(n, e) for n, e in EXPERIMENTS if any(arm.tuning for arm in arms_of(n, e))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "experiment"), [in_one_process(f"{n}-{e}", n, e) for n, e in TUNED]
)
def test_outcomes_of_test_rows_reach_no_tuned_constant(name, experiment, tmp_path):
    """Those of the last fold's test rows, on which the other folds train and validate."""
    _, dataset = data_of(name, experiment)
    with fixed_splits():
        arm = next(arm for arm in arms_on(name, experiment, dataset) if arm.tuning)
        held_out = rows_of_test(dataset, arm, -1)
        others = arms_on(name, experiment, with_other_outcomes(dataset, held_out))
        other = next(again for again in others if again.name == arm.name)
    chosen, trials = choose_constants(arm, None, Options(), tmp_path / "one.json")
    again, trials_again = choose_constants(other, None, Options(), tmp_path / "two.json")
    assert again[-1] == chosen[-1]
    last = trials["replicate"] == len(arm.replicates) - 1
    assert last.sum() == arm.tuning.trials
    pd.testing.assert_frame_equal(trials_again[last], trials[last])
    assert (trials_again.loc[~last, "value"] != trials.loc[~last, "value"]).all()


def spoiled(dataset, arm, arms):
    """The dataset with other values and outcomes in the rows that the arm's first replicate tests.

    The event that is left is of a row that all `arms` test, so that each can still be scored.
    """
    held_out = rows_of_test(dataset, arm)
    others = [rows_of_test(dataset, other) for other in arms]
    in_all = np.logical_and.reduce([np.isin(held_out, rows) for rows in others])
    held_out = np.concatenate([held_out[in_all], held_out[~in_all]])
    other_values = with_values(dataset, held_out, lambda values: 10 - 3 * values)
    return with_other_outcomes(other_values, held_out)


def rows_of_test(dataset, arm, replicate=0):
    """The rows of the dataset that a replicate of the arm tests."""
    test = arm.replicates[replicate].test
    rows = np.flatnonzero(np.isin(dataset.ids, arm.dataset.ids[test]))
    if not len(rows):  # an arm whose rows are made from those of the dataset
        rows = np.flatnonzero(np.isin(dataset.groups, arm.dataset.groups[test]))
    assert len(rows)
    return rows


def arrays_of_training(arm):
    """Field -> what the first replicate trains and validates on."""
    first, table = arm.replicates[0], arm.system.arrays(arm.dataset)
    rows = np.concatenate([*first.rows.values(), *first.validation.values()])
    return {field: values[rows] for field, values in table.items()}


def shapes_of_variables(arm) -> str:
    """Paths, shapes and types of the first replicate's variables."""
    first, table = arm.replicates[0], arm.system.arrays(arm.dataset)
    batch = {slot: batch_of(table, own[:ROWS]) for slot, own in first.rows.items()}
    shapes = jax.eval_shape(lambda: variables_of(arm, first, batch))
    return str(jax.tree_util.tree_leaves_with_path(shapes))


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_test_rows_reach_no_trained_bit(name, tmp_path):
    """The first fold of every arm of a system's first experiment, trained twice."""
    experiment = FIRST[name]
    _, dataset = data_of(name, experiment)
    with fixed_splits():
        arms = arms_on(name, experiment, dataset)
        others = arms_on(name, experiment, spoiled(dataset, arms[-1], arms))
    trained = [train_first_fold(arms, tmp_path / "one"), train_first_fold(others, tmp_path / "two")]
    assert_same_bits(*trained, name)


def train_first_fold(arms, folder):
    """Arm -> stage -> variables of its first replicate."""
    by_arm = {}
    for number, arm in enumerate(arms):
        alone = replace(arm, replicates=arm.replicates[:1])
        finished = {name: stages[last_stage(arms, name)] for name, stages in by_arm.items()}
        start = start_of(alone, finished)
        folder_of_arm = folder / f"{number}"
        folder_of_arm.mkdir(parents=True)
        by_arm[arm.name] = fitted(alone, folder_of_arm, start)[0]
    return by_arm


def last_stage(arms, name):
    return next(arm for arm in arms if arm.name == name).system.stages[-1].name


@cache
def fresh_arms(name, experiment):
    """Of every arm: it, a batch of its first replicate's rows, and fresh variables."""
    made = []
    for arm in arms_of(name, experiment):
        first, table = arm.replicates[0], arm.system.arrays(arm.dataset)
        batch = {slot: batch_of(table, own[:ROWS]) for slot, own in first.rows.items()}
        made.append((arm, batch, variables_of(arm, first, batch)))
    return made


@pytest.fixture
def fresh(name, experiment):
    """`fresh_arms` in single precision: before a test goes over to double precision."""
    return fresh_arms(name, experiment)


class Doubled:
    """An arm's first replicate with fresh variables, in double precision."""

    def __init__(self, arm, batch, variables):
        self.arm = arm
        self.batch, self.variables = double_floats(batch), double_floats(variables)


def double_floats(tree):
    """The tree with its floating leaves in double precision."""

    def cast(leaf):
        leaf = np.asarray(leaf)
        return jnp.asarray(leaf, jnp.float64) if leaf.dtype.kind == "f" else jnp.asarray(leaf)

    return jax.tree.map(cast, tree)


def new_program(seen: set, function, *arguments):
    """The compiled function, or None where an equal program has been seen."""
    traced = jax.jit(function).trace(*arguments)
    program = str(traced.jaxpr)
    if program in seen:
        return None
    seen.add(program)
    return traced.lower().compile()


@pytest.mark.slow
@every_experiment_of_a_system
def test_gradients_are_those_of_the_objective_and_frozen_parameters_stay(
    fresh, x64, name, experiment
):
    """Along a random direction, against central differences, in every stage of every arm."""
    seen = SEEN.setdefault((name, "stages"), set())
    for arm, batch, variables in fresh:
        doubled = Doubled(arm, batch, variables)
        for stage in arm.system.stages:
            check_stage(doubled, stage, seen)


def check_stage(doubled: Doubled, stage, seen: set) -> None:
    what = f"{doubled.arm.name}, stage {stage.name}"
    variables = doubled.variables

    def one_step(params):
        batch = {slot: doubled.batch[slot] for slot in stage.batch_size}
        if stage.features:
            batch = {
                slot: {**rows, **stage.features(variables, rows)} for slot, rows in batch.items()
            }

        def objective(params):
            terms, _ = stage.loss({**variables, "params": params}, batch, jax.random.key(1))
            return stage.objective(terms)

        value, gradient = jax.value_and_grad(objective)(params)
        transform = freeze(stage.optimizer, stage.trainable, params)
        updates, _ = transform.update(gradient, transform.init(params), params)
        return value, gradient, updates

    params = away_from_kinks(variables["params"])
    run = new_program(seen, one_step, params)
    if run is None:
        return
    value, gradient, updates = run(params)
    assert np.isfinite(value), what
    labels = trainable_labels(stage.trainable, params)
    moved = [
        bool(np.any(np.asarray(update)))
        for update, label in zip(jax.tree.leaves(updates), jax.tree.leaves(labels), strict=True)
        if label == "train"
    ]
    assert any(moved), f"{what}: nothing moves"
    direction = random_direction(params, labels)
    ahead, behind = (
        run(jax.tree.map(lambda p, d, h=h: p + h * d, params, direction))[0] for h in (STEP, -STEP)
    )
    numeric = float(ahead - behind) / (2 * STEP)
    analytic = float(dot(gradient, direction))
    scale = max(abs(analytic), 1e-3 * np.sqrt(dot(gradient, gradient)))
    assert abs(numeric - analytic) <= 1e-4 * scale, (what, numeric, analytic)
    frozen = [
        np.any(np.asarray(update))
        for update, label in zip(jax.tree.leaves(updates), jax.tree.leaves(labels), strict=True)
        if label != "train"
    ]
    assert not any(frozen), f"{what}: a frozen parameter moves"


def away_from_kinks(params):
    """The parameters a little beside their start, where biases of 0 put a relu on its corner."""
    random = np.random.default_rng(3)
    return jax.tree.map(lambda p: np.asarray(p) + 0.02 * random.normal(size=p.shape), params)


def random_direction(params, labels):
    """Normal numbers for what is trained, 0 for what is frozen."""
    random = np.random.default_rng(2)
    draw = lambda p, label: random.normal(size=p.shape) if label == "train" else np.zeros(p.shape)
    return jax.tree.map(draw, params, labels)


def dot(left, right):
    return sum(np.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (left, right)), strict=True))


@pytest.mark.slow
@every_experiment_of_a_system
def test_a_prediction_depends_on_its_own_row_and_keeps_what_was_observed(fresh, name, experiment):
    seen = SEEN.setdefault((name, "predict"), set())
    for arm, _, variables in fresh:
        system, rows = arm.system, arm.replicates[0].test[:ROWS]
        for predict in {system.predict, system.predict_new or system.predict}:
            inputs = batch_of(system.arrays(arm.dataset), rows)
            run = new_program(seen, predict, variables, inputs)
            if run is None:
                continue
            expected = jax.tree.map(np.asarray, run(variables, inputs))
            backwards = run(variables, {key: values[::-1] for key, values in inputs.items()})
            assert_same_bits(
                {key: np.asarray(values)[::-1] for key, values in backwards.items()},
                expected,
                f"{arm.name}: order",
            )
            others = with_values(arm.dataset, rows[1:], lambda values: 10 - 3 * values)
            beside = run(variables, batch_of(system.arrays(others), rows))
            assert_same_bits(
                {key: np.asarray(values)[0] for key, values in beside.items()},
                {key: values[0] for key, values in expected.items()},
                f"{arm.name}: other rows",
            )
            for field, modality in system.imputes.items():
                observed = arm.dataset.modalities[modality].take(rows)
                kept = expected[field][observed.mask]
                assert kept.tobytes() == observed.values[observed.mask].tobytes(), arm.name
                assert not observed.mask.all()


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
