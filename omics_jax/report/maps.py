"""Figures of kind "map": points on a plane without scales, coloured by category or by number.

An example is a latent space.

The same points may stand in several panels, each coloured by something else. Left out: densities,
and ellipses around categories.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from omics_jax.report.style import (
    MARKERS,
    MOST_PANELS,
    PALETTE,
    RASTER_ABOVE,
    clean,
    keep_first,
    outer_labels,
    panel_grid,
    series_of,
)

MOST_POINTS = 2_000  # per panel
MOST_LISTED = 20  # categories up to which a legend lists them
SHADES = "viridis"
UNKNOWN = "#c8c8c8"
LINE = 0.19  # inches per line of a legend
LETTER = 0.088  # inches, of capitals in 9 points
LAYERS = 6
LONE, SMALL = 4.4, 3.6  # inches: the side of a lone panel and of one of several


def _shifts_by_length() -> Float[np.ndarray, "m 2"]:
    """Shifts on a grid over 0.6 of the panel, the shortest first."""
    steps = [0.02 * i for i in range(-15, 16)]
    grid = [(x, y) for x in steps for y in steps]
    by_length = sorted(grid, key=lambda shift: np.hypot(*shift))
    return np.array(by_length)


SHIFTS = _shifts_by_length()


def draw_map(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """A lone panel with its key at the right, or two to a row with the keys below."""
    frame = frame[np.isfinite(frame[["x", "y"]].to_numpy(float)).all(axis=1)]
    panels = keep_first(series_of(frame, "panel"), MOST_PANELS, note, "panels")
    parts, alone = list(panels.values()), len(panels) == 1
    _note_thinning(max(map(len, parts)), note)
    height = LONE if alone else SMALL + _mean_key_height(parts)
    figure, axes = panel_grid(len(parts), 2, float(height), share_x=False, share_y=False)
    drawn = sum(min(len(part), MOST_POINTS) for part in parts)
    raster = drawn > RASTER_ABOVE
    some_grey = [draw_panel(*pair, alone, raster) for pair in zip(axes, parts, strict=True)]
    for axis, name in zip(axes, panels, strict=True):
        axis.set_title(clean(name, 40) if name else "")
    if any(some_grey):
        note.append("Grey points have no category or value.")
    if alone:
        (axis,) = axes
        axis.set_xlabel(x_label and clean(x_label, 50))
        axis.set_ylabel(y_label and clean(y_label, 50))
    else:
        figure.get_layout_engine().set(h_pad=0.14)
        outer_labels(figure, x_label, y_label)
    return figure


def _note_thinning(longest: int, note: list[str]) -> None:
    """Says where not all points are drawn; `longest` is the largest panel's number of points."""
    if longest > MOST_POINTS:
        note.append(
            f"{MOST_POINTS:,} of {longest:,} points are drawn, chosen at random; all are in the "
            "data file."
        )


def _mean_key_height(parts: list[pd.DataFrame]) -> float:
    """The inches that keys take below the panels: the higher of each row of two, on average."""
    heights = [key_height(part) for part in parts]
    return np.mean([max(heights[i : i + 2]) for i in range(0, len(heights), 2)])


def by_value(part: pd.DataFrame) -> bool:
    """True where a panel is coloured by numbers."""
    return "value" in part and bool(part["value"].notna().any())


def labels_of(part: pd.DataFrame) -> pd.Series:
    """Each point's category, "" where it has none."""
    if "series" not in part:
        return pd.Series("", index=part.index)
    return part["series"].fillna("").astype(str)


def categories_of(part: pd.DataFrame) -> list[str]:
    """The categories a panel shows, in alphabetical order; [] for one coloured by numbers."""
    return [] if by_value(part) else sorted(name for name in labels_of(part).unique() if name)


def quantity_of(part: pd.DataFrame) -> str:
    """What the numbers of a panel are, "" where that is not said."""
    if "quantity" not in part:
        return ""
    names = part["quantity"].fillna("").astype(str)
    return next((name for name in names if name), "")


