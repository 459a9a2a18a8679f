"""Networks: who is drawn, that groups and neighbours stand together, and that names stay free."""

import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise, permutations

import numpy as np
import pandas as pd
import pytest

from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Table
from omics_jax.report import figures, networks
from omics_jax.report.page import table_section
from omics_jax.report.stored_tables import read_table
from omics_jax.report.style import PALETTE, WIDTH

HOSTILE = "<script>alert('x')</script> & $\\frac{1}$ \u0007 药物 " + "long " * 20


def edges(*rows):
    return pd.DataFrame(rows, columns=["source", "target", "value"])


def draw(frame):
    note = []
    figure = networks.draw_network(frame, "", "", note)
    return figure, " ".join(note)


def words(legend):
    return [text.get_text() for text in legend.get_texts()]


def chords(axis):
    """(both ends, rounded) -> the line of every connection."""
    return {
        frozenset(tuple(np.round(end, 6)) for end in patch.get_path().vertices[[0, -1]]): patch
        for patch in axis.patches
    }


# --- what is drawn --------------------------------------------------------------------------------


def test_the_strongest_connections_are_drawn_each_pair_once():
    frame = edges(("a", "b", 1.0), ("b", "c", 3.0), ("b", "a", 2.0), ("c", "d", np.nan))
    note = []
    drawn = networks.strongest_edges(frame, note)
    assert drawn.to_numpy().tolist() == [["b", "c", 3.0], ["b", "a", 2.0]]
    assert note == ["Of a pair that is connected more than once, the largest value is drawn."]


def test_more_connections_than_the_limit_are_left_out_with_a_word():
    rows = [(f"g{i}", f"g{j}", float(i + j)) for i, j in combinations(range(13), 2)]
    figure, note = draw(edges(*rows))
    assert len(figure.axes[0].patches) == networks.MOST_EDGES
    assert "The 60 strongest of 78 connections are drawn; all are in the data file." in note


def test_connections_stop_before_there_are_too_many_nodes():
    """Pairs bring two nodes each; a further connection between drawn nodes adds none."""
    pairs = [(f"a{i}", f"b{i}", 100.0 - i) for i in range(45)]
    within = [("a0", "a1", 1000.0)]
    drawn = networks.strongest_edges(edges(*pairs, *within), [])
    assert len(drawn) == 41
    assert len({*drawn["source"], *drawn["target"]}) == networks.MOST_NODES


# --- places ---------------------------------------------------------------------------------------


