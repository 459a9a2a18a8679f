"""Figures of kind "survival": step curves with bands, and the number of patients at risk.

Left out: marks of censoring, tests and hazard ratios; the series' names and the caption give them.
"""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import Locator, MaxNLocator, MultipleLocator

from omics_jax.report.style import PALETTE, add_legend, blank_figure, clean, keep_first, series_of
from omics_jax.report.unit_squares import plain_line

CURVES = 3.7  # inches
ROW = 0.21  # inches per series in the table of numbers at risk
MONTH_STEPS = (1, 2, 3, 6, 12, 24, 36, 60, 120)
MOST_STEPS = 7  # between ticks


def draw_survival(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """Steps from 1 at time 0, with bands, above the numbers at risk at the time axis's ticks."""
    frame = frame[np.isfinite(frame["x"])]
    series = keep_first(series_of(frame), len(PALETTE), note)
    series = {name: by_time(part) for name, part in series.items()}
    counted = "at_risk" in frame and frame["at_risk"].notna().any()
    figure, axes = curves_over_table(len(series) if counted else 0)
    curves = axes[0]
    for index, part in enumerate(series.values()):
        draw_steps(curves, part[np.isfinite(part["y"])], index)
    ticks = set_time_ticks(curves, frame["x"].to_numpy(float), "month" in x_label.lower())
    curves.set_xlabel(x_label and clean(x_label, 90))
    curves.set_ylabel(y_label and clean(y_label, 50))
    curves.set_ylim(-0.01, 1.02)
    curves.grid(axis="y", color="#ececec", linewidth=0.7)
    curves.set_axisbelow(True)
    if counted:
        print_at_risk(axes[1], series, ticks)
    if any(series):
        handles = [Line2D([], [], **plain_line(index)) for index in range(len(series))]
        add_legend(figure, list(series), handles)
    return figure


def by_time(part: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of time."""
    return part.sort_values("x", kind="stable")


def curves_over_table(rows: int) -> tuple[Figure, list[Axes]]:
    """An axis for the curves and, if there are rows to print, one below on the same time axis."""
    if not rows:
        figure = blank_figure(CURVES + 0.2)
        return figure, [figure.subplots()]
    heights = (CURVES, ROW * rows)
    figure = blank_figure(sum(heights) + 0.5)
    return figure, list(figure.subplots(2, 1, sharex=True, height_ratios=heights))


def draw_steps(axis: Axes, part: pd.DataFrame, index: int) -> None:
    """One series: a value holds from its time until the next, and the band with it."""
    columns = [name for name in ("x", "y", "low", "high") if name in part]
    time, alive, *band = start_at_one(part[columns].to_numpy(float)).T
    axis.step(time, alive, where="post", **plain_line(index))
    if {"low", "high"} <= set(columns):
        axis.fill_between(
            time,
            *band,
            step="post",
            color=PALETTE[index],
            alpha=0.16,
            linewidth=0,
        )


def start_at_one(steps: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n2 c"]:
    """Rows of time and values; everyone alive at time 0 comes before a first row that is later."""
    if not len(steps) or steps[0, 0] <= 0:
        return steps
    everyone = np.ones((1, steps.shape[1]))
    everyone[0, 0] = 0.0
    return np.concatenate([everyone, steps])


def set_time_ticks(axis: Axes, x: Float[np.ndarray, " n"], months: bool) -> Float[np.ndarray, " t"]:
    """Sets few round times on an axis that begins at 0, and returns them.

    months: x counts months; the times are then years or parts of a year.
    """
    low = min(0.0, float(x.min()))
    high = float(x.max())
    ticks = time_locator(high - low, months).tick_values(low, high)
    ticks = ticks[(low <= ticks) & (ticks <= high)]
    names = [f"{tick:,.10g}".replace("-", "−") for tick in ticks]
    axis.set_xticks(ticks, names)
    pad = 0.02 * (high - low) or 0.5
    axis.set_xlim(low - pad, high + pad)
    axis.tick_params(labelbottom=True)  # a shared axis hides them
    return ticks


def time_locator(span: float, months: bool) -> Locator:
    """Few round times within a span."""
    steps = [step for step in MONTH_STEPS if months and span <= MOST_STEPS * step]
    if steps:
        return MultipleLocator(steps[0])
    return MaxNLocator(nbins=MOST_STEPS, steps=[1, 2, 5, 10])


def print_at_risk(
    axis: Axes, series: dict[str, pd.DataFrame], ticks: Float[np.ndarray, " t"]
) -> None:
    """A row of numbers per series, each under its tick."""
    names = [textwrap.shorten(clean(name), 24, placeholder="…") for name in series]
    rows = np.arange(len(names))
    axis.set_title("number at risk", pad=4)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_yticks(rows, names)
    axis.tick_params(length=0, labelbottom=False, pad=14)
    axis.spines[:].set_visible(False)
    centred = {"ha": "center", "va": "center", "fontsize": 9.5}
    for row, part in zip(rows, series.values(), strict=True):
        known = part[np.isfinite(part["at_risk"])]
        x = known["x"].to_numpy(float)
        at_risk = known["at_risk"].to_numpy(float)
        counts = at_risk_at(ticks, x, at_risk)
        for tick, count in zip(ticks, counts, strict=True):
            if np.isfinite(count):
                axis.text(tick, row, f"{count:,.0f}", **centred)


def at_risk_at(
    times: Float[np.ndarray, " t"], x: Float[np.ndarray, " n"], at_risk: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " t"]:
    """The number at risk at each time, from the numbers at the times x (ascending).

    It is the number at the last x that is not later; before the first x the number there, after the
    last x NaN.
    """
    if not len(x):
        return np.full(len(times), np.nan)
    place = np.searchsorted(x, times, side="right") - 1
    return np.where(times <= x[-1], at_risk[np.maximum(place, 0)], np.nan)
