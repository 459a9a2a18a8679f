"""Raw records: bins against a brute force, archives against folders, published counts, refusals."""

import io
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from omics_jax.data.clinical_series.challenge2012 import VARIABLES
from omics_jax.data.clinical_series.read import read_series
from omics_jax.errors import UserError

DEFAULTS = {
    "path": "",
    "outcomes": "",
    "label": "In-hospital_death",
    "outcome_id": "RecordID",
    "columns": {"id": "id", "time": "time", "variable": "variable", "value": "value"},
    "time_unit": "hours",
    "hours": 48.0,
    "bin_hours": 1.0,
    "variables": (),
    "statics": ("Age", "Gender", "Height", "Weight", "ICUType"),
}
FIRST = """Time,Parameter,Value
00:00,RecordID,101
00:00,Age,70
00:00,Gender,-1
00:00,Height,-1
00:00,ICUType,3
00:00,Weight,80.5
00:00,Na,140
00:10,HR,90
00:10,HR,80
00:59,HR,100
01:00,HR,60
47:30,Temp,-17.8
48:00,Temp,37.8
48:01,Temp,99
05:00,Weight,82
"""
SECOND = """Time,Parameter,Value
00:00,RecordID,102
00:00,Age,31
00:00,Gender,1
00:00,Height,170
00:00,ICUType,1
00:00,Weight,-1
"""
OUTCOMES = "RecordID,SAPS-I,In-hospital_death\n102,4,1\n101,9,0\n"


def settings(path, **changes) -> SimpleNamespace:
    return SimpleNamespace(**{**DEFAULTS, "path": str(path), **changes})


def folder(tmp_path: Path, **files: str) -> Path:
    """A folder set-x of the two records; files are replaced or added by name (r103: 103.txt)."""
    place = tmp_path / "set-x"
    place.mkdir()
    for name, text in {"r101": FIRST, "r102": SECOND, **files}.items():
        (place / f"{name[1:]}.txt").write_text(text)
    return place


def archive(tmp_path: Path, name: str, members: dict[str, str] | None = None) -> Path:
    mode = {".tar": "w:", ".gz": "w:gz", ".xz": "w:xz", ".tgz": "w:gz"}[Path(name).suffix]
    with tarfile.open(tmp_path / name, mode) as file:
        for member, text in (members or {"set-x/101.txt": FIRST, "set-x/102.txt": SECOND}).items():
            entry = tarfile.TarInfo(member)
            entry.size = len(text.encode())
            file.addfile(entry, io.BytesIO(text.encode()))
    return tmp_path / name


def test_a_hand_written_record_is_binned_as_computed_by_hand(tmp_path):
    dataset = read_series(settings(folder(tmp_path)))
    assert dataset.ids.tolist() == ["101", "102"] and dataset.groups.tolist() == ["101", "102"]
    assert dataset.table["set"].tolist() == ["set-x", "set-x"] and dataset.table.index.tolist() == [
        "101",
        "102",
    ]
    series = dataset.modalities["series"]
    assert tuple(series.features) == VARIABLES and series.values.shape == (2, 48, 35)
    cell = {name: j for j, name in enumerate(VARIABLES)}
    observed = {(0, "Na"): 140, (0, "HR"): 90, (1, "HR"): 60, (47, "Temp"): -17.8}
    for (step, name), value in observed.items():
        assert series.mask[0, step, cell[name]] and series.values[
            0, step, cell[name]
        ] == pytest.approx(value)
    assert series.mask.sum() == len(observed) and not series.mask[1].any()
    np.testing.assert_array_equal(dataset.modalities["hours"].values[1], np.arange(48))
    static = dataset.modalities["static"]
    assert static.features.tolist() == [
        "Age",
        "Gender",
        "Height",
        "Weight",
        *(f"ICUType={k}" for k in (1, 2, 3, 4)),
    ]
    np.testing.assert_allclose(
        static.values, [[70, 0, 0, 80.5, 0, 0, 1, 0], [31, 1, 170, 0, 1, 0, 0, 0]]
    )
    assert static.mask.tolist() == [
        [True, False, False] + [True] * 5,
        [True, True, True, False] + [True] * 4,
    ]
    assert dataset.targets == {}
    notes = " ".join(dataset.notes)
    for part in (
        "mean not recorded: Gender 1, Height 1, Weight 1.",
        "kept as they stand: Temp 1.",
        "after the window of 48 hours, left out: 2.",
        "1 patient (102) is without any observation.",
        "32 variables (DiasABP, Lactate, NIDiasABP, PaO2, WBC, ...) are never observed",
    ):
        assert part in notes


