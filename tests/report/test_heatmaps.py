"""Heat maps keep the frame's order, join the rows of a group and write every group's name."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.report import heatmaps


def cells(rows, group=None):
    frame = pd.DataFrame(rows, columns=["row", "column", "value"])
    return frame if group is None else frame.assign(group=group)


def test_rows_of_a_group_stand_together_in_the_frame_order():
    frame = cells(
        [("p2", "b", 1.0), ("p2", "a", 2.0), ("p1", "a", 3.0), ("p3", "b", 4.0), ("p3", "a", 5.0)],
        ["case", "case", "control", "case", "case"],
    )
    table, groups = heatmaps.value_table(frame)
    assert groups == ["case", "case", "control"] and list(table.index) == ["p2", "p3", "p1"]
    assert list(table.columns) == ["b", "a"]
    np.testing.assert_array_equal(table.to_numpy(), [[1, 2], [4, 5], [np.nan, 3]])


def test_the_same_person_in_two_groups_is_two_rows():
    frame = cells([("p", "a", 1.0), ("p", "a", 2.0)], ["RA case", "MS case"])
    table, groups = heatmaps.value_table(frame)
    assert table["a"].tolist() == [1, 2] and groups == ["RA case", "MS case"]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([1.0, 5.0], [1.0, 5.0]),
        ([1.0, 1.5, 2.0], [1.0, 2.0, 3.0]),
        ([8.0, 9.0, 9.5], [7.0, 8.0, 9.0]),
    ],
)
def test_labels_are_moved_apart(places, expected):
    length = 9.0 if places[0] == 8.0 else 10.0
    np.testing.assert_allclose(heatmaps.spread(np.array(places), 1.0, length), expected)


def test_colours_are_even_around_zero():
    frame = cells([("p", "a", -1.0), ("p", "b", 3.0)], ["g", "g"]).assign(quantity="s.d.")
    figure = heatmaps.draw_heatmap(frame, "", "", [])
    axis, bar = figure.axes
    mesh = axis.collections[0]
    assert mesh.norm.vmin == -mesh.norm.vmax and bar.get_ylabel() == "s.d."
    assert [label.get_text() for label in axis.get_yticklabels()] == ["g (1)"]
