"""Points on a plane without scales, such as a latent space, coloured by category or by number (kind
"map").

The same points may stand in several panels, each coloured by something else. Left out: densities,
and ellipses around categories.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
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
SHIFTS = np.array(
    sorted(
        ((0.02 * i, 0.02 * j) for i in range(-15, 16) for j in range(-15, 16)),
        key=lambda step: np.hypot(*step),
    )
)


def draw_map(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """A lone panel with its key at the right, or two to a row with the keys below."""
    frame = frame[np.isfinite(frame[["x", "y"]].to_numpy(float)).all(axis=1)]
    panels = keep_first(series_of(frame, "panel"), MOST_PANELS, note, "panels")
    longest = max(len(part) for part in panels.values())
    if longest > MOST_POINTS:
        note.append(
            f"{MOST_POINTS:,} of {longest:,} points are drawn, chosen at random; all are in the "
            "data file."
        )
    alone = len(panels) == 1
    below = [0.0 if alone else key_height(part) for part in panels.values()]
    height = np.mean([max(below[i : i + 2]) for i in range(0, len(below), 2)]) + (
        LONE if alone else SMALL
    )
    figure, axes = panel_grid(len(panels), 2, float(height), share_x=False, share_y=False)
    raster = sum(min(len(part), MOST_POINTS) for part in panels.values()) > RASTER_ABOVE
    unknown = [
        draw_panel(axis, part, alone, raster)
        for axis, part in zip(axes, panels.values(), strict=True)
    ]
    for axis, name in zip(axes, panels, strict=True):
        axis.set_title(clean(name, 40) if name else "")
    if any(unknown):
        note.append("Grey points have no category or value.")
    if alone:
        axes[0].set(xlabel=x_label and clean(x_label, 50), ylabel=y_label and clean(y_label, 50))
    else:
        figure.get_layout_engine().set(h_pad=0.14)
        outer_labels(figure, x_label, y_label)
    return figure


def by_value(part: pd.DataFrame) -> bool:
    """True where a panel is coloured by numbers."""
    return "value" in part and bool(part["value"].notna().any())


def labels_of(part: pd.DataFrame) -> pd.Series:
    """Each point's category, "" where it has none."""
    if "series" not in part:
        return pd.Series("", index=part.index)
    return part["series"].fillna("").astype(str)


def categories_of(part: pd.DataFrame) -> list[str]:
    """What a panel that is coloured by category shows, in alphabetical order; [] for one coloured
    by numbers.
    """
    return [] if by_value(part) else sorted(name for name in labels_of(part).unique() if name)


def quantity_of(part: pd.DataFrame) -> str:
    """What the numbers of a panel are, "" where that is not said."""
    named = part["quantity"].fillna("").astype(str) if "quantity" in part else pd.Series(dtype=str)
    return next((name for name in named if name), "")


def key_height(part: pd.DataFrame) -> float:
    """The inches that a colour bar or a legend takes below a panel."""
    if by_value(part):
        return 0.6
    names = categories_of(part)
    return (
        0.15 + LINE * -(-len(names) // columns_below(names)) if len(names) <= MOST_LISTED else 0.1
    )


def columns_below(names: list[str]) -> int:
    """How many columns a legend below a panel has room for."""
    return 2 if max(map(len, names), default=0) <= 18 else 1


def draw_panel(axis: Axes, part: pd.DataFrame, alone: bool, raster: bool) -> bool:
    """The points of one panel and its key; true where some points are grey."""
    square_limits(axis, part[["x", "y"]].to_numpy(float))
    shown = part.iloc[chosen(len(part))]
    names, labels = categories_of(part), labels_of(shown)
    look = {
        "s": float(np.clip(500 / np.sqrt(len(shown)), 11, 30)),
        "linewidths": 0,
        "rasterized": raster,
    }
    if by_value(part):
        known = shown["value"].notna()
        points = axis.scatter(
            *plane(shown[known]), c=shown["value"][known], cmap=SHADES, alpha=0.85, **look
        )
        colour_key(axis, points, quantity_of(part), alone)
    elif names:
        known = labels != ""
        for layer in range(LAYERS):  # else the last category would hide the others
            for index, name in enumerate(names):
                points = shown[labels == name][layer::LAYERS]
                axis.scatter(*plane(points), alpha=0.75, **category_mark(index), **look)
        if len(names) <= MOST_LISTED:
            category_key(axis, names, alone)
        else:
            write_categories(axis, part, names, 0.88 * (LONE if alone else SMALL))
    else:
        known = labels == ""
        axis.scatter(*plane(shown), color=PALETTE[0], alpha=0.75, **look)
    axis.scatter(*plane(shown[~known]), color=UNKNOWN, zorder=0.5, **look)
    return not known.all()


def plane(part: pd.DataFrame) -> Float[np.ndarray, "2 n"]:
    """The coordinates of the points."""
    return part[["x", "y"]].to_numpy(float).T


def chosen(count: int) -> np.ndarray:
    """Which of `count` points are drawn, rising; the same ones in every panel of as many points."""
    if count <= MOST_POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:MOST_POINTS])


