"""Simulated case-control studies of blood methylation with known active pathways (S5).

Pathways have activities, genes follow their pathways, sites follow their genes: the activity of an
active pathway is higher in the cases of a disease. Some pathways are active in several diseases.
Studies differ in size and by a batch effect on every site; age and sex change some sites, and cases
may be older. Some connections are real but hidden from the knowledge that is published, and some
sites belong to no gene. Left out are cell types, relatives, and values that are missing for a
reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.knowledge.gene_sets import GeneSets
from omics_jax.data.knowledge.site_annotation import SiteGenes
from omics_jax.data.simulation.arguments import (
    argument_error,
    check_levels,
    check_shares,
    check_sizes,
)

DISEASES = ("IBD", "MS", "psoriasis", "RA", "SLE", "T1D")
# People of each disease's study in the authors' data, in the order above.
PEOPLE = (88, 79, 49, 160, 118, 53)
CLASSES = ("control", "case")
MODALITY = "methylation"
_STREAMS = (
    *("sets", "sites", "active", "weights", "activity", "genes", "base", "loading"),
    *("noise", "batch", "age", "sex", "hidden", "missing"),
)


@dataclass(frozen=True)
class MethylationTruth:
    """What the simulator knows.

    Attributes:
      active: disease -> the pathways that are more active in its cases.
      shared: pathways that are active in more than one disease.
      hidden_genes: (H, 2) site and gene of connections that the published knowledge lacks.
      hidden_sets: (gene, pathway) pairs that it lacks.
      activity: (n, P) of every pathway in every person.
      pathways: (P,) their names.
    """

    active: Mapping[str, tuple[str, ...]]
    shared: tuple[str, ...]
    hidden_genes: tuple[tuple[str, str], ...]
    hidden_sets: tuple[tuple[str, str], ...]
    activity: Float[np.ndarray, "n P"]
    pathways: tuple[str, ...]


@dataclass(frozen=True)
class SimulatedStudies:
    """The dataset, the knowledge that is published about its sites, and the truth."""

    dataset: Dataset
    site_genes: SiteGenes
    gene_sets: GeneSets
    truth: MethylationTruth


def simulate_methylation(
    people: Sequence[int] = PEOPLE,
    *,
    sites: int = 1200,
    genes: int = 400,
    pathways: int = 60,
    pathway_genes: int = 12,
    active: int = 2,
    shared: int = 2,
    diseases_of_shared: int = 4,
    effect: float = 1.0,
    noise: float = 1.0,
    batch: float = 0.5,
    age_effect: float = 0.3,
    confounding: float = 0.0,
    without_gene: float = 0.1,
    hidden: float = 0.1,
    missing_cells: float = 0.01,
    seed: int = 0,
) -> SimulatedStudies:
    """Draw studies of cases and controls, a study per disease.

    Args:
      people: size of each disease's study, half of them cases; at most six.
      sites, genes, pathways, pathway_genes: numbers; a pathway has `pathway_genes` genes.
      active: pathways that are active in one disease alone, for each disease.
      shared: pathways that are active in `diseases_of_shared` diseases.
      effect: by how many s.d. an active pathway is more active in cases; 0 is the null.
      noise: s.d. of a site's own variation, relative to that of its gene.
      batch: s.d. of a study's shift of a site; age_effect: change of a tenth of the sites per s.d.
        of age; another tenth differs between the sexes by as much.
      confounding: by how many s.d. cases are older.
      without_gene: share of sites that belong to no gene.
      hidden: share of the connections that the knowledge lacks.
      missing_cells: share of cells that are not observed.
      seed: non-negative; the same arguments give the same bits.

    Returns:
      Dataset with the modality "methylation" (beta values), a target per disease (classes control
      and case, known of the people of its study), and a table with study, age (years) and sex.

    Raises:
      UserError: an argument that makes no sense.
    """
    _check(people, locals())
    streams = np.random.SeedSequence(seed).spawn(len(_STREAMS))
    rng = dict(zip(_STREAMS, map(np.random.default_rng, streams), strict=True))
    names = _names(sites, genes, pathways)
    members = _draw_sets(rng["sets"], genes, pathways, pathway_genes)
    gene_of_site = np.where(
        rng["sites"].random(sites) < without_gene, -1, rng["sites"].integers(0, genes, sites)
    )
    diseases = DISEASES[: len(people)]
    is_active, sharing = _draw_active(
        rng["active"], len(people), pathways, active, shared, diseases_of_shared
    )
    study = np.repeat(np.arange(len(people)), people)
    case = np.concatenate([np.arange(size) % 2 for size in people])
    activity = rng["activity"].normal(size=(len(study), pathways))
    activity += effect * case[:, None] * is_active[study]
    age = rng["age"].normal(size=len(study)) + confounding * case
    sex = rng["sex"].integers(0, 2, len(study))
    levels = _gene_levels(rng, activity, members)
    m_values = _site_levels(rng, levels, gene_of_site, noise)
    m_values += batch * rng["batch"].normal(size=(len(people), sites))[study]
    changes_with_age = np.arange(sites) % 10 == 0
    differs_by_sex = np.arange(sites) % 10 == 5
    m_values += age_effect * age[:, None] * changes_with_age
    m_values += age_effect * sex[:, None] * differs_by_sex
    beta = 1 / (1 + np.exp2(-m_values))
    observed = rng["missing"].random(beta.shape) >= missing_cells
    dataset = _dataset(names, diseases, study, case, age, sex, beta, observed)
    published, hidden_genes = _publish(rng["hidden"], _site_pairs(gene_of_site), hidden)
    published_sets, hidden_sets = _publish(rng["hidden"], np.argwhere(members), hidden)
    truth = MethylationTruth(
        active={
            name: tuple(names["pathway"][is_active[d]].tolist()) for d, name in enumerate(diseases)
        },
        shared=tuple(names["pathway"][sharing].tolist()),
        hidden_genes=tuple((str(names["site"][s]), str(names["gene"][g])) for s, g in hidden_genes),
        hidden_sets=tuple(
            (str(names["gene"][g]), str(names["pathway"][p])) for p, g in hidden_sets
        ),
        activity=activity,
        pathways=tuple(names["pathway"].tolist()),
    )
    return SimulatedStudies(
        dataset=dataset,
        site_genes=_site_genes(names, published),
        gene_sets=_gene_sets(names, published_sets),
        truth=truth,
    )


# --- structure ------------------------------------------------------------------------------------


def _names(sites: int, genes: int, pathways: int) -> dict[str, np.ndarray]:
    return {
        "site": np.array([f"cg{i:08d}" for i in range(sites)]),
        "gene": np.array([f"GENE{i:04d}" for i in range(genes)]),
        "pathway": np.array([f"pathway {i:03d}" for i in range(pathways)]),
    }


def _draw_sets(
    rng: np.random.Generator, genes: int, pathways: int, size: int
) -> Bool[np.ndarray, "P G"]:
    """Which genes a pathway has."""
    members = np.zeros((pathways, genes), bool)
    for row in members:
        row[rng.choice(genes, size, replace=False)] = True
    return members


def _draw_active(
    rng: np.random.Generator, diseases: int, pathways: int, active: int, shared: int, of: int
) -> tuple[Bool[np.ndarray, "D P"], Int[np.ndarray, " s"]]:
    """The pathways that are active in each disease, and those shared by several diseases."""
    order = rng.permutation(pathways)
    sharing, own = order[:shared], order[shared : shared + diseases * active]
    is_active = np.zeros((diseases, pathways), bool)
    for pathway in sharing:
        is_active[rng.choice(diseases, min(of, diseases), replace=False), pathway] = True
    for disease in range(diseases):
        is_active[disease, own[disease * active : (disease + 1) * active]] = True
    return is_active, np.sort(sharing)


def _gene_levels(
    rng: Mapping[str, np.random.Generator], activity: np.ndarray, members: np.ndarray
) -> Float[np.ndarray, "n G"]:
    """Genes follow the mean of their pathways, with weights of one sign, and vary on their own."""
    weights = members * rng["weights"].uniform(0.5, 1.5, members.shape)
    load = np.sqrt(np.maximum((weights**2).sum(axis=0), 1e-12))
    return activity @ (weights / load) + 0.5 * rng["genes"].normal(
        size=(len(activity), members.shape[1])
    )


def _site_levels(
    rng: Mapping[str, np.random.Generator],
    levels: np.ndarray,
    gene_of_site: np.ndarray,
    noise: float,
) -> Float[np.ndarray, "n S"]:
    """M values: a base, the gene's level times a loading of either sign, and noise."""
    sites = len(gene_of_site)
    base = rng["base"].choice([-2.5, 0.0, 2.5], sites) + 0.3 * rng["base"].normal(size=sites)
    sign = rng["loading"].choice([-1, 1], sites)
    loading = 0.5 * sign * rng["loading"].uniform(0.5, 1.5, sites) * (gene_of_site >= 0)
    own = noise * 0.5 * rng["noise"].normal(size=(len(levels), sites))
    return base + loading * levels[:, gene_of_site] + own


