"""Maps: every point is drawn once, in its own colour, and a note says what is thinned or grey."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from omics_jax.report import maps
from omics_jax.report.style import PALETTE

pytestmark = pytest.mark.usefixtures("our_style")


def plane(names, n=40):
    random = np.random.default_rng(8)
    x, y = random.normal(size=(n, 2)).T
    return pd.DataFrame({"x": x, "y": y, "series": np.resize(names, n)})


def draw(frame):
    note = []
    figure = maps.draw_map(frame, "UMAP 1", "UMAP 2", note)
    return figure.axes, note


def points(axis, colour=None):
    """The points of an axis, those of one colour where one is given, sorted."""
    drawn = [
        part.get_offsets()
        for part in axis.collections
        if colour is None or has_colour(part, colour)
    ]
    return by_place(np.concatenate(drawn))


def has_colour(part, colour):
    if not len(part.get_offsets()):
        return False
    return tuple(part.get_facecolor()[0, :3]) == to_rgba(colour)[:3]


def coordinates(frame):
    return by_place(frame[["x", "y"]].to_numpy())


def by_place(xy):
    return xy[np.lexsort(xy.T)]


def test_a_point_has_the_colour_of_its_category_and_none_is_grey():
    frame = plane(["LUAD", "BRCA", "LUAD", "UVM"])
    (axis,), note = draw(frame)
    np.testing.assert_array_equal(points(axis), coordinates(frame))
    names = ["BRCA", "LUAD", "UVM"]
    for colour, name in zip(PALETTE, names, strict=False):
        of_name = frame[frame["series"] == name]
        np.testing.assert_array_equal(points(axis, colour), coordinates(of_name))
    legend = axis.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == names
    assert [handle.get_color() for handle in legend.legend_handles] == list(PALETTE[:3])
    assert not note


def test_each_panel_is_coloured_by_its_own_values_or_categories():
    stages = plane(["low", "high", ""])
    years = np.where(np.arange(40) % 4, np.arange(40.0), np.nan)
    ages = plane([""]).assign(value=years, quantity="age (years)")
    stages["panel"] = "stage"
    ages["panel"] = "age"
    axes, note = draw(pd.concat([stages, ages]))
    left, right = axes[:2]
    assert left.get_title(loc="left") == "stage"
    assert right.get_title(loc="left") == "age"
    without_stage = stages[stages["series"] == ""]
    np.testing.assert_array_equal(points(left, maps.UNKNOWN), coordinates(without_stage))
    known = ages[ages["value"].notna()]
    unknown = ages[ages["value"].isna()]
    coloured = next(part for part in right.collections if part.get_array() is not None)
    np.testing.assert_array_equal(coloured.get_array(), known["value"])
    np.testing.assert_array_equal(coloured.get_offsets(), known[["x", "y"]])
    np.testing.assert_array_equal(points(right, maps.UNKNOWN), coordinates(unknown))
    (bar,) = right.child_axes
    assert bar.get_xlabel() == "age (years)"
    assert right.get_legend() is None
    assert note == ["Grey points have no category or value."]


def test_a_map_without_categories_or_values_has_one_colour():
    frame = plane(["a"]).drop(columns="series")
    (axis,), note = draw(frame)
    np.testing.assert_array_equal(points(axis, PALETTE[0]), coordinates(frame))
    assert axis.get_legend() is None and not note


def test_the_same_points_are_kept_in_every_panel():
    frame = plane(["a", "b"], n=2500)
    one = frame.assign(panel="one")
    two = frame.assign(panel="two", series="c")
    axes, note = draw(pd.concat([one, two]))
    first, second = (points(axis) for axis in axes)
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first, axis=0)) == 2000
    given = frame[["x", "y"]].to_numpy()
    assert set(map(tuple, first)) <= set(map(tuple, given))
    assert note == ["2,000 of 2,500 points are drawn, chosen at random; all are in the data file."]
    assert all(part.get_rasterized() for part in axes[0].collections)


def test_a_unit_is_as_long_on_both_axes_and_no_point_is_cut():
    frame = plane(["a"]).assign(y=lambda rows: 20 * rows["y"] + 7)
    (axis,), _ = draw(frame)
    assert np.ptp(axis.get_xlim()) == pytest.approx(np.ptp(axis.get_ylim()))
    assert axis.get_aspect() == 1
    for limits, values in ((axis.get_xlim(), frame["x"]), (axis.get_ylim(), frame["y"])):
        low, high = limits
        assert low < values.min()
        assert values.max() < high


def test_many_categories_are_named_at_their_medians():
    names = [f"type {i}" for i in range(21)]
    row, column = np.divmod(np.repeat(np.arange(21.0), 3), 5)
    off_median = np.tile([0, 0.1, 0.9], 21)  # a mean would be elsewhere
    far = pd.DataFrame({"x": column + off_median, "y": row, "series": np.repeat(names, 3)})
    (axis,), _ = draw(far)
    assert axis.get_legend() is None
    written = {text.get_text(): text.get_position() for text in axis.texts}
    assert sorted(written) == sorted(names)
    for index, name in enumerate(names):
        row, column = divmod(index, 5)
        assert written[name] == (pytest.approx(column + 0.1, abs=0.15), pytest.approx(row))
    (axis,), _ = draw(far[far["series"] != "type 0"])
    assert len(axis.get_legend().get_texts()) == maps.MOST_LISTED
    assert not axis.texts


def test_no_two_categories_look_alike():
    marks = {tuple(maps.category_mark(index).values()) for index in range(49)}
    assert len(marks) == 49


def test_names_do_not_cover_each_other():
    random = np.random.default_rng(0)
    centres = 0.5 + 0.02 * random.normal(size=(20, 2))
    sizes = np.tile([0.12, 0.04], (20, 1))
    places = maps.spread_boxes(centres, sizes)
    gaps = np.abs(places[:, None] - places) + 1e-9 >= sizes[0]
    itself = np.eye(20, dtype=bool)
    assert (gaps.any(axis=2) | itself).all()
    np.testing.assert_array_equal(places[0], centres[0])
    assert (places - sizes / 2 > -1e-9).all()
    assert (places + sizes / 2 < 1 + 1e-9).all()
