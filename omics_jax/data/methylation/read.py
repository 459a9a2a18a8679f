"""Case-control studies of methylation as a `Dataset`: beta values, diseases, age, sex and study.

Each study is a file of its own, or one file holds several and a column names them. People are the
rows, sites the features of one modality; what a study did not measure is missing in its people.
Left out are normalisation, correction of batches and imputation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.messages import averaged_note
from omics_jax.data.formats.options import ReadOptions
from omics_jax.data.formats.read import read_accounted_table
from omics_jax.data.methylation.beta_values import count_scale, m_to_beta, recognise
from omics_jax.data.methylation.detection import without_undetected
from omics_jax.data.methylation.disease_labels import (
    DiseaseRule,
    check_labels_differ,
    disease_target,
    parse_disease,
    unused_studies,
)
from omics_jax.data.methylation.genome_studio import one_column_per_person
from omics_jax.data.methylation.people import (
    People,
    annotations,
    covariates_of,
    groups_never_split,
    people_of,
    table_of_people,
)
from omics_jax.data.methylation.settings import check_settings, complete
from omics_jax.data.methylation.simulate import CLASSES, MODALITY
from omics_jax.data.methylation.sites import (
    Dropping,
    columns_of,
    known_sites,
    place_study,
    read_site_lists,
    strip_suffixes,
    unite_sites,
)
from omics_jax.data.patients.account import account_for
from omics_jax.data.patients.barcodes import patient_of
from omics_jax.data.patients.declared_missing import without_declared
from omics_jax.data.patients.description import describe_patients
from omics_jax.data.patients.modality_files import read_modality
from omics_jax.data.patients.patient_table import id_column_of
from omics_jax.data.patients.persons import groups_of, sample_warnings, spelling_warnings
from omics_jax.data.patients.remarks import Remarks, note, warning
from omics_jax.data.patients.sample_rows import one_row_per_patient
from omics_jax.data.patients.selection import check_shared_patients, filter_patients
from omics_jax.data.patients.settings import filled, group_column, limits, missing_values
from omics_jax.data.patients.targets import TargetColumns, TargetSpec, find_target_columns
from omics_jax.data.vocabulary import blank_unknown
from omics_jax.errors import UserError

OnProgress = Callable[[int, int, str], None]

STUDY = "study"


def read_methylation(
    settings: Any,
    on_progress: OnProgress = lambda done, total, what: None,
    features: Collection[str] = (),
    chromosomes: Mapping[str, str] = MappingProxyType({}),
    covariates: Collection[str] = (),
) -> Dataset:
    """Reads studies of methylation and what is known about their people.

    Args:
      settings: a namespace with the attributes that `settings` describes.
      on_progress: called with (done, total, "studies").
      features: the sites of a training, for new people: these are the features, in their order,
        whatever else the settings leave out.
      chromosomes: site -> chromosome, for `sex_chromosomes`.
      covariates: columns that are read of new people, where the clinical table or the files have
        them; without any, nothing is read of what is known of new people.

    Returns:
      a Dataset of n people with the modality "methylation": beta values, 0 to 1. targets: a disease
      as int32 codes into (control, case), known of people of studies that hold both; others as in
      `read_patients`. groups: rows of one person, or of one cell of `data.group`. table: what is
      known of people, as text, and the column "study".

    Raises:
      UserError: for anything wrong with settings or files.
    """
    check_settings(settings)
    settings = complete(settings)
    rules = _disease_rules(settings) if _is_training(settings) else {}
    reads_table = _is_training(settings) or bool(covariates)
    clinical = _Clinical(settings, rules) if settings.clinical and reads_table else None
    matrices, of_files = _read_studies(settings, rules, clinical, features, on_progress)
    everyone = people_of(matrices)
    if _is_training(settings):
        columns, of_columns = _columns(settings, rules, clinical, matrices, everyone)
    else:
        frame = clinical and clinical.frame
        columns, of_columns = covariates_of(settings, covariates, frame, matrices, everyone)
    people, of_people = _selected(settings, everyone, columns)
    studies, of_studies = _studies_of(settings, people, columns)
    targets, classes, of_targets = _targets(columns, rules, people.ids, studies)
    modality, of_sites = _unite(settings, matrices, people, features, chromosomes)
    groups, of_groups = _groups(settings, people, columns)
    table = columns.table(people.ids).assign(**{STUDY: studies})
    dataset = Dataset(people.ids, groups, {MODALITY: modality}, table, targets, classes=classes)
    remarks = describe_patients(dataset, columns.tables) + of_files + of_columns + of_people
    remarks += of_studies + of_targets + of_sites + of_groups
    remarks += _doubtful_names(settings, matrices, columns, people)
    uses = account_for(settings, _with_diseases(columns, rules), matrices, people.ids)
    return replace(
        dataset, notes=remarks.notes, warnings=remarks.warnings, uses=uses + remarks.uses
    )


def _is_training(settings: Any) -> bool:
    """Whether outcomes are read, or new people of whom none is known."""
    return getattr(settings, "targets", True)


# --- studies --------------------------------------------------------------------------------------


def _read_studies(
    settings: Any,
    rules: Mapping[str, DiseaseRule],
    clinical: _Clinical | None,
    features: Collection[str],
    on_progress: OnProgress,
) -> tuple[dict[str, Matrix], Remarks]:
    """Every study as beta values, a row per person."""
    paths = filled(settings.studies, "studies")
    options = ReadOptions(
        settings.orientation,
        annotations=(*_asked_columns(settings, rules), *settings.only),
        repeated=settings.repeated,
        below_detection=settings.below_detection,
        missing=missing_values(settings),
    )
    known = clinical.persons if clinical else set()
    detection = filled(settings.detection, "detection")
    remarks, studies = Remarks(), {}
    for study, path in paths.items():
        # People of other studies tell nothing: few are in several.
        matrix, notes = read_modality(path, options, known, settings.barcode, features)
        remarks += note(*notes, *averaged_note(study, matrix))
        matrix, said = one_column_per_person(study, matrix, settings.detection_limit)
        remarks += said
        matrix, said = without_declared(
            study, matrix, missing_values(settings), limits(settings).get(MODALITY)
        )
        remarks += said
        if study in detection:
            limit = settings.detection_limit
            matrix, said = without_undetected(study, matrix, detection[study], limit, options)
            remarks += said
        if not matrix.mask.any():
            raise UserError(f"the study {study} has no value that is left; leave it out")
        studies[study], said = _as_beta(study, matrix, settings)
        remarks += said
        on_progress(len(studies), len(paths), "studies")
    rows, said = one_row_per_patient(studies, settings, "study")
    return rows, remarks + said


def _as_beta(study: str, matrix: Matrix, settings: Any) -> tuple[Matrix, Remarks]:
    """The study as beta values, under the names of sites that the settings want."""
    counts = count_scale(matrix.values, matrix.mask)
    scale, remarks = recognise(study, counts, matrix.ids, settings.values)
    if scale == "m":
        values = mapped.empty_or_mapped(matrix.values.shape, np.float32)
        for rows in mapped.row_blocks(values):
            beta = m_to_beta(matrix.values[rows])
            values[rows] = np.where(matrix.mask[rows], beta, 0)
        matrix = replace(matrix, values=values)
    if settings.strip_suffixes:
        matrix, said = strip_suffixes(study, matrix)
        remarks += said
    return matrix, remarks


def _unite(
    settings: Any,
    matrices: Mapping[str, Matrix],
    people: People,
    features: Collection[str],
    chromosomes: Mapping[str, str],
) -> tuple[Modality, Remarks]:
    """The studies' people under each other, over the sites that stay."""
    used = {name: matrices[name] for name in matrices if name in set(people.files.tolist())}
    if len(features):
        sites = np.asarray(list(features), dtype=str)
        present = {site for matrix in used.values() for site in matrix.features.tolist()}
        remarks = known_sites(sites, present)
        if present.isdisjoint(sites.tolist()):
            raise UserError(
                f"none of the {len(sites):,} sites of the training (such as {sites[0]!r}) is in "
                f"{', '.join(used)} (such as {min(present)!r}); name matrices of the same kind of "
                "array"
            )
    else:
        sites, remarks = unite_sites({name: matrix.features for name, matrix in used.items()})
        dropping = Dropping(
            read_site_lists(settings.drop_sites),
            settings.sex_chromosomes == "drop",
            chromosomes,
            settings.strip_suffixes,
        )
        kept, said = dropping.keep(sites)
        sites = sites[kept]
        remarks += said
    if len(used) == 1:
        (only,) = used.values()
        in_order = np.array_equal(people.rows, np.arange(len(only.ids)))
        if in_order and np.array_equal(sites, only.features):
            return _modality(only.values, only.mask, sites), remarks
    shape = (len(people.ids), len(sites))
    out = mapped.empty_or_mapped(shape, np.float32), mapped.empty_or_mapped(shape, bool)
    for name, matrix in used.items():
        rows = np.flatnonzero(people.files == name)
        columns = columns_of(sites, matrix.features)
        place_study(out, rows, matrix, people.rows[rows], columns)
    return _modality(*out, sites), remarks


