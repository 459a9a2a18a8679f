"""Figures of kind "curve": lines over a numeric axis, such as doses or sample sizes.

Left out: fits. What is drawn are the values given, with the uncertainty given beside them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from omics_jax.report.style import (
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

MOST_BARS = 12  # values of x up to which uncertainty is drawn as error bars, not as a band


def draw_curve(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """All series in one panel, or a panel each where they are more than the palette has colours."""
    series = series_of(frame)
    if len(series) <= len(PALETTE):
        figure, axes = _together(series)
    else:
        figure, axes = _panel_each(keep_first(series, MOST_PANELS, note))
    if is_geometric(frame["x"].to_numpy(float)):
        for axis in axes:
            use_log_axis(axis)
    outer_labels(figure, x_label, y_label)
    return figure


def _together(series: dict[str, pd.DataFrame]) -> tuple[Figure, list[Axes]]:
    figure, axes = panel_grid(1, 1, 3.9)
    for index, part in enumerate(series.values()):
        draw_line(axes[0], part.sort_values("x", kind="stable"), index)
    if len(series) > 1:
        handles = [Line2D([], [], **mark(index), markersize=5) for index in range(len(series))]
        add_legend(figure, list(series), handles)
    return figure, axes


def _panel_each(series: dict[str, pd.DataFrame]) -> tuple[Figure, list[Axes]]:
    figure, axes = panel_grid(len(series), 3, 2.1)
    for axis, (name, part) in zip(axes, series.items(), strict=True):
        draw_line(axis, part.sort_values("x", kind="stable"), 0)
        axis.set_title(clean(name, 28))
    return figure, axes


def draw_line(axis: Axes, part: pd.DataFrame, index: int) -> None:
    """Series number `index` with its uncertainty, gaps where y is missing."""
    x, y = part["x"].to_numpy(float), part["y"].to_numpy(float)
    style = mark(index) | {"markersize": 5, "markevery": max(1, len(x) // 8)}
    axis.plot(x, y, **style, zorder=3)
    if not {"low", "high"} <= set(part):
        return
    low, high = part["low"].to_numpy(float), part["high"].to_numpy(float)
    if len(x) > MOST_BARS:
        axis.fill_between(x, low, high, color=style["color"], alpha=0.16, linewidth=0)
    else:
        axis.vlines(x, low, high, color=style["color"], linewidth=1.2)


def is_geometric(x: Float[np.ndarray, " n"]) -> bool:
    """True for positive x over two decades or more with steps that are more even as ratios."""
    x = np.unique(x[np.isfinite(x)])
    if len(x) < 4 or x[0] <= 0 or x[-1] < 100 * x[0]:
        return False
    steps, ratios = np.diff(x), np.diff(np.log(x))
    return bool(ratios.std() / ratios.mean() < steps.std() / steps.mean())


def use_log_axis(axis: Axes) -> None:
    """A logarithmic x axis (doses, sample sizes) with plain numbers."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(numticks=8))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
