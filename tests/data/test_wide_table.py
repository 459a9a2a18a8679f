"""Wide tables: one row per stay and time, a column per variable; what becomes of every column."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.clinical_series.read import read_series
from omics_jax.errors import UserError

COLUMNS = {"id": "stay", "time": "hour", "variable": "variable", "value": "value"}
WIDE = """rowid,stay,hour,hr,sbp,uric_acid,rhythm,subject_id
9001,s1,0,80,120,,sinus,700
9002,s1,1,82,,4.5,sinus,700
9003,s1,8,99,,,sinus,700
9004,s2,-1,70,,,paced,701
9005,s2,0.5,71,,,,701
9006,s2,0.75,73,110,5,paced,701
"""


def read(tmp_path, text: str, name="wide.csv", may_lack=False, **changes):
    (tmp_path / name).write_text(text)
    given = {"path": str(tmp_path / name), "columns": COLUMNS, "hours": 8.0, **changes}
    return read_series(SimpleNamespace(**given), may_lack=may_lack)


def test_a_wide_table_is_recognised_and_every_column_accounted_for(tmp_path):
    dataset = read(tmp_path, WIDE)
    series = dataset.modalities["series"]
    assert dataset.ids.tolist() == ["s1", "s2"]
    assert series.features.tolist() == ["hr", "sbp", "uric_acid"]
    cells = {tuple(cell): series.values[tuple(cell)] for cell in np.argwhere(series.mask)}
    assert cells == {
        (0, 0, 0): 80, (0, 0, 1): 120, (0, 1, 0): 82, (0, 1, 2): 4.5,
        (1, 0, 0): 72, (1, 0, 1): 110, (1, 0, 2): 5,
    }  # fmt: skip
    uses = {(use.part, use.used_as, use.names) for use in dataset.uses}
    assert uses >= {
        ("columns", "patients", ("stay",)),
        ("columns", "times", ("hour",)),
        ("columns", "variables", ("hr", "sbp", "uric_acid")),
        ("columns", "left out", ("rhythm",)),
        ("columns", "left out", ("rowid", "subject_id")),
    }
    assert [use.names for use in dataset.uses if not use.expected] == [("rhythm",)]
    notes = " ".join(dataset.notes)
    for part in (
        "6 rows, one per stay and time, with 10 values in 3 columns",
        "before admission (hour 0), left out: 1.",
        "after the window of 8 hours, left out: 1.",
        "2 columns (rowid, subject_id) are left out",
    ):
        assert part in notes


def test_long_and_wide_say_the_same(tmp_path):
    wide = read(tmp_path, WIDE, variables=("hr", "sbp", "uric_acid"))
    frame = pd.read_csv(tmp_path / "wide.csv")
    long = frame.melt(["stay", "hour"], ["hr", "sbp", "uric_acid"]).dropna()
    found = read(tmp_path, long.to_csv(index=False), "long.csv")
    series, expected = found.modalities["series"], wide.modalities["series"]
    np.testing.assert_array_equal(series.values, expected.values)
    np.testing.assert_array_equal(series.mask, expected.mask)


def test_parquet_and_the_setting_of_the_layout(tmp_path):
    pytest.importorskip("pyarrow")
    expected = read(tmp_path, WIDE)
    pd.read_csv(tmp_path / "wide.csv").to_parquet(tmp_path / "wide.parquet")
    given = {"path": str(tmp_path / "wide.parquet"), "columns": COLUMNS, "hours": 8.0}
    found = read_series(SimpleNamespace(**given, layout="wide"))
    np.testing.assert_array_equal(
        found.modalities["series"].values, expected.modalities["series"].values
    )


def test_groups_and_descriptors_of_a_wide_table(tmp_path):
    text = "stay,hour,person,Age,hr\ns1,0,a,61,80\ns1,1,a,61,81\ns2,0,a,62,82\ns3,0,b,,83\n"
    dataset = read(tmp_path, text, columns={**COLUMNS, "group": "person"})
    assert dataset.groups.tolist() == ["a", "a", "b"]
    static = dataset.modalities["static"]
    assert static.features.tolist() == ["Age"] and static.values[:, 0].tolist() == [61, 62, 0]
    assert dataset.modalities["series"].features.tolist() == ["hr"]


def test_only_the_columns_that_are_asked_for_are_read(tmp_path):
    text = WIDE.replace("rhythm", "sbp").replace(",4.5,", ",high,")
    dataset = read(tmp_path, text, variables=("hr",))
    assert dataset.modalities["series"].features.tolist() == ["hr"]
    with pytest.raises(UserError, match="names column 'sbp' twice"):
        read(tmp_path, text)


def test_codes_and_limits_before_values_are_averaged(tmp_path):
    text = WIDE.replace("0.5,71", "0.5,-999").replace("1,82", "1,8200").replace(",4.5,", ",n.m.,")
    dataset = read(tmp_path, text, missing_values="-999, N.M.", limits="hr=20:300")
    series = dataset.modalities["series"]
    assert series.values[1, 0, 0] == 73 and not series.mask[0, 1, 0]
    assert not series.mask[0, 1, 2]
    notes = " ".join(dataset.notes)
    assert "Values that mean missing (data.missing_values): hr 1." in notes
    assert "Values outside of data.limits, now missing: hr 1." in notes


# The table, changed settings, and what the answer must hold.
WRONG = {
    "a long table": (
        "stay,hour,item,result\ns1,0,hr,80\ns1,0,sbp,120\ns2,0,hr,81\ns2,0,sbp,118\n",
        {},
        ["no column 'value' (--config.data.columns.value=value)", "'item'", "layout=wide"],
    ),
    "another name": (
        "stay,hour,a,Value\ns1,0,1,2\ns2,0,3,4\n",
        {},
        ["no column 'value'", "did you mean 'Value'?", "--config.data.layout=wide"],
    ),
    "a stay without a name": (WIDE.replace("s1,1,", ",1,"), {}, ["line 3 has no id", "fill it in"]),
    "a value without a time": (
        WIDE.replace("s1,1,", "s1,,"),
        {},
        ["line 3: the time in column 'hour' is empty"],
    ),
    "a cell of text": (
        WIDE.replace("82,", "8x2,"),
        {},
        ["line 3, column 'hr': '8x2' is not a number"],
    ),
    "an unknown variable": (
        WIDE,
        {"variables": ("hrr",)},
        ["no variable 'hrr' (--config.data.variables)"],
    ),
    "a field too many": (
        WIDE.replace("700\n", "700,\n").replace("701\n", "701,\n"),
        {},
        ["line 2 has 9 fields where line 1 has 8"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_wide_table_is_answered_in_words(tmp_path, case):
    text, changes, parts = WRONG[case]
    with pytest.raises(UserError) as error:
        read(tmp_path, text, **changes)
    for part in ["wide.csv", *parts]:
        assert part in str(error.value)


def test_new_stays_may_lack_variables(tmp_path):
    dataset = read(tmp_path, WIDE, variables=("hr", "lactate"), statics=("Age",), may_lack=True)
    assert dataset.modalities["series"].features.tolist() == ["hr"]
    assert "static" not in dataset.modalities
    assert "(rowid, sbp, uric_acid, rhythm, subject_id) are left out" in " ".join(dataset.notes)


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_a_column_of_row_numbers_is_no_variable(tmp_path, name):
    text = f"{name},stay,hour,hr\n0,s1,0,80\n1,s1,1,81\n"
    dataset = read(tmp_path, text)
    assert dataset.modalities["series"].features.tolist() == ["hr"]
    assert ("left out", (name,)) in {(use.used_as, use.names) for use in dataset.uses}
