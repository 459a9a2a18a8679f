"""The settings of `read_methylation`, checked before a file is opened; "" or () means none.

Which files:
  studies: study -> its matrix of beta or M values, people by sites: any format of `read_matrix`,
    also a GEO series matrix.
  clinical: a table with a row per person; without one the annotations inside the files serve, such
    as the characteristics of a series matrix.
  detection: study -> a matrix of detection p-values of the same people and sites.
  drop_sites: lists of sites that are left out, such as probes that bind several places.

How values are read:
  values: "beta", "m", or "auto", which the values decide; M values become beta values.
  detection_limit: values whose detection p-value is above are missing.
  strip_suffixes: whether EPIC v2's suffixes of sites are cut off; sites that are then equal become
    their mean.
  sex_chromosomes: "keep", or "drop" for the sites on X and Y.
  orientation, repeated, below_detection, missing_values, limits: as for patients; the key of a
    limit is "methylation", its values are in the files' scale.

What is known about people:
  id: the column of ids in the clinical table, "" for its first.
  study: the column that names a person's study; "" for the key in `studies`.
  diseases: disease -> "COLUMN", or "COLUMN:case=WORD|WORD:control=WORD|WORD:study=NAME|NAME", of
    which every part is optional: words for cases and controls, and the studies of which the column
    tells this disease; see `disease_labels`.
  classes, numbers: target -> column, such as sex and age.
  targets: False leaves out what is known about people.

Which rows:
  barcode, group, only: as for patients. Rows of one id in several studies are of one group in any
    case; several samples of a person in one study need `barcode` or `group`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from omics_jax.data.formats.checks import check_choice
from omics_jax.data.methylation.simulate import MODALITY
from omics_jax.data.patients import settings as of_patients
from omics_jax.errors import UserError

VALUES = ("auto", "beta", "m")
SEX_CHROMOSOMES = ("keep", "drop")


def check_settings(settings: Any) -> None:
    """Refuses settings that cannot mean anything, whatever the files hold."""
    of_patients.check_settings(settings)
    check_choice("values", settings.values, VALUES)
    check_choice("sex_chromosomes", settings.sex_chromosomes, SEX_CHROMOSOMES)
    if not 0 <= settings.detection_limit <= 1:
        raise UserError(
            f"--config.data.detection_limit={settings.detection_limit:g} is no p-value; give a "
            "number from 0 to 1, such as 0.01"
        )
    studies = of_patients.filled(settings.studies, "studies")
    if not studies:
        raise UserError(
            "data.studies is empty: nothing to read; name a matrix per study, "
            "--config.data.studies=GSE42861=beta.csv"
        )
    for study in of_patients.filled(settings.detection, "detection"):
        if study not in studies:
            raise UserError(
                f"--config.data.detection names the study {study!r}; data.studies has "
                f"{', '.join(studies)}"
            )
    for name in of_patients.limits(settings):
        if name != MODALITY:
            raise UserError(
                f"--config.data.limits names {name!r}; the values of sites are called {MODALITY}, "
                f"as in {MODALITY}=0:1"
            )
    _check_targets(settings)


def _check_targets(settings: Any) -> None:
    """Refuses two targets of one name."""
    seen: dict[str, str] = {}
    for kind in ("diseases", "classes", "numbers"):
        for name in of_patients.filled(getattr(settings, kind), kind):
            if name in seen:
                raise UserError(
                    f"data.{seen[name]} and data.{kind} both have {name!r}; rename one of them"
                )
            seen[name] = kind


def complete(settings: Any) -> SimpleNamespace:
    """The settings with those that patients have and studies lack."""
    return SimpleNamespace(**{**vars(settings), "survival": ""})
