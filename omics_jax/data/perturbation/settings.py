"""The settings of `read_perturbations`, checked before a file is opened.

They answer which file is read and which of its columns hold the conditions. Which rows are used is
decided in `design`, once the conditions are known.
"""

from __future__ import annotations

from pathlib import Path

from omics_jax.data.formats.checks import check_choice, check_name_tuple
from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.matrix import REPEATED
from omics_jax.data.formats.npz import npz_arrays
from omics_jax.data.perturbation.pairing import PROFILES
from omics_jax.errors import UserError

CONDITIONS = ("cell_line", "drug", "dose", "time", "batch")
COLUMN_KEYS = ("sample", *CONDITIONS, "role")
_NAME_TUPLES = ("control_values", "pair_by", "singletons", "drugs")
_DOSES = ("all", "highest")


def check_settings(settings):
    """Refuses settings that cannot mean anything, whatever the files hold."""
    if not settings.path:
        raise UserError("path is empty; set it to the expression matrix or to an .npz of pairs")
    for name in _NAME_TUPLES:
        check_name_tuple(name, getattr(settings, name))
    check_choice("control_profile", settings.control_profile, PROFILES)
    check_choice("dose", settings.dose, _DOSES)
    check_choice("repeated", repeated_features(settings), REPEATED)


def locate_source(settings) -> tuple[Path, str]:
    """The main file, and what it holds: "pairs" (an .npz with arrays x1 and x2) or a "matrix"."""
    path = existing_file(settings.path)
    if path.suffix.lower() == ".npz" and {"x1", "x2"} <= set(npz_arrays(path)):
        return path, "pairs"
    return path, "matrix"


def column_names(columns) -> dict[str, str]:
    """canonical name -> column, "" for those that are absent; any mapping, a ConfigDict too."""
    names = {str(key): columns[key] or "" for key in columns}
    for key, name in names.items():
        if key not in COLUMN_KEYS or not isinstance(name, str):
            raise UserError(
                f"columns.{key}={name!r} is not understood; set names for "
                f"{', '.join(COLUMN_KEYS)} only"
            )
    return {key: names.get(key, "") for key in COLUMN_KEYS}


def repeated_features(settings) -> str:
    """What becomes of genes that a file holds more than once: "error" or "mean"."""
    return getattr(settings, "repeated", "error")


def groups_by_cell_line(settings, columns: dict[str, str]) -> bool:
    """Whether `group_by` names the cell line, by its canonical name or by its column."""
    return bool(settings.group_by) and settings.group_by in ("cell_line", columns["cell_line"])
