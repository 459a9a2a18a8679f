"""Figures of kind "layers": a layered graph, such as sites, genes, pathways and a disease.

A layer is a column of named boxes, a connection a curve between them. Boxes have the height of
their names and a place of their own, so that no name covers another. Layers are ordered as their
connections point, boxes by the mean place of what they are connected to (Sugiyama et al. 1981).
Left out: connections within a layer.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path

from omics_jax.report.style import (
    GREY,
    PALETTE,
    WIDTH,
    add_legend,
    blank_figure,
    clean,
    outer_labels,
)

MOST_EDGES = 200
MOST_LAYERS = 6
MOST_LETTERS = 20  # of the name of a layer
LETTER = 0.078  # inches, of type in 9 points
LINE = 0.155  # inches from one line of a name to the next
PAD = 0.05  # inches around a name
GAP = 0.07  # inches between boxes
LEAST_CURVE = 0.55  # inches between two layers
THIN, THICK = 0.5, 4.5  # points

Node = tuple[str, str]  # layer, name


class Box(NamedTuple):
    """A named box in inches: left end, middle, width and height; the name in lines."""

    left: float
    middle: float
    width: float
    height: float
    text: str


def draw_layers(frame: pd.DataFrame, x_label: str, y_label: str, note: list[str]) -> Figure:
    """Layers from left to right, a curve per connection."""
    frame = frame[np.isfinite(frame["weight"].to_numpy(float))]
    if len(frame) > MOST_EDGES:
        note.append(
            f"The {MOST_EDGES} largest of {len(frame):,} connections are drawn; all are in the "
            "data file."
        )
        frame = frame.iloc[np.sort(np.argsort(-frame["weight"], kind="stable")[:MOST_EDGES])]
    layers = layer_order(frame)
    if len(layers) > MOST_LAYERS:
        note.append(f"The last {MOST_LAYERS} of {len(layers)} layers are drawn.")
        layers = layers[-MOST_LAYERS:]
        frame = frame[frame["source_layer"].isin(layers)]
    boxes = place_boxes(node_order(frame, layers))
    height = max(box.middle + box.height / 2 for box in boxes.values()) + GAP
    top = LINE + 2 * PAD
    figure = blank_figure(height + top + 0.6)
    axis = figure.subplots()
    axis.set(xlim=(0, WIDTH - 0.3), ylim=(height, -top))
    axis.axis("off")
    series = series_names(frame)
    colours = series_colours(series)
    for edge, name, width in zip(frame.itertuples(), series, line_widths(frame), strict=True):
        source = boxes[str(edge.source_layer), str(edge.source)]
        target = boxes[str(edge.target_layer), str(edge.target)]
        draw_curve_between(axis, source, target, colours.get(name, GREY), width)
    for box in boxes.values():
        draw_box(axis, box)
    name_layers(axis, boxes, layers)
    outer_labels(figure, x_label, y_label)
    add_legend(
        figure,
        list(colours),
        [Line2D([], [], color=colour, linewidth=3) for colour in colours.values()],
    )
    return figure


# --- order ----------------------------------------------------------------------------------------


def layer_order(frame: pd.DataFrame) -> list[str]:
    """The layers, sources before targets.

    Raises:
      ValueError: layers whose connections point in a circle.
    """
    sorter: TopologicalSorter[str] = TopologicalSorter()
    pairs = frame[["source_layer", "target_layer"]].drop_duplicates().astype(str)
    for source, target in pairs.itertuples(index=False):
        sorter.add(target, source)
    try:
        return list(sorter.static_order())
    except CycleError as error:
        raise ValueError(f"the layers {error.args[1]} are connected in a circle") from None


def node_order(frame: pd.DataFrame, layers: list[str]) -> dict[str, list[str]]:
    """Layer -> its nodes from top to bottom: by the mean place of what they point to.

    Those of the last layer, and those of equal place, stand in order of appearance.
    """
    place: dict[Node, float] = {}
    ordered = {}
    for layer in reversed(layers):
        sources = frame.loc[frame["source_layer"] == layer, "source"]
        targets = frame.loc[frame["target_layer"] == layer, "target"]
        names = list(dict.fromkeys([*map(str, sources), *map(str, targets)]))
        aims = frame[frame["source_layer"] == layer]
        aimed = {
            str(name): np.mean(
                [place[str(edge.target_layer), str(edge.target)] for edge in own.itertuples()]
            )
            for name, own in aims.groupby("source", sort=False)
        }
        names = sorted(names, key=lambda name: aimed.get(name, np.inf))
        place |= {(layer, name): (i + 0.5) / len(names) for i, name in enumerate(names)}
        ordered[layer] = names
    return {layer: ordered[layer] for layer in layers}


# --- places ---------------------------------------------------------------------------------------


def place_boxes(nodes: Mapping[str, list[str]]) -> dict[Node, Box]:
    """A box for every node; a layer's boxes are spread over the height of the highest layer."""
    width = text_width(len(nodes))
    texts = {layer: [wrapped(name, width) for name in names] for layer, names in nodes.items()}
    lines = {layer: max(text.count("\n") + 1 for text in own) for layer, own in texts.items()}
    heights = {layer: LINE * count + 2 * PAD for layer, count in lines.items()}
    widths = {
        layer: LETTER * longest_line([clean(layer, MOST_LETTERS), *own]) + 2 * PAD
        for layer, own in texts.items()
    }
    total = max((heights[layer] + GAP) * len(names) for layer, names in nodes.items())
    room = WIDTH - 0.4 - sum(widths.values())
    curve = room / max(1, len(nodes) - 1)
    boxes, left = {}, 0.05
    for layer, names in nodes.items():
        for i, (name, text) in enumerate(zip(names, texts[layer], strict=True)):
            middle = total * (i + 0.5) / len(names)
            boxes[layer, name] = Box(left, middle, widths[layer], heights[layer], text)
        left += widths[layer] + curve
    return boxes


