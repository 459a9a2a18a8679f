"""ROC, precision-recall and calibration: what is drawn is what was computed, checked on the axes
themselves.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from omics_jax.report import figures, unit_squares
from omics_jax.report.style import DASHES, PALETTE

pytestmark = pytest.mark.usefixtures("our_style")


def predictions(n=60):
    random = np.random.default_rng(4)
    label = random.random(n) < 0.3
    return np.round(random.normal(label, 1.0), 1), label  # rounded, so that some scores are tied


def line_of(axis, colour=PALETTE[0]):
    return next(line for line in axis.lines if line.get_color() == colour)


def legend_of(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_the_area_under_the_drawn_roc_line_is_the_auroc():
    score, label = predictions()
    x, y, _ = roc_curve(label, score)
    shuffled = pd.DataFrame({"x": x, "y": y}).sample(frac=1, random_state=1)
    (axis,) = unit_squares.draw_roc(shuffled, "", "", []).axes
    line = line_of(axis)
    assert line.get_drawstyle() == "default"
    assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(
        roc_auc_score(label, score)
    )


def test_the_area_under_the_drawn_steps_is_the_average_precision():
    score, label = predictions()
    y, x, _ = precision_recall_curve(label, score)
    shuffled = pd.DataFrame({"x": x, "y": y, "chance": label.mean()}).sample(frac=1, random_state=1)
    (axis,) = unit_squares.draw_precision_recall(shuffled, "", "", []).axes
    line = line_of(axis)
    x, y = line.get_xdata(), line.get_ydata()
    assert line.get_drawstyle() == "steps-pre"
    assert np.sum(np.diff(x) * y[1:]) == pytest.approx(average_precision_score(label, score))
    chance = line_of(axis, unit_squares.GREY)
    assert set(chance.get_ydata()) == {label.mean()} and legend_of(axis) == ["chance"]


def test_without_chance_or_names_there_is_no_legend_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = figures.draw("pr", pd.DataFrame({"x": [0.0, 1.0], "y": [1.0, 0.5]}), "t", "", "")
    assert "chance" not in drawing.svg


def test_the_legend_keeps_every_word_of_a_name_and_its_look():
    names = ["logistic regression on 200 summaries, AUC 0.831 (0.812 to 0.853)", "chance"]
    frame = pd.concat(
        pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0], "series": name}) for name in names
    )
    (axis,) = unit_squares.draw_roc(frame, "", "", []).axes
    assert [text.replace("\n", " ") for text in legend_of(axis)] == [*names, "chance"]
    for index, handle in enumerate(axis.get_legend().legend_handles[:2]):
        assert handle.get_color() == PALETTE[index]
        assert handle.get_linestyle() == DASHES[index]


def calibration(scale=1.0, series=("net",)):
    x = np.array([0.3, 0.1, np.nan, 0.8])
    part = pd.DataFrame({"x": scale * x, "y": scale * (x + 0.05), "count": [40.0, 38.0, 0.0, 41.0]})
    part = part.assign(low=part["y"] - 0.04 * scale, high=part["y"] + 0.04 * scale)
    return pd.concat(part.assign(series=name) for name in series)


def test_calibration_joins_the_bins_that_hold_rows_and_says_how_many():
    note = []
    (axis,) = unit_squares.draw_calibration(calibration(), "", "", note).axes
    np.testing.assert_allclose(line_of(axis).get_xydata(), [[0.1, 0.15], [0.3, 0.35], [0.8, 0.85]])
    bars = [segment[:, 1] for segment in axis.collections[0].get_segments()]
    np.testing.assert_allclose(bars, [[0.11, 0.19], [0.31, 0.39], [0.81, 0.89]])
    assert note == ["Each point stands for 38 to 41 rows."]
    assert legend_of(axis) == ["net", "perfect"]


@pytest.mark.parametrize(
    ("scale", "end"), [(1.0, 1.0), (0.5, 0.5), (0.3, 0.3), (0.05, 0.1), (0.57, 1.0)]
)
def test_low_risks_get_the_same_short_range_on_both_axes(scale, end):
    note = []
    (axis,) = unit_squares.draw_calibration(calibration(scale), "", "", note).axes
    assert axis.get_xlim() == axis.get_ylim() == pytest.approx((-0.02 * end, 1.02 * end))
    assert axis.get_aspect() == 1.0
    assert (f"Both axes end at {end:g}." in note) == (end < 1)
    assert line_of(axis, unit_squares.GREY).get_xydata().tolist() == [[0, 0], [end, end]]


def test_more_than_four_calibrations_take_a_square_each():
    assert len(unit_squares.draw_calibration(calibration(series="abcd"), "", "", []).axes) == 1
    axes = unit_squares.draw_calibration(calibration(series="abcde"), "", "", []).axes
    assert [axis.get_title(loc="left") for axis in axes] == list("abcde")
    assert len({axis.get_xlim() for axis in axes}) == 1
