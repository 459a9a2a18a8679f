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
  clinical: a table with a row per patient; without one the annotations inside the modalities' files
    serve, or labels.tsv, values.tsv, survival.tsv of OmiEmbed's layout.
  survival: a second such table, for survival_times.

Which columns:
  id: the column of ids in both tables, "" for the first of each.
  classes, numbers: target -> column.
  survival_times: target -> (time column, event column).
  zero_times (optional): "error", or "mask" for times of zero or below.
  targets (optional): False leaves out what is known about the patients, which then need not be in
    order.

Which rows:
  barcode: "", or "tcga": ids become the 12-character patient; of a patient's samples the first
    primary tumour (type 01 or 03) counts.
  only (optional): column of the tables -> cells joined by "+"; patients with other cells are left
    out.
"""

from __future__ import annotations

from pathlib import Path

from omics_jax.data.formats.checks import check_choice
from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.options import REPEATED
from omics_jax.data.patients.barcodes import check_barcode
from omics_jax.data.patients.targets import TargetSpec
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
                "data.modalities='rna=rna.csv'"
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
        f"empty and write data.modalities='NAME={settings.path}'"
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
    for name, columns in filled(settings.survival_times, "survival_times").items():
        is_pair = not isinstance(columns, str) and len(columns) == 2
        if not is_pair or any(not isinstance(column, str) for column in columns):
            raise UserError(
                f"survival_times.{name}={columns!r} is not understood; write the columns of times "
                f"and of events, data.survival_times={name}=TIME:EVENT"
            )
        if all(columns):
            survival[name] = tuple(columns)
        elif any(columns):
            raise UserError(
                f"survival_times.{name}={tuple(columns)!r} names one column; write "
                f"{name}=TIME:EVENT"
            )
    classes = filled(settings.classes, "classes")
    numbers = filled(settings.numbers, "numbers")
    return TargetSpec(classes, numbers, survival)