def _modality(values: np.ndarray, mask: np.ndarray, sites: np.ndarray) -> Modality:
    return Modality(values, mask, sites, transform="beta", one_unit=True)


# --- what is known of people ----------------------------------------------------------------------


class _Clinical:
    """The clinical table as its file has it, before people of several studies are known.

    Attributes:
      frame: rows of text, indexed by place.
      persons: their ids.
      uses: what became of other parts of the file.
    """

    def __init__(self, settings: Any, rules: Mapping[str, DiseaseRule]):
        self.frame, self.uses = read_accounted_table(settings.clinical)
        asked = _asked_columns(settings, rules)
        column = id_column_of(settings.clinical, self.frame, settings.id, asked)
        names = self.frame[column].astype(str).str.strip()
        self.persons = {patient_of(name, settings.barcode) for name in names} - {""}


def _disease_rules(settings: Any) -> dict[str, DiseaseRule]:
    diseases = filled(settings.diseases, "diseases")
    return {disease: parse_disease(disease, text) for disease, text in diseases.items()}


def _asked_columns(settings: Any, rules: Mapping[str, DiseaseRule]) -> tuple[str, ...]:
    """The columns that targets, groups and studies are read from."""
    targets = [rule.column for rule in rules.values()]
    targets += filled(settings.classes, "classes").values()
    targets += filled(settings.numbers, "numbers").values()
    return tuple(dict.fromkeys(filter(None, (*targets, group_column(settings), settings.study))))


