"""Covariates of people as columns of numbers: words, unknown cells, new words, refusals."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.vocabulary import parse_missing
from omics_jax.errors import UserError
from omics_jax.study.covariates import covariate_columns, covariate_values, levels_of

NAN = np.nan


def with_table(**columns):
    ids = np.array([f"P{i}" for i in range(len(next(iter(columns.values()))))])
    return Dataset(ids, ids, {}, pd.DataFrame(columns, index=ids), {})


TABLE = with_table(
    age=["40", " 50.5", "NA", "", "6e1"],
    sex=["f", "m", "f ", "unknown", ""],
    stage=["1", "2", "late", "1", "NA"],
    code=["1", "2", "1", "2", "1"],
)
COLUMNS = ("sex", "age", "stage", "code")


def test_numbers_are_one_column_and_words_one_each():
    levels = levels_of(TABLE, COLUMNS)
    assert levels == {"sex": ("f", "m"), "age": (), "stage": ("1", "2", "late"), "code": ()}
    assert covariate_columns(levels) == [
        *(("sex", "f"), ("sex", "m"), ("age", "")),
        *(("stage", "1"), ("stage", "2"), ("stage", "late"), ("code", "")),
    ]
    values = covariate_values(TABLE, levels)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values[:, :2], [[1, 0], [0, 1], [1, 0], [NAN] * 2, [NAN] * 2])
    np.testing.assert_array_equal(values[:, 2], np.float32([40, 50.5, NAN, NAN, 60]))
    np.testing.assert_array_equal(
        values[:, 3:6], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [NAN] * 3]
    )
    np.testing.assert_array_equal(values[:, 6], [1, 2, 1, 2, 1])


def test_a_column_that_is_named_twice_counts_once():
    assert list(levels_of(TABLE, ("age", "sex", "age"))) == ["age", "sex"]


def test_without_columns_there_are_no_covariates():
    assert levels_of(TABLE, ()) == {}
    assert covariate_values(TABLE, {}).shape == (5, 0)


def test_new_words_columns_and_text_are_unknown_of_new_people():
    levels = levels_of(TABLE, COLUMNS)
    new = with_table(sex=["f", "x", ""], age=["44", "old", "inf"], code=["3", "1", "2"])
    values = covariate_values(new, levels)
    np.testing.assert_array_equal(
        values,
        np.float32(
            [
                [1, 0, 44, NAN, NAN, NAN, 3],
                [NAN, NAN, NAN, NAN, NAN, NAN, 1],
                [NAN, NAN, NAN, NAN, NAN, NAN, 2],
            ]
        ),
    )


def test_what_the_files_write_for_unknown_is_unknown():
    table = with_table(age=["40", "-999", "50"], sex=["f", "withheld", "m"])
    missing = parse_missing("-999, withheld")
    levels = levels_of(table, ("age", "sex"), missing)
    assert levels == {"age": (), "sex": ("f", "m")}
    np.testing.assert_array_equal(
        covariate_values(table, levels, missing), [[40, 1, 0], [NAN] * 3, [50, 0, 1]]
    )


def test_infinite_numbers_are_words():
    assert levels_of(with_table(age=["40", "inf", "50"]), ("age",))["age"] == ("40", "50", "inf")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("height",), "'height', which the table of people lacks; it has age, sex, stage, code"),
        (("empty",), "'empty' is unknown of everyone; leave it out of config.adjust"),
        (("name",), "'name' has 60 different words, such as 'n00', where at most 50 make sense"),
    ],
)
def test_what_no_covariate_can_be_is_refused(columns, message):
    many = with_table(name=[f"n{i:02d}" for i in range(60)], empty=["NA", ""] * 30)
    table = many if columns[0] in many.table else TABLE
    with pytest.raises(UserError) as caught:
        levels_of(table, columns)
    assert message in str(caught.value)
