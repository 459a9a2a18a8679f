"""What every figure shares: palette, type, panel grid, legend, and the way to a reproducible SVG.

Colours are the palette of Okabe and Ito (2008, "Color Universal Design") without its yellow, which
is too pale for white paper; every series also has its own marker and dash. The same figure gives
the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (6, 1)), (0, (3, 1, 1, 1)), (0, (1, 0.6)))
GREY = "#767676"
WIDTH = 7.2  # inches; shown at this size, so that font sizes below are what a reader sees
MOST_PANELS = 12
RASTER_ABOVE = 3_000  # points
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.titlelocation": "left",
    "axes.formatter.useoffset": False,
    "lines.linewidth": 1.8,
    "text.parse_math": False,  # a label with "$" is a label
    "svg.fonttype": "none",
    "svg.hashsalt": "omics_jax",
}


@dataclass(frozen=True)
class Drawing:
    """A figure with its words.

    svg: the SVG document.
    alt: what it shows, for those who do not see it.
    note: sentences about marks and about what was not drawn; "" if there are none.
    """

    svg: str
    alt: str
    note: str = ""


@contextmanager
def drawing_style() -> Iterator[None]:
    """Our settings over matplotlib's own defaults, whatever the user's matplotlibrc says."""
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        # The glyph is drawn by the reader's browser, which has more fonts than we measure with.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def svg_text(figure: Figure) -> str:
    """The figure as an SVG document without date, creator or doctype; text stays text."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", dpi=200, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Measured with DejaVu, which is wider than these, so what fits here fits there.
    return re.sub(r"(font: [^;\"<>]*?)'DejaVu Sans'", r"\1Helvetica, Arial, 'DejaVu Sans'", svg)


def clean(label: object, longest: int = 42) -> str:
    """A label in one line of at most `longest` characters, without what XML cannot hold."""
    text = "".join(character if character.isprintable() else " " for character in str(label))
    text = " ".join(text.split()) or "–"
    return text if len(text) <= longest else f"{text[: longest - 13]}…{text[-12:]}"


def blank_figure(height: float) -> Figure:
    """A figure of our width, `height` inches high, whose parts keep clear of each other."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    return figure


def panel_grid(
    count: int, columns: int, height: float, share_x: bool = True, share_y: bool | str = True
) -> tuple[Figure, list[Axes]]:
    """A figure of our width with `count` axes, `columns` to a row, each `height` inches high."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = blank_figure(height * rows)
    axes = figure.subplots(rows, columns, sharex=share_x, sharey=share_y, squeeze=False).ravel()
    for spare in axes[count:]:
        spare.remove()
    for above in axes[max(0, count - columns) : (rows - 1) * columns]:
        above.tick_params(labelbottom=True)
    return figure, list(axes[:count])


def series_of(frame: pd.DataFrame, column: str = "series") -> dict[str, pd.DataFrame]:
    """Series name -> its rows, in order of appearance; {"": frame} without a series column."""
    if column not in frame:
        return {"": frame}
    return {str(name): part for name, part in frame.groupby(column, sort=False)}


def keep_first(series: dict, most: int, note: list[str], noun: str = "series") -> dict:
    """The first `most` entries; says in `note` what was left out."""
    if len(series) > most:
        note.append(
            f"The first {most} of {len(series)} {noun} are drawn; all are in the data file."
        )
    return dict(list(series.items())[:most])


def add_legend(
    figure: Figure, names: list[str], handles: list[Line2D], place: str = "outside upper left"
) -> None:
    """A legend above the axes, or at another place, with as many columns as its names allow."""
    if not names:
        return
    names = [clean(name) for name in names]
    figure.legend(handles, names, loc=place, ncols=legend_columns(names), handlelength=2.4)


def legend_columns(names: list[str]) -> int:
    """How many columns a legend of these names, one at least, has room for."""
    longest = max(len(clean(name)) for name in names)
    return max(1, min(len(names), int(WIDTH * 72 // (6 * longest + 40))))


def legend_height(names: list[str]) -> float:
    """The inches that a legend of these names takes, 0 for none."""
    return 0.15 + 0.2 * -(-len(names) // legend_columns(names)) if names else 0.0


def mark(index: int, line: bool = True, filled: bool = True) -> dict:
    """The colour, marker and dash of series number `index`."""
    k = index % len(PALETTE)
    face = PALETTE[k] if filled else "white"
    style = DASHES[k] if line else "none"
    return {"color": PALETTE[k], "marker": MARKERS[k], "linestyle": style, "markerfacecolor": face}


def outer_labels(figure: Figure, x_label: str, y_label: str) -> None:
    """One title per axis for the whole figure."""
    if x_label:
        figure.supxlabel(clean(x_label, 90), fontsize=10)
    if y_label:
        figure.supylabel(clean(y_label, 60), fontsize=10)