@pytest.mark.parametrize("name", ["set-x.tar", "set-x.tar.gz", "set-x.tgz", "set-x.tar.xz"])
def test_every_archive_reads_as_the_folder_does(tmp_path, name):
    outcomes = tmp_path / "Outcomes-x.txt"
    outcomes.write_text(OUTCOMES)
    expected = read_series(settings(folder(tmp_path), outcomes=str(outcomes)))
    packed = read_series(settings(archive(tmp_path, name), outcomes=str(outcomes)))
    assert packed.fingerprint() == expected.fingerprint()
    values, mask = packed.targets["In-hospital_death"]
    assert values.tolist() == [0, 1] and mask.all()


def test_an_archive_without_folders_is_named_by_itself_and_windows_lines_read_alike(tmp_path):
    flat = {"101.txt": FIRST.replace("\n", "\r\n"), "102.txt": SECOND, "about.txt": "some words\n"}
    dataset = read_series(settings(archive(tmp_path, "mine.tar.gz", flat)))
    assert dataset.table["set"].tolist() == ["mine", "mine"]
    assert any("about.txt" in note for note in dataset.notes)
    nested = read_series(settings(folder(tmp_path)))
    np.testing.assert_array_equal(
        dataset.modalities["series"].values, nested.modalities["series"].values
    )


def test_bins_and_variables_follow_the_settings(tmp_path):
    dataset = read_series(
        settings(
            folder(tmp_path),
            hours=6.0,
            bin_hours=0.5,
            variables=("Weight", "HR"),
            statics=("ICUType",),
        )
    )
    series = dataset.modalities["series"]
    assert series.values.shape == (2, 12, 2) and series.features.tolist() == ["Weight", "HR"]
    assert series.values[0, [0, 10], 0].tolist() == [80.5, 82.0] and series.values[
        0, :3, 1
    ].tolist() == [85, 100, 60]
    assert not series.mask[1].any()
    np.testing.assert_allclose(dataset.modalities["hours"].values[0], np.arange(12) / 2)
    assert dataset.modalities["static"].features.tolist() == [f"ICUType={k}" for k in (1, 2, 3, 4)]


def test_progress_is_told_to_the_end(tmp_path):
    told = []
    read_series(settings(folder(tmp_path)), lambda *what: told.append(what))
    assert told == [(2, 2, "records")]


