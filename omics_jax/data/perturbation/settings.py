"""The settings of `read_perturbations`, checked before a file is opened.

Which files:
  path: the expression matrix (any format of `read_matrix`), or an .npz that already holds
    pairs: arrays x1, x2 (n, g), features (g,), optionally samples (n,); further arrays of
    length n are annotations.
  orientation: "auto", "samples" or "genes", see `read_matrix`.
  repeated (optional): "error", or "mean" for genes of the same name in a file, see
    `read_matrix`.
  below_detection (optional): what stands for limits of detection, see `read_matrix`.
  conditions: a table of conditions (.csv, .tsv, .txt, .parquet), one row per sample; "" = the
    matrix's own annotations.
  pairs: a table with the columns control and treated (sample ids), "" = none. It overrides
    pair_by, control_values and control_profile. Its further columns, found through `columns`,
    take precedence over the conditions of the treated sample.
  singletons: files of unpaired profiles; each is a platform named by its stem. A profile's cell
    line is its annotation of that name, otherwise its id.

Which columns:
  columns: mapping with the keys sample, cell_line, drug, dose, time, batch, role; the values
    are the names of the columns that hold them, "" = absent. `sample` is read in the table of
    conditions only.
  control_values: values in the role column that mean "control", case ignored; all others are
    treated.
  pair_by: names among cell_line, batch, time, drug, or columns of the table: a treated profile
    is paired with the controls that agree in all of them; an unknown value agrees with nothing.
    () = with all controls.
  group_by: canonical name or column whose values are never split; "" = every row by itself.
    Cell lines are compared without case and punctuation, so singletons of a line join its
    pairs; where singletons lack the column, each is grouped by its cell line.

Which rows:
  control_profile: "mean" (x1 is the masked mean of the agreeing controls), "each" (a pair per
    agreeing control) or "one" (one control per treated profile, dealt out evenly in the order
    of the ids).
  unpaired_controls: whether controls that are in no pair become singletons.
  drugs: the drugs to keep, () = all.
  dose: "all", or "highest": for each drug only the treated profiles at its highest dose.
  min_genes: fewest genes that all files must share; their names must be equal.
"""

from __future__ import annotations

from pathlib import Path

from omics_jax.data.formats.checks import check_choice, check_name_tuple
from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.npz import npz_arrays
from omics_jax.data.formats.options import REPEATED
from omics_jax.data.perturbation.pairing import PROFILES
from omics_jax.errors import UserError

CONDITIONS = ("cell_line", "drug", "dose", "time", "batch")
COLUMN_KEYS = ("sample", *CONDITIONS, "role")
_NAME_TUPLES = ("control_values", "pair_by", "singletons", "drugs")
DOSES = ("all", "highest")


def check_settings(settings):
    """Refuses settings that cannot mean anything, whatever the files hold."""
    if not settings.path:
        raise UserError("path is empty; set it to the expression matrix or to an .npz of pairs")
    for name in _NAME_TUPLES:
        check_name_tuple(name, getattr(settings, name))
    check_choice("control_profile", settings.control_profile, PROFILES)
    check_choice("dose", settings.dose, DOSES)
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
