"""One tidy frame in, one SVG out: how each kind of `evaluation.tables.Table` is drawn.

This file holds curves, scatters and arrows, and `draw`, which knows all kinds; rankings and
intervals are in
`rows.py`, ROC, precision-recall and calibration in `unit_squares.py`, clinical series in
`series_panels.py`, and `survival_curves.py`, `matrices.py`, `maps.py` and `overlaps.py` hold what
they are called.
Left out: kind "table", which the page prints, and training curves (`training_curves.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from omics_jax.report.maps import draw_map
from omics_jax.report.matrices import draw_matrix
from omics_jax.report.overlaps import draw_overlap
from omics_jax.report.rows import draw_intervals, draw_ranking
from omics_jax.report.series_panels import draw_series
from omics_jax.report.style import (
    MOST_PANELS,
    PALETTE,
    RASTER_ABOVE,
    Drawing,
    add_legend,
    clean,
    drawing_style,
    keep_first,
    mark,
    outer_labels,
    panel_grid,
    series_of,
    svg_text,
)
from omics_jax.report.survival_curves import draw_survival
from omics_jax.report.unit_squares import draw_calibration, draw_precision_recall, draw_roc


def draw_curve(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """Lines over x with bands (many x) or error bars (few); a panel per series where there are
    many.
    """
    series = series_of(frame)
    together = len(series) <= len(PALETTE)
    if not together:
        series = keep_first(series, MOST_PANELS, note)
    count, columns, height = (1, 1, 3.9) if together else (len(series), 3, 2.1)
    figure, axes = panel_grid(count, columns, height)
    for index, (name, part) in enumerate(series.items()):
        axis = axes[0] if together else axes[index]
        curve_line(axis, part.sort_values("x", kind="stable"), index if together else 0)
        if not together:
            axis.set_title(clean(name, 28))
    if is_geometric(frame["x"].to_numpy(float)):
        for axis in axes:
            logarithmic(axis)
    if together and len(series) > 1:
        handles = [Line2D([], [], **mark(i), markersize=5) for i in range(len(series))]
        add_legend(figure, list(series), handles)
    outer_labels(figure, x_label, y_label)
    return figure


def is_geometric(x: Float[np.ndarray, " n"]) -> bool:
    """True for positive x over two decades or more, its steps more even as ratios than as
    differences.
    """
    x = np.unique(x[np.isfinite(x)])
    if len(x) < 4 or x[0] <= 0 or x[-1] < 100 * x[0]:
        return False
    steps, ratios = np.diff(x), np.diff(np.log(x))
    return bool(ratios.std() / ratios.mean() < steps.std() / steps.mean())


def logarithmic(axis: Axes) -> None:
    """A logarithmic x axis (doses, sample sizes) with plain numbers."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(numticks=8))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def curve_line(axis: Axes, part: pd.DataFrame, index: int) -> None:
    """One line with its uncertainty, gaps where y is missing."""
    x, y = part["x"].to_numpy(float), part["y"].to_numpy(float)
    dense = len(x) > 40
    style = mark(index) | {"markersize": 5, "markevery": max(1, len(x) // 8)}
    axis.plot(x, y, **style, zorder=3)
    if {"low", "high"} <= set(part):
        low, high = part["low"].to_numpy(float), part["high"].to_numpy(float)
        if dense or len(x) > 12:
            axis.fill_between(x, low, high, color=style["color"], alpha=0.16, linewidth=0)
        else:
            axis.vlines(x, low, high, color=style["color"], linewidth=1.2)


def draw_scatter(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """Points, the identity line and Pearson's r; a panel per series, all on the same square axes."""
    series = keep_first(series_of(frame), MOST_PANELS, note)
    columns = 1 if len(series) == 1 else 2 if len(series) in (2, 4) else 3
    figure, axes = panel_grid(len(series), columns, {1: 4.4, 2: 3.7, 3: 2.9}[columns])
    ends = frame[["x", "y"]].to_numpy(float)
    ends = ends[np.isfinite(ends).all(axis=1)]
    low, high = float(ends.min()), float(ends.max())
    pad = 0.04 * (high - low) or 0.5
    for axis, (name, part) in zip(axes, series.items(), strict=True):
        xy = part[["x", "y"]].to_numpy(float)
        xy = xy[np.isfinite(xy).all(axis=1)]
        many = len(frame) > RASTER_ABOVE
        alpha = float(np.clip(40 / np.sqrt(max(len(xy), 1)), 0.08, 0.75))
        axis.plot(
            [low - pad, high + pad],
            [low - pad, high + pad],
            color="black",
            linewidth=1,
            linestyle="--",
            zorder=3,
        )
        axis.scatter(
            *xy.T, s=8 if many else 14, color=PALETTE[0], alpha=alpha, linewidths=0, rasterized=many
        )
        axis.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), aspect="equal")
        heading = f"{clean(name, 28)}\n" if name else ""
        axis.set_title(f"{heading}r = {pearson_text(xy)}, n = {len(xy):,}")
    outer_labels(figure, x_label, y_label)
    return figure


def pearson_text(xy: Float[np.ndarray, "n 2"]) -> str:
    """Pearson's r of the two columns with two decimals; "–" where it is undefined."""
    if len(xy) < 2 or np.ptp(xy, axis=0).min() == 0:
        return "–"
    return f"{np.corrcoef(xy.T)[0, 1]:.2f}".replace("-", "−")


def draw_arrows(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """From a hollow mark to the arrow's head, on a plane; the mean of 20 arrows or more is bold."""
    columns = ["x", "y", "x_end", "y_end"]
    frame = frame[np.isfinite(frame[columns].to_numpy(float)).all(axis=1)]
    series = keep_first(series_of(frame), len(PALETTE), note)
    figure, (axis,) = panel_grid(1, 1, 4.8)
    many = len(frame) > RASTER_ABOVE
    for index, part in enumerate(series.values()):
        x, y, x_end, y_end = part[columns].to_numpy(float).T
        bold = len(part) >= 20
        style = mark(index, line=False, filled=False) | {
            "markersize": 4,
            "alpha": 0.55 if bold else 0.9,
        }
        axis.plot(x, y, **style, rasterized=many)
        axis.plot(
            x_end, y_end, linestyle="none"
        )  # quiver alone does not widen the axes to its heads
        add_arrows(axis, np.stack([x, y, x_end, y_end]), index, bold=False, faint=bold, raster=many)
        if bold:
            mean = part[columns].to_numpy(float).mean(axis=0)[:, None]
            add_arrows(axis, mean, index, bold=True, faint=False, raster=False)
    if any(len(part) >= 20 for part in series.values()):
        note.append("Bold arrows are means.")
    if len(series) > 1:
        handles = [
            Line2D([], [], **mark(i, filled=False), markersize=5) for i in range(len(series))
        ]
        add_legend(figure, list(series), handles)
    axis.margins(0.06)
    outer_labels(figure, x_label, y_label)
    return figure


def add_arrows(
    axis: Axes, ends: Float[np.ndarray, "4 n"], index: int, bold: bool, faint: bool, raster: bool
) -> None:
    """Arrows in data coordinates from rows 0, 1 of `ends` to rows 2, 3."""
    x, y, x_end, y_end = ends
    axis.quiver(
        x, y, x_end - x, y_end - y, angles="xy", scale_units="xy", scale=1, color=PALETTE[index],
        width=0.0075 if bold else 0.0026, headwidth=4 if bold else 6, headlength=5 if bold else 7,
        headaxislength=4.5 if bold else 6, alpha=0.35 if faint else 1.0, zorder=4 if bold else 2,
        edgecolor="white" if bold else "none", linewidth=0.8 if bold else 0, rasterized=raster,
    )  # fmt: skip


DRAWINGS: dict[str, Callable] = {
    "curve": draw_curve,
    "roc": draw_roc,
    "pr": draw_precision_recall,
    "calibration": draw_calibration,
    "scatter": draw_scatter,
    "series": draw_series,
    "ranking": draw_ranking,
    "intervals": draw_intervals,
    "arrows": draw_arrows,
    "survival": draw_survival,
    "matrix": draw_matrix,
    "map": draw_map,
    "overlap": draw_overlap,
}
SHAPES = {
    "curve": "Line chart",
    "roc": "ROC curves",
    "pr": "Precision-recall curves",
    "calibration": "Calibration plot",
    "scatter": "Scatter plot",
    "series": "Measured and imputed series",
    "ranking": "Ranked values",
    "intervals": "Values with 95 % intervals",
    "arrows": "Arrows on a plane",
    "survival": "Survival curves",
    "matrix": "Matrix of counts",
    "map": "Points on a map",
    "overlap": "Patients by combination of modalities",
}


def named_parts(frame: pd.DataFrame) -> list[str]:
    """What a frame's series, panels, rows and the like are called, for those who do not see the
    figure.
    """
    parts = []
    for column in ("series", "panel", "variable", "row", "combination"):
        if column in frame:
            names = [clean(name) for name in frame[column].unique() if name != ""]
            parts += [f"{column.capitalize()}: {'; '.join(names[:MOST_PANELS])}"] if names else []
    return parts


def draw(
    kind: str, frame: pd.DataFrame, title: str, x_label: str, y_label: str, **options
) -> Drawing:
    """Draws a frame with the columns of its kind (`evaluation.tables.Table`), numeric ones float.

    `options` go to the kind's own function (`highlight`, `share_x` of intervals). Some value must
    be finite.
    """
    note: list[str] = []
    with drawing_style():
        svg = svg_text(DRAWINGS[kind](frame, x_label, y_label, note, **options))
    axes = " against ".join(label for label in (y_label, x_label) if label)
    parts = (f"{SHAPES[kind]}: {title}", axes, *named_parts(frame), f"{len(frame):,} rows")
    return Drawing(svg, ". ".join(part for part in parts if part) + ".", " ".join(note))
