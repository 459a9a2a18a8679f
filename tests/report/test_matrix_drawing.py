"""Matrices of counts against scikit-learn, and what is written into their cells."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

from omics_jax.report import matrices

pytestmark = pytest.mark.usefixtures("our_style")


def draw(frame):
    note = []
    axis = matrices.draw_matrix(frame, "predicted", "true", note).axes[0]
    return axis, axis.collections[0].get_array().reshape(len(axis.get_yticks()), -1), note


def names_of(labels):
    return [label.get_text() for label in labels]


def square_of(count, value=1.0):
    names = [f"type {i}" for i in range(count)]
    return pd.DataFrame([{"row": a, "column": b, "value": value} for a in names for b in names])


def test_shares_are_the_confusion_matrix_normalised_over_the_truth():
    random = np.random.default_rng(2)
    names = np.array(["lung", "breast", "bowel"])
    true = random.integers(0, 3, 80)
    predicted = np.where(random.random(80) < 0.7, true, 0)
    pairs = pd.DataFrame({"row": names[true], "column": names[predicted]})
    frame = (
        pairs.value_counts().rename("value").reset_index()
    )  # without the cells in which nobody is
    axis, shares, _ = draw(frame)
    rows, columns = names_of(axis.get_yticklabels()), names_of(axis.get_xticklabels())
    assert rows == list(dict.fromkeys(frame["row"])) and columns == list(
        dict.fromkeys(frame["column"])
    )
    expected = pd.DataFrame(
        confusion_matrix(names[true], names[predicted], labels=names, normalize="true"),
        names,
        names,
    )
    np.testing.assert_allclose(shares, expected.loc[rows, columns])
    counts = confusion_matrix(names[true], names[predicted], labels=rows)
    written = {text.get_position(): text.get_text() for text in axis.texts}
    for row in range(3):
        for column, name in enumerate(columns):
            assert written[column + 0.5, row + 0.5] == str(counts[row, rows.index(name)])
    assert axis.get_ylim() == (3, 0)
    assert axis.collections[0].norm(0) == 0 and axis.collections[0].norm(1) == 1


def test_cells_that_are_missing_are_0_and_cells_named_twice_are_added():
    frame = pd.DataFrame(
        {"row": list("aabbc"), "column": list("xxxyx"), "value": [1.0, 2, 1, 1, np.nan]}
    )
    axis, shares, _ = draw(frame)
    np.testing.assert_allclose(shares, [[1, 0], [0.5, 0.5], [0, 0]])
    assert [text.get_text() for text in axis.texts] == ["3", "0", "1", "1", "0", "0"]


def test_letters_differ_from_the_cell_they_stand_on():
    frame = pd.DataFrame({"row": "a", "column": list("xyz"), "value": [50.0, 7, 0]})
    axis, _, _ = draw(frame)
    assert [text.get_color() for text in axis.texts][:2] == ["white", "black"]


def test_counts_are_written_only_where_they_fit():
    assert len(draw(square_of(12))[0].texts) == 144
    assert not draw(square_of(13))[0].texts
    assert not draw(square_of(12, 123456.0))[0].texts
    assert len(draw(square_of(2, 123456.0))[0].texts) == 4


def test_shares_stay_those_of_the_whole_row_where_columns_are_cut():
    _, shares, note = draw(square_of(50))
    assert shares.shape == (matrices.MOST_CATEGORIES,) * 2
    np.testing.assert_allclose(shares, 1 / 50)
    assert note == ["The first 40 of 50 categories are drawn; all are in the data file."]
