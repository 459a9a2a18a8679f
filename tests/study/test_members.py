"""Ensembles: which trainings they are, and what their predictions are together."""

from dataclasses import replace

import numpy as np
import pytest
from every_arm import arms_of

from omics_jax.study.members import (
    MEMBER,
    SEED_STEP,
    ensembles,
    mean_prediction,
    split_labels,
    with_members,
)
from omics_jax.study.system import Range, Tuning
from omics_jax.training.stage import Replicate

ARM = arms_of("multiomics", "multitask")[-1]


def replicate(seed, **labels):
    return Replicate({"rows": np.arange(3)}, {}, np.arange(2), seed, labels=labels)


def test_members_differ_in_the_seed_and_the_first_is_the_replicate_itself():
    real = [replicate(5, fold=0, repeat=0), replicate(6, fold=1, repeat=0)]
    drawn = with_members(replace(ARM, replicates=real, starts=(1, 0)), 3)
    seeds = [own.seed for own in drawn.replicates]
    assert seeds == [5, 5 + SEED_STEP, 5 + 2 * SEED_STEP, 6, 6 + SEED_STEP, 6 + 2 * SEED_STEP]
    assert [own.labels[MEMBER] for own in drawn.replicates] == [0, 1, 2, 0, 1, 2]
    assert [split_labels(own) for own in drawn.replicates[::3]] == [own.labels for own in real]
    assert drawn.starts == (3, 4, 5, 0, 1, 2)
    assert ensembles(drawn.replicates) == [range(3), range(3, 6)]


def test_one_member_is_no_ensemble():
    assert with_members(ARM, 1) is ARM
    assert ensembles([replicate(0), replicate(1)]) == [range(1), range(1, 2)]


def test_an_ensemble_need_not_begin_with_its_first_member():
    """Such as an arm of which some trainings are left out."""
    real = [replicate(5, fold=0), replicate(6, fold=1), replicate(7, fold=2)]
    drawn = with_members(replace(ARM, replicates=real, starts=()), 3).replicates
    some = [drawn[0], *drawn[4:6], drawn[8]]
    assert ensembles(some) == [range(1), range(1, 3), range(3, 4)]
    assert ensembles([]) == []


def test_replicates_without_any_other_label_are_ensembles_of_their_own():
    drawn = with_members(replace(ARM, replicates=[replicate(5), replicate(6)], starts=()), 2)
    assert ensembles(drawn.replicates) == [range(2), range(2, 4)]


def test_the_replicate_whose_tuning_serves_all_is_still_that_one():
    tuning = Tuning({"rate": Range(1e-3, 1e-1)}, seed=0, replicate=1)
    assert with_members(replace(ARM, tuning=tuning), 4).tuning.replicate == 4


def test_the_prediction_is_the_mean_and_what_all_share_stays_as_it_is():
    columns = np.array([[3, 2**25 + 1]] * 2, np.int32)
    members = [{"p": np.array([0.2, x]), "columns": columns} for x in (0.1, 0.5, 0.9)]
    system = replace(ARM.system, pool_new=None)
    prediction = mean_prediction(system, members)
    np.testing.assert_allclose(prediction["p"], [0.2, 0.5], rtol=1e-7)
    assert prediction["columns"] is columns
    assert mean_prediction(system, members[:1]) is members[0]


def test_text_that_all_members_share_stays_and_other_text_has_no_mean():
    system = replace(ARM.system, pool_new=None)
    alike = [{"word": np.array(["a", "b"])} for _ in range(2)]
    assert mean_prediction(system, alike)["word"].tolist() == ["a", "b"]
    for other in (np.array(["a", "c"]), np.array(["a", "long"], object)):
        with pytest.raises(ValueError, match="'word' of an ensemble's members are text"):
            mean_prediction(system, [*alike, {"word": other}])


def test_truth_values_have_a_mean():
    system = replace(ARM.system, pool_new=None)
    members = [{"reached": np.array(own)} for own in ([True, False], [True, True])]
    np.testing.assert_array_equal(mean_prediction(system, members)["reached"], [1, 0.5])


def test_a_field_that_is_pooled_otherwise_falls_back_on_the_mean_where_it_is_not_finite():
    members = [{"median": np.array([1.0, 4.0])}, {"median": np.array([2.0, 6.0])}]

    def pool(members):
        return {"median": (np.array([1.7, np.nan]), np.zeros(2))}

    prediction = mean_prediction(replace(ARM.system, pool_new=pool), members)
    np.testing.assert_allclose(prediction["median"], [1.7, 5.0])


def test_members_share_rows_and_constants():
    drawn = with_members(ARM, 2)
    for first, second in zip(drawn.replicates[::2], drawn.replicates[1::2], strict=True):
        assert first.rows is second.rows and first.constants is second.constants
        assert first.test is second.test
