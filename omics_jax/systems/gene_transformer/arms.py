"""Networks as arms: for all outcomes or for one, with the genes that every fold chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Real

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.dataset.splits import Split
from omics_jax.errors import UserError
from omics_jax.study import folds
from omics_jax.study.covariates import covariate_scale
from omics_jax.study.patients.features import logged_modalities, on_common_table
from omics_jax.study.system import Arm
from omics_jax.systems.gene_transformer.assembly import MLP, TRANSFORMER, Spec, build, shape_of
from omics_jax.systems.gene_transformer.cohort import Cohort
from omics_jax.systems.gene_transformer.known_genes import KnownGenes, known_constants
from omics_jax.systems.gene_transformer.model import ENCODER, SLOT, VECTOR_MODULE
from omics_jax.systems.gene_transformer.node_vectors import VECTORS
from omics_jax.systems.gene_transformer.node_vectors_arm import vectors_arm
from omics_jax.systems.gene_transformer.pathways import Pathways, member_constants
from omics_jax.systems.gene_transformer.pretraining import PRETRAINING
from omics_jax.systems.gene_transformer.step_memory import check_step_memory
from omics_jax.tasks.labels import curve_times
from omics_jax.tasks.replicates import task_replicates
from omics_jax.tasks.task import Task, known_rows, strata_by_task

LEAST_VALIDATION = 30  # patients, where few are labelled


def network_arm(
    config: Any,
    cohort: Cohort,
    name: str,
    tasks: tuple[Task, ...],
    *,
    encoder: str = TRANSFORMER,
    labelled: int | None = None,
    labels: Mapping[str, Any] | None = None,
    with_baselines: bool = True,
    shared_test: bool = False,
) -> Arm:
    """A network that predicts `tasks`, trained on all patients, or on those of its only task.

    Without any task the transformer is only pretrained, on all patients. A network whose training
    would take more memory than there is is refused, see `step_memory`.

    encoder: "transformer" or "mlp".
    labelled: the number of training patients, see `few_labelled`; None for all. Genes and scales
      are still fitted to all training patients, whose outcomes they do not read.
    with_baselines: see `Arm`.
    shared_test: whether all folds test the same patients.
    """
    known, pathways = (cohort.known, cohort.pathways) if encoder == TRANSFORMER else (None, None)
    names = tuple(cohort.dataset.modalities)
    dataset, constants_of = on_common_table(
        cohort.dataset, names, cohort.splits, cohort.fit, cohort.widths
    )
    splits = _splits(dataset, cohort.splits, tasks, labelled)
    whole = {(split.repeat, split.fold): split.train for split in cohort.splits}
    members_of, said = member_constants(
        pathways, cohort.dataset, dataset, cohort.splits, constants_of
    )

    def all_constants(split: Split) -> dict[str, np.ndarray]:
        trained = whole[split.repeat, split.fold]
        scale = covariate_scale(cohort.covariates, trained) if cohort.levels else {}
        chosen = constants_of(split)
        vectors = known_constants(known, cohort.dataset, dataset, chosen)
        return {**chosen, **scale, **vectors, **members_of(split)}

    replicates = task_replicates(config, dataset, tasks, splits, SLOT, all_constants)
    tested = np.unique(np.concatenate([split.test for split in splits]))
    spec = Spec(
        folds.features_of(dataset),
        folds.most_rows(replicates),
        tasks=tasks,
        widths=cohort.widths,
        levels=cohort.levels,
        times=curve_times(config, dataset, tasks, tested),
        logged=logged_modalities(dataset),
        encoder=encoder,
        shared_test=shared_test,
        **_vector_fields(config, known),
        **_pathway_fields(pathways),
    )
    if encoder == TRANSFORMER:
        check_step_memory(shape_of(config, spec), len(replicates), name)
    return Arm(
        name=name,
        system=build(config, spec),
        config=config,
        spec=spec,
        dataset=dataset,
        replicates=replicates,
        **_start_fields(known, len(replicates)),
        labels=labels or {},
        main=encoder == TRANSFORMER and len(tasks) == len(cohort.tasks),
        with_baselines=with_baselines,
        notes=_notes(known, pathways, said) if with_baselines else (),
    )


def _splits(
    dataset: Dataset, splits: Sequence[Split], tasks: tuple[Task, ...], labelled: int | None
) -> list[Split]:
    """The splits with the patients who belong to these tasks, see `network_arm`."""
    own = [folds.restricted(split, _parts(dataset, tasks)) for split in splits]
    if labelled is None:
        return own
    is_labelled = np.any([known_rows(dataset, task) for task in tasks], axis=0)
    strata = strata_by_task(dataset, tasks)
    strata = np.zeros(len(dataset)) if strata is None else strata
    return [few_labelled(split, labelled, is_labelled, strata) for split in own]


def _start_fields(known: KnownGenes | None, replicates: int) -> dict[str, Any]:
    """The fields of an `Arm` about the vectors of genes, where another arm trains them."""
    if known is None or known.network is None:
        return {}
    return {"start_from": VECTORS, "takes": (VECTOR_MODULE,), "starts": (0,) * replicates}


def _notes(
    known: KnownGenes | None, pathways: Pathways | None, said: Sequence[str]
) -> tuple[str, ...]:
    """On known genes, unless the arm of their vectors has these, and on pathways."""
    has_own = known is not None and known.network is None
    of_genes = known.notes if has_own else ()
    return (*of_genes, *(pathways.notes if pathways else ()), *said)


def _pathway_fields(pathways: Pathways | None) -> dict[str, Any]:
    """The fields of a `Spec` about pathways."""
    if pathways is None:
        return {}
    return {"pathways": len(pathways.names), "pathway_digest": pathways.digest}


def _vector_fields(config: Any, known: KnownGenes | None) -> dict[str, Any]:
    """The fields of a `Spec` about the vectors of known genes."""
    if known is None:
        return {}
    return {
        "nodes": 0 if known.network is None else len(known.genes),
        "vector_channels": known.channels(config),
        "vector_digest": known.digest,
    }


def vector_arms(config: Any, cohort: Cohort) -> list[Arm]:
    """The arm that trains the vectors of a network's genes, where there is one."""
    if cohort.known is None or cohort.known.network is None:
        return []
    arm = vectors_arm(config, cohort.known.network, cohort.known.digest)
    return [replace(arm, notes=tuple(cohort.known.notes))]


