"""From the outputs of heads to probabilities, values in their units and survival curves."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from outcome_rows import AGE, GRID, OS, TYPE

from omics_jax.nn import mtlr
from omics_jax.tasks.prediction import FIELDS, predict_tasks, prediction_columns

BINS = len(GRID) - 1
TASKS = (TYPE, AGE, replace(OS, bins=BINS))
AGE_SCALE = {"age_mean": 60, "age_sd": 12, "age_low": -100, "age_high": 300}
CONSTANTS = {
    **{name: jnp.float32(number) for name, number in AGE_SCALE.items()},
    "OS_edges": jnp.float32(GRID),
}
ROWS = 30


@pytest.fixture(scope="module")
def outputs():
    random = np.random.default_rng(0)
    return {t.name: jnp.float32(2 * random.normal(size=(ROWS, t.outputs))) for t in TASKS}


@pytest.fixture(scope="module")
def predictions(outputs):
    return jax.tree.map(np.asarray, predict_tasks(TASKS, CONSTANTS, outputs))


def test_every_field_of_every_task_is_there(predictions):
    fields = {f"{t.name}_{field}" for t in TASKS for field in FIELDS[t.kind]}
    assert set(predictions) == {*fields, "age_clipped"}


def test_classes_have_probabilities(predictions, outputs):
    p, logits = predictions["type_probability"], np.asarray(outputs["type"], np.float64)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    powers = np.exp(logits)
    np.testing.assert_allclose(p, powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)


def test_numbers_have_the_units_of_the_data(predictions, outputs):
    standardized = np.asarray(outputs["age"])[:, 0]
    np.testing.assert_allclose(predictions["age_value"], 60 + 12 * standardized, rtol=1e-6)
    higher = {**CONSTANTS, "age_mean": CONSTANTS["age_mean"] + 5}
    later = predict_tasks(TASKS, higher, outputs)["age_value"]
    np.testing.assert_allclose(later - predictions["age_value"], 5, rtol=1e-4)


def test_numbers_stay_near_the_training_range_and_those_that_left_it_are_marked(outputs):
    narrow = {**CONSTANTS, "age_low": jnp.float32(50), "age_high": jnp.float32(70)}
    found = predict_tasks(TASKS, narrow, outputs)
    free = 60 + 12 * np.asarray(outputs["age"])[:, 0]
    np.testing.assert_allclose(found["age_value"], free.clip(40, 80), rtol=1e-6)
    assert np.array_equal(found["age_clipped"], (free < 40) | (free > 80))
    assert 0 < found["age_clipped"].sum() < ROWS


def test_survival_curves_start_at_1_and_never_rise(predictions):
    curve = predictions["OS_survival"]
    assert (curve[:, 0] == 1).all() and (np.diff(curve, axis=1) <= 0).all() and (curve >= 0).all()
    assert np.array_equal(predictions["OS_times"], np.tile(np.float32(GRID), (ROWS, 1)))


def test_a_median_beyond_the_grid_is_its_end_and_said_not_to_be_reached(predictions):
    reached = predictions["OS_median_reached"]
    assert np.array_equal(reached, predictions["OS_survival"][:, -1] <= 0.5)
    assert 0 < reached.sum() < ROWS
    assert (predictions["OS_median"] <= GRID[-1]).all()
    assert (predictions["OS_median"][~reached] == GRID[-1]).all()


@pytest.mark.parametrize("hazard", mtlr.HAZARDS)
def test_the_risk_is_the_summed_cumulative_hazard(outputs, hazard):
    found = predict_tasks(TASKS, CONSTANTS, outputs, hazard)["OS_risk"]
    hazards = np.asarray(mtlr.hazards(outputs["OS"], hazard), np.float64)
    np.testing.assert_allclose(found, np.cumsum(hazards, axis=1).sum(axis=1), rtol=1e-4)


def test_what_is_written_of_new_rows_has_named_columns(predictions):
    columns = prediction_columns(TASKS)
    assert columns == {
        "type_probability": TYPE.classes,
        "age_value": ("age",),
        "age_clipped": ("clipped",),
        "OS_risk": ("risk",),
        "OS_median": ("median",),
        "OS_median_reached": ("median_reached",),
    }
    for field, names in columns.items():
        assert predictions[field].reshape(ROWS, -1).shape[1] == len(names)
