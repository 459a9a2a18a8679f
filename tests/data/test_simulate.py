"""The simulator against its own statement: layout, drug function, noise, platforms, prediction."""

import math
from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose

from omics_jax.data.perturbation.simulate import ExpressionMap, expression, simulate_perturbations
from omics_jax.errors import UserError

SMALL = {"genes": 20, "drugs": 2, "cell_lines": 6, "singletons": 20, "latent": 4}
QUIET = SMALL | {"batch_noise": 0.0, "measurement_noise": 0.0}


@cache
def default_experiment(seed=0):
    return simulate_perturbations(seed=seed)


def difference(dataset, rows):
    """Observed treated minus control expression, float64."""
    control, treated = (
        dataset.modalities[name].values[rows].astype(float) for name in ("control", "treated")
    )
    return treated - control


def row_correlation(a, b):
    """Mean Pearson correlation of paired rows."""
    correlations = []
    for x, y in zip(a, b, strict=True):
        correlations.append(np.corrcoef(x, y)[0, 1])
    return np.mean(correlations)


def test_layout_is_that_of_the_readers():
    dataset, truth = simulate_perturbations(**SMALL, null_drugs=1, replicates=2)
    pairs = 3 * 6 * 2
    treated = np.arange(pairs + 20) < pairs
    assert len(dataset) == pairs + 20
    assert set(dataset.modalities) == {"control", "treated"}
    for name, observed in (("control", np.ones_like(treated)), ("treated", treated)):
        modality = dataset.modalities[name]
        assert modality.values.dtype == np.float32 and modality.values.shape == (pairs + 20, 20)
        assert (modality.mask == observed[:, None]).all()
        assert not modality.values[~modality.mask].any()
    columns = ["drug", "cell_line", "dose", "time", "batch", "platform", "control_id", "treated_id"]
    assert list(dataset.table.columns) == columns
    assert dataset.table.map(lambda cell: isinstance(cell, str)).all(axis=None)
    assert list(dataset.table.index) == list(dataset.ids)
    assert (dataset.groups == dataset.table["cell_line"]).all()
    assert (dataset.table["platform"] == np.where(treated, "L1000", "array")).all()
    profiles = dataset.table[["control_id", "treated_id"]].to_numpy().ravel()
    assert len(set(profiles[profiles != ""])) == 2 * pairs + 20
    for column in ("drug", "dose", "time", "treated_id"):
        assert ((dataset.table[column] != "") == treated).all()
    assert truth.drugs == ("active-1", "active-2", "inert-1")
    assert list(truth.null) == [False, False, True]
    assert truth.z1.shape == (pairs + 20, 4) and truth.change.shape == (pairs + 20, 20)
    assert (np.linalg.norm(truth.loadings, axis=1).round(12) == 1).all()


def test_default_values_lie_in_the_range_of_log2_expression():
    dataset, _ = default_experiment()
    values = dataset.modalities["control"].values
    assert np.percentile(values, 0.5) > 3 and np.percentile(values, 99.5) < 15.5
    assert (values.std(axis=0) > 0.3).all()


def test_drugs_act_linearly_on_the_latent_state():
    dataset, truth = simulate_perturbations(**SMALL)
    for row, drug in enumerate(dataset.table["drug"]):
        z1 = truth.z1[row]
        expected = z1.copy()
        if drug:
            index = truth.drugs.index(drug)
            expected = [
                z1[i] + sum(truth.W[index, i, j] * z1[j] for j in range(4)) + truth.b[index, i]
                for i in range(4)
            ]
        assert_allclose(truth.z2[row], expected, atol=1e-12)


@pytest.mark.parametrize("effect", [0.0, 0.5, 2.0])
def test_effects_are_sparse_and_of_the_stated_size(effect):
    _, truth = simulate_perturbations(**SMALL, null_drugs=2, effect=effect)
    active = truth.drugs.index("active-2")
    W, b = truth.W[active], truth.b[active]
    size = effect**2 * 4
    assert_allclose((W**2).sum(), 0.4 * size, atol=1e-12)
    assert_allclose((b**2).sum(), 0.6 * size, atol=1e-12)
    assert not truth.W[2:].any()
    assert not truth.b[2:].any()
    assert list(truth.null) == [effect == 0, effect == 0, True, True]
    if effect:
        assert ((truth.W != 0).sum(axis=(1, 2)) == [4, 4, 0, 0]).all()
        assert ((truth.b != 0).sum(axis=1) == [2, 2, 0, 0]).all()