def _parts(dataset: Dataset, tasks: tuple[Task, ...]) -> dict[str, Bool[np.ndarray, " n"]]:
    """Part of a split -> the patients who belong to it; unknown outcomes are never tested."""
    everyone = np.ones(len(dataset), bool)
    known = np.any([known_rows(dataset, task) for task in tasks], axis=0) if tasks else everyone
    trained = known if len(tasks) == 1 else everyone
    return {"train": trained, "validation": trained, "test": known}


def few_labelled(
    split: Split,
    count: int,
    is_labelled: Bool[np.ndarray, " n"],
    strata: Real[np.ndarray, " n"],
) -> Split:
    """The split with `count` labelled training patients, and a like share of those of validation.

    Every draw holds the strata in their proportions, and smaller draws are subsets of larger ones.
    At least `LEAST_VALIDATION` patients validate, as far as there are so many.

    is_labelled: which of all patients have an outcome. strata: of all patients.

    Raises:
      UserError: the split has no more labelled training patients than that.
    """
    train, validation = (rows[is_labelled[rows]] for rows in (split.train, split.validation))
    if count >= len(train):
        raise UserError(
            f"config.compare.labelled has {count:,}, and fold {split.fold} has {len(train):,} "
            "training patients with an outcome; give smaller numbers, and all for the whole"
        )
    rng = np.random.default_rng([split.repeat, split.fold])
    most = max(LEAST_VALIDATION, round(count / len(train) * len(validation)))
    return replace(
        split,
        train=np.sort(_in_proportion(rng, train, strata)[:count]),
        validation=np.sort(_in_proportion(rng, validation, strata)[:most]),
    )


def _in_proportion(
    rng: np.random.Generator, rows: Int[np.ndarray, " r"], strata: Real[np.ndarray, " n"]
) -> Int[np.ndarray, " r"]:
    """The rows in a random order whose first ones always hold the strata in their proportions."""
    shuffled_rows = rng.permutation(rows)
    place = np.empty(len(rows))
    for stratum in np.unique(strata[rows]):
        own = strata[shuffled_rows] == stratum
        # The k-th of m stands at (k - u) / m of the whole, one u for all of a stratum.
        place[own] = (np.arange(own.sum()) + rng.random()) / own.sum()
    return shuffled_rows[np.argsort(place, kind="stable")]


def pretraining_arm(config: Any, cohort: Cohort) -> Arm:
    """The transformer alone, pretrained on all training patients."""
    own = config.copy_and_resolve_references()
    own.balancing.name = "fixed"
    own.training.stages = (PRETRAINING,)
    return network_arm(own, cohort, PRETRAINING, (), with_baselines=False)


def pretrained_arm(config: Any, cohort: Cohort, name: str, source: Arm, **settings: Any) -> Arm:
    """A network of all outcomes that takes over its transformer from another arm.

    settings: further arguments of `network_arm`.
    """
    arm = network_arm(config, cohort, name, cohort.tasks, with_baselines=False, **settings)
    # The source has the vectors of known genes, too.
    takes = (ENCODER, *arm.takes)
    return replace(arm, start_from=source.name, takes=takes, starts=())


def single_arms(config: Any, cohort: Cohort) -> list[Arm]:
    """For each outcome a network for it alone, trained on the patients in whom it is known."""
    fixed = config.copy_and_resolve_references()
    fixed.balancing.name = "fixed"
    return [
        network_arm(
            fixed,
            cohort,
            f"{task.name} alone",
            (task,),
            labels={"single": task.name},
            with_baselines=False,
        )
        for task in cohort.tasks
    ]


def mlp_arm(config: Any, cohort: Cohort) -> Arm:
    """Dense layers with the same heads."""
    own = config.copy_and_resolve_references()
    own.training.stages = tuple(name for name in own.training.stages if name != PRETRAINING)
    return network_arm(
        own, cohort, "MLP", cohort.tasks, encoder=MLP, labels={"mlp": True}, with_baselines=False
    )


def shuffled(dataset: Dataset, seed: int) -> Dataset:
    """The patients with their values exchanged among the genes, in every patient anew.

    What is left is how values are distributed in a patient; which gene has which is lost.
    """
    rng = np.random.default_rng(seed)
    modalities = {name: _shuffled(m, rng) for name, m in dataset.modalities.items()}
    return replace(dataset, modalities=modalities)


def _shuffled(modality: Modality, rng: np.random.Generator) -> Modality:
    order = rng.random(modality.values.shape).argsort(axis=1)
    values, mask = (np.take_along_axis(a, order, 1) for a in (modality.values, modality.mask))
    return replace(modality, values=values, mask=mask)
