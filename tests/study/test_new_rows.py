"""New rows on the features of a training."""

import numpy as np
import pytest

from omics_jax.data.dataset.dataset import Modality
from omics_jax.errors import UserError
from omics_jax.study.new_rows import match_features


def modality(names, missing=()):
    values = np.arange(2 * len(names), dtype=np.float32).reshape(2, -1)
    mask = np.ones(values.shape, bool)
    mask[:, [names.index(name) for name in missing]] = False
    return Modality(values, mask, np.array(names))


def test_features_stand_in_the_order_of_the_training_and_are_missing_where_the_file_has_none():
    matched, note = match_features(modality(["c", "a", "x"]), ("a", "b", "c"), "f.csv", "genes")
    assert matched.features.tolist() == ["a", "b", "c"]
    assert matched.mask.all(axis=0).tolist() == [True, False, True]
    assert matched.values[:, 0].tolist() == [1, 4] and matched.values[:, 2].tolist() == [0, 3]
    assert note == (
        "2 of 3 genes found; without a value is 1 (b); unknown to the training and not used is 1 "
        "(x)"
    )


def test_a_feature_without_a_value_is_not_found():
    _, note = match_features(modality(["a", "b"], missing=["b"]), ("a", "b"), "f.csv", "genes")
    assert note == "1 of 2 genes found; without a value is 1 (b)"


def test_a_series_counts_a_variable_once():
    values = np.zeros((2, 3, 2), np.float32)
    mask = np.zeros(values.shape, bool)
    mask[1, 2, 0] = True
    series = Modality(values, mask, np.array(["hr", "temp"]))
    _, note = match_features(series, ("hr", "temp"), "f.csv", "variables")
    assert note == "1 of 2 variables found; without a value is 1 (temp)"


def test_names_of_another_kind_are_refused_with_one_of_either_side():
    with pytest.raises(UserError) as raised:
        match_features(
            modality(["ENSG1", "ENSG2"]), ("TP53", "EGFR"), "new.csv", "genes", " (hint)"
        )
    assert str(raised.value) == (
        "new.csv has values of none of the 2 genes of the training; they must be named alike: the "
        "training has 'TP53', the file has 'ENSG1' (hint)"
    )


def test_fewer_features_than_the_least_are_refused():
    with pytest.raises(UserError, match="has values of 1 of the 3 genes"):
        match_features(modality(["a"]), ("a", "b", "c"), "new.csv", "genes", least=2)
