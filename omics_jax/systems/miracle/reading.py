"""People, their methylation and the knowledge of its sites, from files or the simulator.

The formats are those of `data.methylation` and `data.knowledge`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.knowledge.describe import describe
from omics_jax.data.knowledge.layers import Knowledge, connect
from omics_jax.data.knowledge.read import (
    chromosomes_of,
    matching_of,
    read_knowledge,
    read_site_genes,
)
from omics_jax.data.methylation.read import read_methylation
from omics_jax.data.methylation.simulate import MODALITY, SimulatedStudies, simulate_methylation
from omics_jax.data.methylation.text_settings import named_files, parse_settings
from omics_jax.data.vocabulary import parse_missing
from omics_jax.errors import UserError
from omics_jax.settings.sections import methylation_section
from omics_jax.study.covariates import unknown_covariates
from omics_jax.study.new_rows import match_features

OnProgress = Callable[[int, int, str], None]


def _silent(done: int, total: int, what: str) -> None:
    """Shows no progress."""


def read(config: Any, on_progress: OnProgress = _silent) -> Dataset:
    """The sites that have a place in the network, of the people in the files or the simulator.

    Raises:
      UserError: what a reader refuses, or knowledge that shares no name with the data.
    """
    dataset = _read_people(config, on_progress)
    modality = dataset.modalities[MODALITY]
    knowledge = knowledge_of(config, dataset)
    if len(knowledge.sites) < len(modality.features):
        modality = modality.select_features(knowledge.sites)
    return replace(
        dataset,
        modalities={MODALITY: modality},
        notes=(*dataset.notes, "\n".join(["The network:", *describe(knowledge)])),
    )


def _read_people(config: Any, on_progress: OnProgress) -> Dataset:
    if not named_files(config.data):
        return simulated(config).dataset
    settings = parse_settings(config.data)
    chromosomes = {}
    if settings.sex_chromosomes == "drop":
        chromosomes = chromosomes_of(read_site_genes(config.knowledge), settings.strip_suffixes)
    return read_methylation(settings, on_progress, chromosomes=chromosomes)


def simulated(config: Any) -> SimulatedStudies:
    """The studies, knowledge and truth of `config.simulator`."""
    return simulate_methylation(**config.simulator.to_dict())


def knowledge_of(config: Any, dataset: Dataset) -> Knowledge:
    """The connections of a dataset's sites, by the files of `config.knowledge` or the simulator.

    Raises:
      UserError: files of people without files of knowledge, or knowledge of other names.
    """
    names = dataset.modalities[MODALITY].features
    settings = config.knowledge
    if settings.site_genes:
        return read_knowledge(settings, names)
    if named_files(config.data):
        raise UserError(
            "data.studies names files, and no file says which gene a site belongs to; name a "
            "manifest or a table with --config.knowledge.site_genes, and pathways with "
            "--config.knowledge.gene_sets"
        )
    studies = simulated(config)
    return connect(names, studies.site_genes, studies.gene_sets, matching=matching_of(settings))


# --- new people -----------------------------------------------------------------------------------


def sources(config: Any) -> tuple[str, ...]:
    """The files of the new people."""
    return named_files(config.data)


def read_new(spec: Any, trained: Any, config: Any) -> Dataset:
    """New people from the files that `config.data` names, on the sites of the training.

    Covariates of the training are read where the files or `config.data.clinical` have them.

    spec: of the training, see `assembly.Spec`.
    trained: the config of the training, which knows how its files were to be read.

    Raises:
      UserError: no files, or no site of the training.
    """
    if not sources(config):
        raise UserError(
            "--mode=predict needs the new people; name their files with --config.data.studies"
        )
    features = spec.features[MODALITY]
    settings = parse_settings(_as_trained(config, trained), targets=False)
    new = read_methylation(settings, features=features, covariates=tuple(spec.levels))
    place = ", ".join(sources(config))
    modality, said = match_features(new.modalities[MODALITY], features, place, "sites")
    missing = parse_missing(trained.data.missing_values)
    unknown = unknown_covariates(new, spec.levels, missing, "count as the mean of the training")
    notes = (*new.notes, f"{said}.", *unknown)
    return replace(new, modalities={MODALITY: modality}, notes=notes)


# How files are read; where the command leaves one of these at its default, the training's counts.
HOW_TO_READ = ("orientation", "id", "barcode", "values", "missing_values", "limits", "study")


def _as_trained(config: Any, trained: Any) -> Any:
    """The section `data` of the command, with the files read as those of the training were."""
    data = config.data.copy_and_resolve_references()
    for name in (*HOW_TO_READ, "strip_suffixes"):
        if data[name] in ("", "auto", (), False):
            value = trained.data[name]
            data[name] = value if isinstance(value, str | bool) else tuple(value)
    if data.detection_limit == methylation_section().detection_limit:
        data.detection_limit = trained.data.detection_limit
    data.sex_chromosomes = "keep"  # the training's sites are taken anyway
    return data
