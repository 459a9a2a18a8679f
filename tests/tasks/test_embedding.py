"""Embeddings of rows with what is known and predicted of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from outcome_rows import AGE, OS, TYPE, make_cohort

from omics_jax.tasks.embedding import annotated_embedding

TASKS = (TYPE, AGE, OS)
ROWS = 20


@pytest.fixture(scope="module")
def cohort():
    return make_cohort()[1].take(np.arange(ROWS))


def predicted(random):
    return {
        "embedding": random.standard_normal((ROWS, 3)),
        "type_probability": random.dirichlet(np.ones(len(TYPE.classes)), ROWS),
        "age_value": random.standard_normal(ROWS),
        "OS_risk": random.standard_normal(ROWS),
    }


def test_every_outcome_stands_beside_the_embedding_and_its_prediction(cohort):
    fields = predicted(np.random.default_rng(0))
    (matrix,) = annotated_embedding(TASKS, fields, cohort).values()
    np.testing.assert_array_equal(matrix.values, fields["embedding"])
    assert list(matrix.names) == ["embedding_1", "embedding_2", "embedding_3"]
    assert matrix.ids.tolist() == cohort.ids.tolist()
    columns, targets = matrix.annotations, cohort.targets
    for i in range(ROWS):
        code, is_known = (part[i] for part in targets["type"])
        assert columns["type"].iloc[i] == (TYPE.classes[int(code)] if is_known else "")
        best = TYPE.classes[fields["type_probability"][i].argmax()]
        assert columns["type_predicted"].iloc[i] == best
    for name, partner in (("age", "age"), ("OS.time", "OS.event"), ("OS.event", "OS.time")):
        known = targets[name][1] & targets[partner][1]
        expected = np.where(known, targets[name][0], np.nan)
        np.testing.assert_array_equal(columns[name], expected)
    np.testing.assert_array_equal(columns["age_predicted"], fields["age_value"])
    np.testing.assert_array_equal(columns["OS_predicted"], fields["OS_risk"])


def test_new_rows_have_their_table_and_predictions_alone():
    """Of a row without any value nothing is predicted; a column of an outcome's name stays."""
    cohort = make_cohort()[1].take(np.arange(ROWS))
    table = pd.DataFrame({"site": ["here"] * ROWS, "age": ["?"] * ROWS}, index=cohort.table.index)
    new = replace(cohort, table=table, targets={}, classes={})
    fields = predicted(np.random.default_rng(0))
    fields["type_probability"][3] = np.nan
    columns = annotated_embedding(TASKS, fields, new)["embedding"].annotations
    names = ["site", "age", "type_predicted", "age_predicted", "OS_predicted"]
    assert columns.columns.tolist() == names
    assert (columns["age"] == "?").all()
    assert columns["type_predicted"].iloc[3] == "" and (columns["type_predicted"] != "").sum() == 19


def test_what_has_no_embedding_is_not_written(cohort):
    assert annotated_embedding(TASKS, {"type_probability": np.ones((ROWS, 2))}, cohort) == {}
