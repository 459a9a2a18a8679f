"""One tidy frame in, one SVG out: the function that draws each kind of `evaluation.tables.Table`.

A new kind is a line in `evaluation.tables.KINDS` (its columns) and a line in `DRAWINGS` here (its
function, in a module of its own). Left out: kinds "table" and "file", which the page shows without
a drawing, and training curves (`training_curves.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from omics_jax.report.curves import draw_curve
from omics_jax.report.heatmaps import draw_heatmap
from omics_jax.report.layered_graphs import draw_layers
from omics_jax.report.maps import draw_map
from omics_jax.report.matrices import draw_matrix
from omics_jax.report.networks import draw_network
from omics_jax.report.overlaps import draw_overlap
from omics_jax.report.planes import draw_arrows, draw_scatter
from omics_jax.report.rows import draw_intervals, draw_ranking
from omics_jax.report.series_panels import draw_series
from omics_jax.report.style import MOST_PANELS, Drawing, clean, drawing_style, svg_text
from omics_jax.report.survival_curves import draw_survival
from omics_jax.report.unit_squares import draw_calibration, draw_precision_recall, draw_roc

NAMING_COLUMNS = (
    *("series", "panel", "variable", "row", "combination", "group", "target", "source_group"),
)


class KindOfFigure(NamedTuple):
    """How a kind of table is drawn.

    shape: what the figure is, in words, for those who do not see it.
    draw: (frame, x label, y label, note) -> figure; adds to `note` sentences about what it left
      out.
    """

    shape: str
    draw: Callable[..., Figure]


DRAWINGS: Mapping[str, KindOfFigure] = {
    "curve": KindOfFigure("Line chart", draw_curve),
    "roc": KindOfFigure("ROC curves", draw_roc),
    "pr": KindOfFigure("Precision-recall curves", draw_precision_recall),
    "calibration": KindOfFigure("Calibration plot", draw_calibration),
    "scatter": KindOfFigure("Scatter plot", draw_scatter),
    "series": KindOfFigure("Measured and imputed series", draw_series),
    "ranking": KindOfFigure("Ranked values", draw_ranking),
    "intervals": KindOfFigure("Values with 95 % intervals", draw_intervals),
    "arrows": KindOfFigure("Arrows on a plane", draw_arrows),
    "survival": KindOfFigure("Survival curves", draw_survival),
    "matrix": KindOfFigure("Matrix of counts", draw_matrix),
    "map": KindOfFigure("Points on a map", draw_map),
    "overlap": KindOfFigure("Patients by combination of modalities", draw_overlap),
    "heatmap": KindOfFigure("Heat map", draw_heatmap),
    "layers": KindOfFigure("Layered graph", draw_layers),
    "network": KindOfFigure("Network", draw_network),
}


def draw(
    kind: str, frame: pd.DataFrame, title: str, x_label: str, y_label: str, **options
) -> Drawing:
    """Draws a frame with the columns of its kind (`evaluation.tables.Table`), numeric ones float.

    `options` go to the kind's own function (`highlight`, `share_x` of intervals). Some value must
    be finite.
    """
    figure_of_kind = DRAWINGS[kind]
    note: list[str] = []
    with drawing_style():
        svg = svg_text(figure_of_kind.draw(frame, x_label, y_label, note, **options))
    axes = " against ".join(label for label in (y_label, x_label) if label)
    heading = f"{figure_of_kind.shape}: {title}"
    sentences = (heading, axes, *named_parts(frame), f"{len(frame):,} rows")
    alt = ". ".join(sentence for sentence in sentences if sentence) + "."
    return Drawing(svg, alt, " ".join(note))


def named_parts(frame: pd.DataFrame) -> list[str]:
    """The names of a frame's series, panels, rows and the like, for the figure's alt text."""
    sentences = []
    for column in NAMING_COLUMNS:
        values = frame[column].unique() if column in frame else ()
        names = [clean(name) for name in values if name != ""]
        if names:
            heading = column.replace("_", " ").capitalize()
            sentences.append(f"{heading}: {'; '.join(names[:MOST_PANELS])}")
    return sentences
