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
    observed = {(0, 0, 0): 90, (1, 1, 2): 37.5}
    assert {
        tuple(cell): series.values[tuple(cell)] for cell in np.argwhere(series.mask)
    } == observed
    assert static.features.tolist() == ["Age"] and static.values[:, 0].tolist() == [70, 31, 0]
    assert static.mask[:, 0].tolist() == [True, True, False]
    notes = " ".join(dataset.notes)
    for part in (
        "after the window of 4 hours, left out: 2.",
        "Age is read as a descriptor: the first value of a patient only, 1 later",
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
    "endless": (CSV.replace("12,1.5", "12,inf"), {}, ["line 9", "is infinite"]),
    "no date": (
        CSV.replace("12,1.5", "12,noon"),
        {},
        ["line 9, column 't': 'noon' is not a number"],
    ),
    "text": (
        CSV.replace(",90.0", ",warm"),
        {},
        ["line 4, column 'x' (variable 'HR'): 'warm' is not a number", "write a number"],
    ),
    "infinite": (CSV.replace("37.5", "inf"), {}, ["line 9", "infinite", "NA where"]),
    "unit": (CSV, {"time_unit": "weeks"}, ["time_unit='weeks'", "hours, minutes, days"]),
    "variable": (
        CSV,
        {"variables": ("Tmp",)},
        ["no variable 'Tmp'", "config.data.variables", "did you mean 'Temp'?"],
    ),
    "static": (CSV, {"statics": ("Agee",)}, ["no static 'Agee'", "did you mean 'Age'?"]),
    "layout": (CSV, {"layout": "tall"}, ["--config.data.layout='tall'", "auto, long, wide"]),
    "limits": (CSV, {"limits": "HR=300:20"}, ["--config.data.limits has HR='300:20'"]),
    "missing": (CSV, {"missing_values": "-999,,"}, ["--config.data.missing_values has ''"]),
    "key": (
        CSV,
        {"columns": {**DEFAULTS["columns"], "unti": "u"}},
        ["--config.data.columns.unti='u' is not understood", "id, time, variable, value, unit"],
    ),
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


HOURLY = "stay,t,what,x\n" + "".join(
    f"s{i},{t},HR,{80 + t}\ns{i},{t},Weight,{70 - t}\n" for i in range(4) for t in range(3)
)


def test_a_daily_variable_is_no_descriptor_because_of_its_name(tmp_path):
    dataset = read_series(written(tmp_path, "ward.csv", HOURLY))
    assert dataset.modalities["series"].features.tolist() == ["HR", "Weight"]
    assert dataset.modalities["series"].values[0, :3, 1].tolist() == [70, 69, 68]
    assert "static" not in dataset.modalities
    (warning,) = dataset.warnings
    assert "Weight is named like a descriptor but changes in most patients" in warning
    asked = read_series(written(tmp_path, "ward.csv", HOURLY, statics=("Weight",)))
    assert asked.modalities["static"].values[:, 0].tolist() == [70] * 4
    assert "first value of a patient only, 8 later and different ones" in " ".join(asked.notes)
    same = HOURLY.replace("Weight,69", "Weight,70").replace("Weight,68", "Weight,70")
    still = read_series(written(tmp_path, "ward.csv", same))
    assert still.modalities["static"].features.tolist() == ["Weight"] and not still.warnings


def test_values_before_admission_are_left_out_as_those_after_the_window(tmp_path):
    text = CSV.replace("12,1.5", "12,-1.5").replace("007,0.2", "007,-600")
    dataset = read_series(written(tmp_path, "ward.csv", text))
    assert "Values before admission (hour 0), left out: 2." in dataset.notes
    series = dataset.modalities["series"]
    assert series.values[0, 0, 0] == 95 and not series.mask[1].any()
    all_before = CSV.replace("7,", "7,-").replace("12,", "12,-").replace("13,", "13,-")
    with pytest.raises(UserError, match=r"in the window.*\(Values before admission \(hour 0\)"):
        read_series(written(tmp_path, "ward.csv", all_before, variables=("Temp",)))
    described = read_series(written(tmp_path, "ward.csv", CSV.replace("12,0.0,Age", "12,-9,Age")))
    assert described.modalities["static"].values[:, 0].tolist() == [70, 31, 0]


def test_only_rows_that_are_asked_for_are_checked(tmp_path):
    wrong = [
        "12,2,rhythm,sinus",
        "12,,rhythm,2",
        "12,noon,rhythm,3",
        ",1,rhythm,4",
        "13,1,rhythm,inf",
    ]
    text = CSV + "\n".join([*wrong, ""])
    with pytest.raises(UserError):
        read_series(written(tmp_path, "ward.csv", text))
    dataset = read_series(written(tmp_path, "ward.csv", text, variables=("HR", "Na", "Temp")))
    expected = read_series(written(tmp_path, "ward.csv", CSV))
    assert dataset.fingerprint() == expected.fingerprint()
    assert "1 variable (rhythm) is not among those to keep" in " ".join(dataset.notes)


def test_a_variable_may_have_a_comma_in_its_name(tmp_path):
    text = CSV.replace("Temp", '"Temp, rectal"')
    named = read_series(written(tmp_path, "ward.csv", text, variables=("Temp, rectal",)))
    assert named.modalities["series"].features.tolist() == ["Temp, rectal"]


def test_a_variable_of_text_is_left_out_and_said_to_be(tmp_path):
    text = CSV + "12,2,rhythm,sinus\n13,3,rhythm,paced\n"
    dataset = read_series(written(tmp_path, "ward.csv", text))
    assert dataset.modalities["series"].features.tolist() == ["HR", "Na", "Temp"]
    assert any("1 variable (rhythm) is text" in warning for warning in dataset.warnings)


@pytest.mark.parametrize("column", ["valueuom", "Units", "labmeasurenamesystem"])
def test_several_units_of_a_variable_are_named_with_counts(tmp_path, column):
    units = ["", "bpm", "BPM", "bpm ", "mmol/L", "mmol/L", "", "degC", "", "bpm"]
    table = TABLE.assign(**{column: units})
    assert not read_series(written(tmp_path, "ward.csv", table.to_csv(index=False))).warnings
    table.loc[3, column] = "1/s"
    (warning,) = read_series(written(tmp_path, "ward.csv", table.to_csv(index=False))).warnings
    assert "HR is in 2 units" in warning
    assert "BPM 2 (median 85)" in warning and "1/s 1 (median 100)" in warning


def test_a_column_of_units_by_its_setting(tmp_path):
    table = TABLE.assign(how=["a", "a", "b", *["a"] * 7]).to_csv(index=False)
    assert not read_series(written(tmp_path, "ward.csv", table)).warnings
    columns = {**DEFAULTS["columns"], "unit": "how"}
    (warning,) = read_series(written(tmp_path, "ward.csv", table, columns=columns)).warnings
    assert "HR is in 2 units" in warning
    columns["unit"] = "hows"
    with pytest.raises(UserError, match=r"no column 'hows' \(--config\.data\.columns\.unit=hows\)"):
        read_series(written(tmp_path, "ward.csv", table, columns=columns))


def test_codes_and_limits_count_before_values_are_averaged(tmp_path):
    text = CSV.replace("0.9,HR,90", "0.9,HR,-999").replace("0.9,HR,100.0", "0.9,HR,1e7")
    text = text.replace("37.5", "not done")
    dataset = read_series(
        written(
            tmp_path, "ward.csv", text, missing_values="-999, Not done", limits="HR=20:300,K=:9"
        )
    )
    series = dataset.modalities["series"]
    assert series.values[0, 0, 0] == 80 and not series.mask[1].any()
    notes = " ".join(dataset.notes)
    assert "Values that mean missing (data.missing_values): HR 1." in notes
    assert "Values outside of data.limits, now missing: HR 1." in notes
    assert any("names 'K', which is no variable" in warning for warning in dataset.warnings)


def test_a_code_that_bins_would_hide_is_told(tmp_path):
    """-999 averaged with the values of its hour is a mixture, no two of which are alike."""
    rows = [(f"s{i}", 0.25, "lact", 1 + i / 50) for i in range(40)]
    rows += [(f"s{i}", 0.5, "lact", -999) for i in range(40)]
    text = pd.DataFrame(rows, columns=["stay", "t", "what", "x"]).to_csv(index=False)
    (warning,) = read_series(written(tmp_path, "ward.csv", text)).warnings
    assert "lact, single values: -999 is 50.0% of its values" in warning
    assert "--config.data.missing_values=-999" in warning


def test_every_column_is_accounted_for(tmp_path):
    text = TABLE.assign(nurse="x", valueuom="").to_csv(index=False)
    uses = read_series(written(tmp_path, "ward.csv", text)).uses
    assert {(use.part, use.used_as, use.names) for use in uses} == {
        ("columns", "patients", ("stay",)),
        ("columns", "times", ("t",)),
        ("columns", "variables", ("what",)),
        ("columns", "values", ("x",)),
        ("columns", "units", ("valueuom",)),
        ("columns", "left out", ("nurse",)),
        ("variables", "series", ("HR", "Na", "Temp")),
        ("variables", "descriptors", ("Age",)),
    }


@pytest.mark.parametrize(
    "text", ["stay,t,what,x\n1,0,HR,85,6\n1,1,HR,75,3\n", "stay,t,what,x\n1,0,HR,85,\n"]
)
def test_a_row_wider_than_the_header_is_no_name_of_a_row(tmp_path, text):
    with pytest.raises(UserError, match=r"line 2 has 5 fields where line 1 has 4"):
        read_series(written(tmp_path, "ward.csv", text))
