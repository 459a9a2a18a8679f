"""Clinical series: who stands where, what each mark means, and what is left out."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.report import series_panels
from omics_jax.report.style import PALETTE

pytestmark = pytest.mark.usefixtures("our_style")


def patients(count=2, variables=("HR (bpm)", "Lactate (mmol/L)"), hours=48):
    """Every patient measured at hours 3 and 5, held out at 9; the imputed line is there at every
    hour.
    """
    rows = []
    for patient in range(count):
        for v, variable in enumerate(variables):
            place = {"panel": f"patient {patient}, died", "variable": variable}
            level = 10.0 * v + patient
            for hour in reversed(range(hours)):
                band = {"low": level - 1, "high": level + 1}
                rows.append(place | {"x": hour, "value": level, "role": "imputed"} | band)
            rows += [
                place | {"x": hour, "value": level + 0.5, "role": "observed"} for hour in (5, 3)
            ]
            rows.append(place | {"x": 9, "value": level + 0.7, "role": "held out"})
    return pd.DataFrame(rows)


def draw(frame, x_label="hours since admission"):
    note = []
    return series_panels.draw_series(frame, x_label, "", note).axes, note


def dots(axis, open_ones):
    lines = [line for line in axis.lines if line.get_marker() == "o"]
    return [
        line.get_xydata().tolist()
        for line in lines
        if (line.get_markerfacecolor() == "white") == open_ones
    ]


def test_a_row_per_variable_and_a_column_per_patient():
    axes, note = draw(patients())
    assert [axis.get_title(loc="left").replace("\n", " ") for axis in axes] == [
        "patient 0, died", "patient 1, died", "", "",
    ]  # fmt: skip
    assert [axis.get_ylabel().replace("\n", " ") for axis in axes] == [
        "HR (bpm)",
        "",
        "Lactate (mmol/L)",
        "",
    ]
    assert [dots(axis, False)[0][0] for axis in axes] == [[3, 0.5], [3, 1.5], [3, 10.5], [3, 11.5]]
    assert axes[0].get_ylim() == axes[1].get_ylim() != axes[2].get_ylim()
    assert not note


def test_every_role_has_its_mark():
    axes, _ = draw(patients(1, ("HR",), hours=4))
    assert dots(axes[0], False) == [[[3, 0.5], [5, 0.5]]]
    assert dots(axes[0], True) == [[[9, 0.7]]]
    line = next(line for line in axes[0].lines if line.get_color() == PALETTE[0])
    assert line.get_xdata().tolist() == [0, 1, 2, 3]
    band, rug = axes[0].collections
    assert band.get_paths()[0].get_extents().intervaly.tolist() == [-1, 1]
    assert [segment[0, 0] for segment in rug.get_segments()] == [3, 5]
    legend = axes[0].figure.legends[0]
    names = ["measured", "measured, held out", "imputed", "its band", "times of measurement"]
    assert [text.get_text() for text in legend.get_texts()] == names


def test_a_legend_names_only_what_occurs():
    frame = patients(1, ("HR",))
    for drop, names in (
        (["observed", "held out"], ["imputed", "its band"]),
        (["held out", "imputed"], ["measured", "times of measurement"]),
    ):
        (axis,), _ = draw(frame[~frame["role"].isin(drop)])
        assert [text.get_text() for text in axis.figure.legends[0].get_texts()] == names
    (axis,), _ = draw(frame.assign(low=np.nan))
    assert "its band" not in [text.get_text() for text in axis.figure.legends[0].get_texts()]


def test_a_variable_without_a_value_says_so_and_one_all_held_out_does_not():
    frame = patients(3, ("HR",))
    role, patient = frame["role"], frame["panel"].str[8].astype(int)
    frame = frame[
        (patient == 0)
        | ((patient == 1) & (role != "observed"))
        | ((patient == 2) & (role == "imputed"))
    ]
    axes, _ = draw(frame)
    assert [[text.get_text() for text in axis.texts] for axis in axes] == [
        [],
        [],
        ["never measured"],
    ]


def test_what_is_left_out_is_said():
    axes, note = draw(patients(5, tuple("abcdefgh"), hours=2))
    assert len(axes) == 4 * 6
    assert note == [
        "The first 4 of 5 panels and 6 of 8 variables are drawn; all are in the data file."
    ]
    assert draw(patients(5, ("a",), hours=2))[1][0].startswith("The first 4 of 5 panels are drawn")


@pytest.mark.parametrize(
    ("hours", "columns", "ticks"),
    [
        (48, 1, [0, 6, 12, 18, 24, 30, 36, 42, 48]),
        (48, 4, [0, 24, 48]),
        (12, 1, [0, 2, 4, 6, 8, 10, 12]),
    ],
)
def test_ticks_on_hours_divide_a_day(hours, columns, ticks):
    axes, _ = draw(patients(columns, ("HR",), hours=hours + 1))
    low, high = axes[0].get_xlim()
    assert [tick for tick in axes[0].get_xticks() if low <= tick <= high] == ticks
