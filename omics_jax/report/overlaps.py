"""Which modalities patients have together: bars over a matrix of dots (kind "overlap").

After UpSet (Lex et al. 2014, doi:10.1109/TVCG.2014.2346248); `evaluation.overlap_text` reads the
combinations and writes them for a terminal. Left out: the intersections' expected sizes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from omics_jax.evaluation.overlap_text import Overlap, read_overlap
from omics_jax.report.style import PALETTE, blank_figure, clean

MOST_COMBINATIONS = 15
ROW = 0.27  # inches per modality
BARS = 2.1  # inches
LEAST_WIDTH = 6  # combinations that the width is meant for, so that two bars are no walls
STRIPE = "#f4f4f4"
ABSENT = "#d4d4d4"
PRESENT = "#222222"


def draw_overlap(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """The most frequent combinations from left to right, the most frequent modality on top."""
    overlap = read_overlap(frame)
    shown = overlap._replace(
        members=overlap.members[:MOST_COMBINATIONS], patients=overlap.patients[:MOST_COMBINATIONS]
    )
    left_out = overlap.patients[MOST_COMBINATIONS:]
    if len(left_out):
        note.append(left_out_sentence(len(left_out), left_out.sum()))
    heights = (BARS, ROW * max(len(overlap.names), 1))
    figure = blank_figure(sum(heights) + 0.9)
    axes = figure.subplots(
        2, 2, sharex="col", sharey="row", width_ratios=(1, 3.6), height_ratios=heights
    )
    (corner, above), (left, dots) = axes
    corner.remove()
    draw_patients(above, shown, y_label)
    draw_members(dots, shown)
    draw_totals(left, overlap)
    dots.set_xlabel(x_label and clean(x_label, 60))
    return figure


def left_out_sentence(combinations: int, patients: float) -> str:
    """What is not drawn, in a sentence."""
    what = "combination is" if combinations == 1 else "combinations are"
    return (
        f"{combinations} rarer {what} left out ({patients:,.0f} patients); all are in the data "
        "file."
    )


def draw_patients(axis: Axes, overlap: Overlap, y_label: str) -> None:
    """A bar per combination with its number on top."""
    places = np.arange(len(overlap.patients))
    numbers = [f"{count:,.0f}" for count in overlap.patients]
    upright = len(places) > 10 and max(map(len, numbers)) > 3
    axis.bar(places, overlap.patients, width=0.62, color=PALETTE[0])
    above = {"xytext": (0, 2), "textcoords": "offset points", "ha": "center", "va": "bottom"}
    rotation = 90 if upright else 0
    for place, count, number in zip(places, overlap.patients, numbers, strict=True):
        axis.annotate(number, (place, count), **above, fontsize=9.5, rotation=rotation)
    highest = overlap.patients.max(initial=0.0) or 1.0
    axis.set_ylim(0, highest * (1.25 if upright else 1.12))
    axis.set_ylabel(y_label and clean(y_label, 30))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, steps=[1, 2, 5, 10]))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.tick_params(axis="y", labelleft=True)
    axis.tick_params(axis="x", length=0, labelbottom=False)


def draw_members(axis: Axes, overlap: Overlap) -> None:
    """A column of dots per combination: those of its modalities dark and joined."""
    names = [clean(name, 22) for name in overlap.names]
    for row in range(0, len(names), 2):
        axis.axhspan(row - 0.5, row + 0.5, color=STRIPE, linewidth=0, zorder=0)
    for place, member in enumerate(overlap.members):
        rows = np.flatnonzero(member)
        if len(rows):
            axis.vlines(place, rows[0], rows[-1], color=PRESENT, linewidth=2, zorder=2)
    dot = {"marker": "o", "markersize": 8, "markeredgewidth": 0, "linestyle": "none", "zorder": 3}
    for dots, colour in ((~overlap.members, ABSENT), (overlap.members, PRESENT)):
        axis.plot(*np.argwhere(dots).T, color=colour, **dot)
    axis.set_xlim(-0.6, max(len(overlap.patients), LEAST_WIDTH) - 0.4)
    axis.set_yticks(np.arange(len(names)), names)
    axis.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axis.tick_params(length=0, labelleft=True, labelbottom=False)
    axis.spines[:].set_visible(False)


def draw_totals(axis: Axes, overlap: Overlap) -> None:
    """A bar per modality towards the left, with the number of patients who have it."""
    totals = overlap.totals
    axis.barh(np.arange(len(totals)), totals, height=0.55, color="#8c8c8c")
    left_of_bar = {"xytext": (-3, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
    for row, total in enumerate(totals):
        axis.annotate(f"{total:,.0f}", (total, row), **left_of_bar, fontsize=9.5)
    axis.set_xlim((totals.max(initial=0.0) or 1.0) * 1.6, 0)
    axis.set_title("in total", loc="right")
    axis.tick_params(length=0, labelleft=False, labelbottom=False)
    axis.spines[:].set_visible(False)
