"""Long tables: the patients of raw records give the same dataset; dates, groups, and refusals."""

import gzip
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.clinical_series.read import read_series
from omics_jax.errors import UserError

DEFAULTS = {
    "path": "",
    "outcomes": "",
    "label": "In-hospital_death",
    "outcome_id": "RecordID",
    "columns": {"id": "stay", "time": "t", "variable": "what", "value": "x"},
    "time_unit": "hours",
    "hours": 4.0,
    "bin_hours": 1.0,
    "variables": (),
    "statics": ("Age", "Gender", "Height", "Weight", "ICUType"),
}
ROWS = [
    ("007", 0.0, "Age", 70),
    ("007", 0.2, "HR", 80),
    ("007", 0.9, "HR", 90),
    ("007", 0.9, "HR", 100),
    ("007", 4.0, "Na", 140),
    ("007", 4.5, "Na", 99),
    ("12", 0.0, "Age", 31),
    ("12", 1.5, "Temp", 37.5),
    ("12", 3.0, "Age", 32),
    ("13", 2.0, "HR", None),
]
TABLE = pd.DataFrame(ROWS, columns=["stay", "t", "what", "x"])
CSV = TABLE.to_csv(index=False)


def settings(path, **changes) -> SimpleNamespace:
    return SimpleNamespace(**{**DEFAULTS, "path": str(path), **changes})


def written(tmp_path, name: str, text: str, **changes) -> SimpleNamespace:
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return settings(tmp_path / name, **changes)


def test_a_table_is_binned_as_computed_by_hand(tmp_path):
    dataset = read_series(written(tmp_path, "ward.csv", CSV))
    assert dataset.ids.tolist() == ["007", "12", "13"] == dataset.groups.tolist()
    series, static = dataset.modalities["series"], dataset.modalities["static"]
    assert series.features.tolist() == ["HR", "Na", "Temp"] and series.values.shape == (3, 4, 3)
    observed = {(0, 0, 0): 90, (0, 3, 1): 140, (1, 1, 2): 37.5}
    assert {
        tuple(cell): series.values[tuple(cell)] for cell in np.argwhere(series.mask)
    } == observed
    assert static.features.tolist() == ["Age"] and static.values[:, 0].tolist() == [70, 31, 0]
    assert static.mask[:, 0].tolist() == [True, True, False]
    notes = " ".join(dataset.notes)
    for part in (
        "left out: 1.",
        "averaged with it: 1.",
        "measure nothing: 1",
        "1 patient (13) is without any",
    ):
        assert part in notes


@pytest.mark.parametrize("name", ["ward.tsv", "ward.txt", "ward.csv.gz", "ward.parquet"])
def test_every_format_and_any_order_of_rows_gives_the_same_dataset(tmp_path, name):
    expected = read_series(written(tmp_path, "ward.csv", CSV))
    shuffled = TABLE.sample(frac=1, random_state=0)
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
        shuffled.to_parquet(tmp_path / name, index=False)
        found = read_series(settings(tmp_path / name))
    else:
        text = shuffled.to_csv(index=False, sep="\t" if name.endswith(".tsv") else ",")
        found = read_series(written(tmp_path, name, text))
    assert found.fingerprint() == expected.fingerprint()


def test_units_of_time_agree(tmp_path):
    expected = read_series(written(tmp_path, "ward.csv", CSV))
    for unit, per_hour in (("minutes", 60), ("days", 1 / 24)):
        text = TABLE.assign(t=TABLE["t"] * per_hour).to_csv(index=False)
        found = read_series(written(tmp_path, "ward.csv", text, time_unit=unit))
        assert found.fingerprint() == expected.fingerprint()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_dates_count_from_the_first_row_of_each_patient(tmp_path, suffix):
    start = TABLE["stay"].map(
        {"007": "2024-02-28 23:30", "12": "2031-01-01 00:00", "13": "2020-05-05 12:00"}
    )
    dated = TABLE.assign(t=pd.to_datetime(start) + pd.to_timedelta(TABLE["t"] * 60, unit="min"))
    expected = read_series(written(tmp_path, "ward.csv", CSV))
    path = tmp_path / f"ward.{suffix}"
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    dated.to_csv(path, index=False) if suffix == "csv" else dated.to_parquet(path, index=False)
    found = read_series(settings(path))
    np.testing.assert_array_equal(
        found.modalities["series"].values, expected.modalities["series"].values
    )
    assert any("are dates" in note for note in found.notes)


