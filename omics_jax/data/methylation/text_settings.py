"""The settings of `read_methylation` from a config, whose mappings are text: "GSE42861=a.csv"."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from omics_jax.data.dataset.limits import parse_limits
from omics_jax.data.formats.cells import BELOW_DETECTION
from omics_jax.data.formats.options import ORIENTATIONS, REPEATED
from omics_jax.data.methylation.settings import SEX_CHROMOSOMES, VALUES
from omics_jax.data.patients.barcodes import CODES
from omics_jax.settings.checks import Rule, choice, flag, names, number, text, words
from omics_jax.settings.words import parse_pairs

PLAIN = (
    "clinical", "id", "study", "orientation", "barcode", "group", "missing_values", "repeated",
    "below_detection", "values", "detection_limit", "drop_sites", "sex_chromosomes",
    "strip_suffixes",
)  # fmt: skip
PAIRS = ("studies", "diseases", "classes", "numbers", "only", "detection")


def parse_settings(section: Any, targets: bool = True) -> SimpleNamespace:
    """What `read_methylation` takes, from the section `data` of a config.

    targets: False leaves out what is known about people.

    Raises:
      UserError: a setting that is no list of name=value.
    """
    plain = {key: section[key] for key in PLAIN}
    pairs = {key: parse_pairs(section[key], f"data.{key}") for key in PAIRS}
    return SimpleNamespace(**plain, **pairs, limits=parse_limits(section.limits), targets=targets)


def named_files(section: Any) -> tuple[str, ...]:
    """The matrices that a section `data` names; () where it names none."""
    return tuple(parse_pairs(section.studies, "data.studies").values())


def rules() -> dict[str, Rule]:
    """What the settings of the section `data` may be."""
    texts = (*PAIRS, "clinical", "id", "study", "group", "limits")
    return {
        **{f"data.{name}": text() for name in texts},
        "data.orientation": choice(*ORIENTATIONS),
        "data.barcode": choice(*CODES),
        "data.repeated": choice(*REPEATED),
        "data.below_detection": choice(*BELOW_DETECTION),
        "data.missing_values": words(),
        "data.values": choice(*VALUES),
        "data.detection_limit": number(0, 1),
        "data.drop_sites": names(),
        "data.sex_chromosomes": choice(*SEX_CHROMOSOMES),
        "data.strip_suffixes": flag(),
    }
