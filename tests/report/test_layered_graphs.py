"""Layered graphs: layers in the direction of their connections, and no name over another."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from omics_jax.report import layered_graphs
from omics_jax.report.style import WIDTH


def edges(*rows):
    columns = ["source_layer", "source", "target_layer", "target", "weight"]
    return pd.DataFrame(rows, columns=columns)


def test_layers_follow_their_connections_whatever_their_order():
    frame = edges(("b", "x", "c", "y", 1.0), ("a", "z", "b", "x", 1.0))
    assert layered_graphs.layer_order(frame) == ["a", "b", "c"]


def test_layers_in_a_circle_are_refused():
    frame = edges(("a", "x", "b", "y", 1.0), ("b", "y", "a", "x", 1.0))
    with pytest.raises(ValueError, match="in a circle"):
        layered_graphs.layer_order(frame)


def test_boxes_stand_where_their_connections_lead():
    """Two targets in order of appearance; sources crosswise in the frame, uncrossed in the plan."""
    frame = edges(
        ("a", "to second", "b", "second", 1.0),
        ("a", "to first", "b", "first", 1.0),
        ("a", "to both", "b", "first", 1.0),
        ("a", "to both", "b", "second", 1.0),
        ("b", "first", "c", "end", 2.0),
        ("b", "second", "c", "end", 1.0),
    )
    order = layered_graphs.node_order(frame, ["a", "b", "c"])
    assert order["b"] == ["first", "second"] and order["c"] == ["end"]
    assert order["a"] == ["to first", "to both", "to second"]


def test_the_largest_connection_between_two_layers_is_the_thickest():
    frame = edges(
        ("a", "x", "b", "y", 4.0), ("a", "z", "b", "y", 0.0), ("b", "y", "c", "end", 0.01)
    )
    thin, thick = layered_graphs.THIN, layered_graphs.THICK
    np.testing.assert_allclose(layered_graphs.line_widths(frame), [thick, thin, thick])


@pytest.mark.parametrize("layers", [2, 3, 4, 6])
def test_no_box_covers_another_or_leaves_the_figure(layers):
    """With the longest names there are, and many of them in one layer."""
    nodes = {
        f"layer {i}": [f"{'positive regulation of a response ' * 3}{i}.{j}" for j in range(7 - i)]
        for i in range(layers)
    }
    boxes = list(layered_graphs.place_boxes(nodes).values())
    for a, b in combinations(boxes, 2):
        apart = abs(a.middle - b.middle) >= (a.height + b.height) / 2
        assert apart or a.left + a.width < b.left or b.left + b.width < a.left
    assert all(0 <= box.left and box.left + box.width <= WIDTH - 0.3 for box in boxes)
    assert all(box.middle - box.height / 2 >= 0 for box in boxes)


def test_a_drawing_names_every_node_and_colours_by_series():
    frame = edges(("a", "x", "b", "y", 1.0), ("a", "z", "b", "y", 0.5)).assign(series=["up", ""])
    note = []
    figure = layered_graphs.draw_layers(frame, "", "", note)
    (axis,) = figure.axes
    assert {text.get_text() for text in axis.texts} == {"a", "b", "x", "y", "z"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["up"]
    curves = [patch for patch in axis.patches if patch.get_facecolor()[3] == 0]
    assert len({patch.get_edgecolor() for patch in curves}) == 2 and not note