def _columns(
    settings: Any,
    rules: Mapping[str, DiseaseRule],
    clinical: _Clinical | None,
    matrices: Mapping[str, Matrix],
    people: People,
) -> tuple[TargetColumns, Remarks]:
    """The table of people, and which of its columns are targets."""
    missing = missing_values(settings)
    spec = TargetSpec(filled(settings.classes, "classes"), filled(settings.numbers, "numbers"), {})
    if clinical:
        used = (*_asked_columns(settings, rules), *settings.only)
        table, remarks = table_of_people(
            settings.clinical, clinical.frame, people, settings, used, missing
        )
        remarks = note(*(f"{use}." for use in clinical.uses)) + remarks
    else:
        table, remarks = annotations(settings, matrices, people)
    if table is None:
        wanted = [*rules, *spec.names]
        if wanted:
            raise UserError(
                f"nothing is known of {', '.join(wanted)}: the studies' files hold no annotations; "
                "name a table of people with --config.data.clinical"
            )
        return TargetColumns([], {}, {}, {}, missing), remarks
    check_shared_patients({MODALITY: _bare(people)}, [table])
    return find_target_columns(spec, table, None, missing), remarks


def _bare(people: People) -> Matrix:
    """The people without values, for rules that choose rows."""
    nothing = np.zeros((len(people.ids), 0), np.float32)
    table = pd.DataFrame(index=people.ids)
    return Matrix(people.ids, np.array([], str), nothing, nothing.astype(bool), table)