def key_height(part: pd.DataFrame) -> float:
    """The inches that a colour bar or a legend takes below a panel."""
    if by_value(part):
        return 0.6
    names = categories_of(part)
    if len(names) > MOST_LISTED:
        return 0.1
    lines = -(-len(names) // columns_below(names))
    return 0.15 + LINE * lines


def columns_below(names: list[str]) -> int:
    """How many columns a legend below a panel has room for."""
    return 2 if max(map(len, names), default=0) <= 18 else 1


def draw_panel(axis: Axes, part: pd.DataFrame, alone: bool, raster: bool) -> bool:
    """The points of one panel and its key; true where some points are grey."""
    set_square_limits(axis, coordinates(part).T)
    shown = part.iloc[drawn_points(len(part))]
    size = float(np.clip(500 / np.sqrt(len(shown)), 11, 30))
    look = {"s": size, "linewidths": 0, "rasterized": raster}
    names = categories_of(part)
    if by_value(part):
        known = shown["value"].notna()
        points = _draw_values(axis, shown[known], look)
        colour_key(axis, points, quantity_of(part), alone)
    elif names:
        known = labels_of(shown) != ""
        _draw_categories(axis, shown, names, look)
        if len(names) <= MOST_LISTED:
            category_key(axis, names, alone)
        else:
            write_categories(axis, part, names, 0.88 * (LONE if alone else SMALL))
    else:
        known = labels_of(shown) == ""
        axis.scatter(*coordinates(shown), color=PALETTE[0], alpha=0.75, **look)
    axis.scatter(*coordinates(shown[~known]), color=UNKNOWN, zorder=0.5, **look)
    return not known.all()


def _draw_values(axis: Axes, known: pd.DataFrame, look: dict) -> PathCollection:
    """Points coloured by their values."""
    return axis.scatter(*coordinates(known), c=known["value"], cmap=SHADES, alpha=0.85, **look)


def _draw_categories(axis: Axes, shown: pd.DataFrame, names: list[str], look: dict) -> None:
    """Points coloured by category, in layers, so that no category hides another."""
    labels = labels_of(shown)
    for layer in range(LAYERS):
        for index, name in enumerate(names):
            points = shown[labels == name][layer::LAYERS]
            axis.scatter(*coordinates(points), alpha=0.75, **category_mark(index), **look)


def coordinates(part: pd.DataFrame) -> Float[np.ndarray, "2 n"]:
    """The coordinates of the points."""
    return part[["x", "y"]].to_numpy(float).T


def drawn_points(count: int) -> Int[np.ndarray, " m"]:
    """Which of `count` points are drawn, ascending; the same in every panel of as many points."""
    if count <= MOST_POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:MOST_POINTS])


def set_square_limits(axis: Axes, xy: Float[np.ndarray, "n 2"]) -> None:
    """The same span on both axes, around the middle of the points, and no ticks."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    half = 0.54 * float((high - low).max()) or 0.5
    x, y = (low + high) / 2
    axis.set_xlim(x - half, x + half)
    axis.set_ylim(y - half, y + half)
    axis.set(aspect="equal", anchor="W", xticks=[], yticks=[])


def category_mark(index: int) -> dict:
    """The look of category number `index`: no two of the first 49 are alike."""
    colour, shift = index % len(PALETTE), index // len(PALETTE)
    return {"color": PALETTE[colour], "marker": MARKERS[(colour + shift) % len(MARKERS)]}


def colour_key(axis: Axes, points: PathCollection, quantity: str, alone: bool) -> None:
    """A colour bar at the right of a lone panel, else below."""
    if alone:
        place, orientation = axis.inset_axes((1.04, 0.0, 0.045, 0.6)), "vertical"
    else:
        place, orientation = axis.inset_axes((0.0, -0.1, 1.0, 0.05)), "horizontal"
    bar = axis.figure.colorbar(points, cax=place, orientation=orientation)
    bar.set_label(quantity and clean(quantity, 36))
    bar.solids.set_alpha(1.0)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(nbins=4, steps=[1, 2, 5, 10])


def category_key(axis: Axes, names: list[str], alone: bool) -> None:
    """A legend at the right of a lone panel, else below it."""
    dot = {"linestyle": "none", "markersize": 6}
    handles = [
        Line2D([], [], label=clean(name, 36), **dot, **category_mark(index))
        for index, name in enumerate(names)
    ]
    if alone:
        corner, columns = (1.02, 1.0), 1
    else:
        corner, columns = (-0.02, -0.01), columns_below(names)
    spacing = {"handlelength": 1.0, "handletextpad": 0.4, "columnspacing": 1.0}
    axis.legend(handles=handles, loc="upper left", bbox_to_anchor=corner, ncols=columns, **spacing)


def write_categories(axis: Axes, part: pd.DataFrame, names: list[str], side: float) -> None:
    """Each category's name at its median, moved where it would cover another.

    side: of the panel, in inches.
    """
    medians = part.groupby(labels_of(part))[["x", "y"]].median().loc[names].to_numpy(float)
    texts = [clean(name, 18) for name in names]
    low = np.array([axis.get_xlim()[0], axis.get_ylim()[0]])
    span = np.ptp(axis.get_xlim())
    sizes = np.array([[LETTER * len(text), 0.165] for text in texts]) / side
    places = low + span * spread_boxes((medians - low) / span, sizes)
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
    centred = {"ha": "center", "va": "center", "fontsize": 9, "zorder": 4}
    for text, median, place in zip(texts, medians, places, strict=True):
        moved = np.abs(place - median).max()
        if moved > 0.02 * span:
            axis.plot(*np.stack([median, place]).T, color="#444444", linewidth=0.6, zorder=3)
        axis.text(*place, text, bbox=box, **centred)


def spread_boxes(
    centres: Float[np.ndarray, "n 2"], sizes: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    """Centres of boxes inside the unit square, each moved in turn to its nearest free place."""
    places = np.empty_like(centres)
    for index, (centre, size) in enumerate(zip(centres, sizes, strict=True)):
        half = size / 2
        tried = np.clip(centre + SHIFTS, half, 1 - half)
        gaps = np.abs(tried[:, None] - places[:index]) - (size + sizes[:index]) / 2
        free = (gaps >= 0).any(axis=2).all(axis=1)
        places[index] = tried[np.argmax(free)]  # where nothing is free: its own place, the first
    return places
