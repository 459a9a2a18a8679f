"""Every kind of table is drawn as valid, self-contained, repeatable SVG, hostile labels and gaps
included.
"""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from omics_jax.evaluation.tables import KINDS, ROLES
from omics_jax.report import figures, rows, style

SVG = "{http://www.w3.org/2000/svg}"
WHOLE = ("matrix", "map", "overlap")  # 14 names are no more than they draw
HOSTILE = "<script>alert('x')</script> & $\\frac{1}$ _under \u0007 药物 " + "long " * 20


def frame_of(kind, series=(), n=6):
    random = np.random.default_rng(3)
    part = pd.DataFrame(random.normal(size=(n, 4)), columns=["x", "y", "x_end", "y_end"])
    part = part.assign(
        value=part["x"], low=part["x"] - 1, high=part["x"] + 1, label=[f"row {i}" for i in range(n)]
    )
    if kind == "curve":
        part = part.assign(x=np.arange(n, dtype=float), low=part["y"] - 1, high=part["y"] + 1)
    if kind in ("roc", "pr", "calibration"):
        x = np.linspace(0, 1, n)
        part = part.assign(x=x, y=x**2, low=0.9 * x**2, high=1.1 * x**2, chance=0.2, count=n)
    if kind == "survival":
        part = part.assign(
            x=np.arange(n, dtype=float),
            y=0.9 ** np.arange(n),
            low=0.0,
            high=1.0,
            at_risk=np.arange(n),
        )
    if kind == "matrix":
        part = part.assign(
            value=np.arange(n, dtype=float), row="adenoma", column=[f"class {i}" for i in range(n)]
        )
        return pd.concat([part.assign(row=name) for name in series]) if series else part
    if kind == "overlap":
        part = part.assign(combination="rna", patients=np.arange(n, dtype=float))
        return (
            pd.concat([part.assign(combination=f"{name} + rna") for name in series])
            if series
            else part
        )
    if kind == "map":
        part = part.assign(panel="layer 1").drop(columns="value")
    if kind == "series":
        part = part.assign(variable="HR (bpm)", role=np.resize(ROLES, n))
        return pd.concat([part.assign(panel=name) for name in series or ("patient 1",)])
    return pd.concat([part.assign(series=name) for name in series]) if series else part


def texts(svg):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_every_kind_but_those_of_text_has_a_drawing():
    assert set(figures.DRAWINGS) == set(figures.SHAPES) == set(KINDS) - {"table", "file"}


@pytest.mark.parametrize("series", [(), ("a", "b"), tuple("abcdefghijklmn")], ids=len)
@pytest.mark.parametrize("kind", figures.DRAWINGS)
def test_valid_offline_repeatable(kind, series):
    frame = frame_of(kind, series)
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
    if len(series) > 12 and kind not in WHOLE:
        assert "of 14 " in first.note


@pytest.mark.parametrize("kind", figures.DRAWINGS)
def test_hostile_labels_are_text(kind):
    frame = frame_of(kind, (HOSTILE, "_b")).assign(label=HOSTILE)
    svg = figures.draw(kind, frame, HOSTILE, HOSTILE, "$y$").svg
    ElementTree.fromstring(svg)
    assert "<script" not in svg and "$y$" in texts(svg)
    assert any(text.startswith("<script>") for text in texts(svg))


@pytest.mark.parametrize("kind", figures.DRAWINGS)
def test_gaps_and_single_rows(kind):
    frame = frame_of(kind, ("a", "b"))
    numeric = ["x", "y", "x_end", "y_end", "value", "low", "high", "at_risk", "patients"]
    frame.iloc[2, [place for place, name in enumerate(frame) if name in numeric]] = np.nan
    frame.iloc[3, frame.columns.get_indexer(["low", "high"])] = np.nan
    for part in (frame, frame.iloc[:1]):
        shown = texts(figures.draw(kind, part, "t", "x", "y").svg)
        assert shown and "nan" not in " ".join(shown).split()


def circles(svg):
    return svg.count("<use ")


def test_many_points_become_one_raster_and_few_stay_vector():
    few = figures.draw("scatter", frame_of("scatter", n=200), "t", "x", "y").svg
    many = figures.draw("scatter", frame_of("scatter", n=4000), "t", "x", "y").svg
    assert "data:image/png" not in few and "data:image/png" in many
    assert circles(few) > 200 > circles(many)


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
    assert figures.is_geometric(np.asarray(x)) is expected


def test_palette_marks_and_dashes_differ_for_every_series():
    marks = [style.mark(i) for i in range(len(style.PALETTE))]
    for key in ("color", "marker", "linestyle"):
        assert len({str(m[key]) for m in marks}) == len(style.PALETTE)
    sizes = [v for k, v in style.STYLE.items() if k.endswith("size")]
    assert min(sizes) >= 9
