"""From the outputs of heads to probabilities, values in their units and survival curves."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from outcome_rows import AGE, GRID, OS, TYPE

from omics_jax.nn import mtlr
from omics_jax.tasks.prediction import (
    FIELDS,
    pool_medians,
    predict_tasks,
    prediction_columns,
)

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


# --- the median over replicates -------------------------------------------------------------------


def of_replicate(times, *curves):
    """What a replicate predicts of rows with these curves."""
    times, curves = np.array(times, float), np.array(curves, float)
    median = np.array([np.interp(-0.5, -curve, times) for curve in curves])
    return {
        "OS_times": np.tile(times, (len(curves), 1)),
        "OS_survival": curves,
        "OS_median": median,
        "OS_median_reached": curves[:, -1] <= 0.5,
    }


def test_the_median_is_that_of_the_mean_curve():
    """Two lines from 1 that reach 1/2 at 500 and 1,000: their mean does at 2/3 of 1,000."""
    fast, slow = of_replicate([0, 1000], [1, 0]), of_replicate([0, 500, 1000], [1, 0.75, 0.5])
    pooled = pool_medians(TASKS, [fast, slow])
    (median, between), (reached, reached_sd) = (
        pooled[f"OS_{name}"] for name in ("median", "median_reached")
    )
    assert median == pytest.approx([2000 / 3]) and between == pytest.approx([250])
    assert reached.tolist() == [1] and reached_sd.tolist() == [0]


def test_the_end_of_a_grid_enters_no_median():
    """One of three replicates stays above 1/2 up to the end of its grid, 5152."""
    others = [of_replicate([0, 6000], [1, 1 - 3000 / m]) for m in (2306.4, 3727.2)]
    above = of_replicate([0, 5152], [1, 0.9])
    pooled = pool_medians(TASKS, [above, *others])
    falls = [0.1 / 5152, 0.5 / 2306.4, 0.5 / 3727.2]
    assert above["OS_median"] == 5152 and not above["OS_median_reached"][0]
    assert pooled["OS_median"][0] == pytest.approx([0.5 / np.mean(falls)])
    assert np.isnan(pooled["OS_median"][1]).all()
    assert pooled["OS_median_reached"][0].tolist() == [1]
    assert pooled["OS_median_reached"][1] == pytest.approx([np.std([0, 1, 1])])


def test_a_median_that_the_mean_curve_does_not_reach_is_empty():
    """Row by row; and where one grid ends, the mean says no more."""
    flat = of_replicate([0, 800, 900], [1, 0.9, 0.9], [1, 0, 0])
    short = of_replicate([0, 400], [1, 0.9], [1, 0.2])
    pooled = pool_medians(TASKS, [flat, short])
    assert np.isnan(pooled["OS_median"][0]).tolist() == [True, False]
    assert pooled["OS_median_reached"][0].tolist() == [0, 1]
    beyond = pool_medians(TASKS, [of_replicate([0, 400], [1, 0.6]), of_replicate([0, 900], [1, 0])])
    assert np.isnan(beyond["OS_median"][0]).all() and beyond["OS_median_reached"][0] == [0]


def test_one_replicate_keeps_its_own_medians(predictions):
    """Also on a grid that is padded with bins of no width."""
    wide = {
        **predictions,
        "OS_times": np.pad(predictions["OS_times"], ((0, 0), (2, 0))),
        "OS_survival": np.pad(predictions["OS_survival"], ((0, 0), (2, 0)), constant_values=1),
    }
    reached = predictions["OS_median_reached"]
    expected = np.where(reached, predictions["OS_median"], np.nan)
    for fields in (predictions, wide):
        pooled = pool_medians(TASKS, [fields])
        np.testing.assert_allclose(pooled["OS_median"][0], expected, rtol=1e-6)
        assert pooled["OS_median_reached"][0].tolist() == reached.tolist()
