"""A number that cannot be, in series: it sets no scale, reaches no imputation and betters no score;
a constant variable is imputed as its constant.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import ROOT, config_of

from omics_jax.data.dataset.dataset import Modality
from omics_jax.systems.ehr import model, predictions, reading, replicates, scoring
from omics_jax.systems.ehr.device_rows import device_rows, held_levels
from omics_jax.systems.ehr.scales import (
    LARGEST,
    drawn_in,
    fit_ranges,
    imputed_range,
    scale_of,
    without_far,
)
from omics_jax.systems.ehr.stays import ModelShape, standardized

WORDS = [
    f"--config={ROOT}/configs/ehr.py:imputation,smoke",
    "--config.model.imputer=brits",
    "--config.simulator.patients=30",
    "--config.simulator.steps=6",
    "--config.simulator.features=4",
    "--config.simulator.missing=0.4",
]
TRAIN, TEST = np.arange(20), np.arange(20, 30)
CONSTANT, NEVER = 2, 3
TYPO = 1e7


def with_series(dataset, change):
    """The dataset with the values and the mask of its series changed in place by a function."""
    series = dataset.modalities["series"]
    values, mask = series.values.copy(), series.mask.copy()
    change(values, mask)
    changed = Modality(np.where(mask, values, 0).astype(np.float32), mask, series.features)
    return replace(dataset, modalities={**dataset.modalities, "series": changed})


@pytest.fixture(scope="module")
def config():
    return config_of(*WORDS)


@pytest.fixture(scope="module")
def dataset(config):
    """Stays with a constant variable, and one that no training row has."""

    def change(values, mask):
        values[..., CONSTANT] = 1e-4
        mask[TRAIN, :, NEVER] = False
        mask[0, 0, 0] = mask[25, 0, 0] = True

    return with_series(reading.read(config), change)


@pytest.fixture(scope="module")
def typo(dataset):
    """The same with one impossible value in the training rows."""
    return with_series(dataset, lambda values, mask: values.__setitem__((0, 0, 0), TYPO))


def test_where_nothing_is_far_nothing_changes(config, dataset):
    train = dataset.modalities["series"].take(TRAIN)
    ranges = fit_ranges(train.values, train.mask)
    assert drawn_in(ranges, train.values) is train.values
    seen = np.where(train.mask, train.values, np.nan).astype(np.float64)[..., :3]
    mean, sd = scale_of(train)
    np.testing.assert_allclose(mean[:3], np.nanmean(seen, axis=(0, 1)), rtol=1e-6)
    np.testing.assert_allclose(sd[:2], np.nanstd(seen, axis=(0, 1))[:2], rtol=1e-6)
    assert sd[CONSTANT] == 1 and mean[CONSTANT] == np.float32(1e-4)
    np.testing.assert_array_equal(ranges["low"][:3], np.nanmin(seen, axis=(0, 1)))
    np.testing.assert_array_equal(ranges["high"][:3], np.nanmax(seen, axis=(0, 1)))
    assert {abs(float(limit[NEVER])) for limit in ranges.values()} == {LARGEST}
    same = without_far(dataset.take(TRAIN), dataset.take(TEST)).modalities["series"]
    np.testing.assert_array_equal(same.values, dataset.take(TEST).modalities["series"].values)


def test_a_typo_sets_no_scale(dataset, typo):
    clean, spoiled = (scale_of(d.modalities["series"].take(TRAIN)) for d in (dataset, typo))
    assert abs(spoiled[0][0] - clean[0][0]) < 0.1 * clean[1][0]
    assert 0.9 < spoiled[1][0] / clean[1][0] < 1.3
    for ours, theirs in zip(spoiled, clean, strict=True):
        np.testing.assert_array_equal(ours[1:], theirs[1:])


def test_imputed_values_may_leave_the_range_by_a_tenth():
    ranges = {"low": np.array([0.0, 5, -LARGEST]), "high": np.array([10.0, 5, LARGEST])}
    mean, sd = np.array([5.0, 5, 0]), np.array([2.0, 1, 1])
    z = imputed_range(ranges, mean, sd)
    assert z["least_z"].tolist() == [-3, 0, -LARGEST] and z["most_z"].tolist() == [3, 0, LARGEST]


def network_of(config, dataset):
    """Shape, variables far from trained, and the rows of the test stays."""
    names = ("hours", "series", "static")
    sizes = (len(dataset.modalities[name].features) for name in names)
    shape = ModelShape(config, *sizes, ("10", "50"))
    constants = jax.tree.map(jnp.asarray, replicates.constants_of(config, dataset, TRAIN))
    made = model.init(shape, False, jax.random.key(0), {}, {})
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: a + 2.0 * rng.standard_normal(a.shape), made["params"])
    held = partial(held_levels, tuple(config.held_out), config.seed)
    test = dataset.take(TEST)
    rows = {name: jnp.asarray(values) for name, values in device_rows(held, test).items()}
    rows |= {"row": jnp.arange(len(TEST)), "live": jnp.ones(len(TEST), bool)}
    return shape, {"params": params, "constants": constants, "batch_stats": {}}, rows


def test_imputations_stay_in_the_training_range_and_what_is_drawn_in_is_counted(config, typo):
    shape, variables, rows = network_of(config, typo)
    found = jax.tree.map(np.asarray, predictions.predict_imputation(shape, variables, rows))
    train = typo.modalities["series"].take(TRAIN)
    low, high = (fit_ranges(train.values, train.mask)[name][:2] for name in ("low", "high"))
    margin = 0.1001 * (high - low)
    imputed = found["imputed"][..., :2]
    hidden = ~np.asarray(rows["m"])[..., :2]
    inside = (imputed >= low - margin) & (imputed <= high + margin)
    assert inside[hidden].all() and np.abs(imputed).max() < 1000
    np.testing.assert_array_equal(imputed[~hidden], np.asarray(rows["x"])[..., :2][~hidden])
    clipped = found["clipped"]
    assert clipped[:, :2].sum() > 0 and clipped.shape == (len(TEST), 4)
    assert not clipped[:, CONSTANT].any() and not clipped[:, NEVER].any()
    (warning,) = predictions.clipped_warnings(list("abcd"), [found])
    assert "beyond the range of the training values" in warning and "a " in warning
    nothing = {**found, "clipped": np.zeros((len(TEST), 4))}
    assert predictions.clipped_warnings(list("abcd"), [nothing]) == []


def test_a_constant_is_imputed_exactly_at_every_level(config, dataset):
    shape, variables, rows = network_of(config, dataset)
    found = predictions.predict_imputation(shape, variables, rows)
    for name in ("imputed", "imputed_10", "imputed_50"):
        assert (np.asarray(found[name])[..., CONSTANT] == np.float32(1e-4)).all()
    for name in ("disagreement", "disagreement_10"):
        assert not np.asarray(found[name])[..., CONSTANT].any()
    test, train = dataset.take(TEST), dataset.take(TRAIN)
    held = partial(held_levels, tuple(config.held_out), config.seed)
    numbers = jax.tree.map(np.asarray, found)
    errors = scoring.evaluate(held, ("10", "50"), numbers, test, train).frames["errors"].rows
    of_constant = errors[errors["variable"] == str(test.modalities["series"].features[CONSTANT])]
    assert (of_constant["mae"].dropna() == 0).all() and (of_constant["n"] > 0).any()


def test_a_new_typo_is_read_as_the_largest_training_value(config, dataset):
    shape, variables, rows = network_of(config, dataset)
    constants = variables["constants"]
    patient = 25 - TEST[0]
    far = {**rows, "x": rows["x"].at[patient, 0, 0].set(TYPO)}
    largest = {**rows, "x": rows["x"].at[patient, 0, 0].set(constants["high"][0])}
    seen, expected = (standardized(shape, constants, each) for each in (far, largest))
    np.testing.assert_array_equal(seen, expected)
    predicted = predictions.predict_imputation(shape, variables, far)["imputed"]
    assert predicted[patient, 0, 0] == TYPO  # what was observed is returned as it was


def test_errors_do_not_better_by_a_typo(config, dataset, typo):
    """The mean as an imputation is as far from the truth with the typo as without it."""
    held = partial(held_levels, tuple(config.held_out), config.seed)
    found = {}
    for name, data in {"clean": dataset, "typo": typo}.items():
        test, train = data.take(TEST), data.take(TRAIN)
        baselines = scoring.imputation_baselines(held, ("10", "50"), train, test)
        found[name] = scoring.evaluate(held, ("10", "50"), baselines["mean"], test, train).metrics
    assert found["typo"]["mae_50"] == pytest.approx(found["clean"]["mae_50"], rel=0.15)


def test_a_typo_that_is_held_out_is_no_truth(config, dataset):
    """It is scored as the largest training value, whoever imputes."""

    def with_value(value):
        return with_series(
            dataset, lambda values, mask: values.__setitem__((TEST, slice(None), 0), value)
        ).take(TEST)

    train = dataset.take(TRAIN)
    series = train.modalities["series"]
    largest = fit_ranges(series.values, series.mask)["high"][0]
    held = partial(held_levels, tuple(config.held_out), config.seed)
    errors = []
    for test in (with_value(TYPO), with_value(largest)):
        predicted = scoring.imputation_baselines(held, ("10", "50"), train, test)["locf"]
        errors.append(scoring.evaluate(held, ("10", "50"), predicted, test, train).metrics)
    assert errors[0] == errors[1]


def test_the_training_range_is_in_the_units_of_the_file(config, typo):
    _, variables, _ = network_of(config, typo)
    low, high = predictions.training_range(variables)["series"]
    train = typo.modalities["series"].take(TRAIN)
    seen = np.where(train.mask & (train.values < TYPO), train.values, np.nan)[..., :3]
    np.testing.assert_array_equal(low[:3], np.nanmin(seen, axis=(0, 1)))
    np.testing.assert_array_equal(high[:3], np.nanmax(seen, axis=(0, 1)))
    assert set(predictions.training_range(variables)) == {"series", "static"}
