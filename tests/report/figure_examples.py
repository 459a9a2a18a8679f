"""One example of every kind of table that is drawn, for the tests of the figures and of the page.

A new kind gets a function here and a line in `EXAMPLES`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from omics_jax.evaluation.tables import ROLES


def noise(n):
    """(n, 4) normal values, the same at every call."""
    return np.random.default_rng(3).normal(size=(n, 4))


def curve(n):
    y = noise(n)[:, 1]
    return pd.DataFrame({"x": np.arange(n, dtype=float), "y": y, "low": y - 1, "high": y + 1})


def roc(n):
    x = np.linspace(0, 1, n)
    return pd.DataFrame({"x": x, "y": x**2})


def precision_recall(n):
    return roc(n).assign(chance=0.2)


def calibration(n):
    frame = roc(n)
    return frame.assign(low=0.9 * frame["y"], high=1.1 * frame["y"], count=n)


def scatter(n):
    return pd.DataFrame(noise(n)[:, :2], columns=["x", "y"])


def arrows(n):
    return pd.DataFrame(noise(n), columns=["x", "y", "x_end", "y_end"])


def points(n):
    return scatter(n).assign(panel="layer 1")


def intervals(n):
    value = noise(n)[:, 0]
    labels = [f"row {i}" for i in range(n)]
    return pd.DataFrame({"label": labels, "value": value, "low": value - 1, "high": value + 1})


def survival(n):
    x = np.arange(n, dtype=float)
    return pd.DataFrame({"x": x, "y": 0.9**x, "low": 0.0, "high": 1.0, "at_risk": x})


def series(n):
    value, role = noise(n)[:, 0], np.resize(ROLES, n)
    frame = pd.DataFrame({"x": value, "value": value, "low": value - 1, "high": value + 1})
    return frame.assign(panel="patient 1", variable="HR (bpm)", role=role)


def matrix(n):
    columns = [f"class {i}" for i in range(n)]
    return pd.DataFrame({"row": "adenoma", "column": columns, "value": np.arange(n, dtype=float)})


def overlap(n):
    return pd.DataFrame({"combination": "rna", "patients": np.arange(n, dtype=float)})


def heatmap(n):
    columns = [f"pathway {i}" for i in range(n)]
    frame = pd.DataFrame({"row": "person", "column": columns, "value": noise(n)[:, 0]})
    return frame.assign(quantity="activity (s.d.)")


def layers(n):
    frame = pd.DataFrame({"source": [f"site {i}" for i in range(n)], "target": "gene"})
    return frame.assign(source_layer="sites", target_layer="genes", weight=1.0 + np.arange(n))


def network(n):
    frame = pd.DataFrame({"source": [f"gene {i}" for i in range(n)], "target": "hub"})
    sign = np.resize([1.0, -1, np.nan], n)
    return frame.assign(value=1.0 + np.arange(n), sign=sign, source_group="leaves")


class Example(NamedTuple):
    """rows: n -> the rows of one series. names: the column that tells several series apart."""

    rows: Callable[[int], pd.DataFrame]
    names: str = "series"


EXAMPLES: Mapping[str, Example] = {
    "curve": Example(curve),
    "roc": Example(roc),
    "pr": Example(precision_recall),
    "calibration": Example(calibration),
    "scatter": Example(scatter),
    "series": Example(series, names="panel"),
    "ranking": Example(intervals),
    "intervals": Example(intervals),
    "arrows": Example(arrows),
    "survival": Example(survival),
    "matrix": Example(matrix, names="row"),
    "map": Example(points),
    "overlap": Example(overlap, names="combination"),
    "heatmap": Example(heatmap, names="group"),
    "layers": Example(layers, names="target"),
    "network": Example(network, names="target"),
}


def example(kind: str, names: tuple[str, ...] = (), n: int = 6) -> pd.DataFrame:
    """A frame of a kind: one series without a name, or one for each name, of n rows each."""
    rows = EXAMPLES[kind].rows(n)
    if not names:
        return rows
    return pd.concat([rows.assign(**{EXAMPLES[kind].names: name}) for name in names])
