"""The settings of `read_series`, checked before a file is opened.

Which files:
  path: one of
    a folder, .tar, .tar.gz or .tar.xz of raw records of the PhysioNet/CinC Challenge 2012;
    an .npz or HDF5 file (.h5, .hdf5) of arrays, see `array_files`;
    an .npy of X (n, T, D), NaN = missing;
    a table (.csv, .tsv, .txt, also .gz, or .parquet), long or wide.
  outcomes: a table with one row per record, "" = none.

Which columns:
  layout: "long", a row per measurement; "wide", a row per stay and time and a column per variable;
    "auto", wide where the table has no columns of variables and values.
  columns: mapping from id, time and, of a long table, variable and value to the columns of a table;
    unit, the column of units ("" finds one by its name); group, where ids of one group must not be
    split: a column of the table or, for records and arrays, of the outcomes.
  time_unit: "hours", "minutes" or "days" of the times of a table; dates are accepted too.
  outcome_id, label: the columns of ids and of the event in the table of outcomes.
  event_value: the cell of label that means the event, where it is not one of `EVENT_CODES`.

Which rows, variables and values:
  hours: the window from admission, open at its end.
  bin_hours: the width of a bin; the window is a multiple of it. It is also the step of arrays
    without times, which are otherwise taken as they are.
  variables: the series to keep, in this order; () = the challenge's 35 in the order of CSAI, else
    all, in the order of the file's arrays or sorted by name.
  statics: variables whose first known value in the window describes the patient; () = the
    challenge's Age, Gender, Height, Weight, ICUType, else none (all of the array `static`). In
    other files, that list itself stands for those of its variables that the file has and that do
    not change in most patients.
  missing_values: "-999, unmeasured", what means missing besides empty cells, NA and the like.
  limits: "hr=20:300", see `dataset.limits`; values outside are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omics_jax.data.clinical_series import array_files, challenge2012, stored_table
from omics_jax.data.formats.checks import check_choice, check_name_tuple
from omics_jax.data.formats.files import existing_file
from omics_jax.errors import UserError
from omics_jax.settings.sections import series_section

LAYOUTS = ("auto", "long", "wide")
# Settings that name files; a prediction has files of its own.
FILES = ("path", "outcomes", "external")


def with_defaults(settings: Any) -> SimpleNamespace:
    """The settings, with the default of each that the object lacks."""
    default = series_section().to_dict()
    given = settings.to_dict() if hasattr(settings, "to_dict") else vars(settings)
    return SimpleNamespace(**{**default, **given})


def remembered(trained: Any, command: Any) -> SimpleNamespace:
    """The settings of a prediction: those of the training, except what its command sets.

    A setting counts as set where it differs from its default. Files are those of the command.
    """
    default = series_section().to_dict()
    ours, theirs = vars(with_defaults(trained)), vars(with_defaults(command))
    files = {name: theirs[name] for name in FILES}
    return SimpleNamespace(**{**_overridden(ours, theirs, default), **files})


def _overridden(
    trained: Mapping[str, Any], command: Mapping[str, Any], default: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of the training with those of the command that are not the default."""
    settings = dict(trained)
    for name, value in command.items():
        if isinstance(value, Mapping):
            settings[name] = _overridden(trained.get(name, {}), value, default.get(name, {}))
        elif value != default.get(name):
            settings[name] = value
    return settings


def check_settings(settings):
    """Refuses settings that cannot mean anything, whatever the files hold."""
    for name in ("hours", "bin_hours"):
        value = getattr(settings, name)
        if not (isinstance(value, int | float) and 0 < value < float("inf")):
            raise UserError(
                f"--config.data.{name}={value!r} is no duration; set it to a positive number of "
                "hours"
            )
    for name in ("variables", "statics"):
        value = getattr(settings, name)
        check_name_tuple(f"--config.data.{name}", value)
        if len(set(value)) < len(value):
            repeated = next(item for item in value if list(value).count(item) > 1)
            raise UserError(f"--config.data.{name} names {repeated!r} twice; remove one of them")
    check_choice("--config.data.layout", settings.layout, LAYOUTS)
    check_choice("--config.data.time_unit", settings.time_unit, tuple(stored_table.HOURS))
    n_steps = count_steps(settings)
    gap = abs(n_steps * settings.bin_hours - settings.hours)
    if n_steps < 1 or gap > 1e-6 * settings.hours:
        raise UserError(
            f"--config.data.hours={settings.hours:g} is no multiple of --config.data.bin_hours="
            f"{settings.bin_hours:g}; choose bins that fill the window"
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
    if name.removesuffix(".gz").endswith(stored_table.SUFFIXES) and not is_packed_parquet:
        return file, "table"
    known = (*challenge2012.ARCHIVES, *array_files.SUFFIXES, *stored_table.SUFFIXES)
    raise UserError(
        f"{file}: its suffix names no known format of series; give a folder of records, or one of "
        f"{', '.join(known)}"
    )
