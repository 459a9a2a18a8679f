"""Every kind of table is drawn as valid, self-contained, repeatable SVG, also with odd labels."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from figure_examples import EXAMPLES, example

from omics_jax.evaluation.tables import KINDS, numeric_columns
from omics_jax.report import curves, figures, rows, style

SVG = "{http://www.w3.org/2000/svg}"
# 14 names are no more than they draw.
DRAWN_WHOLE = ("matrix", "map", "overlap", "heatmap", "layers", "network")
HOSTILE = "<script>alert('x')</script> & $\\frac{1}$ _under \u0007 药物 " + "long " * 20


def texts(svg):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_every_kind_but_those_of_text_has_a_drawing_and_an_example():
    assert set(figures.DRAWINGS) == set(EXAMPLES) == set(KINDS) - {"table", "file"}


@pytest.mark.parametrize("kind", figures.DRAWINGS)
def test_an_example_holds_the_columns_that_its_kind_needs(kind):
    assert set(KINDS[kind].needed) <= set(example(kind, ("a", "b")))


@pytest.mark.slow
@pytest.mark.parametrize("series", [(), ("a", "b"), tuple("abcdefghijklmn")], ids=len)
@pytest.mark.parametrize("kind", figures.DRAWINGS)
def test_valid_offline_repeatable(kind, series):
    frame = example(kind, series)
    first = figures.draw(kind, frame, "Title", "dose (µM)", "response (log2)")
    if len(series) < 3:
        assert first == figures.draw(kind, frame, "Title", "dose (µM)", "response (log2)")
    root = ElementTree.fromstring(first.svg)
    assert root.get("width") == f"{style.WIDTH * 72:g}pt"
    assert {"dose (µM)", "response (log2)"} <= set(texts(first.svg))
    links = [v for node in root.iter() for k, v in node.items() if k.endswith("href")]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "date" not in first.svg.lower() and "Matplotlib v" not in first.svg
    assert "Title" in first.alt and "response (log2) against dose (µM)" in first.alt
    if len(series) > 12 and kind not in DRAWN_WHOLE:
        assert "of 14 " in first.note


@pytest.mark.parametrize("kind", figures.DRAWINGS)
def test_hostile_labels_are_text(kind):
    frame = example(kind, (HOSTILE, "_b")).assign(label=HOSTILE)
    svg = figures.draw(kind, frame, HOSTILE, HOSTILE, "$y$").svg
    ElementTree.fromstring(svg)
    assert "<script" not in svg and "$y$" in texts(svg)
    assert any(text.startswith("<script>") for text in texts(svg))


@pytest.mark.parametrize("kind", figures.DRAWINGS)
def test_gaps_and_single_rows(kind):
    frame = example(kind, ("a", "b"))
    numeric = frame.columns.intersection(numeric_columns(kind))
    frame = frame.astype(dict.fromkeys(numeric, float))
    frame.iloc[2, frame.columns.get_indexer(numeric)] = np.nan
    ends = frame.columns.intersection(["low", "high"])
    frame.iloc[3, frame.columns.get_indexer(ends)] = np.nan
    for part in (frame, frame.iloc[:1]):
        shown = texts(figures.draw(kind, part, "t", "x", "y").svg)
        assert shown and "nan" not in " ".join(shown).split()


def circles(svg):
    return svg.count("<use ")


def test_many_points_become_one_raster_and_few_stay_vector():
    few = figures.draw("scatter", example("scatter", n=200), "t", "x", "y").svg
    many = figures.draw("scatter", example("scatter", n=4000), "t", "x", "y").svg
    assert "data:image/png" not in few and "data:image/png" in many
    assert circles(few) > 200 > circles(many)


@pytest.mark.usefixtures("our_style")
def test_few_points_of_a_curve_get_error_bars_and_many_a_band():
    few, many = (curves.draw_curve(example("curve", n=n), "", "", []).axes[0] for n in (12, 13))
    (bars,), (band,) = few.collections, many.collections
    assert len(bars.get_segments()) == 12
    assert len(band.get_paths()) == 1


@pytest.mark.parametrize("slope", [2.0, -0.5])
def test_scatter_tells_pearson(slope):
    random = np.random.default_rng(1)
    x, noise = random.normal(size=(2, 50))
    frame = pd.DataFrame({"x": x, "y": slope * x + noise})
    expected = frame["x"].corr(frame["y"])
    shown = texts(figures.draw("scatter", frame, "t", "", "").svg)
    assert f"r = {expected:.2f}, n = 50".replace("-", "−") in shown


def test_scatter_of_a_constant_has_no_correlation():
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": 1.0})
    assert "r = –, n = 3" in texts(figures.draw("scatter", frame, "t", "", "").svg)


def test_ranking_shows_the_largest_magnitudes_first():
    values = np.linspace(-1, 0.9, 40)
    frame = pd.DataFrame({"label": [f"g{i}" for i in range(40)], "value": values})
    drawing = figures.draw("ranking", frame, "t", "", "")
    shown = [text for text in texts(drawing.svg) if text.startswith("g")]
    assert shown == list(
        frame["label"].iloc[np.argsort(-np.abs(values), kind="stable")][: rows.MOST_RANKED]
    )
    assert str(rows.MOST_RANKED) in drawing.note


def test_ranking_of_other_labels_per_series_takes_a_panel_each():
    frame = pd.DataFrame(
        {"label": list("abcd"), "value": [1.0, -3, 2, 5], "series": ["one", "one", "two", "two"]}
    )
    shown = texts(figures.draw("ranking", frame, "t", "", "").svg)
    assert [text for text in shown if text in tuple("abcd")] == ["b", "a", "d", "c"]
    assert {"one", "two"} <= set(shown)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([0.04, 0.12, 0.37, 1.1, 3.3, 10.0], True),
        ([10.0, 30, 100, 300, 1000], True),
        (np.arange(1.0, 200), False),
        ([0.0, 0.1, 1, 10, 100], False),
        ([1.0, 1000.0], False),
    ],
)
def test_logarithmic_axes_are_for_geometric_steps(x, expected):
    assert curves.is_geometric(np.asarray(x)) is expected


def test_palette_marks_and_dashes_differ_for_every_series():
    marks = [style.mark(i) for i in range(len(style.PALETTE))]
    for key in ("color", "marker", "linestyle"):
        assert len({str(m[key]) for m in marks}) == len(style.PALETTE)
    sizes = [v for k, v in style.STYLE.items() if k.endswith("size")]
    assert min(sizes) >= 9