def test_the_mean_square_latent_change_is_effect_squared():
    dataset, truth = simulate_perturbations(
        genes=2, drugs=1, null_drugs=0, cell_lines=20_000, replicates=1, singletons=0, effect=0.7
    )
    assert_allclose(((truth.z2 - truth.z1) ** 2).mean(), 0.49, rtol=0.02)
    assert_allclose(np.cov(truth.z1.T), np.eye(8), atol=0.05)


def test_expression_matches_its_formula_and_increases():
    genes = ExpressionMap(
        baseline=np.array([8.0, 6.0]),
        scale=np.array([0.5, 1.0]),
        curvature=np.array([0.4, -0.4]),
        loadings=np.array([[1.0, 0.0], [0.6, 0.8]]),
    )
    z = np.array([[0.0, 0.0], [2.0, -1.0]])
    u = 0.6 * 2 - 0.8
    expected = [
        [8, 6],
        [8 + 0.5 * (2 + 0.4 * (math.sqrt(5) - 1)), 6 + u - 0.4 * (math.sqrt(1 + u * u) - 1)],
    ]
    assert_allclose(expression(genes, z), expected, rtol=1e-14)
    line = np.linspace(-50, 50, 2001)[:, None] * np.array([[1.0, 1.0]])
    assert (np.diff(expression(genes, line), axis=0) > 0).all()


def test_without_noise_profiles_are_the_truth():
    dataset, truth = simulate_perturbations(**QUIET)
    pair = dataset.modalities["treated"].observed_rows
    close = {"rtol": 1e-6, "atol": 2e-6}
    control = dataset.modalities["control"].values
    assert_allclose(control[pair], expression(truth.genes, truth.z1[pair]), **close)
    assert_allclose(difference(dataset, pair), truth.change[pair], **close)
    centred = expression(truth.genes, truth.z1[~pair]) - truth.genes.baseline
    read = truth.genes.baseline + truth.platform_shift + truth.platform_gain * centred
    assert_allclose(control[~pair], read, **close)
    assert not truth.change[~pair].any()


def test_without_platform_shift_the_array_reads_as_the_l1000_platform():
    dataset, truth = simulate_perturbations(**QUIET, platform_shift=0.0)
    single = dataset.table["platform"] == "array"
    assert not truth.platform_shift.any() and (truth.platform_gain == 1).all()
    assert_allclose(
        dataset.modalities["control"].values[single],
        expression(truth.genes, truth.z1[single]),
        rtol=1e-6,
    )


def test_plate_effects_are_shared_by_a_plate_and_cancel_in_pairs():
    dataset, truth = simulate_perturbations(**SMALL, batch_noise=1.0, measurement_noise=0.0)
    pair = dataset.modalities["treated"].observed_rows
    control = dataset.modalities["control"].values
    plates = dataset.table["batch"].to_numpy()
    for plate in np.unique(plates[pair]):
        rows = np.flatnonzero(plates == plate)
        assert len(rows) == len(truth.drugs)
        assert len(set(dataset.groups[rows])) == 1
        assert (control[rows] == control[rows[0]]).all()
    assert_allclose(difference(dataset, pair), truth.change[pair], atol=4e-6)
    residual = control[pair] - expression(truth.genes, truth.z1[pair])
    assert_allclose(residual.std(), 1.0, rtol=0.15)
    assert len(np.unique(control[pair], axis=0)) == len(set(plates[pair])) == 12


def test_every_well_has_noise_of_the_stated_size():
    dataset, truth = default_experiment()
    pair = dataset.modalities["treated"].observed_rows
    residual = difference(dataset, pair) - truth.change[pair]
    assert_allclose(residual.std(), 0.4 * math.sqrt(2), rtol=0.02)
    batch = dataset.table["batch"][pair]
    first = residual[batch.str.endswith("_x1")]
    second = residual[1::2]
    correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert abs(correlation) < 0.02


def test_inert_drugs_change_nothing_beyond_noise():
    dataset, truth = default_experiment()
    inert = np.flatnonzero(dataset.table["drug"] == "inert-1")
    assert not truth.change[inert].any()
    change = difference(dataset, inert)
    standard_error = change.std(axis=0, ddof=1) / math.sqrt(len(change))
    z = change.mean(axis=0) / standard_error
    assert abs(z.mean()) < 0.3
    assert 0.8 < z.std() < 1.2