def square_limits(axis: Axes, xy: Float[np.ndarray, "n 2"]) -> None:
    """The same span on both axes, around the middle of the points, and no ticks."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    half = 0.54 * float((high - low).max()) or 0.5
    (x, y) = (low + high) / 2
    axis.set(
        xlim=(x - half, x + half),
        ylim=(y - half, y + half),
        aspect="equal",
        anchor="W",
        xticks=[],
        yticks=[],
    )


def category_mark(index: int) -> dict:
    """The look of category number `index`: no two of the first 49 are alike."""
    colour, shift = index % len(PALETTE), index // len(PALETTE)
    return {"color": PALETTE[colour], "marker": MARKERS[(colour + shift) % len(MARKERS)]}


def colour_key(axis: Axes, points: PathCollection, quantity: str, alone: bool) -> None:
    """A colour bar at the right of a lone panel, else below."""
    place = axis.inset_axes((1.04, 0.0, 0.045, 0.6) if alone else (0.0, -0.1, 1.0, 0.05))
    bar = axis.figure.colorbar(points, cax=place, orientation="vertical" if alone else "horizontal")
    bar.set_label(quantity and clean(quantity, 36))
    bar.solids.set_alpha(1.0)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(nbins=4, steps=[1, 2, 5, 10])


def category_key(axis: Axes, names: list[str], alone: bool) -> None:
    """A legend at the right of a lone panel, else below it."""
    handles = [
        Line2D(
            [], [], linestyle="none", markersize=6, label=clean(name, 36), **category_mark(index)
        )
        for index, name in enumerate(names)
    ]
    corner, columns = ((1.02, 1.0), 1) if alone else ((-0.02, -0.01), columns_below(names))
    axis.legend(
        handles=handles, loc="upper left", bbox_to_anchor=corner, ncols=columns, handlelength=1.0, handletextpad=0.4,
        columnspacing=1.0,
    )  # fmt: skip


def write_categories(axis: Axes, part: pd.DataFrame, names: list[str], side: float) -> None:
    """Each category's name at its median, moved where it would cover another; `side`: the panel's,
    in inches.
    """
    medians = part.groupby(labels_of(part))[["x", "y"]].median().loc[names].to_numpy(float)
    texts = [clean(name, 18) for name in names]
    low, span = np.array([axis.get_xlim()[0], axis.get_ylim()[0]]), np.ptp(axis.get_xlim())
    sizes = np.array([[LETTER * len(text), 0.165] for text in texts]) / side
    places = low + span * kept_apart((medians - low) / span, sizes)
    for text, median, place in zip(texts, medians, places, strict=True):
        if np.abs(place - median).max() > 0.02 * span:
            axis.plot(*np.stack([median, place]).T, color="#444444", linewidth=0.6, zorder=3)
        axis.text(
            *place, text, ha="center", va="center", fontsize=9, zorder=4,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip


def kept_apart(
    centres: Float[np.ndarray, "n 2"], sizes: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    """Boxes inside the unit square moved, one after the other, to the nearest free place."""
    places = np.empty_like(centres)
    for index, (centre, size) in enumerate(zip(centres, sizes, strict=True)):
        tried = np.clip(centre + SHIFTS, size / 2, 1 - size / 2)
        gaps = np.abs(tried[:, None] - places[:index]) - (size + sizes[:index]) / 2
        free = (gaps >= 0).any(axis=2).all(axis=1)
        places[index] = tried[np.argmax(free)]  # where nothing is free: its own place, the first
    return places
