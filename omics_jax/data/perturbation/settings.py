"""The settings of `read_perturbations`, checked before a file is opened.

Which files:
  path: the expression matrix (any format of `read_matrix`), or an .npz that already holds
    pairs: arrays x1, x2 (n, g), features (g,), optionally samples (n,); further arrays of
    length n are annotations.
  orientation: "auto", "samples" or "genes", see `read_matrix`.
  repeated (optional): "error", or "mean" for genes of the same name in a file, see
    `read_matrix`.
  below_detection (optional): what stands for limits of detection, see `read_matrix`.
  missing_values (optional): what the files write for a missing value besides the usual words,
    such as ("-999", "below detection"); in the matrix and in the conditions.
  conditions: a table of conditions (.csv, .tsv, .txt, .parquet), one row per sample; "" = the
    matrix's own annotations.
  pairs: a table with the columns control and treated (sample ids), "" = none. It overrides
    pair_by, control_values and control_profile. Its further columns, found through `columns`,
    take precedence over the conditions of the treated sample.
  singletons: files of unpaired profiles; each is a platform named by its stem. A profile's cell
    line is its annotation of that name, otherwise its id.

Which columns:
  columns: mapping with the keys sample, cell_line, drug, dose, dose_unit, time, time_unit, batch,
    role; the values are the names of the columns that hold them, "" = absent. `sample` is read in
    the table of conditions only. A batch "rna_plate" (the name in LINCS) is used where a file has
    it. The units of a column without a name for them are those of the column that is called like
    it with _unit behind, if there is one.
  control_values: values in the role column that mean "control", case ignored. Others that are
    called a control, too (ctl_vector), are left out, and all that remain are treated.
  pair_by: names among cell_line, batch, time, drug, or columns of the table: a treated profile
    is paired with the controls that agree in all of them; an unknown value agrees with nothing.
    () = with all controls.
  control_plates (optional): "own": where batches are known, a treated profile is paired with
    controls of its own batch only. "any": with those of all batches.
  group_by: canonical name or column whose values are never split; "" = every row by itself.
    Where singletons lack the column, each is grouped by its cell line.

Spellings of one cell line, drug, dose or time count as one (`data.identity`), in pairs, groups and
singletons alike; the first spelling stands for all.

Which rows:
  control_profile: "mean" (x1 is the masked mean of the agreeing controls), "each" (a pair per
    agreeing control) or "one" (one control per treated profile, dealt out evenly in the order
    of the ids).
  unpaired_controls: whether controls that are in no pair become singletons.
  drugs: the drugs to keep, () = all.
  dose: "all", or "highest": for each drug only the treated profiles at the highest of its doses
    that have a control.
  min_genes: fewest genes that all files must share; their names must be equal.
"""

from __future__ import annotations

from pathlib import Path

from omics_jax.data.formats.checks import check_choice, check_name_tuple
from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.npz import npz_arrays
from omics_jax.data.formats.options import REPEATED
from omics_jax.data.perturbation.pairing import PROFILES
from omics_jax.data.vocabulary import Missing, parse_missing
from omics_jax.errors import UserError

CONDITIONS = ("cell_line", "drug", "dose", "time", "batch")
COLUMN_KEYS = ("sample", *CONDITIONS, "dose_unit", "time_unit", "role")
# Columns that a file may lack although the settings name them, by their usual name.
OPTIONAL_COLUMNS = {"batch": "rna_plate"}
CONTROL_PLATES = ("own", "any")
_NAME_TUPLES = ("control_values", "pair_by", "singletons", "drugs")
DOSES = ("all", "highest")


def check_settings(settings):
    """Refuses settings that cannot mean anything, whatever the files hold."""
    if not settings.path:
        raise UserError(
            "--config.data.path is empty; set it to the expression matrix or to an .npz of pairs"
        )
    for name in _NAME_TUPLES:
        check_name_tuple(name, getattr(settings, name))
    check_choice("control_profile", settings.control_profile, PROFILES)
    check_choice("dose", settings.dose, DOSES)
    check_choice("repeated", repeated_features(settings), REPEATED)
    check_choice("control_plates", control_plates(settings), CONTROL_PLATES)


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
                f"--config.data.columns.{key}={name!r} is not understood; set names for "
                f"{', '.join(COLUMN_KEYS)} only"
            )
    return {key: names.get(key, "") for key in COLUMN_KEYS}


def repeated_features(settings) -> str:
    """What becomes of genes that a file holds more than once: "error" or "mean"."""
    return getattr(settings, "repeated", "error")


def control_plates(settings) -> str:
    """Of which batches the controls of a treated profile are: "own" or "any"."""
    return getattr(settings, "control_plates", "own")


def missing_values(settings) -> Missing:
    """What the files write for a missing value besides the usual words."""
    words = getattr(settings, "missing_values", ())
    return parse_missing(words if isinstance(words, str) else [str(word) for word in words])


def named_columns(settings) -> dict[str, str]:
    """Canonical name or column -> the setting other than `columns` that names it."""
    names = dict.fromkeys(settings.pair_by, "pair_by")
    return names | ({settings.group_by: "group_by"} if settings.group_by else {})


def annotation_names(settings) -> list[str]:
    """Columns of a matrix that are conditions even where they hold numbers."""
    columns = column_names(settings.columns)
    units = [f"{columns[name]}_unit" for name in ("dose", "time")]
    return [name for name in (*columns.values(), *units, *named_columns(settings)) if name]


def groups_by_cell_line(settings, columns: dict[str, str]) -> bool:
    """Whether `group_by` names the cell line, by its canonical name or by its column."""
    return bool(settings.group_by) and settings.group_by in ("cell_line", columns["cell_line"])
