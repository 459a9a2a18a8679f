"""The settings of `read_series`, checked before a file is opened.

Which files:
  path: one of
    a folder, .tar, .tar.gz or .tar.xz of raw records of the PhysioNet/CinC Challenge 2012;
    an .npz or HDF5 file (.h5, .hdf5) of arrays, see `array_files`;
    an .npy of X (n, T, D), NaN = missing;
    a long table (.csv, .tsv, .txt, also .gz, or .parquet) with a row per measurement.
  outcomes: a table with one row per record, "" = none.

Which columns:
  columns: mapping from id, time, variable, value to the columns of a long table; and from group,
    where ids of one group must not be split.
  time_unit: "hours", "minutes" or "days" of the times of a long table; dates are accepted too.
  outcome_id, label: the columns of ids and of 0 and 1 in the table of outcomes.

Which rows and variables:
  hours: the window from admission.
  bin_hours: the width of a bin; the window is a multiple of it. It is also the step of arrays
    without times, which are otherwise taken as they are.
  variables: the series to keep, in this order; () = the challenge's 35 in the order of CSAI, else
    all, in the order of the file's arrays or sorted by name.
  statics: variables whose first known value in the window describes the patient; () = the
    challenge's Age, Gender, Height, Weight, ICUType, else none (all of the array `static`). In
    other files, that list itself stands for those of its variables that the file has.
"""

from __future__ import annotations

from pathlib import Path

from omics_jax.data.clinical_series import array_files, challenge2012, long_table
from omics_jax.data.formats.checks import check_name_tuple
from omics_jax.data.formats.files import existing_file
from omics_jax.errors import UserError


def check_settings(settings):
    """Refuses settings that cannot mean anything, whatever the files hold."""
    for name in ("hours", "bin_hours"):
        value = getattr(settings, name)
        if not (isinstance(value, int | float) and 0 < value < float("inf")):
            raise UserError(
                f"{name}={value!r} is no duration; set it to a positive number of hours"
            )
    for name in ("variables", "statics"):
        value = getattr(settings, name)
        check_name_tuple(name, value)
        if len(set(value)) < len(value):
            repeated = next(item for item in value if list(value).count(item) > 1)
            raise UserError(f"{name} names {repeated!r} twice; remove one of them")
    n_steps = count_steps(settings)
    gap = abs(n_steps * settings.bin_hours - settings.hours)
    if n_steps < 1 or gap > 1e-6 * settings.hours:
        raise UserError(
            f"hours={settings.hours:g} is no multiple of bin_hours={settings.bin_hours:g}; choose "
            "bins that fill the window"
        )


def count_steps(settings) -> int:
    """How many bins the window has."""
    return round(settings.hours / settings.bin_hours)


def locate_source(settings) -> tuple[Path, str]:
    """The file or folder, and what it holds: "challenge", "arrays" or "table"."""
    if settings.path and Path(settings.path).expanduser().is_dir():
        return Path(settings.path).expanduser(), "challenge"
    file = existing_file(settings.path)
    name = file.name.lower()
    if name.endswith(challenge2012.ARCHIVES):
        return file, "challenge"
    if name.endswith(array_files.SUFFIXES):
        return file, "arrays"
    is_packed_parquet = name.endswith(".parquet.gz")
    if name.removesuffix(".gz").endswith(long_table.SUFFIXES) and not is_packed_parquet:
        return file, "table"
    known = (*challenge2012.ARCHIVES, *array_files.SUFFIXES, *long_table.SUFFIXES)
    raise UserError(
        f"{file}: its suffix names no known format of series; give a folder of records, or one of "
        f"{', '.join(known)}"
    )
