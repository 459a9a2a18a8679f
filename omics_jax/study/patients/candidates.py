"""Which features the folds choose from: those of a list, or those that a network connects.

    config.preprocess.genes      a list of genes, or gene sets, whose members all count
    config.preprocess.connected  only genes with an edge in config.network.edges

Both are known before the data, so that all folds have the same candidates; of these every fold
chooses the most variable in its training rows. Names are matched as in `data.gene_networks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Shaped

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.gene_networks.aliases import read_aliases
from omics_jax.data.gene_networks.gene_list import read_gene_list
from omics_jax.data.gene_networks.matching import match_genes
from omics_jax.data.gene_networks.network import read_network
from omics_jax.errors import UserError

_SHOWN = 5  # names in a note


class Source(NamedTuple):
    """Genes that are candidates. setting: that names their file. file: its name."""

    setting: str
    file: str
    genes: Sequence[str]


def only_candidates(config: Any, dataset: Dataset) -> Dataset:
    """The dataset with the features that folds may choose, and notes on how many these are.

    Raises:
      UserError: what a reader refuses, `connected` without a network, or a modality without any
        candidate.
    """
    sources = _sources(config)
    if not sources:
        return dataset
    aliases = read_aliases(config.network.aliases) if config.network.aliases else None
    modalities, notes = {}, []
    for name, modality in dataset.modalities.items():
        is_candidate, said = _candidates(name, modality.features.astype(str), sources, aliases)
        modalities[name] = modality.select_features(modality.features[is_candidate])
        notes += said
    return replace(dataset, modalities=modalities, notes=(*dataset.notes, *notes))


def _sources(config: Any) -> list[Source]:
    sources, network = [], config.network
    if config.preprocess.genes:
        path = config.preprocess.genes
        sources.append(Source("config.preprocess.genes", Path(path).name, read_gene_list(path)))
    if config.preprocess.connected:
        if not network.edges:
            raise UserError(
                "config.preprocess.connected is True and config.network.edges is empty; name the "
                "network whose genes are candidates, or set it to False"
            )
        genes = read_network(network.edges, network.aliases, network.least_weight).genes.tolist()
        sources.append(Source("config.preprocess.connected", Path(network.edges).name, genes))
    return sources


def _candidates(
    name: str,
    features: Shaped[np.ndarray, " F"],
    sources: Sequence[Source],
    aliases: Mapping[str, str] | None,
) -> tuple[Bool[np.ndarray, " F"], list[str]]:
    """Which features of a modality all sources have, and a note on each source."""
    is_candidate, notes = np.ones(len(features), bool), []
    for source in sources:
        try:
            places, said = match_genes(features, source.genes, aliases, source.file)
        except UserError as error:
            raise UserError(f"{name} ({source.setting}): {error}") from None
        is_candidate &= places >= 0
        notes.append(f"{name}: {said}{_absent(source, places)}")
    if not is_candidate.any():
        files = " and in ".join(source.file for source in sources)
        settings = " and ".join(source.setting for source in sources)
        raise UserError(
            f"{name}: none of its {len(features):,} features is in {files} at once; change "
            f"{settings}, or leave the modality out"
        )
    return is_candidate, notes


def _absent(source: Source, places: Int32[np.ndarray, " F"]) -> str:
    """As in: 2 of the 5 genes of panel.txt are not in the data: A, B."""
    is_found = np.zeros(len(source.genes), bool)
    is_found[places[places >= 0]] = True
    absent = [gene for gene, found in zip(source.genes, is_found, strict=True) if not found]
    if not absent:
        return ""
    more = ", ..." if len(absent) > _SHOWN else "."
    return (
        f" {len(absent):,} of the {len(source.genes):,} genes of {source.file} are not in the data:"
        f" {', '.join(absent[:_SHOWN])}{more}"
    )