def test_a_group_may_bind_stays_together(tmp_path):
    columns = {**DEFAULTS["columns"], "group": "person"}
    people = TABLE.assign(person=TABLE["stay"].map({"007": "A", "12": "B", "13": "A"}))
    dataset = read_series(
        written(tmp_path, "ward.csv", people.to_csv(index=False), columns=columns)
    )
    assert dataset.groups.tolist() == ["A", "B", "A"]
    people.loc[2, "person"] = "B"
    with pytest.raises(UserError, match=r"ward\.csv: line .*id '007' is in group .*one group"):
        read_series(written(tmp_path, "ward.csv", people.to_csv(index=False), columns=columns))


def test_a_null_in_a_column_of_whole_numbers_is_nobodys_id(tmp_path):
    pytest.importorskip("pyarrow")
    TABLE.assign(stay=pd.array([7, 7, 7, 7, 7, 7, 12, 12, None, 13], "Int64")).to_parquet(
        tmp_path / "ward.parquet"
    )
    with pytest.raises(UserError, match=r"row 9 has no id"):
        read_series(settings(tmp_path / "ward.parquet"))


def test_descriptors_may_lack_a_time_and_be_named(tmp_path):
    text = CSV.replace("007,0.0,Age,70", "007,,frailty,3")
    dataset = read_series(
        written(tmp_path, "ward.csv", text, statics=("frailty",), variables=("Na", "Age"))
    )
    assert dataset.modalities["static"].values[:, 0].tolist() == [3, 0, 0]
    assert dataset.modalities["static"].mask[:, 0].tolist() == [True, False, False]
    assert dataset.modalities["series"].features.tolist() == ["Na", "Age"]
    assert dataset.modalities["series"].values[1, :, 1].tolist() == [31, 0, 0, 32]


def test_outcomes_of_a_long_table_join_by_id(tmp_path):
    (tmp_path / "outcomes.csv").write_text("stay,died\n12,1\n007,0\n")
    given = written(
        tmp_path,
        "ward.csv",
        CSV,
        outcomes=str(tmp_path / "outcomes.csv"),
        label="died",
        outcome_id="stay",
    )
    values, mask = read_series(given).targets["died"]
    assert values.tolist() == [0, 1, 0] and mask.tolist() == [True, True, False]


