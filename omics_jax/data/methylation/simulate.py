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
from omics_jax.data.methylation.simulated_knowledge import (
    NO_GENE,
    Generators,
    NamePairs,
    Structure,
    draw_structure,
    publish_genes,
    publish_sets,
    texts,
)
from omics_jax.data.simulation.arguments import (
    argument_error,
    check_cells,
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
      hidden_genes: (site, gene) pairs of connections that the published knowledge lacks.
      hidden_sets: (gene, pathway) pairs that it lacks.
      activity: (n, P) of every pathway in every person.
      pathways: (P,) their names.
    """

    active: Mapping[str, tuple[str, ...]]
    shared: tuple[str, ...]
    hidden_genes: NamePairs
    hidden_sets: NamePairs
    activity: Float[np.ndarray, "n P"]
    pathways: tuple[str, ...]


@dataclass(frozen=True)
class SimulatedStudies:
    """The dataset, the knowledge that is published about its sites, and the truth."""

    dataset: Dataset
    site_genes: SiteGenes
    gene_sets: GeneSets
    truth: MethylationTruth


@dataclass(frozen=True)
class _People:
    """Who is studied.

    Attributes:
      diseases: of the studies.
      study: (n,) place of everyone's study; after those of the diseases that of unlabelled people.
      case: (n,) 1 for cases.
      age: (n,) standardised.
      sex: (n,) 1 for women.
    """

    diseases: tuple[str, ...]
    study: Int[np.ndarray, " n"]
    case: Int[np.ndarray, " n"]
    age: Float[np.ndarray, " n"]
    sex: Int[np.ndarray, " n"]


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
    unlabelled: int = 0,
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
      unlabelled: size of a further study, of people without any disease or outcome; the other
        people are the same whatever its size.
      seed: non-negative; the same arguments give the same bits.

    Returns:
      Dataset with the modality "methylation" (beta values), a target per disease (classes control
      and case, known of the people of its study), and a table with study, age (years) and sex.

    Raises:
      UserError: an argument that makes no sense.
    """
    _check(people, locals())
    rng = _generators(seed)
    structure = draw_structure(rng, sites, genes, pathways, pathway_genes, without_gene)
    is_active, sharing = _draw_active(
        rng["active"], len(people), pathways, active, shared, diseases_of_shared
    )
    persons = _draw_people(rng, people, unlabelled, confounding)
    activity = _draw_activity(rng["activity"], persons, is_active, effect)
    m_values = _site_levels(rng, structure, _gene_levels(rng, structure, activity), noise)
    m_values += _batch_shifts(rng["batch"], persons.study, sites, batch)
    _add_age_and_sex(m_values, persons, age_effect)
    dataset = _dataset(persons, _measure(rng["missing"], structure, m_values, missing_cells))
    site_genes, hidden_genes = publish_genes(rng["hidden"], structure, hidden)
    gene_sets, hidden_sets = publish_sets(rng["hidden"], structure, hidden)
    truth = _truth(structure, is_active, sharing, activity, hidden_genes, hidden_sets)
    return SimulatedStudies(dataset, site_genes, gene_sets, truth)


def _generators(seed: int) -> Generators:
    """A stream of random numbers for each part, whatever the other parts draw."""
    children = np.random.SeedSequence(seed).spawn(len(_STREAMS))
    return dict(zip(_STREAMS, map(np.random.default_rng, children), strict=True))


# --- active pathways ------------------------------------------------------------------------------


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


# --- people ---------------------------------------------------------------------------------------


def _draw_people(
    rng: Generators, people: Sequence[int], unlabelled: int, confounding: float
) -> _People:
    """Studies one after the other, controls and cases in turn; cases may be older."""
    study = np.repeat(np.arange(len(people) + 1), (*people, unlabelled))
    case = np.concatenate([*(np.arange(size) % 2 for size in people), np.zeros(unlabelled, int)])
    age = rng["age"].normal(size=len(study)) + confounding * case
    diseases = DISEASES[: len(people)]
    return _People(diseases, study, case, age, rng["sex"].integers(0, 2, len(study)))


def _draw_activity(
    rng: np.random.Generator, persons: _People, is_active: np.ndarray, effect: float
) -> Float[np.ndarray, "n P"]:
    """Standard normal, and higher by the effect where a pathway is active in a case's disease."""
    activity = rng.normal(size=(len(persons.study), is_active.shape[1]))
    with_unlabelled = np.vstack([is_active, np.zeros(is_active.shape[1], bool)])
    return activity + effect * persons.case[:, None] * with_unlabelled[persons.study]


# --- genes and sites ------------------------------------------------------------------------------


def _gene_levels(
    rng: Generators, structure: Structure, activity: np.ndarray
) -> Float[np.ndarray, "n G"]:
    """Genes follow the mean of their pathways, with weights of one sign, and vary on their own."""
    members = structure.members
    weights = members * rng["weights"].uniform(0.5, 1.5, members.shape)
    load = np.sqrt(np.maximum((weights**2).sum(axis=0), 1e-12))
    own = rng["genes"].normal(size=(len(activity), len(structure.genes)))
    return activity @ (weights / load) + 0.5 * own


def _site_levels(
    rng: Generators, structure: Structure, levels: np.ndarray, noise: float
) -> Float[np.ndarray, "n S"]:
    """M values: a base, the gene's level times a loading of either sign, and noise."""
    sites, gene_of_site = len(structure.sites), structure.gene_of_site
    base = rng["base"].choice([-2.5, 0.0, 2.5], sites) + 0.3 * rng["base"].normal(size=sites)
    sign = rng["loading"].choice([-1, 1], sites)
    loading = 0.5 * sign * rng["loading"].uniform(0.5, 1.5, sites) * (gene_of_site != NO_GENE)
    own = noise * 0.5 * rng["noise"].normal(size=(len(levels), sites))
    return base + loading * levels[:, gene_of_site] + own


def _batch_shifts(
    rng: np.random.Generator, study: np.ndarray, sites: int, batch: float
) -> Float[np.ndarray, "n S"]:
    """The shift of every site in a person's study."""
    return batch * rng.normal(size=(study.max() + 1, sites))[study]


def _add_age_and_sex(m_values: np.ndarray, persons: _People, effect: float) -> None:
    """Changes every tenth site with age, and another tenth between the sexes, in place."""
    place = np.arange(m_values.shape[1]) % 10
    m_values += effect * persons.age[:, None] * (place == 0)
    m_values += effect * persons.sex[:, None] * (place == 5)


def _measure(
    rng: np.random.Generator, structure: Structure, m_values: np.ndarray, missing_cells: float
) -> Modality:
    """Beta values, a share of them missing."""
    beta = 1 / (1 + np.exp2(-m_values))
    observed = rng.random(beta.shape) >= missing_cells
    return Modality(np.where(observed, beta, 0).astype(np.float32), observed, structure.sites)


# --- what is returned -----------------------------------------------------------------------------


def _dataset(persons: _People, modality: Modality) -> Dataset:
    """The people with their values, and their outcome in the disease of their own study."""
    ids = np.array([f"P{i:04d}" for i in range(len(persons.study))])
    studies = [*(f"study of {name}" for name in persons.diseases), "unlabelled"]
    table = pd.DataFrame(
        {
            "study": [studies[s] for s in persons.study],
            "age": np.round(50 + 10 * persons.age, 1).astype(str),
            "sex": np.where(persons.sex == 1, "female", "male"),
        },
        index=ids,
    )
    is_of = {name: persons.study == d for d, name in enumerate(persons.diseases)}
    targets = {
        name: (np.where(known, persons.case, 0).astype(np.int32), known)
        for name, known in is_of.items()
    }
    return Dataset(
        ids=ids,
        groups=ids,
        modalities={MODALITY: modality},
        table=table,
        targets=targets,
        classes=dict.fromkeys(persons.diseases, CLASSES),
        notes=("simulated case-control studies of methylation with a known truth",),
    )


def _truth(
    structure: Structure,
    is_active: Bool[np.ndarray, "D P"],
    sharing: Int[np.ndarray, " s"],
    activity: Float[np.ndarray, "n P"],
    hidden_genes: NamePairs,
    hidden_sets: NamePairs,
) -> MethylationTruth:
    pathways = structure.pathways
    active = [texts(pathways[own]) for own in is_active]
    return MethylationTruth(
        active=dict(zip(DISEASES[: len(active)], active, strict=True)),
        shared=texts(pathways[sharing]),
        hidden_genes=hidden_genes,
        hidden_sets=hidden_sets,
        activity=activity,
        pathways=texts(pathways),
    )


def _check(people: Sequence[int], arguments: Mapping[str, object]) -> None:
    sizes = ("sites", "genes", "pathways", "pathway_genes", "diseases_of_shared")
    check_sizes(1, {name: arguments[name] for name in sizes})
    check_sizes(0, {name: arguments[name] for name in ("active", "shared", "unlabelled")})
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
    everyone = sum(people) + arguments["unlabelled"]
    per_person = sum(arguments[name] for name in ("sites", "genes", "pathways"))
    check_cells(everyone * per_person + arguments["genes"] * arguments["pathways"])
