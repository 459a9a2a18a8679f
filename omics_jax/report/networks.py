"""Figures of kind "network": an undirected graph, such as pairs of genes that act together.

Nodes stand on a circle, those of a group side by side, with their names outside it, so that neither
a line nor another name covers a name. Within a group they are ordered by the mean place of their
neighbours (the barycentre heuristic; Sugiyama et al. 1981). Left out: directions, and layouts by
forces, where lines cross the names of dense networks and groups are scattered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from omics_jax.report.layered_graphs import series_colours, series_names
from omics_jax.report.results import numbers
from omics_jax.report.style import (
    GREY,
    MARKERS,
    PALETTE,
    WIDTH,
    add_legend,
    blank_figure,
    clean,
    legend_height,
    outer_labels,
)

MOST_EDGES = 60
MOST_NODES = 80  # whose names have room for 17 letters
MOST_GROUPS = 20  # that have a mark of their own
MOST_LETTERS = 24  # of a name
LETTER = 0.078  # inches, of type in 9 points
SLOT, WIDE_SLOT = 0.14, 0.3  # inches of the circle per node: the least, and what looks well
MOST_GAPS = 10  # slots that all gaps between groups take together
SMALL_RADIUS, LARGE_RADIUS = 0.9, 2.4  # inches
AWAY = 0.1  # inches from a node to its name
BEND = 0.75  # of the way from the centre to the middle of two nodes; 1 gives straight lines
SWEEPS = 20
THIN, THICK, KEY = 0.8, 4.5, 1.8  # points: the widths of lines, and of those in the legend
INK = "#222222"
# Points of line and gap in turn, () for a solid line.
SOLID, DASHED, DOTTED = (), (6.0, 3.0), (1.5, 2.0)
DASHES = (
    SOLID,
    DASHED,
    DOTTED,
    (7.0, 2.5, 1.5, 2.5),
    (11.0, 3.0),
    (3.0, 2.0),
    (4.0, 2.0, 1.5, 2.0),
)
SIGNS = {1.0: "positive", -1.0: "negative", 0.0: "zero"}
UNKNOWN = "unknown sign"
SIGN_COLOURS = {"positive": PALETTE[0], "negative": PALETTE[1], "zero": "#444444", UNKNOWN: GREY}
SIGN_DASHES = {"positive": SOLID, "negative": DASHED, "zero": DOTTED, UNKNOWN: SOLID}

Groups = Mapping[str, str]  # node -> its group, "" for none
Dash = tuple[float, ...]


def draw_network(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """The nodes on a circle, a line for every connection, keys of lines above and groups below."""
    frame = strongest_edges(frame, note)
    groups = node_groups(frame)
    order = ring_order(groups, list(zip(frame["source"], frame["target"], strict=True)))
    positions, slots = ring_slots([groups[name] for name in order])
    longest = max(len(clean(name, MOST_LETTERS)) for name in order)
    radius, room = ring_size(slots, longest)
    angle_of = dict(zip(order, 2 * np.pi * positions / slots, strict=True))
    colours, dashes = line_looks(frame)
    marks = group_marks(groups, colours.values(), note)
    line_key = key_of_lines(colours, dashes)
    half = radius + AWAY + room
    figure = blank_figure(2 * half + legend_height([*line_key]) + legend_height([*marks]) + 0.4)
    axis = figure.subplots()
    axis.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
    axis.axis("off")
    draw_edges(axis, frame, angle_of, radius, (colours, dashes))
    for name, angle in angle_of.items():
        look = marks.get(groups[name], {"color": GREY, "marker": "o"})
        axis.plot(*at(angle, radius), markersize=7.5, zorder=2, **look)
        write_name(axis, clean(name, int(room / LETTER)), angle, radius + AWAY)
    outer_labels(figure, x_label, y_label)
    add_legend(figure, [*line_key], [*line_key.values()])
    dots = [Line2D([], [], linestyle="none", markersize=7.5, **look) for look in marks.values()]
    add_legend(figure, [*marks], dots, "outside lower left")
    note += key_sentences(frame, colours, dashes)
    return figure


# --- what is drawn --------------------------------------------------------------------------------


def strongest_edges(frame: pd.DataFrame, note: list[str]) -> pd.DataFrame:
    """The connections of largest value, largest first, each pair of nodes once; names as text."""
    frame = frame[np.isfinite(frame["value"].to_numpy(float))]
    frame = frame.astype({"source": str, "target": str})
    frame = frame.iloc[np.argsort(-frame["value"].to_numpy(float), kind="stable")]
    pair = pd.Series(np.sort(frame[["source", "target"]].to_numpy(str), axis=1).tolist())
    repeated = pair.map(tuple).duplicated().to_numpy()
    if repeated.any():
        note.append("Of a pair that is connected more than once, the largest value is drawn.")
    frame = frame[~repeated]
    is_new = ~frame[["source", "target"]].stack().duplicated().to_numpy()
    nodes = is_new.reshape(-1, 2).sum(axis=1).cumsum()
    drawn = frame[(nodes <= MOST_NODES) & (np.arange(len(frame)) < MOST_EDGES)]
    if len(drawn) < len(frame):
        note.append(
            f"The {len(drawn)} strongest of {len(frame):,} connections are drawn; all are in the "
            "data file."
        )
    return drawn


def node_groups(frame: pd.DataFrame) -> dict[str, str]:
    """Node -> its group; groups in alphabetical order and nodes without one last.

    Where a node's group differs between rows, the first that is not empty counts.
    """
    groups: dict[str, str] = {}
    for end in ("source", "target"):
        given = frame.get(f"{end}_group", pd.Series("", index=frame.index)).fillna("")
        for name, group in zip(frame[end], given.astype(str), strict=True):
            groups[name] = groups.get(name) or group
    return dict(sorted(groups.items(), key=lambda item: (item[1] == "", item[1])))


# --- places ---------------------------------------------------------------------------------------


def ring_order(groups: Groups, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """The nodes clockwise: groups as they come, each sorted by the mean place of its neighbours.

    Of `SWEEPS` sweeps the order with the shortest chords counts.
    """
    order = best = list(groups)
    shortest = chord_length(order, groups, pairs)
    for _ in range(SWEEPS):
        order = swept(order, groups, pairs)
        length = chord_length(order, groups, pairs)
        if length < shortest:
            best, shortest = order, length
    return best


def swept(order: list[str], groups: Groups, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """One sweep: the nodes of every group by the mean angle of their neighbours, seen from it."""
    angle_of = angles(order, groups)
    neighbours: dict[str, list[str]] = {name: [] for name in order}
    for a, b in pairs:
        neighbours[a].append(b)
        neighbours[b].append(a)
    middle = {
        group: np.mean([angle_of[name] for name in order if groups[name] == group])
        for group in dict.fromkeys(groups.values())
    }

    def mean_angle(name: str) -> float:
        turns = np.array([angle_of[other] for other in neighbours[name]]) - middle[groups[name]]
        return float(np.mean((turns + np.pi) % (2 * np.pi) - np.pi))

    return [
        name
        for group in middle
        for name in sorted((n for n in order if groups[n] == group), key=mean_angle)
    ]


def chord_length(order: list[str], groups: Groups, pairs: Sequence[tuple[str, str]]) -> float:
    """The summed length of all connections on a circle of diameter 1."""
    angle_of = angles(order, groups)
    return sum(abs(np.sin((angle_of[a] - angle_of[b]) / 2)) for a, b in pairs)


def angles(order: list[str], groups: Groups) -> dict[str, float]:
    """Node -> its angle, clockwise from the top."""
    positions, slots = ring_slots([groups[name] for name in order])
    return dict(zip(order, 2 * np.pi * positions / slots, strict=True))


def ring_slots(groups: Sequence[str]) -> tuple[Float[np.ndarray, " n"], float]:
    """The slot of every node on the circle, and how many there are; gaps stand between groups.

    groups: that of every node, in order.
    """
    begins = np.array([a != b for a, b in zip(groups, [groups[-1], *groups[:-1]], strict=True)])
    gap = min(1.0, MOST_GAPS / max(1, begins.sum()))
    positions = np.cumsum(1 + gap * begins)
    return positions - positions[0], float(positions[-1])


def ring_size(slots: float, longest: int) -> tuple[float, float]:
    """The radius of the circle and the room for a name beside it, in inches.

    slots: of the circle. longest: letters of the longest name; it gets its room where the circle
      leaves it.
    """
    half = (WIDTH - 0.4) / 2 - AWAY
    pleasant = np.clip(slots * WIDE_SLOT / (2 * np.pi), SMALL_RADIUS, LARGE_RADIUS)
    wanted = min(pleasant, half - LETTER * longest)
    radius = max(slots * SLOT / (2 * np.pi), wanted)
    return float(radius), float(min(half - radius, LETTER * (longest + 1)))


def at(angle: float, radius: float) -> Float[np.ndarray, " 2"]:
    """The point at an angle, clockwise from the top."""
    return radius * np.array([np.sin(angle), np.cos(angle)])


# --- marks ----------------------------------------------------------------------------------------


def sign_names(frame: pd.DataFrame) -> list[str]:
    """The sign of every connection in words; "" for all where no sign is known."""
    if "sign" not in frame or frame["sign"].isna().all():
        return [""] * len(frame)
    return [SIGNS.get(sign, UNKNOWN) for sign in frame["sign"].astype(float)]


def line_looks(frame: pd.DataFrame) -> tuple[dict[str, str], dict[str, Dash]]:
    """Name -> colour and name -> dash: those of signs, of series, or one of each.

    The colour tells the sign where one is known, and otherwise the series; the dash tells the
    series where there is one, and otherwise the sign.
    """
    signs, series = sign_names(frame), series_names(frame)
    present = [name for name in SIGN_COLOURS if name in signs]
    names = enumerate(sorted(set(series)))
    by_series = {name: DASHES[i % len(DASHES)] for i, name in names if name}
    colours = {name: SIGN_COLOURS[name] for name in present} or series_colours(series)
    return colours, by_series or {name: SIGN_DASHES[name] for name in present}


def line_style(dash: Dash, width: float) -> str | tuple[float, Dash]:
    """A dash as matplotlib takes it, which is in widths of the line."""
    return (0.0, tuple(points / width for points in dash)) if dash else "-"


def key_of_lines(colours: Mapping[str, str], dashes: Mapping[str, Dash]) -> dict[str, Line2D]:
    """Name -> its line in the legend: dark where it has only a dash, solid where only a colour."""
    return {
        name: Line2D(
            [],
            [],
            color=colours.get(name, INK),
            linestyle=line_style(dashes.get(name, SOLID), KEY),
            linewidth=KEY,
        )
        for name in dict.fromkeys([*colours, *dashes])
    }


def key_sentences(
    frame: pd.DataFrame, colours: Mapping[str, str], dashes: Mapping[str, Dash]
) -> list[str]:
    """What width, colour and dash of a line tell, as far as the legend does not."""
    low, high = numbers([frame["value"].min(), frame["value"].max()])
    sentences = (
        [f"The width of a line shows its value, from {low} to {high}."] if low != high else []
    )
    if set(colours) != set(dashes):
        sentences.append("The colour of a line shows its sign, its dashes show the series.")
    return sentences


def group_marks(groups: Groups, taken: Collection[str], note: list[str]) -> dict[str, dict]:
    """Group -> colour and marker of its nodes; no two are alike.

    taken: the colours of the lines, which are left out where three others remain.
    """
    names = [name for name in dict.fromkeys(groups.values()) if name]
    if len(names) > MOST_GROUPS:
        note.append(
            f"The nodes of all but the first {MOST_GROUPS} of {len(names)} groups are grey."
        )
    free = [colour for colour in PALETTE if colour not in taken]
    free = free if len(free) > 2 else list(PALETTE)
    return {
        name: {
            "color": free[i % len(free)],
            "marker": MARKERS[(i % len(free) + i // len(free)) % len(MARKERS)],
        }
        for i, name in enumerate(names[:MOST_GROUPS])
    }


def line_widths(value: pd.Series) -> Float[np.ndarray, " e"]:
    """Points by value; the largest value has the widest line."""
    share = value.to_numpy(float) / (value.max() or 1)
    return THIN + (THICK - THIN) * share


def draw_edges(
    axis: Axes,
    frame: pd.DataFrame,
    angle_of: Mapping[str, float],
    radius: float,
    looks: tuple[Mapping[str, str], Mapping[str, Dash]],
) -> None:
    """A line per connection, bent towards the centre, the strongest on top."""
    colours, dashes = looks
    rows = zip(
        frame["source"],
        frame["target"],
        sign_names(frame),
        series_names(frame),
        line_widths(frame["value"]),
        strict=True,
    )
    for source, target, sign, series, width in reversed(list(rows)):
        start, end = at(angle_of[source], radius), at(angle_of[target], radius)
        path = Path([start, BEND * (start + end) / 2, end], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
        colour = colours.get(sign, colours.get(series, GREY))
        dash = line_style(dashes.get(series, dashes.get(sign, SOLID)), width)
        look = {"edgecolor": colour, "linestyle": dash, "linewidth": width, "alpha": 0.75}
        axis.add_patch(PathPatch(path, facecolor="none", zorder=1, **look))


def write_name(axis: Axes, text: str, angle: float, radius: float) -> None:
    """A name that begins (at the right) or ends (at the left) at the circle, read from outside."""
    degrees, is_right = 90 - np.degrees(angle), np.sin(angle) >= 0
    rotation, side = (degrees, "left") if is_right else (degrees + 180, "right")
    look = {"rotation": rotation, "rotation_mode": "anchor", "fontsize": 9, "zorder": 3}
    axis.text(*at(angle, radius), text, ha=side, va="center", **look)
