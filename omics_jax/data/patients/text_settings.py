"""The settings of `read_patients` from a config, whose mappings are text: "rna=a.csv"."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from omics_jax.data.dataset.limits import parse_limits
from omics_jax.settings.words import parse_pairs

# Settings that are taken as they are, and those that hold pairs.
PLAIN = (
    "path", "orientation", "clinical", "survival", "id", "barcode", "group", "zero_times",
    "repeated", "below_detection", "missing_values", "smallest_class",
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
        limits=parse_limits(section.limits),
        targets=targets,
    )


def named_files(section: Any) -> tuple[str, ...]:
    """The files of modalities that a section `data` names; () where it names none."""
    files = parse_pairs(section.modalities, "data.modalities").values()
    return (section.path,) if section.path else tuple(files)
