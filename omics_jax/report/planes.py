"""Points and arrows on a plane with two numeric axes (kinds "scatter" and "arrows").

Left out: planes whose axes mean nothing by themselves, such as a latent space (`maps.py`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from omics_jax.report.style import (
    MOST_PANELS,
    PALETTE,
    RASTER_ABOVE,
    add_legend,
    clean,
    keep_first,
    mark,
    outer_labels,
    panel_grid,
    series_of,
)

PANEL_HEIGHTS = {1: 4.4, 2: 3.7, 3: 2.9}  # columns of a grid of scatter plots -> inches
LEAST_FOR_MEAN = 20  # arrows of a series from which their mean is drawn, too
ENDS = ["x", "y", "x_end", "y_end"]
THIN_ARROW = {
    "width": 0.0026,
    "headwidth": 6,
    "headlength": 7,
    "headaxislength": 6,
    "zorder": 2,
    "edgecolor": "none",
    "linewidth": 0,
}
BOLD_ARROW = {
    "width": 0.0075,
    "headwidth": 4,
    "headlength": 5,
    "headaxislength": 4.5,
    "zorder": 4,
    "edgecolor": "white",
    "linewidth": 0.8,
    "alpha": 1.0,
    "rasterized": False,
}


def draw_scatter(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """Points, the identity line and Pearson's r; a panel per series, all on the same axes."""
    series = keep_first(series_of(frame), MOST_PANELS, note)
    columns = 1 if len(series) == 1 else 2 if len(series) in (2, 4) else 3
    figure, axes = panel_grid(len(series), columns, PANEL_HEIGHTS[columns])
    span = _common_span(frame)
    raster = len(frame) > RASTER_ABOVE
    for axis, (name, part) in zip(axes, series.items(), strict=True):
        xy = _finite_points(part)
        axis.plot(span, span, color="black", linewidth=1, linestyle="--", zorder=3)
        _draw_points(axis, xy, raster)
        axis.set(xlim=span, ylim=span, aspect="equal")
        heading = f"{clean(name, 28)}\n" if name else ""
        axis.set_title(f"{heading}r = {pearson_text(xy)}, n = {len(xy):,}")
    outer_labels(figure, x_label, y_label)
    return figure


def _finite_points(frame: pd.DataFrame) -> Float[np.ndarray, "n 2"]:
    xy = frame[["x", "y"]].to_numpy(float)
    return xy[np.isfinite(xy).all(axis=1)]


def _common_span(frame: pd.DataFrame) -> tuple[float, float]:
    """The range of both axes, a little wider than the points."""
    xy = _finite_points(frame)
    low, high = float(xy.min()), float(xy.max())
    pad = 0.04 * (high - low) or 0.5
    return low - pad, high + pad


def _draw_points(axis: Axes, xy: Float[np.ndarray, "n 2"], raster: bool) -> None:
    """The more points, the more transparent, so that dense regions show."""
    alpha = float(np.clip(40 / np.sqrt(max(len(xy), 1)), 0.08, 0.75))
    size = 8 if raster else 14
    axis.scatter(*xy.T, s=size, color=PALETTE[0], alpha=alpha, linewidths=0, rasterized=raster)


def pearson_text(xy: Float[np.ndarray, "n 2"]) -> str:
    """Pearson's r of the two columns with two decimals; "–" where it is undefined."""
    if len(xy) < 2 or np.ptp(xy, axis=0).min() == 0:
        return "–"
    return f"{np.corrcoef(xy.T)[0, 1]:.2f}".replace("-", "−")


def draw_arrows(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """From a hollow mark to the arrow's head; the mean of 20 arrows or more is bold."""
    frame = frame[np.isfinite(frame[ENDS].to_numpy(float)).all(axis=1)]
    series = keep_first(series_of(frame), len(PALETTE), note)
    figure, (axis,) = panel_grid(1, 1, 4.8)
    raster = len(frame) > RASTER_ABOVE
    for index, part in enumerate(series.values()):
        _draw_series_of_arrows(axis, part[ENDS].to_numpy(float).T, index, raster)
    if any(len(part) >= LEAST_FOR_MEAN for part in series.values()):
        note.append("Bold arrows are means.")
    if len(series) > 1:
        marks = [mark(index, filled=False) for index in range(len(series))]
        handles = [Line2D([], [], **style, markersize=5) for style in marks]
        add_legend(figure, list(series), handles)
    axis.margins(0.06)
    outer_labels(figure, x_label, y_label)
    return figure


def _draw_series_of_arrows(
    axis: Axes, ends: Float[np.ndarray, "4 n"], index: int, raster: bool
) -> None:
    """One series: hollow marks at the starts, thin arrows and, where they are many, their mean."""
    with_mean = ends.shape[1] >= LEAST_FOR_MEAN
    style = mark(index, line=False, filled=False)
    x, y, x_end, y_end = ends
    axis.plot(x, y, **style, markersize=4, alpha=0.55 if with_mean else 0.9, rasterized=raster)
    # Arrows do not widen the axes to their heads; an invisible line does.
    axis.plot(x_end, y_end, linestyle="none")
    alpha = 0.35 if with_mean else 1.0
    _add_arrows(axis, ends, index, {**THIN_ARROW, "alpha": alpha, "rasterized": raster})
    if with_mean:
        mean = ends.T.mean(axis=0)[:, None]
        _add_arrows(axis, mean, index, BOLD_ARROW)


def _add_arrows(axis: Axes, ends: Float[np.ndarray, "4 n"], index: int, style: dict) -> None:
    """Arrows in data coordinates from rows 0, 1 of `ends` to rows 2, 3."""
    x, y, x_end, y_end = ends
    coordinates = {"angles": "xy", "scale_units": "xy", "scale": 1}
    axis.quiver(x, y, x_end - x, y_end - y, color=PALETTE[index], **coordinates, **style)
