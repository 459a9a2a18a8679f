"""Clinical tables and targets: values against pandas and by hand, codings of events, refusals."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.patients.patient_table import PatientTable, read_patient_table
from omics_jax.data.patients.survival import (
    SurvivalColumns,
    flipped_warning,
    parse_survival,
    survival_target,
)
from omics_jax.data.patients.targets import class_target, number_target
from omics_jax.data.vocabulary import EVENT_CODES, parse_missing
from omics_jax.errors import UserError

TIME_AND_STATUS = SurvivalColumns(("time",), "status")


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
    found, remarks = read_patient_table(str(path), "", "")
    assert found.table.index.tolist() == ["p2", "p1", "p3"] and not remarks.notes
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
        "has no column 'sample' (data.id); it has 'age', 'patient'" in message
        and "leave data.id empty" in message
    )


def table_of(tmp_path, text: str, *used: str, barcode: str = ""):
    (tmp_path / "c.csv").write_text(text)
    return read_patient_table(str(tmp_path / "c.csv"), "", barcode, used)


def test_an_id_is_filled_in(tmp_path):
    message = error_of(table_of, tmp_path, "id,age\np1,61\n,40\n", "age")
    assert "line 3 has no patient name" in message and "fill it in" in message


def test_rows_of_one_patient_that_agree_are_one(tmp_path):
    """Numbers agree by value, an unknown cell with everything; other columns need not agree."""
    found, remarks = table_of(
        tmp_path,
        "id,age,sex,visit\np1,61,F,1\np2,40,M,1\np1,61.0,not reported,2\np3,,M,1\np3,33,m,2\n",
        "age",
        "sex",
    )
    assert found.table.to_dict("index") == {
        "p1": {"age": "61", "sex": "F", "visit": "1"},
        "p2": {"age": "40", "sex": "M", "visit": "1"},
        "p3": {"age": "33", "sex": "M", "visit": "1"},
    }
    assert found.places == ["line 2", "line 3", "line 5"]
    (note,) = remarks.notes
    assert "2 patients (p1, p3) are in several rows that agree (age, sex) and were merged" in note
    (use,) = remarks.uses
    assert use.names == ("line 4", "line 6") and use.used_as == "merged"


def test_rows_of_one_patient_that_disagree_are_refused_with_both(tmp_path):
    message = error_of(table_of, tmp_path, "id,age\np1,61\np2,40\np1,62\n", "age")
    assert (
        "the patient 'p1' has 2 rows that disagree: 'age' is '61' at line 2 and '62' at line 4"
        in message
    )
    found, _ = table_of(tmp_path, "id,age\np1,61\np2,40\np1,62\n")  # nobody asks for the age
    assert found.table["age"].to_dict() == {"p1": "61", "p2": "40"}


def test_a_table_without_a_column_of_ids_is_named(tmp_path):
    message = error_of(table_of, tmp_path, "OS.time,OS\n1264,1\n1264,0\n", "OS.time", "OS")
    assert (
        "its first column OS.time is used as the ids and is a target too; the table has no column "
        "of ids" in message
    )


def test_ids_that_differ_in_spelling_only_are_warned_of(tmp_path):
    _, remarks = table_of(tmp_path, "id,age\nP-01,61\np1,40\nP12,3\nP1-2,4\n")
    (warning,) = remarks.warnings
    assert "('P-01' and 'p1')" in warning


def test_samples_of_one_patient_become_one_row(tmp_path):
    (tmp_path / "c.csv").write_text(
        "sample,stage\nTCGA-AA-0001-11,I\nTCGA-AA-0001-01,[Not Available]\nTCGA-AA-0002-06,IV\n"
    )
    found, _ = read_patient_table(str(tmp_path / "c.csv"), "", "tcga")
    stages = {"TCGA-AA-0001": "[Not Available]", "TCGA-AA-0002": "IV"}
    assert found.table["stage"].to_dict() == stages
    assert found.table.index.tolist() == ["TCGA-AA-0001", "TCGA-AA-0002"] and found.places == [
        "line 3",
        "line 4",
    ]
    (_, known), names, remarks = class_target(found, "stage", "stage")
    assert known.tolist() == [False, True] and names == ("IV",)
    assert "stage (stage): taken for unknown: '[Not Available]' 1." in remarks.notes


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
    (values, known), found, remarks = class_target(patients(kind=cells), "type", "kind")
    assert found == names and values.dtype == np.int32
    assert values.tolist() == codes and known.tolist() == [bool(m) for m in mask]
    (note,) = remarks.notes
    noun = "class" if len(names) == 1 else "classes"
    assert f"type (kind): {len(names)} {noun}, known of {sum(mask)} patients" in note


def test_words_for_unknown_are_no_classes_and_are_named():
    words = ["not reported", "Unknown", "'--", "[Not Available]", ".", "N/A", "Not Applicable"]
    table = patients(kind=[*words, "A", "B", "A", "pending"])
    (_, known), names, remarks = class_target(table, "type", "kind", parse_missing("Pending"))
    assert known.tolist() == [False] * 7 + [True] * 3 + [False] and names == ("A", "B")
    assert all(f"{word!r} 1" in remarks.notes[-1] for word in [*words, "pending"])


def test_a_minus_beside_a_plus_is_a_class():
    (_, known), names, remarks = class_target(patients(er=["+", "-", "", "+"]), "er", "er")
    assert names == ("+", "-") and known.tolist() == [True, True, False, True]
    assert len(remarks.notes) == 1


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
    (values, known), remarks = number_target(patients(age=["61.5", "", "-40"]), "age", "age")
    assert (
        values.dtype == np.float32
        and values.tolist() == [61.5, 0, -40]
        and known.tolist() == [True, False, True]
    )
    assert remarks.notes == ("age (age): known of 2 patients, -40 to 61.5, median 10.75.",)


def test_numbers_that_stand_for_missing_by_word_and_by_value():
    cells = ["61", "-999.0", "-999", "unknown", "70"]
    (values, known), remarks = number_target(
        patients(age=cells), "age", "age", parse_missing((-999,))
    )
    assert values.tolist() == [61, 0, 0, 0, 70]
    assert known.tolist() == [True, False, False, False, True]
    assert "taken for unknown" in remarks.notes[-1] and "'unknown' 1" in remarks.notes[-1]


def test_a_number_far_from_all_others_is_warned_of():
    cells = [str(50 + k) for k in range(12)] + ["999999"]
    _, remarks = number_target(patients(age=cells), "age", "age")
    (warning,) = remarks.warnings
    assert warning.startswith("age: age: 1 of its 13 values") and "999999" in warning


@pytest.mark.parametrize(
    ("call", "cells", "fragments"),
    [
        (
            number_target,
            ["61", "old"],
            ["line 3, column 'x' (numbers.t): 'old' is not a number", "write a number, or NA"],
        ),
        (number_target, ["61", "inf"], ["line 3", "'inf'"]),
        (number_target, ["61", "1e39"], ["line 3", "'1e39'"]),
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
    targets, remarks = survival_target(table, "OS", TIME_AND_STATUS, "error")
    notes = remarks.notes
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
    "cells",
    [
        ("0:DiseaseFree", "1:Recurred/Progressed"),
        ("0:CENSORED", "1:PROGRESSION"),
        ("0:ALIVE OR DEAD TUMOR FREE", "1:DEAD WITH TUMOR"),
        ("N", "Y"),
        ("Censored", "Event"),
    ],
)
def test_codes_before_words_and_other_words(cells):
    status = [*cells, "Unknown", "", "[Not Available]"]
    targets, remarks = survival_target(
        patients(time=["5"] * 5, status=status), "OS", TIME_AND_STATUS, "error"
    )
    assert targets["OS.event"][0].tolist() == [0, 1, 0, 0, 0]
    assert targets["OS.event"][1].tolist() == [True, True, False, False, False]
    assert any("'Unknown' 1" in note for note in remarks.notes)


@pytest.mark.parametrize(
    "status",
    [["1", "2", "1", "2"], ["0", "1", "2", "0"], ["Alive", "1", "0", "0"], ["0.5", "1", "0", "0"]],
)
def test_events_of_other_values(status):
    columns = SurvivalColumns(("t",), "e")
    message = error_of(survival_target, patients(t=["1"] * 4, e=status), "OS", columns, "error")
    for fragment in (
        "clinical.csv: column 'e' (survival_times.OS) holds",
        repr(status[0]),
        "no known pair of censored and event (0/1, false/true",
        f"say which value is the event, all others being censored, as in "
        f"--config.data.survival_times=OS=t:e={max(status)}",
    ):
        assert fragment in message


def test_a_named_event_value_makes_all_others_censored():
    columns = parse_survival("time:status=2")
    table = patients(time=["5", "7", "9", "3"], status=["1", "2", "", "3"])
    targets, remarks = survival_target(table, "OS", columns, "error")
    assert targets["OS.event"][0].tolist() == [0, 1, 0, 0]
    assert targets["OS.event"][1].tolist() == [True, True, False, True]
    assert any("status is read as 1 or 3 = censored, 2 = event" in note for note in remarks.notes)
    other = parse_survival("time:status=1:DECEASED")
    assert other == SurvivalColumns(("time",), "status", "1:DECEASED")
    message = error_of(survival_target, table, "OS", parse_survival("time:status=dead"), "error")
    assert "holds '1', '2', '3', and none of them is 'dead', the named event" in message


def test_death_and_follow_up_in_two_columns():
    columns = parse_survival("days_to_death|days_to_last_follow_up:vital_status")
    table = patients(
        days_to_death=["100", "'--", "", "40", ""],
        days_to_last_follow_up=["90", "500", "300", "", ""],
        vital_status=["Dead", "Alive", "Alive", "Dead", "Alive"],
    )
    targets, remarks = survival_target(table, "OS", columns, "error")
    assert targets["OS.time"][0].tolist() == [100, 500, 300, 40, 0]
    assert targets["OS.time"][1].tolist() == [True, True, True, True, False]
    assert targets["OS.event"][0].tolist() == [1, 0, 0, 1, 0]
    counts = "first known of these columns: days_to_death 2, days_to_last_follow_up 2."
    assert any(note.endswith(counts) for note in remarks.notes)


def test_times_of_zero_or_below():
    table = patients(time=["5", "0", "-3", "9", "0"], status=["1", "0", "1", "0", ""])
    message = error_of(survival_target, table, "OS", TIME_AND_STATUS, "error")
    for fragment in (
        "2 times (b, c) are zero or below",
        "column 'time'",
        "line 3",
        "data.zero_times=mask",
    ):
        assert fragment in message
    targets, remarks = survival_target(table, "OS", TIME_AND_STATUS, "mask")
    assert targets["OS.time"][1].tolist() == [True, False, False, True, False]
    assert targets["OS.time"][0].tolist() == [5, 0, 0, 9, 0] and targets["OS.event"][
        0
    ].tolist() == [1, 0, 0, 0, 0]
    assert any("2 times (b, c) are zero or below and masked" in note for note in remarks.notes)


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
