"""Figures of kinds "roc", "pr" and "calibration", on the unit square.

Each has its line of reference (chance, or perfect calibration). Left out: areas, scores and
intervals; the series' names and the caption give them.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from omics_jax.report.style import (
    DASHES,
    GREY,
    MOST_PANELS,
    PALETTE,
    add_legend,
    clean,
    keep_first,
    mark,
    outer_labels,
    panel_grid,
    series_of,
)

MOST_CALIBRATIONS = 4  # error bars of more series hide each other
REFERENCE = {"color": GREY, "linewidth": 1.1, "linestyle": (0, (4, 3)), "zorder": 1}


def plain_line(index: int) -> dict:
    """Series number `index` as a line without markers: a curve has too many corners for them."""
    return {"color": PALETTE[index], "linestyle": DASHES[index], "zorder": 3}


def joined_points(index: int) -> dict:
    """Series number `index` as points joined by a thin line."""
    return mark(index) | {"linestyle": "-", "linewidth": 1.0, "markersize": 6, "zorder": 3}


def draw_roc(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """The corners joined by straight lines (a slope is a tie), over the diagonal of chance."""

    def draw_line(axis: Axes, part: pd.DataFrame, style: dict) -> None:
        diagonal(axis, 1.0)
        part = part.sort_values(["x", "y"], kind="stable")
        axis.plot(part["x"], part["y"], **style)

    figure, axes, names = squares(frame, draw_line, plain_line, len(PALETTE), note)
    label_squares(figure, axes, names, plain_line, "chance", x_label, y_label)
    return figure


def draw_precision_recall(
    frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]
) -> Figure:
    """Steps, a precision holding from the recall before it, over a line of chance if given."""
    chance = "chance" in frame and frame["chance"].notna().any()

    def draw_line(axis: Axes, part: pd.DataFrame, style: dict) -> None:
        # Recall stays where a threshold adds only false positives, so that precision falls there.
        part = part.sort_values(["x", "y"], ascending=[True, False], kind="stable")
        axis.plot(part["x"], part["y"], drawstyle="steps-pre", **style)
        for height in part["chance"].dropna().unique() if chance else ():
            axis.axhline(height, **REFERENCE)

    figure, axes, names = squares(frame, draw_line, plain_line, len(PALETTE), note)
    label_squares(figure, axes, names, plain_line, "chance" if chance else "", x_label, y_label)
    return figure


def draw_calibration(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """Observed rate over mean predicted risk, with error bars.

    Where every risk is below a half, the axes end early.
    """
    frame = frame[np.isfinite(frame[["x", "y"]].to_numpy(float)).all(axis=1)]
    end = axes_end(frame)
    figure, axes, names = squares(
        frame, draw_calibrated, joined_points, MOST_CALIBRATIONS, note, end
    )
    for axis in axes:
        diagonal(axis, end)
    label_squares(figure, axes, names, joined_points, "perfect", x_label, y_label)
    if "count" in frame and frame["count"].notna().any():
        low, high = f"{frame['count'].min():,.0f}", f"{frame['count'].max():,.0f}"
        rows = low if low == high else f"{low} to {high}"
        note.append(f"Each point stands for {rows} rows.")
    if end < 1:
        note.append(f"Both axes end at {end:g}.")
    return figure


def draw_calibrated(axis: Axes, part: pd.DataFrame, style: dict) -> None:
    """One series: points joined by a thin line, vertical error bars where both ends are known."""
    part = part.sort_values("x", kind="stable")
    if {"low", "high"} <= set(part):
        bar = {"color": style["color"], "linewidth": 1.5, "zorder": 2}
        axis.vlines(part["x"], part["low"], part["high"], **bar)
    axis.plot(part["x"], part["y"], **style)


def axes_end(frame: pd.DataFrame) -> float:
    """1, or the next tenth above every point and error bar where all are below a half."""
    upper = [name for name in ("x", "y", "high") if name in frame]
    largest = float(np.nanmax(frame[upper].to_numpy(float), initial=0.0))
    return 1.0 if largest >= 0.5 else max(0.1, math.ceil(round(largest * 10, 6)) / 10)


def squares(
    frame: pd.DataFrame,
    draw_line: Callable[[Axes, pd.DataFrame, dict], None],
    style: Callable[[int], dict],
    most_together: int,
    note: list[str],
    end: float = 1.0,
) -> tuple[Figure, list[Axes], list[str]]:
    """All series on one square, or a square each beyond `most_together`; also returns their names.

    draw_line: (axis, rows of one series, its style).
    style: number of a series -> its style.
    end: where both axes end.
    """
    series = series_of(frame)
    together = len(series) <= most_together
    series = series if together else keep_first(series, MOST_PANELS, note)
    figure, axes = panel_grid(1, 1, 4.4) if together else panel_grid(len(series), 3, 2.7)
    for axis in axes:
        square(axis, end, ticks=6 if together else 3)
    for index, part in enumerate(series.values()):
        draw_line(axes[0 if together else index], part, style(index if together else 0))
    return figure, axes, list(series)


def label_squares(
    figure: Figure,
    axes: list[Axes],
    names: list[str],
    style: Callable[[int], dict],
    reference: str,
    x_label: str,
    y_label: str,
) -> None:
    """Axis titles and a legend beside a lone square, or a title over each of several.

    Long names are wrapped rather than cut: they hold the numbers that a reader wants.

    reference: the name of the dashed line; "" where there is none.
    """
    references = [reference] if reference else []
    if len(axes) > 1:
        for axis, name in zip(axes, names, strict=True):
            axis.set_title(textwrap.fill(clean(name, 78), 26))
        add_legend(figure, references, [Line2D([], [], **REFERENCE) for _ in references])
        outer_labels(figure, x_label, y_label)
        return
    looks = [(name, style(index)) for index, name in enumerate(names) if name]
    looks += [(name, REFERENCE) for name in references]
    handles = [
        Line2D([], [], label=textwrap.fill(clean(name, 90), 26), **look) for name, look in looks
    ]
    (axis,) = axes
    axis.set(xlabel=x_label and clean(x_label, 50), ylabel=y_label and clean(y_label, 50))
    axis.set_anchor("W")
    right_of_plot = {"loc": "upper left", "bbox_to_anchor": (1.04, 1.0)}
    axis.legend(handles=handles, **right_of_plot, handlelength=2.6, labelspacing=0.9)


def square(axis: Axes, end: float, ticks: int) -> None:
    """The same range on both axes, with a little air for marks on the border."""
    air = 0.02 * end
    axis.set(xlim=(-air, end + air), ylim=(-air, end + air), aspect="equal")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(MaxNLocator(nbins=ticks, steps=[1, 2, 5, 10]))
    axis.grid(color="#ececec", linewidth=0.7)
    axis.set_axisbelow(True)


def diagonal(axis: Axes, end: float) -> None:
    """The line on which both axes agree."""
    axis.plot([0, end], [0, end], **REFERENCE)
