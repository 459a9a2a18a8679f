"""Raw records of the PhysioNet/CinC Challenge 2012: one text file per patient, in a folder or tar.

Source: Silva et al., Computing in Cardiology 39 (2012) 245-248. A record holds
`Time,Parameter,Value` lines with times HH:MM since admission. Only the descriptors' negative codes
(-1, not recorded) are taken for missing; implausible values of the series (a temperature of -17.8 =
0 °F, a pH of 735) are kept as they are and the negative ones counted.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int

from omics_jax.data.clinical_series.observations import Observations, check_values
from omics_jax.data.formats.columns import as_names
from omics_jax.data.formats.containers import AGAIN, reading
from omics_jax.data.formats.files import check_regular, unpacked
from omics_jax.data.formats.parse import not_a_number
from omics_jax.data.vocabulary import MISSING
from omics_jax.errors import UserError

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz")
# The 35 of BRITS' and CSAI's preprocessing, in its order: all but MechVent and Weight.
VARIABLES = tuple(
    "DiasABP HR Na Lactate NIDiasABP PaO2 WBC pH Albumin ALT Glucose SaO2 Temp AST Bilirubin HCO3 "
    "BUN RespRate Mg HCT SysABP FiO2 K GCS Cholesterol NISysABP TroponinT MAP TroponinI PaCO2 "
    "Platelets Urine NIMAP Creatinine ALP".split()
)
DESCRIPTORS = ("Age", "Gender", "Height", "Weight", "ICUType")
LEVELS = {"ICUType": (1, 2, 3, 4)}
_HEADER = b"Time,Parameter,Value"
_TIME = re.compile(r"(\d{1,4}):([0-5]\d)")
_PROGRESS_EVERY = 200
_ARCHIVE_END = 1024  # bytes of zeros that end every tar archive

OnProgress = Callable[[int, int, str], None]
Place = Callable[[int], str]


@dataclass(frozen=True)
class _Record:
    """One patient's file: its place for messages, set, id, and the lines below the header."""

    place: str
    set: str
    id: str
    body: bytes


def read_challenge(path: Path, on_progress: OnProgress) -> Observations:
    """Reads a folder (searched to its depths) or an archive of records; ids are the files' names.

    Files that neither begin with the header nor are named by a number are no records, and noted.
    `on_progress(done, total, "records")` is called about every 200 files.

    Raises:
      UserError: no records, a damaged archive, a line that is not time, parameter, value, a
        negative time, a RecordID that is not the file's name, two records of one id.
    """
    texts = _archived_texts(path) if path.is_file() else _folder_texts(path)
    records, other_names = [], []
    for done, total, name, text in texts:
        record = _as_record(path, name, text)
        if record:
            records.append(record)
        else:
            other_names.append(name)
        if done % _PROGRESS_EVERY == 0 or done == total:
            on_progress(done, total, "records")
    _check_records(path, records)
    records.sort(key=lambda record: (record.set, record.id))
    rows, place = _parse_records(path, records)
    notes = []
    if other_names:
        notes.append(
            f"Files that are no records, not read: {len(other_names):,}, such as {other_names[0]}."
        )
    return _observations(path, records, rows, place, notes)


# --- the text files -------------------------------------------------------------------------------


def _folder_texts(path: Path) -> Iterator[tuple[int, int, str, bytes]]:
    """(number, of how many, name, content) of every text file, by name."""
    files = sorted(file for file in path.rglob("*.txt") if not file.is_dir())
    for done, file in enumerate(files, 1):
        check_regular(file)
        yield done, len(files), str(file.relative_to(path)), unpacked(file)


def _archived_texts(path: Path) -> Iterator[tuple[int, int, str, bytes]]:
    """(number, of how many, name, content) of every file, in the archive's order."""
    data = unpacked(path)
    with reading(path, "a tar archive"):
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            files = [member for member in archive.getmembers() if member.isfile()]
            texts = [(member.name, _content_of_text(archive, member)) for member in files]
            end = data[archive.offset :]
    # tarfile takes an archive that ends early, or has a damaged member, for one that ends there.
    if len(end) < _ARCHIVE_END or end.strip(b"\0"):
        raise UserError(f"{path} cannot be read as a tar archive (it ends early); {AGAIN}")
    for done, (name, text) in enumerate(texts, 1):
        yield done, len(texts), name, text