# What is wrong, and what the message must hold: the place, then the mend
RECORDS = {
    "foreign id": ({"r103": SECOND}, ["103.txt: line 2", "RecordID is 102", "rename the file"]),
    "no header": (
        {"r103": "00:00,HR,3\n"},
        ["103.txt", "line 1", "Time,Parameter,Value", "correct the file"],
    ),
    "negative time": (
        {"r101": FIRST.replace("01:00,HR", "-01:00,HR")},
        ["101.txt: line 12", "is negative", "write"],
    ),
    "not a time": (
        {"r101": FIRST.replace("01:00,HR", "1h,HR")},
        ["101.txt: line 12", "'1h' is not HH:MM"],
    ),
    "minute 60": (
        {"r101": FIRST.replace("00:59,HR", "00:60,HR")},
        ["101.txt: line 11", "is not HH:MM"],
    ),
    "text": (
        {"r101": FIRST.replace("HR,60", "HR,high")},
        ["101.txt: line 12", "HR: 'high' is not a number"],
    ),
    "infinite": (
        {"r101": FIRST.replace("HR,60", "HR,inf")},
        ["101.txt: line 12", "infinite", "finite number"],
    ),
    "two fields": (
        {"r101": FIRST.replace("HR,60", "HR")},
        ["101.txt: line 12 is '01:00,HR'", "correct or remove"],
    ),
    "four fields": (
        {"r102": SECOND.replace("170", "1,70")},
        ["102.txt: line 5", "'00:00,Height,1,70'"],
    ),
    "cut off": ({"r102": SECOND + "10:0"}, ["102.txt: line 8 is '10:0'"]),
    "blank line": (
        {"r101": FIRST.replace("01:00", "\n01:00")},
        ["101.txt: line 12 is ''", "remove"],
    ),
    "unknown unit": (
        {"r101": FIRST.replace("ICUType,3", "ICUType,7")},
        ["ICUType of 101 is 7", "1, 2, 3, 4"],
    ),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_wrong_record_is_named_with_its_line(tmp_path, case):
    files, parts = RECORDS[case]
    with pytest.raises(UserError) as error:
        read_series(settings(folder(tmp_path, **files)))
    for part in ["set-x", *parts]:
        assert part in str(error.value)


def test_a_record_in_two_folders_is_refused(tmp_path):
    twice = {"set-x/101.txt": FIRST, "set-y/101.txt": FIRST}
    with pytest.raises(
        UserError, match=r"'101' occurs twice, as set-x/101.txt and set-y/101.txt; remove"
    ):
        read_series(settings(archive(tmp_path, "both.tar", twice)))


@pytest.mark.parametrize(
    "name, keep", [("a.tar.xz", 0.7), ("a.tar.gz", 0.7), ("a.tar", 1024 / 10240)]
)
def test_a_truncated_archive_is_refused(tmp_path, name, keep):
    path = archive(tmp_path, name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(UserError, match=r"a\.tar.*(truncated|ends early).*again"):
        read_series(settings(path))
    path.write_bytes(b"no archive at all")
    with pytest.raises(UserError, match=r"a\.tar.*(a tar archive|valid gzip|valid xz).*again"):
        read_series(settings(path))


def test_a_folder_without_records_is_refused(tmp_path):
    (tmp_path / "about.txt").write_text("some words\n")
    with pytest.raises(UserError, match="holds no records of the challenge"):
        read_series(settings(tmp_path))


def brute_force(text: str) -> dict[tuple[int, str], float]:
    """One record's cells by the plainest loop."""
    cells: dict[tuple[int, str], list[float]] = {}
    for line in text.strip().splitlines()[1:]:
        time, name, value = line.split(",")
        hour, minute = map(int, time.split(":"))
        if name in VARIABLES and (hour, minute) <= (48, 0):
            cells.setdefault((min(hour, 47), name), []).append(float(value))
    return {cell: sum(values) / len(values) for cell, values in cells.items()}


def test_the_mini_set_equals_a_brute_force(real_data):
    mini = real_data / "physionet2012" / "mini"
    dataset = read_series(settings(mini / "set-a", outcomes=str(mini / "Outcomes-a.txt")))
    series = dataset.modalities["series"]
    assert len(dataset) == 96 and dataset.targets["In-hospital_death"][0].sum() == 24
    assert sum(~series.observed_rows) == 3
    for i in range(0, 96, 5):
        expected = brute_force((mini / "set-a" / f"{dataset.ids[i]}.txt").read_text())
        found = {
            (int(t), str(series.features[j])): series.values[i, t, j]
            for t, j in np.argwhere(series.mask[i])
        }
        assert found == pytest.approx(expected, rel=1e-6)


def test_set_a_has_the_published_counts(real_data):
    source = real_data / "physionet2012"
    told = []
    dataset = read_series(
        settings(source / "set-a.tar.xz", outcomes=str(source / "Outcomes-a.txt")),
        lambda *what: told.append(what),
    )
    series = dataset.modalities["series"]
    seen = series.observed_rows
    died, known = dataset.targets["In-hospital_death"]
    assert len(dataset) == 4000 and dataset.ids[~seen].tolist() == ["140501", "140936", "141264"]
    assert known.all() and died.sum() == 554 == died[seen].sum()
    # Counted line by line from the raw records, apart from this reader.
    rates = dict(zip(series.features, series.mask[seen].mean(axis=(0, 1)), strict=True))
    for name, rate in {
        "HR": 0.90111,
        "Urine": 0.69240,
        "Cholesterol": 0.00164,
        "TroponinI": 0.00226,
    }.items():
        assert rates[name] == pytest.approx(rate, abs=6e-6)
    assert 1 - series.mask[seen].mean() == pytest.approx(0.805, abs=5e-4)
    assert "Values after the window of 48 hours, left out: 401." in dataset.notes  # all at 48:00
    assert len(told) == 20 and told[-1] == (4000, 4000, "records")
    assert not (series.values[~series.mask]).any()
    static = dataset.modalities["static"]
    missing = dict(zip(static.features, (~static.mask).sum(axis=0), strict=True))
    assert (missing["Age"], missing["Gender"], missing["Height"], missing["ICUType=1"]) == (
        0,
        3,
        1894,
        0,
    )
