"""Rankings of features by their attributions, beside networks that learned permuted outcomes."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.evaluation.tables import Frame
from omics_jax.study.system import MODEL, Results
from omics_jax.tasks import interpretation
from omics_jax.tasks.attribution import ATTRIBUTION, NETWORK, PERMUTED


def test_the_family_wise_p_is_exact_and_features_that_never_vary_are_no_tests():
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(400):
        draws = rng.exponential([1.0, 1.0, 5.0, 20.0, 0.0], (20, 5))
        p, family = interpretation.permutation_p_values(draws[0], draws[1:])
        assert np.isnan(p).tolist() == np.isnan(family).tolist() == [False] * 4 + [True]
        false += np.nanmin(family) <= 0.05
    assert 6 <= false <= 35  # 20 expected, s.d. 4.4
    draws[0, 0] = 30
    p, family = interpretation.permutation_p_values(draws[0], draws[1:])
    assert np.nanargmin(p) == 0 and p[0] < 0.02 and family[0] == 0.05


def test_shares_are_free_of_how_sure_a_network_is():
    magnitudes = np.array([[1.0, 3.0, np.nan], [10.0, 30.0, np.nan], [0.0, 0.0, 0.0]])
    shares = interpretation.attribution_shares(magnitudes)
    np.testing.assert_array_equal(shares, [[0.25, 0.75, np.nan], [0.25, 0.75, np.nan], [0, 0, 0]])


FEATURES = [f"gene{j}" for j in range(8)]
FOLDS, PERMUTATIONS = 3, 20


def attributed(arm, group, fold, magnitude):
    rows = pd.DataFrame({"feature": FEATURES, "magnitude": magnitude})
    rows = rows.assign(modality="rna", signed=-rows["magnitude"])
    return rows.assign(arm=arm, model=MODEL, group=group, fold=fold)


@pytest.fixture(scope="module")
def tables():
    """Of a network whose first feature stands out, whose last never counts."""
    random = np.random.default_rng(0)

    def magnitudes(first):
        drawn = random.uniform(0.9, 1.1, len(FEATURES)) + np.arange(len(FEATURES)) / 10
        return np.r_[first, drawn[1:-1], 0.0]

    frames = [attributed(NETWORK, "all", fold, magnitudes(30.0)) for fold in range(FOLDS)]
    # Networks that learned another outcome anew, and still all of this one, are no null for it.
    frames += [
        attributed(PERMUTED, f"{task} permutation {i + 1}", 0, magnitudes(first))
        for task, first in (("OS", 30.0), ("age", 1.0))
        for i in range(PERMUTATIONS)
    ]
    frame = Frame(ATTRIBUTION, pd.concat(frames, ignore_index=True))
    other = Frame("regression", pd.DataFrame())
    results = Results(pd.DataFrame(), {"attribution_age": frame, "age": other}, {})
    return interpretation.ranking_tables(results)


def test_every_task_with_attributions_has_its_tables(tables):
    assert list(tables) == ["interpretation", "age_ranking", "age_features"]
    (line,) = tables["interpretation"].frame.to_dict("records")
    assert line["task"] == "age" and line["features"] == len(FEATURES) - 1
    assert line["permutations"] == PERMUTATIONS
    assert line["q below .05"] == line["family-wise p below .05"] == 1
    assert line["rank stability"] > 0.5


def test_the_feature_beyond_the_null_comes_first(tables):
    features = tables["age_features"].frame
    assert features["feature"].tolist()[0] == "gene0" and features["q"].tolist()[0] < 0.05
    assert (features["share"].diff().dropna() <= 0).all()
    assert features["share"].sum() == pytest.approx(1)
    never = features[features["feature"] == FEATURES[-1]]
    assert never[["p", "q", "p_family"]].isna().to_numpy().all()


def test_the_ranking_says_which_features_are_beyond_the_null(tables):
    ranking = tables["age_ranking"]
    assert ranking.kind == "ranking"
    beyond = ranking.frame[ranking.frame["series"] == "beyond the null (q < .05)"]
    assert beyond["label"].tolist() == ["gene0 (rna)"]
    assert beyond["value"].tolist()[0] == pytest.approx(
        100 * tables["age_features"].frame["share"].max()
    )
