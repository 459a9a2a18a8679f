"""Survival curves: steps over time with their bands, and how many patients are under observation
(kind "survival").

Left out: marks of censoring, tests and hazard ratios, which the series' names and the caption tell.
"""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator

from omics_jax.report.style import PALETTE, add_legend, blank_figure, clean, keep_first, series_of
from omics_jax.report.unit_squares import plain_line

CURVES = 3.7  # inches
ROW = 0.21  # inches per series in the table of numbers at risk
MONTH_STEPS = (1, 2, 3, 6, 12, 24, 36, 60, 120)
MOST_STEPS = 7  # between ticks


def draw_survival(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """Steps from 1 at time 0, with bands; below them the numbers at risk, under the ticks of the
    time axis.
    """
    frame = frame[np.isfinite(frame["x"])]
    series = keep_first(series_of(frame), len(PALETTE), note)
    series = {name: part.sort_values("x", kind="stable") for name, part in series.items()}
    counted = "at_risk" in frame and frame["at_risk"].notna().any()
    figure, axes = curves_over_table(len(series) if counted else 0)
    for index, part in enumerate(series.values()):
        draw_steps(axes[0], part[np.isfinite(part["y"])], index)
    ticks = time_ticks(axes[0], frame["x"].to_numpy(float), "month" in x_label.lower())
    axes[0].set(
        xlabel=x_label and clean(x_label, 90),
        ylabel=y_label and clean(y_label, 50),
        ylim=(-0.01, 1.02),
    )
    axes[0].grid(axis="y", color="#ececec", linewidth=0.7)
    axes[0].set_axisbelow(True)
    if counted:
        print_at_risk(axes[1], series, ticks)
    if any(series):
        add_legend(
            figure,
            list(series),
            [Line2D([], [], **plain_line(index)) for index in range(len(series))],
        )
    return figure


def curves_over_table(rows: int) -> tuple[Figure, list[Axes]]:
    """An axis for the curves and, where there are rows to print, one for them on the same time
    axis.
    """
    if not rows:
        figure = blank_figure(CURVES + 0.2)
        return figure, [figure.subplots()]
    heights = (CURVES, ROW * rows)
    figure = blank_figure(sum(heights) + 0.5)
    return figure, list(figure.subplots(2, 1, sharex=True, height_ratios=heights))


def draw_steps(axis: Axes, part: pd.DataFrame, index: int) -> None:
    """One series: a value holds from its time until the next, and the band with it."""
    columns = [name for name in ("x", "y", "low", "high") if name in part]
    steps = from_the_start(part[columns].to_numpy(float))
    axis.step(steps[:, 0], steps[:, 1], where="post", **plain_line(index))
    if {"low", "high"} <= set(columns):
        axis.fill_between(
            *steps[:, [0, 2, 3]].T, step="post", color=PALETTE[index], alpha=0.16, linewidth=0
        )


def from_the_start(steps: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n2 c"]:
    """Rows of time and values, with everyone alive at time 0 put before a first row that is later."""
    if not len(steps) or steps[0, 0] <= 0:
        return steps
    return np.concatenate([[[0.0] + [1.0] * (steps.shape[1] - 1)], steps])


def time_ticks(axis: Axes, x: Float[np.ndarray, " n"], months: bool) -> Float[np.ndarray, " t"]:
    """Few round times, years where x counts months; sets them on the axis, which begins at 0, and
    returns them.
    """
    low, high = min(0.0, float(x.min())), float(x.max())
    pad = 0.02 * (high - low) or 0.5
    step = next((step for step in MONTH_STEPS if months and high - low <= MOST_STEPS * step), None)
    locator = MultipleLocator(step) if step else MaxNLocator(nbins=MOST_STEPS, steps=[1, 2, 5, 10])
    ticks = np.array([tick for tick in locator.tick_values(low, high) if low <= tick <= high])
    axis.set_xticks(ticks, [f"{tick:,.10g}".replace("-", "−") for tick in ticks])
    axis.set_xlim(low - pad, high + pad)
    axis.tick_params(labelbottom=True)  # a shared axis hides them
    return ticks


def print_at_risk(
    axis: Axes, series: dict[str, pd.DataFrame], ticks: Float[np.ndarray, " t"]
) -> None:
    """A row of numbers per series, each under its tick."""
    axis.set_title("number at risk", pad=4)
    axis.set_ylim(len(series) - 0.4, -0.6)
    axis.set_yticks(
        np.arange(len(series)),
        [textwrap.shorten(name, 24, placeholder="…") for name in map(clean, series)],
    )
    axis.tick_params(length=0, labelbottom=False, pad=14)
    axis.spines[:].set_visible(False)
    for row, part in enumerate(series.values()):
        known = part[np.isfinite(part["at_risk"])]
        counts = at_risk_at(ticks, known["x"].to_numpy(float), known["at_risk"].to_numpy(float))
        for tick, count in zip(ticks, counts, strict=True):
            if np.isfinite(count):
                axis.text(tick, row, f"{count:,.0f}", ha="center", va="center", fontsize=9.5)


def at_risk_at(
    times: Float[np.ndarray, " t"], x: Float[np.ndarray, " n"], at_risk: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " t"]:
    """The number at the last x (rising) not after each time, at the first x before that; NaN after
    the last x.
    """
    if not len(x):
        return np.full(len(times), np.nan)
    place = np.searchsorted(x, times, side="right") - 1
    return np.where(times <= x[-1], at_risk[np.maximum(place, 0)], np.nan)