def text_width(layers: int) -> int:
    """The letters of a line for which so many layers have room."""
    room = (WIDTH - 0.4 - LEAST_CURVE * (layers - 1)) / layers - 2 * PAD
    return max(8, int(room / LETTER))


def longest_line(texts: Sequence[str]) -> int:
    """The most letters in a line."""
    return max(len(line) for text in texts for line in text.split("\n"))


def wrapped(name: str, width: int) -> str:
    """A name in up to three lines."""
    return "\n".join(textwrap.wrap(clean(name, 3 * width - 6), width)[:3])


# --- marks ----------------------------------------------------------------------------------------


def line_widths(frame: pd.DataFrame) -> np.ndarray:
    """Points by weight; the largest between two layers is the thickest."""
    weight = frame["weight"].abs()
    largest = weight.groupby([frame["source_layer"], frame["target_layer"]]).transform("max")
    share = (weight / largest.where(largest > 0, 1)).to_numpy(float)
    return THIN + (THICK - THIN) * share


def series_names(frame: pd.DataFrame) -> list[str]:
    """The series of every connection, "" where it has none."""
    if "series" not in frame:
        return [""] * len(frame)
    return [str(name) for name in frame["series"].fillna("")]


def series_colours(series: Sequence[str]) -> dict[str, str]:
    """Series -> its colour, in alphabetical order; "" has none."""
    names = sorted(set(series) - {""})
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def draw_curve_between(axis: Axes, source: Box, target: Box, colour: str, width: float) -> None:
    """A curve from the right side of a box to the left side of another."""
    x, x_end = source.left + source.width, target.left
    half = (x_end - x) / 2
    points = [
        (x, source.middle),
        (x + half, source.middle),
        (x_end - half, target.middle),
        (x_end, target.middle),
    ]
    path = Path(points, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    look = {"facecolor": "none", "edgecolor": colour, "linewidth": width, "alpha": 0.7}
    axis.add_patch(PathPatch(path, zorder=1, **look))


def draw_box(axis: Axes, box: Box) -> None:
    """A white box with its name."""
    look = {"facecolor": "white", "edgecolor": "#444444", "linewidth": 0.8, "zorder": 2}
    corner = (box.left, box.middle - box.height / 2)
    style = "round,pad=0,rounding_size=0.04"
    axis.add_patch(FancyBboxPatch(corner, box.width, box.height, boxstyle=style, **look))
    centre = (box.left + box.width / 2, box.middle)
    axis.text(*centre, box.text, ha="center", va="center", fontsize=9, zorder=3, linespacing=1.0)


def name_layers(axis: Axes, boxes: Mapping[Node, Box], layers: list[str]) -> None:
    """The name of every layer above its boxes."""
    for layer in layers:
        box = next(own for (name, _), own in boxes.items() if name == layer)
        place = (box.left + box.width / 2, -PAD)
        look = {"ha": "center", "va": "bottom", "fontsize": 9.5, "color": GREY}
        axis.text(*place, clean(layer, MOST_LETTERS), **look)