def _site_pairs(gene_of_site: np.ndarray) -> Int[np.ndarray, "E 2"]:
    sites = np.flatnonzero(gene_of_site >= 0)
    return np.stack([sites, gene_of_site[sites]], axis=1)


def _publish(
    rng: np.random.Generator, pairs: np.ndarray, hidden: float
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that the knowledge holds, and those that it lacks."""
    is_hidden = rng.random(len(pairs)) < hidden
    return pairs[~is_hidden], pairs[is_hidden]


# --- what is returned -----------------------------------------------------------------------------


def _dataset(
    names: Mapping[str, np.ndarray],
    diseases: Sequence[str],
    study: np.ndarray,
    case: np.ndarray,
    age: np.ndarray,
    sex: np.ndarray,
    beta: np.ndarray,
    observed: np.ndarray,
) -> Dataset:
    ids = np.array([f"P{i:04d}" for i in range(len(study))])
    table = pd.DataFrame(
        {
            "study": [f"study of {diseases[s]}" for s in study],
            "age": np.round(50 + 10 * age, 1).astype(str),
            "sex": np.where(sex == 1, "female", "male"),
        },
        index=ids,
    )
    values = np.where(observed, beta, 0).astype(np.float32)
    targets = {
        name: (np.where(study == d, case, 0).astype(np.int32), study == d)
        for d, name in enumerate(diseases)
    }
    return Dataset(
        ids=ids,
        groups=ids,
        modalities={MODALITY: Modality(values, observed, names["site"])},
        table=table,
        targets=targets,
        classes=dict.fromkeys(diseases, CLASSES),
        notes=("simulated case-control studies of methylation with a known truth",),
    )


def _site_genes(names: Mapping[str, np.ndarray], pairs: np.ndarray) -> SiteGenes:
    used, gene = np.unique(pairs[:, 1], return_inverse=True)
    return SiteGenes(
        source="the simulator",
        sites=names["site"],
        pairs=np.stack([pairs[:, 0], gene], axis=1),
        genes=names["gene"][used],
        chromosomes=np.full(len(names["site"]), "1"),
    )


def _gene_sets(names: Mapping[str, np.ndarray], pairs: np.ndarray) -> GeneSets:
    """pairs: pathway and gene, by pathway."""
    pathways, first = np.unique(pairs[:, 0], return_index=True)
    genes = np.split(names["gene"][pairs[:, 1]], first[1:])
    members = zip(names["pathway"][pathways].tolist(), genes, strict=True)
    return GeneSets("the simulator", {name: tuple(own.tolist()) for name, own in members})


def _check(people: Sequence[int], arguments: Mapping[str, object]) -> None:
    sizes = ("sites", "genes", "pathways", "pathway_genes", "diseases_of_shared")
    check_sizes(1, {name: arguments[name] for name in sizes})
    check_sizes(0, {name: arguments[name] for name in ("active", "shared")})
    levels = ("effect", "noise", "batch", "age_effect", "confounding")
    check_levels({name: arguments[name] for name in levels})
    check_shares({name: arguments[name] for name in ("without_gene", "hidden", "missing_cells")})
    if not 1 <= len(people) <= len(DISEASES) or min(people) < 2:
        raise argument_error(
            "people", tuple(people), "give the sizes (2 or more) of 1 to 6 studies"
        )
    needed = arguments["shared"] + len(people) * arguments["active"]
    if needed > arguments["pathways"]:
        raise argument_error("pathways", arguments["pathways"], f"give {needed} or more")
    if arguments["pathway_genes"] > arguments["genes"]:
        raise argument_error("pathway_genes", arguments["pathway_genes"], "give at most genes")
