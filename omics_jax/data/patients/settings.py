"""The settings of `read_multiomics`, checked before a file is opened: where the data lie, which
targets are wanted.
"""

from __future__ import annotations

from pathlib import Path

from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.options import REPEATED
from omics_jax.data.patients.barcodes import check_barcode
from omics_jax.data.patients.clinical import Wanted
from omics_jax.errors import UserError

_ORIENTATIONS = ("auto", "samples", "genes")
_ZERO_TIMES = ("error", "mask")


def layout(settings) -> str:
    """What `path` and `modalities` name: "files", "h5mu" or "omiembed"."""
    files = filled(settings.modalities, "modalities")
    if not settings.path:
        if not files:
            raise UserError(
                "modalities and path are empty: nothing to read; name files, "
                "data.modalities='rna=rna.csv'"
            )
        return "files"
    if files:
        raise UserError(
            f"path={settings.path!r} and modalities.{min(files)} both name data; leave one of them "
            "empty"
        )
    if Path(settings.path).expanduser().is_dir():
        return "omiembed"
    if existing_file(settings.path).suffix.lower() == ".h5mu":
        return "h5mu"
    raise UserError(
        f"{settings.path} is neither an .h5mu nor a folder in OmiEmbed's layout; leave data.path "
        f"empty and write data.modalities='NAME={settings.path}'"
    )


def reads_own_targets(settings) -> bool:
    """Whether the targets stand in labels.tsv, values.tsv and survival.tsv of OmiEmbed's layout."""
    return not settings.clinical and not settings.survival and layout(settings) == "omiembed"


def zero_times(settings) -> str:
    """What becomes of times of zero or below: "error" or "mask"."""
    return _one_of("zero_times", getattr(settings, "zero_times", "error"), _ZERO_TIMES)


def repeated_features(settings) -> str:
    """What becomes of features that stand more than once in a file: "error" or "mean"."""
    return _one_of("repeated", getattr(settings, "repeated", "error"), REPEATED)


def filled(mapping, setting: str) -> dict:
    """The entries that are not empty; takes any mapping, a ConfigDict too."""
    if not hasattr(mapping, "keys"):
        raise UserError(f"{setting}={mapping!r} is no mapping; set {setting}.<name> to a value")
    return {str(name): mapping[name] for name in mapping.keys() if mapping[name]}


def wanted_targets(settings) -> Wanted:
    """The targets that settings ask for, once all settings make sense."""
    check_barcode(settings.barcode)
    _one_of("orientation", settings.orientation, _ORIENTATIONS)
    zero_times(settings)
    repeated_features(settings)
    survival = {}
    for name, columns in filled(settings.survival_times, "survival_times").items():
        if (
            isinstance(columns, str)
            or len(columns) != 2
            or any(not isinstance(c, str) for c in columns)
        ):
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
    return Wanted(
        filled(settings.classes, "classes"), filled(settings.numbers, "numbers"), survival
    )


def _one_of(name: str, value, known: tuple[str, ...]) -> str:
    if value not in known:
        raise UserError(f"{name}={value!r} is unknown; set it to one of {', '.join(known)}")
    return value
