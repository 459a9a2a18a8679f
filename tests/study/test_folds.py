"""Folds of a dataset's rows, and the replicates and counts that a system makes of them."""

from collections import Counter
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from outcome_rows import labelled

from omics_jax.data.dataset.dataset import Modality
from omics_jax.study import folds

N = 60
CONFIG = SimpleNamespace(folds=3, repeats=2, seed=7)


@pytest.fixture(scope="module")
def dataset():
    """Sixty samples of twenty patients, three each."""
    values = np.arange(2.0 * N, dtype=np.float32).reshape(N, 2)
    observed = np.ones(values.shape, bool)
    block = Modality(values, observed, np.array(["a", "b"]))
    rows = labelled({"age": np.arange(float(N))}, modalities={"rna": block, "mirna": block})
    patients = [f"patient{i // 3}" for i in range(N)]
    return replace(rows, groups=np.array(patients))


@pytest.fixture(scope="module")
def splits(dataset):
    return folds.deal_folds(CONFIG, dataset)


def parts_of(split):
    return split.train, split.validation, split.test


def assert_rows(parts, expected):
    """Together the parts are these rows, each once."""
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), expected)


def test_every_repeat_tests_every_row_once_and_keeps_groups_together(dataset, splits):
    assert [split.repeat for split in splits] == [0, 0, 0, 1, 1, 1]
    assert [split.fold for split in splits] == [0, 1, 2, 0, 1, 2]
    for repeat in range(2):
        tested = [split.test for split in splits if split.repeat == repeat]
        assert_rows(tested, np.arange(N))
    for split in splits:
        assert_rows(parts_of(split), np.arange(N))
        groups = [set(dataset.groups[part]) for part in parts_of(split)]
        for one, other in combinations(groups, 2):
            assert not one & other
    assert set(splits[0].test) != set(splits[3].test)


def test_folds_depend_on_the_seed_and_on_nothing_but_names(dataset, splits):
    again = folds.deal_folds(CONFIG, dataset)
    for ours, theirs in zip(splits, again, strict=True):
        np.testing.assert_array_equal(ours.test, theirs.test)
    backwards = dataset.take(np.arange(N)[::-1])
    for ours, theirs in zip(splits, folds.deal_folds(CONFIG, backwards), strict=True):
        assert set(dataset.ids[ours.test]) == set(backwards.ids[theirs.test])
    other = folds.deal_folds(SimpleNamespace(**{**vars(CONFIG), "seed": 8}), dataset)
    pairs = zip(splits, other, strict=True)
    assert any(set(ours.test) != set(theirs.test) for ours, theirs in pairs)


@pytest.mark.parametrize("as_mask", [True, False])
def test_folds_of_some_rows_hold_no_other(dataset, as_mask):
    chosen = np.arange(N) % 2 == 0
    rows = chosen if as_mask else np.flatnonzero(chosen)
    for split in folds.deal_folds(CONFIG, dataset, rows=rows):
        assert_rows(parts_of(split), np.flatnonzero(chosen))


def test_every_fold_keeps_the_share_of_every_stratum(dataset):
    patients = np.arange(N) // 3
    codes = (patients % 5 == 0).astype(int)  # 4 of 20 patients
    known = patients < 18
    strata = folds.strata_of(codes, known)
    np.testing.assert_array_equal(strata[known], codes[known])
    assert (strata[~known] == folds.UNKNOWN).all()
    for split in folds.deal_folds(CONFIG, dataset, strata):
        by_patient = {dataset.groups[row]: strata[row] for row in split.test}
        counts = Counter(by_patient.values())
        for code, total in {folds.UNKNOWN: 2, 0: 14, 1: 4}.items():
            assert total // 3 <= counts[code] <= total // 3 + 1


def test_a_seed_is_of_the_split_and_not_of_its_place(splits):
    seeds = [folds.seed_of(CONFIG, split) for split in splits]
    assert seeds == [7, 8, 9, 1007, 1008, 1009]
    made = folds.replicates(CONFIG, splits[::-1], "rows", lambda split: {})
    assert [replicate.seed for replicate in made] == seeds[::-1]


def test_a_replicate_holds_its_splits_rows_labels_and_constants(splits):
    def fitted(split):
        return {"count": np.array(len(split.train))}

    made = folds.replicates(CONFIG, splits, "rows", fitted, group="a drug")
    for replicate, split in zip(made, splits, strict=True):
        assert replicate.rows.keys() == replicate.validation.keys() == {"rows"}
        np.testing.assert_array_equal(replicate.rows["rows"], split.train)
        np.testing.assert_array_equal(replicate.validation["rows"], split.validation)
        np.testing.assert_array_equal(replicate.test, split.test)
        assert replicate.constants["count"] == len(split.train)
        expected = {"group": "a drug", "fold": split.fold, "repeat": split.repeat}
        assert replicate.labels == expected
    assert folds.labels_of(splits[0])["group"] == "all"


def test_a_spec_counts_the_features_and_the_most_rows_of_every_slot(dataset, splits):
    features = folds.features_of(dataset)
    assert features == {"rna": ("a", "b"), "mirna": ("a", "b")}
    assert all(type(name) is str for names in features.values() for name in names)
    made = folds.replicates(CONFIG, splits, "rows", lambda split: {})
    made = [
        replace(replicate, rows={**replicate.rows, "others": np.arange(i)})
        for i, replicate in enumerate(made)
    ]
    most = max(len(split.train) for split in splits)
    assert folds.most_rows(made) == {"rows": most, "others": len(made) - 1}
