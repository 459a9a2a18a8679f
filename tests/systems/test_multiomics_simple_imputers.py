"""Simple imputers and the scores of imputed modalities, against scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from outcome_rows import RULES, labelled, make_cohort
from sklearn.impute import SimpleImputer
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from omics_jax.data.dataset.dataset import Modality
from omics_jax.errors import UserError
from omics_jax.systems.multiomics import simple_imputers

NOBODY = labelled({"age": np.zeros(1)})


@pytest.fixture(scope="module")
def cohort():
    return make_cohort()


def scores_of(predictions):
    """The metrics, which read nothing of the rows but the predictions."""
    return simple_imputers.evaluate_imputation(predictions, NOBODY, NOBODY).metrics


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name)


def test_a_perfect_imputation_is_best_and_on_the_better_side_of_noise():
    random = np.random.default_rng(0)
    truth, noise = random.random((20, 3)), random.random((20, 3))
    cells = np.ones((20, 3), bool)
    fields = {"mirna_truth": truth, "mirna_scored": cells}
    best = scores_of({**fields, "mirna_estimate": truth})
    poor = scores_of({**fields, "mirna_estimate": noise})
    assert best == {"mirna_rmse": 0, "mirna_mae": 0, "mirna_pearson": pytest.approx(1)}
    sides = simple_imputers.imputation_sides(["mirna"])
    assert best.keys() < sides.keys()
    for name, value in best.items():
        assert (value > poor[name]) == (sides[name] == "higher")


def test_imputation_scores_are_of_the_scored_cells():
    random = np.random.default_rng(6)
    truth, estimate = random.random((30, 5)), random.random((30, 5))
    scored = random.random(truth.shape) > 0.2
    scored[:10] = False
    truth[:, 3] = 0.4  # its correlation is not defined
    estimate[:, 4] = 0.5  # this one's is 0
    truth[~scored] = 1e6
    estimate[~scored] = -1e6
    predictions = {"mirna_estimate": estimate, "mirna_truth": truth, "mirna_scored": scored}
    found = scores_of(predictions)
    error = (estimate - truth)[scored]
    r = [np.corrcoef(truth[scored[:, j], j], estimate[scored[:, j], j])[0, 1] for j in range(3)]
    expected = {
        "mirna_rmse": np.sqrt((error**2).mean()),
        "mirna_mae": np.abs(error).mean(),
        "mirna_pearson": np.median([*r, 0]),
    }
    assert_same(found, expected)
    nothing = scores_of(predictions | {"mirna_scored": np.zeros((30, 5), bool)})
    assert nothing.keys() == expected.keys() and np.isnan(list(nothing.values())).all()
    broken = np.where(np.arange(30)[:, None] == 20, np.nan, estimate)
    assert np.isnan(scores_of(predictions | {"mirna_estimate": broken})["mirna_rmse"])


def linked(n, seed):
    """Patients whose mirna is linear in their rna; some lack one, some cells are missing."""
    random = np.random.default_rng(seed)
    weights = np.random.default_rng(0).normal(size=(6, 4))
    x = random.normal(size=(n, 6)).astype(np.float32)
    y = (x @ weights + 0.05 * random.normal(size=(n, 4))).astype(np.float32)
    masks = [random.random((n, width)) > 0.03 for width in (6, 4)]
    masks[0][: n // 8], masks[1][-n // 8 :] = False, False
    blocks = zip(("rna", "mirna"), (x, y), masks, strict=True)
    modalities = {
        k: Modality(np.where(m, v, 0), m, np.arange(v.shape[1]).astype(str)) for k, v, m in blocks
    }
    return labelled({"age": np.zeros(n)}, modalities=modalities)


def test_imputation_baselines_learn_from_the_sources_alone():
    train, test = linked(120, 1), linked(40, 2)
    edges = {"mirna": ("rna",)}
    fitted = simple_imputers.imputation_baselines(RULES, edges, train, test)
    found = {name: scores_of(fields) for name, fields in fitted.items()}
    assert (
        found["PCA + ridge"]["mirna_rmse"]
        < found["kNN"]["mirna_rmse"]
        < found["mean"]["mirna_rmse"]
    )
    assert found["PCA + ridge"]["mirna_pearson"] > 0.9 and found["mean"]["mirna_pearson"] == 0

    y, able = test.modalities["mirna"], test.modalities["rna"].observed_rows
    blank = [np.where(m.mask, m.values, np.nan) for m in (train.modalities["mirna"], y)]
    truth = MinMaxScaler(clip=True).fit(blank[0]).transform(blank[1])
    for fields in fitted.values():
        np.testing.assert_array_equal(fields["mirna_scored"], y.mask & able[:, None])
        np.testing.assert_allclose(fields["mirna_truth"][y.mask], truth[y.mask], atol=1e-6)
        assert all(np.isfinite(values).all() for values in fields.values())

    nonsense = replace(y, values=np.full_like(y.values, 1e6))
    poisoned = replace(test, modalities={**test.modalities, "mirna": nonsense}).take(
        np.arange(39, -1, -1)
    )
    again = simple_imputers.imputation_baselines(RULES, edges, train, poisoned)
    for name, fields in fitted.items():
        np.testing.assert_allclose(
            again[name]["mirna_estimate"][::-1], fields["mirna_estimate"], atol=1e-6
        )


def test_neighbours_are_the_ten_nearest_training_rows_that_have_both():
    train, test = linked(120, 1), linked(40, 2)
    fields = simple_imputers.imputation_baselines(RULES, {"mirna": ("rna",)}, train, test)["kNN"]
    scaled = {}
    for name in ("rna", "mirna"):
        blocks = [
            np.where(d.modalities[name].mask, d.modalities[name].values, np.nan)
            for d in (train, test)
        ]
        steps = make_pipeline(SimpleImputer(), MinMaxScaler(clip=True)).fit(blocks[0])
        scaled[name] = [steps.transform(block) for block in blocks]
    both = np.logical_and(*(train.modalities[name].observed_rows for name in ("rna", "mirna")))
    able = test.modalities["rna"].observed_rows
    near = (
        NearestNeighbors(n_neighbors=10)
        .fit(scaled["rna"][0][both])
        .kneighbors(scaled["rna"][1][able])[1]
    )
    expected = scaled["mirna"][0][both][near].mean(axis=1)
    np.testing.assert_allclose(fields["mirna_estimate"][able], expected, atol=1e-5)


def test_any_one_of_several_sources_will_do(cohort):
    train, test = cohort
    some = np.logical_or(*(test.modalities[name].observed_rows for name in ("rna", "methylation")))
    every = np.logical_and(
        *(test.modalities[name].observed_rows for name in ("rna", "methylation"))
    )
    assert not every.all()
    fields = simple_imputers.imputation_baselines(
        RULES, {"mirna": ("rna", "methylation")}, train, test
    )["PCA + ridge"]
    measured = test.modalities["mirna"].observed_rows
    assert fields["mirna_scored"].any(axis=1).tolist() == (some & measured).tolist()


def test_an_imputation_nobody_could_teach_is_refused():
    train, test = linked(120, 1), linked(40, 2)
    apart = train.take(np.r_[0:15, 110:120])  # the first lack rna, the last mirna
    with pytest.raises(UserError, match="0 of 25 training rows have mirna and rna"):
        simple_imputers.imputation_baselines(RULES, {"mirna": ("rna",)}, apart, test)
