"""Clinical tables and targets: values against pandas and by hand, codings of events, refusals."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.patients.patient_table import PatientTable, read_patient_table
from omics_jax.data.patients.targets import (
    EVENT_CODES,
    class_target,
    flipped_warning,
    number_target,
    survival_target,
)
from omics_jax.errors import UserError


def patients(**columns) -> PatientTable:
    """Patients a, b, c, ... with these columns of text, from line 2 on."""
    n = len(next(iter(columns.values())))
    table = pd.DataFrame(columns, index=list("abcdefghijklmnopqrstuvwxyz"[:n]), dtype=object)
    return PatientTable("clinical.csv", table, [f"line {row + 2}" for row in range(n)])


def error_of(call, *args) -> str:
    with pytest.raises(UserError) as caught:
        call(*args)
    return str(caught.value)


@pytest.mark.parametrize(
    "suffix", [".csv", ".tsv", ".txt", ".csv.gz", ".parquet", "indexed.parquet", "named.parquet"]
)
def test_every_format_gives_the_same_table(tmp_path, suffix):
    frame = pd.DataFrame(
        {"sample": ["p2", "p1", "p3"], "age": [61.5, np.nan, 40], "sex": ["F", "M", None]}
    )
    path = tmp_path / f"clinical{suffix}"
    if suffix.endswith("parquet"):
        names = {"indexed.parquet": None, "named.parquet": "sample"}
        indexed = frame.set_index("sample").rename_axis(names.get(suffix))
        (indexed if suffix in names else frame).to_parquet(path)
    else:
        frame.to_csv(path, sep="," if ".csv" in suffix else "\t", index=False)
    found, notes = read_patient_table(str(path), "", "")
    assert found.table.index.tolist() == ["p2", "p1", "p3"] and not notes
    assert found.table["sex"].tolist() == ["F", "M", ""]
    assert [float(cell or "nan") for cell in found.table["age"]] == pytest.approx(
        [61.5, np.nan, 40], nan_ok=True
    )


def test_the_id_column_by_name(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("age,patient\n61,p1\n40,p2\n")
    assert read_patient_table(str(path), "patient", "")[0].table.to_dict() == {
        "age": {"p1": "61", "p2": "40"}
    }
    message = error_of(read_patient_table, str(path), "sample", "")
    assert (
        "has no column 'sample' (id); it has 'age', 'patient'" in message
        and "leave id empty" in message
    )


@pytest.mark.parametrize(
    ("rows", "fragments"),
    [
        (
            "p1,61\np2,40\np1,61\n",
            ["the patient 'p1' occurs twice, at line 2 and line 4", "remove one"],
        ),
        ("p1,61\n,40\n", ["line 3 has no patient name", "fill it in"]),
    ],
)
def test_ids_are_filled_in_and_unique(tmp_path, rows, fragments):
    (tmp_path / "c.csv").write_text("id,age\n" + rows)
    message = error_of(read_patient_table, str(tmp_path / "c.csv"), "", "")
    assert all(fragment in message for fragment in [str(tmp_path / "c.csv"), *fragments])


def test_samples_of_one_patient_become_one_row(tmp_path):
    (tmp_path / "c.csv").write_text(
        "sample,stage\nTCGA-AA-0001-11,I\nTCGA-AA-0001-01,[Not Available]\nTCGA-AA-0002-06,IV\n"
    )
    found, notes = read_patient_table(str(tmp_path / "c.csv"), "", "tcga")
    assert found.table["stage"].to_dict() == {"TCGA-AA-0001": "", "TCGA-AA-0002": "IV"}
    assert found.table.index.tolist() == ["TCGA-AA-0001", "TCGA-AA-0002"] and found.places == [
        "line 3",
        "line 4",
    ]
    assert any("1 cells such as [Not Available] are unknown" in note for note in notes)


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_found_by_id(seed):
    rng = np.random.default_rng(seed)
    source = patients(age=list("123456"))
    ids = rng.permutation(["f", "z", "b", "a"])
    found = source.reindex(ids)
    assert found.table["age"].tolist() == [{"f": "6", "z": "", "b": "2", "a": "1"}[i] for i in ids]
    assert found.places == [{"f": "line 7", "z": "", "b": "line 3", "a": "line 2"}[i] for i in ids]


@pytest.mark.parametrize(
    ("cells", "names", "codes", "mask"),
    [
        (["LumB", "", "Basal", "LumB"], ("Basal", "LumB"), [1, 0, 0, 1], [1, 0, 1, 1]),
        (["10", "2", "2.0", ""], ("2", "10"), [1, 0, 0, 0], [1, 1, 1, 0]),
        (["1", "A", "1.0", ""], ("1", "1.0", "A"), [0, 2, 1, 0], [1, 1, 1, 0]),
        (["x", "x", "", ""], ("x",), [0, 0, 0, 0], [1, 1, 0, 0]),
    ],
)
def test_classes_are_codes_into_sorted_names(cells, names, codes, mask):
    (values, known), found, note = class_target(patients(kind=cells), "type", "kind")
    assert found == names and values.dtype == np.int32
    assert values.tolist() == codes and known.tolist() == [bool(m) for m in mask]
    assert f"type (kind): {len(names)} classes, known of {sum(mask)} patients" in note


@pytest.mark.parametrize("count", [10, 11])
def test_an_identifier_is_no_class(count):
    table = patients(kind=[f"x{k}" for k in range(count)])
    if count == 10:
        assert len(class_target(table, "type", "kind")[1]) == 10
        return
    message = error_of(class_target, table, "type", "kind")
    assert (
        "(classes.type) holds 11 different values of 11 patients" in message
        and "name a column of categ" in message
    )


def test_numbers_and_their_mask():
    (values, known), note = number_target(patients(age=["61.5", "", "-40"]), "age", "age")
    assert (
        values.dtype == np.float32
        and values.tolist() == [61.5, 0, -40]
        and known.tolist() == [True, False, True]
    )
    assert note == "age (age): known of 2 patients, -40 to 61.5, median 10.75."


@pytest.mark.parametrize(
    ("call", "cells", "fragments"),
    [
        (
            number_target,
            ["61", "old"],
            ["line 3, column 'x' (numbers.t): 'old' is not a number", "write a number, or NA"],
        ),
        (number_target, ["61", "inf"], ["line 3", "'inf'"]),
        (
            number_target,
            ["", ""],
            ["column 'x' (numbers.t) is empty for every patient", "name another one"],
        ),
        (
            class_target,
            ["", ""],
            ["column 'x' (classes.t) is empty for every patient", "name another one"],
        ),
    ],
)
def test_cells_that_are_no_target(call, cells, fragments):
    message = error_of(call, patients(x=cells), "t", "x")
    assert all(fragment in message for fragment in ["clinical.csv", *fragments])


@pytest.mark.parametrize("call", [number_target, class_target])
def test_a_column_that_is_not_there(call):
    assert "no column 'OS_time'" in (
        message := error_of(call, patients(**{"OS.time": ["1"]}), "t", "OS_time")
    )
    assert "did you mean 'OS.time'?" in message


@pytest.mark.parametrize(
    ("censored", "event"),
    [
        *EVENT_CODES,
        ("Alive", "DEAD"),
        ("FALSE", "True"),
        ("0.0", "1.0"),
        ("0:LIVING", "1:DECEASED"),
    ],
)
def test_every_coding_of_events(censored, event):
    table = patients(time=["5", "7", "", "9", "3"], status=[event, censored, event, "", censored])
    targets, notes = survival_target(table, "OS", "time", "status", "error")
    (times, mask), (events, same) = targets["OS.time"], targets["OS.event"]
    assert times.dtype == events.dtype == np.float32 and mask.tolist() == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert np.array_equal(mask, same)
    assert times.tolist() == [5, 7, 0, 0, 3] and events.tolist() == [1, 0, 0, 0, 0]
    assert notes[0] == "OS: 2 patients with only one of time and status are masked."
    assert (
        "known of 3 patients, 1 events (33.3%)" in notes[1]
        and "median follow-up 5, at most 9" not in notes[1]
    )


@pytest.mark.parametrize(
    "status",
    [["1", "2", "1", "2"], ["0", "1", "2", "0"], ["Alive", "1", "0", "0"], ["0.5", "1", "0", "0"]],
)
def test_events_of_other_values(status):
    message = error_of(survival_target, patients(t=["1"] * 4, e=status), "OS", "t", "e", "error")
    for fragment in (
        "clinical.csv: column 'e' (survival_times.OS) holds",
        repr(status[0]),
        "alive/dead",
        "recode it",
    ):
        assert fragment in message


def test_times_of_zero_or_below():
    table = patients(time=["5", "0", "-3", "9", "0"], status=["1", "0", "1", "0", ""])
    message = error_of(survival_target, table, "OS", "time", "status", "error")
    for fragment in (
        "2 times (b, c) are zero or below",
        "column 'time'",
        "line 3",
        "data.zero_times=mask",
    ):
        assert fragment in message
    targets, notes = survival_target(table, "OS", "time", "status", "mask")
    assert targets["OS.time"][1].tolist() == [True, False, False, True, False]
    assert targets["OS.time"][0].tolist() == [5, 0, 0, 9, 0] and targets["OS.event"][
        0
    ].tolist() == [1, 0, 0, 0, 0]
    assert any("2 times (b, c) are zero or below and masked" in note for note in notes)


@pytest.mark.parametrize(
    ("censored_at", "event_at", "censored", "events", "warned"),
    [
        (10, 5, 50, 50, ""),
        (5, 10, 50, 50, ""),  # late events alone say nothing
        (10, 5, 7, 93, ""),  # many events alone neither
        (
            5,
            10,
            40,
            60,
            "60.0% of the patients have an event of OS, at a median time of 10, and the others "
            "are last",
        ),
        (10, 5, 4, 96, "96.0% of the patients have an event of OS, more than"),
        (10, 5, 0, 9, "100.0% of the patients have an event of OS, more than"),
        (10, 5, 9, 0, "OS has no event at all"),
    ],
)
def test_events_that_look_exchanged(censored_at, event_at, censored, events, warned):
    times = np.repeat([censored_at, event_at], [censored, events]).astype("f4")
    notes = flipped_warning(
        "OS", "status", times, np.repeat([0, 1], [censored, events]).astype("f4")
    )
    assert len(notes) == bool(warned)
    assert all(warned in note and "status" in note for note in notes)
