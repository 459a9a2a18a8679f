"""Raw records of the PhysioNet/CinC Challenge 2012: one small text file per patient, in a folder or
a tar archive.

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
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.clinical_series.observations import Observations, check_values
from omics_jax.data.formats.columns import MISSING
from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.parse import not_a_number
from omics_jax.errors import UserError

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz")
# The 35 of BRITS' and CSAI's preprocessing, in its order: all but MechVent and Weight.
VARIABLES = tuple(
    "DiasABP HR Na Lactate NIDiasABP PaO2 WBC pH Albumin ALT Glucose SaO2 Temp AST Bilirubin HCO3 "
    "BUN RespRate Mg HCT "
    "SysABP FiO2 K GCS Cholesterol NISysABP TroponinT MAP TroponinI PaCO2 Platelets Urine NIMAP Creatinine ALP".split()
)
DESCRIPTORS = ("Age", "Gender", "Height", "Weight", "ICUType")
_LEVELS = {"ICUType": (1, 2, 3, 4)}
_HEADER = b"Time,Parameter,Value"
_TIME = re.compile(r"(\d{1,4}):([0-5]\d)")
_TELL_EVERY = 200


@dataclass(frozen=True)
class _Record:
    """One patient's file: `place` for messages, the set it is in, its id, and its lines below the
    header.
    """

    place: str
    set: str
    id: str
    body: bytes


def read_challenge(path: Path, on_progress: Callable[[int, int, str], None]) -> Observations:
    """Reads a folder (searched to its depths) or an archive of records; ids are the files' names.

    Files that neither begin with the header nor are named by a number are no records, and noted.
    `tell(done, total, "records")` is called about every 200 files.

    Raises:
      UserError: no records, a damaged archive, a line that is not time, parameter, value, a
        negative time, a RecordID that is not the file's name, two records of one id.
    """
    texts = (
        _archived_texts(path, on_progress) if path.is_file() else _folder_texts(path, on_progress)
    )
    records, others = [], []
    for name, text in texts:
        record = _record(path, name, text)
        records.append(record) if record else others.append(name)
    _check_records(path, records)
    records.sort(key=lambda record: (record.set, record.id))
    rows, place = _parsed(path, records)
    notes = []
    if others:
        notes.append(
            f"Text files that are no records, not read: {len(others):,}, such as {others[0]}."
        )
    return _observations(path, records, rows, place, notes)


def _folder_texts(path: Path, on_progress) -> Iterator[tuple[str, bytes]]:
    files = sorted(path.rglob("*.txt"))
    for done, file in enumerate(files, 1):
        try:
            yield str(file.relative_to(path)), file.read_bytes()
        except OSError as error:
            raise UserError(
                f"{file} cannot be read ({error.strerror}); check the file's permissions"
            ) from None
        if done % _TELL_EVERY == 0 or done == len(files):
            on_progress(done, len(files), "records")


def _archived_texts(path: Path, on_progress) -> Iterator[tuple[str, bytes]]:
    data = _unpacked(path)
    # tarfile takes an archive that ends early, between two members, for a whole one.
    whole = data.endswith(bytes(1024))
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            members = [
                m for m in archive.getmembers() if m.isfile() and m.name.lower().endswith(".txt")
            ]
            texts = [(member.name, archive.extractfile(member).read()) for member in members]
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is a damaged tar archive ({str(error)[:80]}); fetch or copy it again"
        ) from None
    if not whole:
        raise UserError(f"{path} is a damaged tar archive (it ends early); fetch or copy it again")
    for done, (name, text) in enumerate(texts, 1):
        yield name, text
        if done % _TELL_EVERY == 0 or done == len(texts):
            on_progress(done, len(texts), "records")


def _unpacked(path: Path) -> bytes:
    import gzip
    import lzma

    packed = {".gz": gzip.open, ".tgz": gzip.open, ".xz": lzma.open}.get(path.suffix.lower(), open)
    try:
        with packed(existing_file(path), "rb") as stream:
            return stream.read()
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise UserError(
            f"{path} is a damaged or unreadable archive ({error}); fetch or copy it again"
        ) from None


def _record(path: Path, name: str, text: bytes) -> _Record | None:
    """The record in a text file; None where it is none."""
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
    body = body.rstrip()
    folder = file.parent.name or re.sub(r"\.(tar|tgz).*$", "", path.name)
    return _Record(name, folder, file.stem, body + b"\n" if body else b"")


def _check_records(path: Path, records: Sequence[_Record]):
    if not any(record.body for record in records):
        raise UserError(
            f"{path} holds no records of the challenge (text files that begin with "
            f"{_HEADER.decode()!r}, such as 132539.txt, and go on); name their folder or archive"
        )
    first: dict[str, str] = {}
    for record in records:
        if record.id in first:
            raise UserError(
                f"{path}: record {record.id!r} stands twice, as {first[record.id]} and "
                f"{record.place}; remove one of them"
            )
        first[record.id] = record.place


def _parsed(path: Path, records: Sequence[_Record]) -> tuple[pd.DataFrame, Callable[[int], str]]:
    """All lines in one frame (record, time, parameter, value), and where each stands.

    One parse of the joined text takes a hundredth of the time of one per record.
    """
    counts = np.array([record.body.count(b"\n") for record in records])
    starts = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(len(records)), counts)
    place = lambda row: f"{records[owner[row]].place}: line {row - starts[owner[row]] + 2}"

    data = b"".join(record.body for record in records)
    _check_lines(path, data, place)
    frame = pd.read_csv(
        io.BytesIO(data),
        header=None,
        names=["time", "parameter", "value"],
        dtype={"time": "category", "parameter": "category"},
        # Only among values: "Na" is sodium.
        na_values={"value": sorted({*MISSING, *map(str.upper, MISSING), "NaN", "None", "Null"})},
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,
        skip_blank_lines=False,
        low_memory=False,
        encoding_errors="replace",
    )
    if frame["value"].dtype.kind not in "iuf":
        cells = frame["value"].astype(object)
        wrong = pd.to_numeric(cells, errors="coerce").isna() & cells.notna()
        row = int(np.flatnonzero(wrong)[0]) if wrong.any() else 0
        raise not_a_number(path, place(row), frame["parameter"].iloc[row], str(cells.iloc[row]))
    frame["value"] = frame["value"].astype(np.float64)
    check_values(path, frame["value"].to_numpy(), place)
    return frame.assign(record=owner), place


def _check_lines(path: Path, data: bytes, place: Callable[[int], str]):
    """Every line has three fields, found by the order of its commas and newlines."""
    marks = np.frombuffer(data, np.uint8)
    marks = marks[(marks == ord(",")) | (marks == ord("\n"))]
    whole = marks[: len(marks) // 3 * 3].reshape(-1, 3) == np.frombuffer(b",,\n", np.uint8)
    if len(marks) % 3 or not whole.all():
        row = int(np.argmin(whole.all(axis=1))) if not whole.all() else len(whole)
        line = data.split(b"\n")[row].decode(errors="replace")
        raise UserError(
            f"{path}: {place(row)} is {line[:40]!r}, which is not a time, a parameter and a value; "
            "correct or remove it"
        )


def _observations(
    path: Path, records: Sequence[_Record], rows: pd.DataFrame, place, notes: list[str]
) -> Observations:
    names = np.char.strip(rows["parameter"].cat.categories.to_numpy(dtype=str))
    variable = rows["parameter"].cat.codes.to_numpy().astype(np.int64)
    patient, hours = rows["record"].to_numpy(), _hours(path, rows["time"], place)
    is_id = names[variable] == "RecordID"
    _check_record_ids(path, records, patient, is_id, rows["value"].to_numpy(), place)
    values, more = _without_codes(names, variable, rows["value"].to_numpy())
    kept = ~np.isnan(values) & ~is_id
    ids = np.array([record.id for record in records], dtype=str)
    return Observations(
        source=str(path),
        ids=ids,
        groups=ids,
        sets=np.array([record.set for record in records], dtype=str),
        names=names,
        patient=patient[kept],
        variable=variable[kept],
        hours=hours[kept],
        values=values[kept],
        variables=VARIABLES,
        statics=DESCRIPTORS,
        levels=_LEVELS,
        notes=(*notes, *more),
    )


def _without_codes(
    names: np.ndarray, variable: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """The values with NaN for the descriptors' negative codes, and notes on whatever is negative or
    empty.
    """
    described = np.isin(names, DESCRIPTORS)[variable]
    notes = (
        [f"Lines without a value left out: {np.isnan(values).sum():,}."]
        if np.isnan(values).any()
        else []
    )
    for rows, what in (
        (described & (values < 0), "Negative codes of descriptors mean not recorded"),
        (~described & (values < 0), "Negative values of series are kept as they stand"),
    ):
        tally = pd.Series(names[variable[rows]]).value_counts()
        if len(tally):
            notes.append(
                f"{what}: {', '.join(f'{name} {count:,}' for name, count in tally.items())}."
            )
    return np.where(described & (values < 0), np.nan, values), notes


def _hours(path: Path, times: pd.Series, place: Callable[[int], str]) -> np.ndarray:
    """(k,) hours of times HH:MM; there are only a few thousand different ones."""
    hours = np.full(len(times.cat.categories), np.nan)
    for code, text in enumerate(times.cat.categories):
        match = _TIME.fullmatch(text.strip())
        if not match:
            row = int(np.flatnonzero(times.cat.codes == code)[0])
            what = "is negative" if text.strip().startswith("-") else "is not HH:MM"
            raise UserError(
                f"{path}: {place(row)}: the time {text!r} {what}; write hours and minutes since "
                "admission"
            )
        hours[code] = int(match[1]) + int(match[2]) / 60
    return hours[times.cat.codes]


def _check_record_ids(path: Path, records: Sequence[_Record], owner, rows, value, place):
    """A line RecordID repeats the file's name."""
    for row in np.flatnonzero(rows):
        record = records[owner[row]]
        if f"{value[row]:.0f}" != record.id:
            raise UserError(
                f"{path}: {place(row)}: RecordID is {value[row]:.0f} in the file of record "
                f"{record.id}; rename the file or correct the line"
            )
