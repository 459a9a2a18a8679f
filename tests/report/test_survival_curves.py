"""Survival curves: areas against lifelines, bands and numbers at risk against values worked out by
hand.
"""

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from lifelines.utils import restricted_mean_survival_time

from omics_jax.evaluation.follow_up import kaplan_meier
from omics_jax.report import survival_curves
from omics_jax.report.style import PALETTE

pytestmark = pytest.mark.usefixtures("our_style")


def draw(frame, x_label="time (days)"):
    return survival_curves.draw_survival(frame, x_label, "", []).axes


def line_of(axis, index=0):
    return next(line for line in axis.lines if line.get_color() == PALETTE[index])


def test_the_area_under_the_steps_is_the_restricted_mean_survival():
    random = np.random.default_rng(6)
    times, events = random.integers(3, 40, 60).astype(float), random.random(60) < 0.6
    x, y, at_risk = kaplan_meier(times, events)
    frame = pd.DataFrame({"x": x, "y": y, "at_risk": at_risk}).sample(frac=1, random_state=1)
    line = line_of(draw(frame)[0])
    assert line.get_drawstyle() == "steps-post"
    x, y = line.get_xdata(), line.get_ydata()
    expected = restricted_mean_survival_time(KaplanMeierFitter().fit(times, events), t=x[-1])
    assert np.sum(np.diff(x) * y[:-1]) == pytest.approx(expected)


def test_a_band_holds_like_its_curve_from_time_0_on():
    frame = pd.DataFrame(
        {"x": [1.0, 2, 3], "y": [0.5, 0.2, 0.1], "low": [0.4, 0.1, 0.1], "high": [0.6, 0.3, 0.1]}
    )
    (axis,) = draw(frame)
    band = axis.collections[0].get_paths()[0]
    inside = [(1.9, 0.41), (1.9, 0.59), (2.1, 0.29)]
    outside = [(1.9, 0.35), (2.1, 0.35), (0.5, 0.9)]
    assert band.contains_points(inside).all() and not band.contains_points(outside).any()
    from_zero, _ = draw(frame.assign(x=[0.0, 2, 3], at_risk=9))
    assert line_of(from_zero).get_xydata()[0].tolist() == [0, 0.5]


def test_numbers_at_risk_are_those_of_the_last_time_not_after():
    x, at_risk = np.array([2.0, 5, 5, 9]), np.array([40.0, 31, 30, 7])
    counts = survival_curves.at_risk_at(np.array([0.0, 2, 4.9, 5, 8, 9, 9.1]), x, at_risk)
    np.testing.assert_array_equal(counts, [40, 40, 40, 30, 30, 7, np.nan])


def test_the_table_stands_under_the_ticks_in_the_order_of_the_frame():
    high = pd.DataFrame(
        {"x": [0.0, 10, 20, 30], "y": [1, 0.5, 0.2, 0.1], "at_risk": [1000, 50, np.nan, 10]}
    )
    low = pd.DataFrame({"x": [0.0, 10], "y": [1, 0.9], "at_risk": [90.0, 80]})
    frame = pd.concat([high.assign(series="high risk"), low.assign(series="_low risk")])
    above, table = draw(frame)
    assert [text.get_text() for text in table.get_yticklabels()] == ["high risk", "_low risk"]
    ticks = above.get_xticks().tolist()
    rows = [
        {
            text.get_position()[0]: text.get_text()
            for text in table.texts
            if text.get_position()[1] == row
        }
        for row in (0, 1)
    ]
    assert ticks == [0, 5, 10, 15, 20, 25, 30]
    assert rows[0] == dict(
        zip(ticks, ["1,000", "1,000", "50", "50", "50", "50", "10"], strict=True)
    )
    assert rows[1] == {0: "90", 5: "90", 10: "80"}
    assert [text.get_text() for text in above.get_xticklabels()] == [f"{tick:g}" for tick in ticks]
    assert above.get_xlim() == table.get_xlim()
    legend = above.figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["high risk", "_low risk"]
    assert [handle.get_color() for handle in legend.legend_handles] == list(PALETTE[:2])


@pytest.mark.parametrize(
    ("label", "last", "ticks"),
    [
        ("months since diagnosis", 100, [0, 24, 48, 72, 96]),
        ("time (months)", 40, [0, 6, 12, 18, 24, 30, 36]),
        ("days", 100, [0, 20, 40, 60, 80, 100]),
        ("days", 4000, [0, 1000, 2000, 3000, 4000]),
    ],
)
def test_ticks_are_few_and_those_of_months_divide_years(label, last, ticks):
    (axis,) = draw(pd.DataFrame({"x": [0.5, last], "y": [1.0, 0.5]}), label)
    assert axis.get_xticks().tolist() == ticks


def test_without_numbers_at_risk_or_names_there_is_neither_table_nor_legend():
    frame = pd.DataFrame({"x": [0.0, 1], "y": [1.0, 0.5], "at_risk": np.nan})
    (axis,) = draw(frame)
    assert not axis.figure.legends
