"""Figures of kind "series": measured series and imputed values, a row per variable.

Every patient has a column.

Dots are values that the model saw, open dots are held-out values, the line with its band is what
was imputed; ticks on a panel's floor mark when the variable was observed. Left out: events, doses
and relations between panels.
"""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator

from omics_jax.report.style import PALETTE, WIDTH, clean, outer_labels, panel_grid

MOST_PATIENTS = 4
MOST_VARIABLES = 6
HOUR_STEPS = (1, 2, 3, 6, 12, 24, 48, 72, 168)
ROLE_MARKS = {
    "observed": {"color": "black", "marker": "o", "markersize": 4, "linestyle": "none"},
    "held out": {
        "color": PALETTE[1],
        "marker": "o",
        "markersize": 5.5,
        "linestyle": "none",
        "markerfacecolor": "white",
        "markeredgewidth": 1.5,
    },
    "imputed": {"color": PALETTE[0], "linewidth": 1.6},
}
ROLE_NAMES = {"observed": "measured", "held out": "measured, held out", "imputed": "imputed"}


def draw_series(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """Small panels on one time axis; those of a variable share their y axis for comparison."""
    patients = list(dict.fromkeys(frame["panel"]))
    variables = list(dict.fromkeys(frame["variable"]))
    note += cut_note(len(patients), len(variables))
    patients, variables = patients[:MOST_PATIENTS], variables[:MOST_VARIABLES]
    height = 2.4 if len(variables) == 1 else 1.45
    figure, axes = panel_grid(len(patients) * len(variables), len(patients), height, share_y="row")
    cells = dict(tuple(frame.groupby(["panel", "variable"], sort=False)))
    places = [(patient, variable) for variable in variables for patient in patients]
    for axis, place in zip(axes, places, strict=True):
        draw_cell(axis, cells.get(place, frame.iloc[:0]))
    for axis in axes:
        few_ticks(axis, "hour" in x_label.lower(), len(patients))
    letters = int(WIDTH * 72 / len(patients) / 6.5)
    for axis, patient in zip(axes, patients, strict=False):
        title = clean(patient, 2 * letters)
        axis.set_title(textwrap.fill(title, letters))
    for axis, variable in zip(axes[:: len(patients)], variables, strict=True):
        axis.set_ylabel(textwrap.fill(clean(variable, 36), 14))
    legend(figure, frame)
    outer_labels(figure, x_label, y_label)
    return figure


def cut_note(patients: int, variables: int) -> list[str]:
    """What is not drawn, in a sentence; [] where all is."""
    cuts = [(MOST_PATIENTS, patients, "panels"), (MOST_VARIABLES, variables, "variables")]
    parts = [f"{most} of {count} {noun}" for most, count, noun in cuts if count > most]
    if not parts:
        return []
    return [f"The first {' and '.join(parts)} are drawn; all are in the data file."]


def draw_cell(axis: Axes, part: pd.DataFrame) -> None:
    """One variable of one patient; says so where it was never measured."""
    part = part[np.isfinite(part["x"])].sort_values("x", kind="stable")
    by_role = {role: rows for role, rows in part.groupby("role")}
    if "imputed" in by_role:
        draw_imputed(axis, by_role["imputed"])
    for role, order in (("observed", 3), ("held out", 4)):
        if role in by_role:
            rows = by_role[role]
            axis.plot(rows["x"], rows["value"], **ROLE_MARKS[role], zorder=order)
    axis.margins(x=0.03, y=0.12)
    nothing = part.iloc[:0]
    rug(axis, by_role.get("observed", nothing), by_role.get("held out", nothing))


def draw_imputed(axis: Axes, imputed: pd.DataFrame) -> None:
    """The imputed line over its band."""
    if {"low", "high"} <= set(imputed):
        shade = {"color": PALETTE[0], "alpha": 0.2, "linewidth": 0, "zorder": 1}
        axis.fill_between(imputed["x"], imputed["low"], imputed["high"], **shade)
    axis.plot(imputed["x"], imputed["value"], **ROLE_MARKS["imputed"], zorder=2)


def rug(axis: Axes, observed: pd.DataFrame, held_out: pd.DataFrame) -> None:
    """A tick on the panel's floor at every observed time, or a text that nothing was measured."""
    times = observed["x"][np.isfinite(observed["value"])]
    on_the_floor = axis.get_xaxis_transform()
    axis.vlines(times, 0, 0.07, transform=on_the_floor, color="black", linewidth=1.0, zorder=2)
    if times.empty and held_out.empty:
        corner = {"transform": axis.transAxes, "ha": "right"}
        axis.text(0.97, 0.06, "never measured", **corner, color="#555555", fontsize=9)


def few_ticks(axis: Axes, hours: bool, columns: int) -> None:
    """Few ticks; ticks of hours are at parts or multiples of a day."""
    most = 3 if columns > 2 else 9
    span = np.ptp(axis.get_xlim())
    step = next((step for step in HOUR_STEPS if hours and span <= most * step), None)
    rounded = MaxNLocator(nbins=most, steps=[1, 2, 5, 10])
    axis.xaxis.set_major_locator(MultipleLocator(step) if step else rounded)
    axis.yaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    axis.grid(axis="y", color="#ececec", linewidth=0.7)
    axis.set_axisbelow(True)


def legend(figure: Figure, frame: pd.DataFrame) -> None:
    """The roles that occur, the band and the rug, above the panels."""
    roles = [role for role in ROLE_MARKS if (frame["role"] == role).any()]
    handles = [Line2D([], [], **ROLE_MARKS[role]) for role in roles]
    names = [ROLE_NAMES[role] for role in roles]
    imputed = frame[frame["role"] == "imputed"]
    with_ends = {"low", "high"} <= set(imputed)
    if with_ends and imputed[["low", "high"]].notna().all(axis=1).any():
        handles.append(Patch(color=PALETTE[0], alpha=0.2))
        names.append("its band")
    if "observed" in roles:
        tick = Line2D([], [], color="black", marker="|", markersize=7, linestyle="none")
        handles.append(tick)
        names.append("times of measurement")
    spacing = {"ncols": len(names), "handlelength": 1.4, "columnspacing": 1.3}
    figure.legend(handles, names, loc="outside upper left", **spacing)