def _content_of_text(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The content of a text file; of any other file, which is no record, nothing is read."""
    return archive.extractfile(member).read() if member.name.lower().endswith(".txt") else b""


def _as_record(path: Path, name: str, text: bytes) -> _Record | None:
    """The record in a text file; None where it is none."""
    if not name.lower().endswith(".txt"):
        return None
    text = text.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    header, _, body = text.partition(b"\n")
    file = Path(name)
    if header.strip() != _HEADER:
        if not file.stem.isdigit():
            return None
        raise UserError(
            f"{path}: {name}: line 1 is {header[:40].decode(errors='replace')!r} where a record "
            f"has {_HEADER.decode()!r}; correct the file or move it away"
        )
    if b"\0" in body:
        line = body.count(b"\n", 0, body.index(b"\0")) + 2
        raise UserError(
            f"{path}: {name}: line {line} holds a zero byte, so the record is damaged; fetch or "
            "copy it again"
        )
    body = body.rstrip()
    archive_name = re.sub(r"\.(tar|tgz).*$", "", path.name)
    return _Record(
        place=name,
        set=file.parent.name or archive_name,
        id=file.stem,
        body=body + b"\n" if body else b"",
    )


def _check_records(path: Path, records: Sequence[_Record]):
    if not any(record.body for record in records):
        raise UserError(
            f"{path} holds no records of the challenge (text files that begin with "
            f"{_HEADER.decode()!r}, such as 132539.txt, and go on); name their folder or archive"
        )
    first_place: dict[str, str] = {}
    for record in records:
        if record.id in first_place:
            raise UserError(
                f"{path}: record {record.id!r} occurs twice, as {first_place[record.id]} and "
                f"{record.place}; remove one of them"
            )
        first_place[record.id] = record.place


# --- their lines ----------------------------------------------------------------------------------


def _parse_records(path: Path, records: Sequence[_Record]) -> tuple[pd.DataFrame, Place]:
    """All lines in one frame (record, time, parameter, value), and where each stands.

    One parse of the joined text takes a hundredth of the time of one per record.
    """
    counts = np.array([record.body.count(b"\n") for record in records])
    starts = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(len(records)), counts)

    def place(row) -> str:
        record = owner[row]
        # The header is line 1.
        return f"{records[record].place}: line {row - starts[record] + 2}"

    data = b"".join(record.body for record in records)
    _check_lines(path, data, place)
    frame = _parse_lines(data)
    if frame["value"].dtype.kind not in "iuf":
        raise _value_error(path, frame, place)
    frame["value"] = frame["value"].astype(np.float64)
    check_values(path, frame["value"].to_numpy(), place)
    return frame.assign(record=owner), place


def _parse_lines(data: bytes) -> pd.DataFrame:
    # Spellings of a missing value are looked for only among values: "Na" is sodium.
    missing = sorted({*MISSING, *map(str.upper, MISSING), "NaN", "None", "Null"})
    return pd.read_csv(
        io.BytesIO(data),
        header=None,
        names=["time", "parameter", "value"],
        dtype={"time": "category", "parameter": "category"},
        na_values={"value": missing},
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,
        skip_blank_lines=False,
        low_memory=False,
        encoding_errors="replace",
    )


def _value_error(path: Path, frame: pd.DataFrame, place: Place) -> UserError:
    """The error for the first value that is no number."""
    cells = frame["value"].astype(object)
    is_wrong = pd.to_numeric(cells, errors="coerce").isna() & cells.notna()
    row = int(np.flatnonzero(is_wrong)[0]) if is_wrong.any() else 0
    return not_a_number(path, place(row), frame["parameter"].iloc[row], str(cells.iloc[row]))


def _check_lines(path: Path, data: bytes, place: Place):
    """Every line has three fields, judged by the order of its commas and newlines."""
    marks = np.frombuffer(data, np.uint8)
    marks = marks[(marks == ord(",")) | (marks == ord("\n"))]
    triples = marks[: len(marks) // 3 * 3].reshape(-1, 3)
    is_line = (triples == np.frombuffer(b",,\n", np.uint8)).all(axis=1)
    if len(marks) % 3 == 0 and is_line.all():
        return
    row = len(is_line) if is_line.all() else int(np.argmin(is_line))
    line = data.split(b"\n")[row].decode(errors="replace")
    raise UserError(
        f"{path}: {place(row)} is {line[:40]!r}, which is not a time, a parameter and a value; "
        "correct or remove it"
    )


def _observations(
    path: Path, records: Sequence[_Record], rows: pd.DataFrame, place: Place, notes: list[str]
) -> Observations:
    names = as_names(path, rows["parameter"].cat.categories)
    variable = rows["parameter"].cat.codes.to_numpy().astype(np.int64)
    patient = rows["record"].to_numpy()
    hours = _hours(path, rows["time"], place)
    is_id = names[variable] == "RecordID"
    _check_record_ids(path, records, patient, is_id, rows["value"].to_numpy(), place)
    values, value_notes = _without_codes(names, variable, rows["value"].to_numpy())
    is_measured = ~np.isnan(values) & ~is_id
    ids = as_names(path, [record.id for record in records])
    return Observations(
        source=str(path),
        ids=ids,
        groups=ids,
        sets=np.array([record.set for record in records], dtype=str),
        names=names,
        patient=patient[is_measured],
        variable=variable[is_measured],
        hours=hours[is_measured],
        values=values[is_measured],
        variables=VARIABLES,
        statics=DESCRIPTORS,
        levels=LEVELS,
        notes=(*notes, *value_notes),
    )


def _without_codes(
    names: np.ndarray, variable: Int[np.ndarray, " k"], values: Float64[np.ndarray, " k"]
) -> tuple[Float64[np.ndarray, " k"], list[str]]:
    """The values with NaN for the descriptors' negative codes, and notes.

    The notes count lines without a value and all negative ones.
    """
    notes = []
    n_missing = np.isnan(values).sum()
    if n_missing:
        notes.append(f"Lines without a value left out: {n_missing:,}.")
    is_descriptor = np.isin(names, DESCRIPTORS)[variable]
    is_code = is_descriptor & (values < 0)
    is_negative = ~is_descriptor & (values < 0)
    code_counts = _count_names(names[variable[is_code]])
    if code_counts:
        notes.append(f"Negative codes of descriptors mean not recorded: {code_counts}.")
    negative_counts = _count_names(names[variable[is_negative]])
    if negative_counts:
        notes.append(f"Negative values of series are kept as they stand: {negative_counts}.")
    return np.where(is_code, np.nan, values), notes


def _count_names(names: np.ndarray) -> str:
    """As in "pH 12, Temp 3", the most frequent first; "" for none."""
    counts = pd.Series(names).value_counts()
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _hours(path: Path, times: pd.Series, place: Place) -> Float64[np.ndarray, " k"]:
    """Hours of times HH:MM; there are only a few thousand different ones."""
    hours = np.full(len(times.cat.categories), np.nan)
    for code, text in enumerate(times.cat.categories):
        match = _TIME.fullmatch(text.strip())
        if not match:
            row = int(np.flatnonzero(times.cat.codes == code)[0])
            what = "is negative" if text.strip().startswith("-") else "is not HH:MM"
            raise UserError(
                f"{path}: {place(row)}: the time {text[:40]!r} {what}; write hours and minutes "
                "since admission"
            )
        hours[code] = int(match[1]) + int(match[2]) / 60
    return hours[times.cat.codes]


def _check_record_ids(
    path: Path,
    records: Sequence[_Record],
    record_of_row: Int[np.ndarray, " k"],
    is_id: Bool[np.ndarray, " k"],
    values: Float64[np.ndarray, " k"],
    place: Place,
):
    """A line RecordID repeats the file's name."""
    for row in np.flatnonzero(is_id):
        record = records[record_of_row[row]]
        if f"{values[row]:.0f}" != record.id:
            raise UserError(
                f"{path}: {place(row)}: RecordID is {values[row]:.0f} in the file of record "
                f"{record.id}; rename the file or correct the line"
            )