def test_groups_are_contiguous_and_a_gap_parts_them():
    frame = edges(("b1", "a1", 1.0), ("a2", "b2", 1.0), ("c", "a1", 1.0))
    frame = frame.assign(source_group=["b", "a", ""], target_group=["a", "b", "a"])
    groups = networks.node_groups(frame)
    assert groups == {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c": ""}
    order = networks.ring_order(groups, list(zip(frame["source"], frame["target"], strict=True)))
    assert [groups[name] for name in order] == ["a", "a", "b", "b", ""]
    positions, slots = networks.ring_slots([groups[name] for name in order])
    assert positions.tolist() == [0, 1, 3, 4, 6] and slots == 8


def test_one_group_has_no_gap():
    positions, slots = networks.ring_slots(["a", "a", "a"])
    assert positions.tolist() == [0, 1, 2] and slots == 3


def test_the_order_within_groups_shortens_the_chords():
    """Two groups joined crosswise: no order is much shorter than the one that is found."""
    pairs = [("a1", "b1"), ("a2", "b2"), ("a3", "b3"), ("a4", "b4")]
    names = ["a1", "a3", "a2", "a4", "b1", "b2", "b3", "b4"]
    groups = {name: name[0] for name in names}

    def length(order):
        angle = {name: 2 * np.pi * slot / 10 for name, slot in zip(order, SLOTS, strict=True)}
        points = {name: np.array([np.cos(a), np.sin(a)]) / 2 for name, a in angle.items()}
        return sum(np.linalg.norm(points[a] - points[b]) for a, b in pairs)

    shortest = min(
        length([*a, *b]) for a in permutations(names[:4]) for b in permutations(names[4:])
    )
    found = networks.ring_order(groups, pairs)
    np.testing.assert_allclose(networks.chord_length(found, groups, pairs), length(found))
    assert length(found) < 1.05 * shortest < length(names)


SLOTS = (0, 1, 2, 3, 5, 6, 7, 8)  # of two groups of four


@pytest.mark.parametrize("count", [2, 9, 30, networks.MOST_NODES])
@pytest.mark.parametrize("longest", [3, networks.MOST_LETTERS])
@pytest.mark.parametrize("groups", [1, 2, 40])
def test_names_have_room_beside_each_other_and_in_the_figure(count, longest, groups):
    _, slots = networks.ring_slots(sorted(str(i % groups) for i in range(count)))
    radius, room = networks.ring_size(slots, longest)
    assert 2 * np.pi * radius / slots >= networks.SLOT - 1e-9
    assert 2 * (radius + networks.AWAY + room) <= WIDTH - 0.3
    assert room >= networks.LETTER * min(longest, 14)  # the least that `clean` can shorten to


@pytest.mark.usefixtures("our_style")
def test_names_are_read_from_outside_the_circle():
    """A name at the left ends at its node, one at the right begins there; none is upside down."""
    frame = edges(*[(f"g{i}", f"g{i + 1}", 1.0) for i in range(11)])
    figure, _ = draw(frame)
    (axis,) = figure.axes
    for text in axis.texts:
        x, _ = text.get_position()
        assert text.get_ha() == ("left" if x >= -1e-9 else "right")
        turn = (text.get_rotation() + 180) % 360 - 180
        assert -90 - 1e-6 <= turn <= 90 + 1e-6


# --- marks ----------------------------------------------------------------------------------------


def test_lines_join_their_nodes_and_are_as_wide_as_their_values():
    figure, note = draw(edges(("a", "b", 4.0), ("b", "c", 0.0), ("a", "d", 1.0)))
    (axis,) = figure.axes
    nodes = {tuple(line.get_xydata()[0].round(6)) for line in axis.lines}
    width_of = {}
    for ends, patch in chords(axis).items():
        assert ends <= nodes
        width_of[round(patch.get_linewidth(), 3)] = ends
    thin, thick = networks.THIN, networks.THICK
    assert sorted(width_of) == [thin, round(thin + (thick - thin) / 4, 3), thick]
    assert [p.get_linewidth() for p in axis.patches][-1] == thick  # the strongest on top
    assert note == "The width of a line shows its value, from 0.00 to 4.00."


def test_a_sign_alone_gives_colour_and_dash():
    frame = edges(("a", "b", 1.0), ("b", "c", 1.0), ("c", "d", 1.0), ("d", "e", 1.0))
    figure, note = draw(frame.assign(sign=[1.0, -1.0, 0.0, np.nan]))
    (axis,), (legend,) = figure.axes, figure.legends
    assert words(legend) == ["positive", "negative", "zero", networks.UNKNOWN]
    looks = [(line.get_color(), line._unscaled_dash_pattern) for line in legend.get_lines()]
    assert len({colour for colour, _ in looks}) == 4 and len({str(dash) for _, dash in looks}) == 3
    assert len({patch.get_edgecolor() for patch in axis.patches}) == 4
    assert "colour" not in note


def test_series_alone_give_colour_and_dash_and_none_is_grey():
    frame = edges(("a", "b", 1.0), ("b", "c", 1.0), ("c", "d", 1.0))
    figure, _ = draw(frame.assign(series=["new", "known", ""], sign=np.nan))
    (axis,), (legend,) = figure.axes, figure.legends
    assert words(legend) == ["known", "new"]
    assert len({patch.get_edgecolor() for patch in axis.patches}) == 3


def test_of_sign_and_series_colours_tell_the_sign_and_dashes_the_series():
    frame = edges(("a", "b", 1.0), ("b", "c", 1.0), ("c", "d", 1.0), ("d", "e", 1.0))
    sign, series = [1.0, 1.0, -1.0, -1.0], ["new", "known", "new", "known"]
    figure, note = draw(frame.assign(sign=sign, series=series))
    (axis,), (legend,) = figure.axes, figure.legends
    assert words(legend) == ["positive", "negative", "known", "new"]
    assert "The colour of a line shows its sign, its dashes show the series." in note
    looks = [(p.get_edgecolor(), str(p._unscaled_dash_pattern)) for p in axis.patches[::-1]]
    (c0, d0), (c1, d1), (c2, d2), (c3, d3) = looks
    assert c0 == c1 != c2 == c3 and d0 == d2 != d1 == d3


@pytest.mark.parametrize("taken", range(8))
def test_no_two_groups_look_alike(taken):
    groups = {f"g{i:02d}": f"g{i:02d}" for i in range(networks.MOST_GROUPS)}
    marks = networks.group_marks(groups, PALETTE[:taken], [])
    looks = {(mark["color"], mark["marker"]) for mark in marks.values()}
    assert len(looks) == networks.MOST_GROUPS
    assert taken > 4 or not {colour for colour, _ in looks} & set(PALETTE[:taken])


def test_groups_have_marks_of_their_own_in_colours_that_no_line_has():
    names = [f"g{i:02d}" for i in range(23)]
    frame = edges(*[(a, b, 1.0) for a, b in pairwise(names)]).assign(sign=1.0)
    own = dict(zip(names, names, strict=True))
    frame = frame.assign(source_group=frame["source"].map(own), target_group="")
    frame.loc[21, "target_group"] = "g22"
    figure, note = draw(frame)
    lines, groups = figure.legends
    assert words(groups) == names[: networks.MOST_GROUPS]
    marks = {(dot.get_color(), dot.get_marker()) for dot in groups.get_lines()}
    assert len(marks) == networks.MOST_GROUPS
    assert not {colour for colour, _ in marks} & {line.get_color() for line in lines.get_lines()}
    assert "The nodes of all but the first 20 of 23 groups are grey." in note


def test_hostile_series_groups_and_names_are_text():
    frame = edges((HOSTILE, "_b", 1.0), ("_b", "$c$", 2.0)).assign(sign=[1.0, -1.0])
    frame = frame.assign(series=[HOSTILE, "x"], source_group=HOSTILE, target_group="_g")
    drawing = figures.draw("network", frame, HOSTILE, "", "")
    root = ElementTree.fromstring(drawing.svg)
    shown = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert sum(text.startswith("<script>") for text in shown) == 3  # a name, a series, a group
    assert {"_b", "$c$", "_g"} <= set(shown) and "<script" not in drawing.svg
    assert "Source group: <script>" in drawing.alt and drawing.alt.endswith("2 rows.")


# --- what a table may hold ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("a", "a", 1.0, 1.0), "a node that is connected with itself"),
        (("a", "b", -1.0, 1.0), "a value below 0"),
        (("a", "b", 1.0, 0.5), "a sign other than -1, 0, 1"),
    ],
)
def test_rows_that_a_network_cannot_have_are_refused(tmp_path, row, words):
    rows = [("a", "b", 1.0, np.nan), row]
    frame = pd.DataFrame(rows, columns=["source", "target", "value", "sign"])
    with pytest.raises(ValueError, match=f"'pairs' has {words}, in row 2"):
        Table("network", frame, "pairs", "")
    path = tmp_path / "pairs.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(UserError, match=f"pairs.csv, line 3: {words}; mend or remove"):
        read_table(path, "network")
    Table("network", frame.iloc[:1], "pairs", "")


def test_the_page_names_a_file_of_another_format():
    entry = {"name": "gene/pairs", "kind": "file", "formats": ["graphml"]}
    section = table_section(entry, edges(("a", "b", 1.0)))
    assert section["file"] == "tables/gene%2Fpairs.csv and tables/gene%2Fpairs.graphml"
    assert table_section({"name": "a", "kind": "file"}, edges())["file"] == "tables/a.csv"