# The text, changed settings, and what the message must hold (beside the name): the place, then the
# mend
WRONG = {
    "no column": (
        CSV,
        {"columns": {**DEFAULTS["columns"], "value": "y"}},
        ["no column 'y'", "columns.value", "'x'"],
    ),
    "near column": (CSV.replace("what", "What"), {}, ["no column 'what'", "did you mean 'What'?"]),
    "column twice": (CSV.replace("what", "stay"), {}, ["column 'stay' twice", "rename"]),
    "column unset": (
        CSV,
        {"columns": {**DEFAULTS["columns"], "id": ""}},
        ["columns.id is empty", "set it"],
    ),
    "id not known": (CSV.replace("007,4.0", "NA,4.0"), {}, ["line 6 has no id", "fill it in"]),
    "no id": (CSV.replace("007,4.0", ",4.0"), {}, ["line 6 has no id", "fill it in"]),
    "no variable": (CSV.replace("Temp", ""), {}, ["line 9 has no variable", "fill it in"]),
    "no time": (
        CSV.replace("12,1.5", "12,"),
        {},
        ["line 9: the time in column 't' is empty", "statics"],
    ),
    "negative": (CSV.replace("12,1.5", "12,-1.5"), {}, ["line 9", "is negative", "from admission"]),
    "endless": (CSV.replace("12,1.5", "12,inf"), {}, ["line 9", "is infinite"]),
    "no date": (
        CSV.replace("12,1.5", "12,noon"),
        {},
        ["line 9, column 't': 'noon' is not a number"],
    ),
    "text": (
        CSV.replace("37.5", "warm"),
        {},
        ["line 9, column 'x': 'warm' is not a number", "write a number"],
    ),
    "decimal comma": (CSV.replace(",37.5", ',"37,5"'), {}, ["line 9", "'37,5'", "decimal point"]),
    "infinite": (CSV.replace("37.5", "inf"), {}, ["line 9", "infinite", "NA where"]),
    "unit": (CSV, {"time_unit": "weeks"}, ["time_unit='weeks'", "hours, minutes, days"]),
    "variable": (CSV, {"variables": ("Tmp",)}, ["no variable 'Tmp'", "did you mean 'Temp'?"]),
    "static": (CSV, {"statics": ("Agee",)}, ["no static 'Agee'", "did you mean 'Age'?"]),
    "all late": (
        CSV,
        {"variables": ("Temp",), "hours": 1.0},
        ["not one patient has a value of 'Temp'", "check"],
    ),
    "only statics": (
        "stay,t,what,x\n1,0,Age,3\n2,0,Age,4\n",
        {},
        ["no variable other than", "'Age'", "statics"],
    ),
    "rows": ("stay,t,what,x\n", {}, ["no rows"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_table_is_answered_in_words(tmp_path, case):
    text, changes, parts = WRONG[case]
    with pytest.raises(UserError) as error:
        read_series(written(tmp_path, "ward.csv", text, **changes))
    for part in parts:
        assert part in str(error.value)


def test_wrong_dates_are_answered_in_words(tmp_path):
    text = "stay,t,what,x\n1,2024-01-01 10:00,HR,3\n1,2024-01-01 11:00,HR,4\n1,01/02/2024,HR,5\n"
    with pytest.raises(
        UserError, match=r"line 4: the time '01/02/2024' in column 't'.*dates such as"
    ):
        read_series(written(tmp_path, "ward.csv", text))


def test_the_mini_set_in_long_form_equals_its_raw_records(tmp_path, real_data):
    records = sorted((real_data / "physionet2012" / "mini" / "set-a").glob("*.txt"))
    whole = {**DEFAULTS, "hours": 48.0, "bin_hours": 1.0}
    raw = read_series(SimpleNamespace(**{**whole, "path": str(records[0].parent)}))
    frames = [pd.read_csv(file, keep_default_na=False).assign(stay=file.stem) for file in records]
    long = pd.concat(frames).query("Parameter != 'RecordID'")
    clock = long["Time"].str.split(":", expand=True).astype(int)
    long = long.assign(t=clock[0] * 60 + clock[1]).sample(frac=1, random_state=0)
    long.rename(columns={"Parameter": "what", "Value": "x"}).to_csv(
        tmp_path / "long.csv", index=False
    )
    variables = tuple(
        name
        for name in raw.modalities["series"].features.tolist()
        if (long["Parameter"] == name).any()
    )
    table = read_series(
        SimpleNamespace(
            **{
                **whole,
                "path": str(tmp_path / "long.csv"),
                "time_unit": "minutes",
                "variables": variables,
            }
        )
    )
    expected = raw.modalities["series"].select_features(variables)
    assert table.ids.tolist() == raw.ids.tolist()
    np.testing.assert_array_equal(table.modalities["series"].mask, expected.mask)
    np.testing.assert_allclose(table.modalities["series"].values, expected.values, rtol=1e-6)
