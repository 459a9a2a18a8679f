"""What a table says it is, it is: its kind, its columns and its roles."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.evaluation import tables
from omics_jax.evaluation.tables import KINDS, Table, is_constant


def frame_with(columns, role="observed"):
    values = {"role": role, "target": 2.0}  # no node is connected with itself
    return pd.DataFrame({name: [values.get(name, 1.0)] for name in columns})


def test_a_table_takes_a_frame_with_the_columns_of_its_kind_and_more():
    for kind, columns in KINDS.items():
        assert Table(kind, frame_with((*columns.needed, "gene")), "title", "").kind == kind
        assert Table(kind, pd.DataFrame(), "nothing to show", "").kind == kind


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "table"])
def test_a_missing_column_is_named(kind):
    for name in KINDS[kind].needed:
        rest = [other for other in KINDS[kind].needed if other != name]
        with pytest.raises(ValueError, match=f"kind '{kind}' lacks the column '{name}'"):
            Table(kind, frame_with(rest), "title", "")


def test_unknown_kinds_and_roles_are_refused():
    with pytest.raises(ValueError, match="'pie'"):
        Table("pie", pd.DataFrame(), "title", "")
    with pytest.raises(ValueError, match="'guessed'.*observed, held out, imputed"):
        Table("series", frame_with(KINDS["series"].needed, role="guessed"), "title", "")


def test_names_are_text_and_all_else_is_numbers():
    assert tables.numeric_columns("calibration") == ("x", "y", "low", "high", "count")
    assert tables.numeric_columns("series") == ("x", "value", "low", "high")
    assert tables.numeric_columns("survival") == ("x", "y", "low", "high", "at_risk")
    assert tables.numeric_columns("matrix") == ("value",)
    assert tables.numeric_columns("map") == ("x", "y", "value")
    assert tables.numeric_columns("overlap") == ("patients",)
    assert tables.numeric_columns("table") == ()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_a_prediction_is_constant_where_only_rounding_tells_its_rows_apart(scale):
    rows = np.tile([0.2, 0.8], (5, 1)) * scale
    assert is_constant(rows) and is_constant(rows[:, 0])
    rounded = rows.astype(np.float32)
    rounded[2] = np.nextafter(rounded[2], np.float32(np.inf))
    assert is_constant(rounded)
    rows[2, 1] *= 1.001
    assert not is_constant(rows)
    assert not is_constant(rows[:1]) and not is_constant(rows[:0])
