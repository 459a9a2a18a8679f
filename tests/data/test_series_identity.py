"""Who is who and what happened in series: ids that almost match, groups, words of outcomes."""

from types import SimpleNamespace

import numpy as np
import pytest

from omics_jax.data.clinical_series.read import read_series
from omics_jax.errors import UserError

ROWS = "id,time,variable,value\n" + "".join(
    f"{name},{t},hr,{80 + t}\n" for name in ("1", "02", "P3", "4") for t in range(3)
)


def read(tmp_path, outcomes: str = "", text: str = ROWS, **changes):
    (tmp_path / "ward.csv").write_text(text)
    given = {"path": str(tmp_path / "ward.csv"), "hours": 4.0, "label": "died", "outcome_id": "id"}
    if outcomes:
        (tmp_path / "stays.csv").write_text(outcomes)
        given["outcomes"] = str(tmp_path / "stays.csv")
    return read_series(SimpleNamespace(**{**given, **changes}))


def test_ids_match_only_exactly_and_near_ones_are_named(tmp_path):
    dataset = read(tmp_path, "id,died\n1,1\n2,0\np3,1\n4,0\n4.0,1\n")
    values, mask = dataset.targets["died"]
    assert dict(zip(dataset.ids, mask, strict=True)) == {
        "1": True, "02": False, "P3": False, "4": True,
    }  # fmt: skip
    warnings = " ".join(dataset.warnings)
    assert "2 records have no outcome, but one of almost the same id" in warnings
    assert "'2' for '02'" in warnings and "'p3' for 'P3'" in warnings
    assert "1 sets of ids are spelled almost alike" in warnings and "'4' and '4.0'" in warnings


def test_not_one_id_matches_but_all_nearly(tmp_path):
    with pytest.raises(UserError, match=r"not one of its 2 rows.*'1.0' for '1'.*write them alike"):
        read(tmp_path, "id,died\n1.0,1\np3,0\n")


def test_ids_and_variables_of_one_file_that_are_almost_alike(tmp_path):
    text = ROWS + "01,0,HR,90\n"
    warnings = " ".join(read(tmp_path, text=text).warnings)
    assert "1 sets of ids are spelled almost alike" in warnings and "'01' and '1'" in warnings
    assert "1 sets of variables" in warnings and "'HR' and 'hr'" in warnings
    assert not read(tmp_path).warnings


@pytest.mark.parametrize(
    ("words", "event"),
    [
        (["0", "1", "0.0", "1"], ""),
        (["N", "Y", "n", "Y"], ""),
        (["alive", "DEAD", "Alive", "dead"], ""),
        (["Alive", "Expired", "Alive", "Expired"], ""),
        (["0:LIVING", "1:DECEASED", "0:LIVING", "1:DECEASED"], ""),
        (["1", "2", "1", "2"], "2"),
        (["home", "morgue", "ward", "morgue"], "morgue"),
    ],
)
def test_words_for_events(tmp_path, words, event):
    rows = "".join(f"{i},{word}\n" for i, word in zip(("1", "02", "P3", "4"), words, strict=True))
    dataset = read(tmp_path, "id,died\n" + rows, event_value=event)
    values, mask = dataset.targets["died"]
    found = dict(zip(dataset.ids, values, strict=True))
    assert mask.all() and found == {"1": 0, "02": 1, "P3": 0, "4": 1}


def test_words_for_unknown_and_rows_that_agree(tmp_path):
    text = "id,died\n1,Y\n02,not reported\n1,Y\nP3,[Not Available]\n4,-9\n1,\n4,N\n"
    dataset = read(tmp_path, text, missing_values="-9")
    values, mask = dataset.targets["died"]
    known = {i: v for i, v, m in zip(dataset.ids, values, mask, strict=True) if m}
    assert known == {"1": 1, "4": 0}
    notes = " ".join(dataset.notes)
    for part in (
        "died: y counts as 1, n as 0.",
        "'not reported' 1",
        "'[Not Available]' 1",
        "'-9' 1",
        "Rows of stays.csv with the id and the died of another, taken for one: 3.",
        "died is known of 2 patients and 1 in 1 (50.0%).",
    ):
        assert part in notes


# The outcomes, changed settings, and what the answer must hold.
WRONG = {
    "disagree": ("id,died\n1,Y\n1,N\n", {}, ["'1' occurs twice with different died", "line 3"]),
    "one and two": ("id,died\n1,1\n02,2\n", {}, ["line 3: died is 2", "--config.data.event_value"]),
    "other words": ("id,died\n1,home\n02,ward\n", {}, ["died is 'home'", "event_value"]),
    "event nowhere": ("id,died\n1,1\n02,2\n", {"event_value": "3"}, ["nowhere '3'", "'1', '2'"]),
    "no label": ("id,dead\n1,1\n", {}, ["no column 'died' (--config.data.label)"]),
    "no id": ("who,died\n1,1\n", {}, ["no column 'id' (--config.data.outcome_id)"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_outcomes_are_answered_in_words(tmp_path, case):
    text, changes, parts = WRONG[case]
    with pytest.raises(UserError) as error:
        read(tmp_path, text, **changes)
    for part in ["stays.csv", *parts]:
        assert part in str(error.value)


def test_what_is_wrong_with_records_that_nobody_reads_is_not_asked(tmp_path):
    dataset = read(tmp_path, "id,died\n1,1\n02,0\nzz,1\nzz,0\nyy,maybe\n")
    assert dataset.targets["died"][1].sum() == 2
    assert "belong to no record that was read: 2." in " ".join(dataset.notes)


def test_groups_of_arrays_and_records_stand_in_the_outcomes(tmp_path):
    np.savez(tmp_path / "ward.npz", X=np.ones((3, 4, 2)), ids=np.array(["a", "b", "c"]))
    (tmp_path / "stays.csv").write_text("id,died,person\na,1,x\nb,0,x\n")
    given = {
        "path": str(tmp_path / "ward.npz"),
        "label": "died",
        "outcome_id": "id",
        "columns": {"id": "id", "time": "time", "group": "person"},
    }
    with pytest.raises(UserError, match=r"--config\.data\.columns\.group is 'person'.*outcomes"):
        read_series(SimpleNamespace(**given))
    dataset = read_series(SimpleNamespace(**given, outcomes=str(tmp_path / "stays.csv")))
    assert dataset.groups.tolist() == ["x", "x", "c"]
    given["columns"] = {**given["columns"], "group": "persons"}
    with pytest.raises(UserError, match=r"no column 'persons' \(--config\.data\.columns\.group\)"):
        read_series(SimpleNamespace(**given, outcomes=str(tmp_path / "stays.csv")))


def test_words_for_events_in_an_array(tmp_path):
    for y, expected in (
        (np.array(["dead", "alive", ""]), [1, 0]),
        (np.array([True, False, True]), [1, 0, 1]),
        (np.array([1, 0, np.nan]), [1, 0]),
    ):
        np.savez(tmp_path / "ward.npz", X=np.ones((3, 4, 2)), y=y)
        dataset = read_series(SimpleNamespace(path=str(tmp_path / "ward.npz")))
        values, mask = dataset.targets["label"]
        assert values[mask].tolist() == expected
