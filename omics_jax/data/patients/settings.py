"""The settings of `read_patients`, checked before a file is opened; "" anywhere means none.

Which files:
  modalities: name -> path: CSV, TSV, TXT (also .gz), Parquet, GCT, GCTX, .h5ad, an .npz of X,
    samples, features, or an .npz of blocks <block>_X, <block>_samples, <block>_features, whose
    features are united.
  path: instead of these an .h5mu, every modality of which is taken, or a folder in OmiEmbed's
    layout.
  orientation: "samples" or "genes": what the rows of text and Parquet are; "auto" looks for ids of
    patients that the other files hold, then judges by names and shape (see `read_matrix`).
  repeated (optional): "error", or "mean" for features of the same name in a file, in the file's
    scale.
  below_detection (optional): what stands for limits of detection, see `read_matrix`.
  missing_values (optional): numbers and words for a missing value, besides the usual ones, in
    matrices and tables: "-999, below detection".
  limits (optional): modality -> (low, high); values outside are taken for missing.
  clinical: a table with a row per patient; without one the annotations inside the modalities' files
    serve, or labels.tsv, values.tsv, survival.tsv of OmiEmbed's layout.
  survival: a second such table, for survival_times, and without a clinical one for the other
    targets that it has.

Which columns:
  id: the column of ids in both tables, "" for the first of each.
  classes, numbers: target -> column.
  survival_times: target -> "TIME:EVENT" or (time column, event column). TIME may be several
    columns, "days_to_death|days_to_last_follow_up", of which the first known one counts; EVENT may
    name the value that is an event, "status=2".
  zero_times (optional): "error", or "mask" for times of zero or below.
  smallest_class (optional): classes of fewer patients (groups) become unknown.
  targets (optional): False leaves out what is known about the patients, which then need not be in
    order.

Which rows:
  barcode: "", or "tcga": ids become the 12-character patient; of a patient's samples the first
    primary tumour (type 01 or 03) counts; or "tcga_samples": every sample is a row, ids become its
    15 characters, and its patient is its group.
  group (optional): a column of the tables; rows with the same cell are never split.
  only (optional): column of the tables -> cells joined by "+"; patients with other cells are left
    out.
"""

from __future__ import annotations

from pathlib import Path

from omics_jax.data.formats.checks import check_choice
from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.options import REPEATED
from omics_jax.data.patients.barcodes import check_barcode
from omics_jax.data.patients.survival import SurvivalColumns, parse_survival
from omics_jax.data.patients.targets import TargetSpec
from omics_jax.data.vocabulary import Missing, parse_missing
from omics_jax.errors import UserError

_ORIENTATIONS = ("auto", "samples", "genes")
_ZERO_TIMES = ("error", "mask")


def check_settings(settings):
    """Refuses settings that cannot mean anything, whatever the files hold."""
    check_barcode(settings.barcode)
    check_choice("orientation", settings.orientation, _ORIENTATIONS)
    check_choice("zero_times", zero_times(settings), _ZERO_TIMES)
    check_choice("repeated", repeated_features(settings), REPEATED)


def locate_source(settings) -> tuple[Path | None, str]:
    """The file or folder, and what it holds: "h5mu", "omiembed", or None for "files" one by one."""
    files = filled(settings.modalities, "modalities")
    if not settings.path:
        if not files:
            raise UserError(
                "modalities and path are empty: nothing to read; name files, "
                "--config.data.modalities=rna=rna.csv"
            )
        return None, "files"
    if files:
        raise UserError(
            f"path={settings.path!r} and modalities.{min(files)} both name data; leave one of them "
            "empty"
        )
    folder = Path(settings.path).expanduser()
    if folder.is_dir():
        return folder, "omiembed"
    file = existing_file(settings.path)
    if file.suffix.lower() == ".h5mu":
        return file, "h5mu"
    raise UserError(
        f"{settings.path} is neither an .h5mu nor a folder in OmiEmbed's layout; leave data.path "
        f"empty and write --config.data.modalities=NAME={settings.path}"
    )


def names_tables(settings) -> bool:
    """Whether the settings name a table of the patients."""
    return bool(settings.clinical or settings.survival)


def zero_times(settings) -> str:
    """What becomes of times of zero or below: "error" or "mask"."""
    return getattr(settings, "zero_times", "error")


def repeated_features(settings) -> str:
    """What becomes of features that a file holds more than once: "error" or "mean"."""
    return getattr(settings, "repeated", "error")


def filled(mapping, setting: str) -> dict:
    """The entries that are not empty; any mapping, a ConfigDict too."""
    if not hasattr(mapping, "keys"):
        raise UserError(f"{setting}={mapping!r} is no mapping; set {setting}.<name> to a value")
    return {str(name): mapping[name] for name in mapping.keys() if mapping[name]}


def target_spec(settings) -> TargetSpec:
    """The targets that the settings ask for."""
    survival = {}
    for name, setting in filled(settings.survival_times, "survival_times").items():
        columns = _survival_columns(setting)
        given = [bool(columns.event), *map(bool, columns.times)]
        if all(given):
            survival[name] = columns
        elif any(given):
            raise UserError(
                f"data.survival_times has '{name}={columns}', which does not name both the column "
                f"of times and that of events; write {name}=TIME:EVENT"
            )
    classes = filled(settings.classes, "classes")
    numbers = filled(settings.numbers, "numbers")
    return TargetSpec(classes, numbers, survival)


def _survival_columns(setting) -> SurvivalColumns:
    """The columns that a text or a pair of columns names."""
    if isinstance(setting, str):
        return parse_survival(setting)
    is_pair = len(setting) == 2 and all(isinstance(column, str) for column in setting)
    if not is_pair:
        raise UserError(f"data.survival_times has {setting!r}; write NAME=TIME:EVENT")
    return parse_survival(":".join(setting)) if any(setting) else SurvivalColumns(("",), "")


def missing_values(settings) -> Missing:
    """What stands for a missing value, besides the usual words."""
    return parse_missing(getattr(settings, "missing_values", ()))


def group_column(settings) -> str:
    """The column whose rows are never split, "" for none."""
    return getattr(settings, "group", "")


def limits(settings) -> dict[str, tuple[float, float]]:
    """Modality -> the lowest and highest value that is one."""
    return getattr(settings, "limits", {})
