"""The settings of `read_patients` from a config, whose mappings are text: "rna=a.csv"."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from omics_jax.errors import UserError
from omics_jax.settings.words import parse_pairs

# Settings that are taken as they are, and those that hold pairs.
PLAIN = (
    "path", "orientation", "clinical", "survival", "id", "barcode", "group", "zero_times",
    "repeated", "missing_values",
)  # fmt: skip
PAIRS = ("modalities", "classes", "numbers", "survival_times", "only")


def parse_settings(section: Any, targets: bool = True) -> SimpleNamespace:
    """What `read_patients` takes, from the section `data` of a config.

    targets: False leaves out what is known about the patients.

    Raises:
      UserError: a setting that is no list of name=value.
    """
    plain = {key: section[key] for key in PLAIN}
    pairs = {key: parse_pairs(section[key], f"data.{key}") for key in PAIRS}
    return SimpleNamespace(
        **plain,
        **pairs,
        limits=_limits(parse_pairs(section.limits, "data.limits")),
        targets=targets,
    )


def _limits(pairs: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """Modality -> (low, high), from modality -> "low:high"; a side that is left out is open."""
    limits = {}
    for name, text in pairs.items():
        low, colon, high = (part.strip() for part in text.partition(":"))
        try:
            limits[name] = (float(low or "-inf"), float(high or "inf"))
        except ValueError:
            colon = ""
        if not colon or not limits[name][0] < limits[name][1]:
            raise UserError(f"data.limits has {name}={text}; write {name}=LOW:HIGH, such as 0:30")
    return limits


def named_files(section: Any) -> tuple[str, ...]:
    """The files of modalities that a section `data` names; () where it names none."""
    files = parse_pairs(section.modalities, "data.modalities").values()
    return (section.path,) if section.path else tuple(files)