def _selected(settings: Any, people: People, columns: TargetColumns) -> tuple[People, Remarks]:
    """The people whom `data.only` selects; new people are all wanted."""
    if not _is_training(settings):
        return people, Remarks()
    chosen, notes = filter_patients({MODALITY: _bare(people)}, columns, settings.only)
    kept = np.isin(people.ids, chosen[MODALITY].ids)
    return people.take(kept), note(*notes)


def _studies_of(
    settings: Any, people: People, columns: TargetColumns
) -> tuple[Shaped[np.ndarray, " n"], Remarks]:
    """(n,) the study of each, "" where unknown."""
    is_training = _is_training(settings)
    is_known = is_training or any(settings.study in table.table for table in columns.tables)
    if not columns.tables or not settings.study or not is_known:
        remarks = Remarks()
        if is_training and any(STUDY in table.table for table in columns.tables):
            remarks = warning(
                "the table of people has a column study, which is not read: the studies are the "
                "names in data.studies; set --config.data.study=study if the column names them."
            )
        return people.files, remarks
    (table,) = columns.tables
    cells = table.reindex(people.ids).column(settings.study, "data.study")
    cells, _ = blank_unknown(cells, columns.missing)
    studies = np.array([str(cell).strip() for cell in cells], dtype=str)
    names, counts = np.unique(studies[studies != ""], return_counts=True)
    listed = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
    remarks = note(f"Studies by the column {settings.study}: {listed or 'none'}.")
    if n_unknown := int((studies == "").sum()):
        remarks += warning(f"the study of {n_unknown:,} people is unknown ({settings.study}).")
    return studies, remarks


def _targets(
    columns: TargetColumns,
    rules: Mapping[str, DiseaseRule],
    ids: Shaped[np.ndarray, " n"],
    studies: Shaped[np.ndarray, " n"],
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]], Remarks]:
    """Diseases, then other targets; the names of classes; and remarks."""
    targets, classes, remarks = {}, {}, Remarks()
    for disease, rule in rules.items():
        (table,) = columns.tables
        targets[disease], said = disease_target(
            table.reindex(ids), studies, disease, rule, columns.missing
        )
        classes[disease] = CLASSES
        remarks += said
    check_labels_differ(targets, rules)
    masks: Sequence[np.ndarray] = [mask for _, mask in targets.values()]
    remarks += warning(*unused_studies(studies, masks))
    others, names, said = columns.targets(ids, "error")
    return {**targets, **others}, {**classes, **names}, remarks + said


def _groups(
    settings: Any, people: People, columns: TargetColumns
) -> tuple[Shaped[np.ndarray, " n"], Remarks]:
    """(n,) what no fold may split, see `read_methylation`."""
    column = group_column(settings) if _is_training(settings) else ""
    groups, remarks = groups_of(people.ids, columns, column, settings.barcode)
    joined, also = groups_never_split(groups, people, settings.barcode)
    return joined, remarks + also


def _doubtful_names(
    settings: Any, matrices: Mapping[str, Matrix], columns: TargetColumns, people: People
) -> Remarks:
    """Warnings of names that differ by spelling alone, or seem to be samples of one person."""
    remarks = warning(*spelling_warnings(matrices, columns.tables, people.ids))
    if _is_training(settings) and not settings.barcode and not group_column(settings):
        remarks += warning(*sample_warnings(people.ids))
    return remarks


def _with_diseases(columns: TargetColumns, rules: Mapping[str, DiseaseRule]) -> TargetColumns:
    """The columns with those of diseases among the classes, for the account."""
    if not columns.tables:
        return columns
    (table,) = columns.tables
    diseases = {disease: (table, rule.column) for disease, rule in rules.items()}
    return replace(columns, classes={**diseases, **columns.classes})