def test_singletons_extend_the_lines_and_repeat_a_few():
    dataset, truth = default_experiment()
    single = np.flatnonzero(dataset.table["platform"] == "array")
    known = [row for row in single if dataset.groups[row] in set(dataset.groups[: single[0]])]
    assert len(known) == 10 and len(set(dataset.groups[single])) == 200
    for row in known:
        pair = np.flatnonzero(dataset.groups == dataset.groups[row])[0]
        assert (truth.z1[row] == truth.z1[pair]).all()


def test_change_is_predictable_but_not_trivially():
    """Under the defaults the truth beats the mean shift, which beats no change."""
    for seed in range(2):
        dataset, truth = default_experiment(seed)
        for drug in np.array(truth.drugs)[~truth.null]:
            rows = np.flatnonzero(dataset.table["drug"] == drug)
            change, observed = truth.change[rows], difference(dataset, rows)
            mean = np.broadcast_to(change.mean(axis=0), change.shape)
            noise = (observed - change).std()
            assert 0.5 < np.sqrt((change**2).mean()) / noise < 1
            assert 0.45 < (mean**2).mean() / (change**2).mean() < 0.7
            assert 0.5 < row_correlation(change, observed) < 0.65
            assert row_correlation(mean, observed) < row_correlation(change, observed) - 0.07
            assert ((observed - mean) ** 2).mean() < (observed**2).mean()


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, truth = simulate_perturbations(**SMALL, missing=0.2, seed=5)
    again, same = simulate_perturbations(**SMALL, missing=0.2, seed=5)
    other, _ = simulate_perturbations(**SMALL, missing=0.2, seed=6)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert (truth.change == same.change).all() and (truth.W == same.W).all()


def test_further_singletons_leave_the_pairs_as_they_were():
    fewer, _ = simulate_perturbations(**SMALL)
    many, _ = simulate_perturbations(**(SMALL | {"singletons": 60}))
    pairs = np.flatnonzero(fewer.table["drug"] != "")
    assert fewer.take(pairs).fingerprint() == many.take(pairs).fingerprint()


def test_missing_hides_the_stated_fraction_and_changes_nothing_else():
    full, _ = default_experiment()
    holed, _ = simulate_perturbations(missing=0.3)
    for name, modality in full.modalities.items():
        hidden = modality.mask & ~holed.modalities[name].mask
        assert_allclose(hidden.sum() / modality.mask.sum(), 0.3, atol=0.01)
        assert not (holed.modalities[name].mask & ~modality.mask).any()
        expected = np.where(holed.modalities[name].mask, modality.values, 0)
        assert (holed.modalities[name].values == expected).all()


@pytest.mark.parametrize(
    "sizes",
    [
        {"singletons": 0},
        {"singletons": 1, "cell_lines": 1, "replicates": 1},
        {"latent": 1, "genes": 1},
        {"drugs": 0, "null_drugs": 1},
        {"null_drugs": 0},
    ],
    ids=str,
)
def test_the_smallest_experiments_are_whole(sizes):
    dataset, truth = simulate_perturbations(**(SMALL | sizes))
    assert len(dataset) == len(truth.z1) > 0
    assert all(np.isfinite(modality.values).all() for modality in dataset.modalities.values())


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"genes": 0}, "genes = 0"),
        ({"latent": 0}, "latent = 0"),
        ({"cell_lines": 0}, "cell_lines = 0"),
        ({"replicates": 0}, "replicates = 0"),
        ({"drugs": -1}, "drugs = -1"),
        ({"drugs": 0, "null_drugs": 0}, r"drugs \+ null_drugs = 0"),
        ({"singletons": -1}, "singletons = -1"),
        ({"seed": -1}, "seed = -1"),
        ({"effect": -0.5}, "effect = -0.5"),
        ({"batch_noise": -1.0}, "batch_noise = -1.0"),
        ({"measurement_noise": math.nan}, "measurement_noise = nan"),
        ({"platform_shift": math.inf}, "platform_shift = inf"),
        ({"missing": 1.0}, "missing = 1.0"),
        ({"missing": -0.1}, "missing = -0.1"),
    ],
)
def test_impossible_arguments_are_named(wrong, named):
    with pytest.raises(UserError, match=f"{named}; give "):
        simulate_perturbations(**wrong)
