"""MIRACLE's networks as arms, for all diseases or for one, with the constants of every fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.data.methylation.simulate import MODALITY
from omics_jax.study import folds
from omics_jax.study.system import Arm
from omics_jax.systems.miracle import sites, wiring
from omics_jax.systems.miracle.assembly import Spec, build, is_removed, selection_of
from omics_jax.systems.miracle.cohort import Cohort, people_of
from omics_jax.systems.miracle.model import AUTOENCODER, ENCODER, SLOT
from omics_jax.tasks.baselines import MOST_FEATURES
from omics_jax.tasks.bounds import with_bound_rows
from omics_jax.tasks.losses import BY_BOUND, bound_name
from omics_jax.tasks.replicates import task_replicates
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Replicate


def single_name(task: Task) -> str:
    """The arm of the network for one outcome."""
    return f"{task.name} alone"


def single_arms(config: Any, cohort: Cohort, *, with_baselines: bool = False) -> list[Arm]:
    """For each outcome a network for it alone, trained on the people in whom it is known.

    with_baselines: False where a network of all outcomes has simple models for each of them.
    """
    fixed = config.copy_and_resolve_references()
    fixed.balancing.name = "fixed"
    return [
        network_arm(
            fixed,
            cohort,
            single_name(task),
            (task,),
            labels={"single": task.name},
            has_bounds=task.kind == "classification",
            with_baselines=with_baselines,
        )
        for task in cohort.tasks
    ]


def bounding_arms(config: Any, cohort: Cohort) -> list[Arm]:
    """The networks whose accuracies bound those of a network of several outcomes, if it asks."""
    needs_bounds = config.balancing.name in BY_BOUND and len(cohort.tasks) > 1
    return single_arms(config, cohort) if needs_bounds else []


def pretraining_arm(config: Any, cohort: Cohort, name: str) -> Arm:
    """The autoencoder alone, trained on all people, also on those without any outcome."""
    own = config.copy_and_resolve_references()
    own.balancing.name = "fixed"
    own.training.stages = (AUTOENCODER,)
    own.training.supervised_autoencoder = False
    return network_arm(own, cohort, name, (), with_baselines=False)


def pretrained_arm(config: Any, cohort: Cohort, task: Task, source: Arm) -> Arm:
    """The network of an outcome alone that takes over its autoencoder from another arm.

    With it come the source's sites, their scales and connections, fitted to all training people.
    """
    own = config.copy_and_resolve_references()
    own.balancing.name = "fixed"
    own.training.stages = tuple(name for name in own.training.stages if name != AUTOENCODER)
    name, labels = f"{task.name} pretrained", {"pretrained": task.name}
    arm = network_arm(own, cohort, name, (task,), labels=labels, with_baselines=False)
    replicates = [
        replace(replicate, constants={**replicate.constants, **fold.constants})
        for replicate, fold in zip(arm.replicates, source.replicates, strict=True)
    ]
    return replace(arm, replicates=replicates, start_from=source.name, takes=(ENCODER,))


def network_arm(
    config: Any,
    cohort: Cohort,
    name: str,
    tasks: tuple[Task, ...],
    *,
    starts: Sequence[Arm] = (),
    labels: Mapping[str, Any] | None = None,
    has_bounds: bool = False,
    with_baselines: bool = True,
) -> Arm:
    """A network that predicts `tasks`, trained on all people, or on those of its only task.

    Without any task it is the autoencoder alone, on all people.

    starts: arms whose accuracies bound those of the tasks that are classes (PWInVal).
    has_bounds: whether its own accuracy is kept as such a bound.
    with_baselines: see `Arm`.
    """
    arm_config = config.copy_and_resolve_references()
    set_heads(arm_config, len(cohort.knowledge.pathways[-1].names))
    replicates, spec = _replicates(arm_config, cohort, tasks, has_bounds)
    takes = tuple(bound_name(task) for task in tasks if task.kind == "classification")
    return Arm(
        name=name,
        system=build(arm_config, spec),
        config=arm_config,
        spec=spec,
        dataset=cohort.dataset,
        replicates=replicates,
        start_from=tuple(arm.name for arm in starts) if starts and takes else None,
        takes=takes if starts else (),
        labels=labels or {},
        main=len(tasks) == len(cohort.tasks),
        with_baselines=with_baselines,
        notes=notes_of_simple_models(name, replicates) if with_baselines else (),
    )


def notes_of_simple_models(name: str, replicates: Sequence[Replicate]) -> tuple[str, ...]:
    """What the user must know of the simple models of an arm whose network reads many sites."""
    sites = max(int(replicate.constants["alive"].sum()) for replicate in replicates)
    if sites <= MOST_FEATURES:
        return ()
    return (
        f"{name}: the network reads {sites:,} sites, the simple models the {MOST_FEATURES:,} of "
        "them that vary most among the training people of a fold",
    )


def set_heads(config: Any, pathways: int) -> None:
    """Sets the widths of the heads of classes by `config.model.heads`.

    "geometric": P^(3/4) and P^(1/2) of P pathways, as in the authors' code; "linear": none.
    """
    if config.model.heads == "geometric":
        config.heads.classification.widths = (round(pathways**0.75), round(pathways**0.5))
    elif config.model.heads == "linear":
        config.heads.classification.widths = ()


def _replicates(
    config: Any, cohort: Cohort, tasks: tuple[Task, ...], has_bounds: bool
) -> tuple[list[Replicate], Spec]:
    """A replicate per fold, and what building the system needs to know."""
    everyone = np.ones(len(cohort.dataset), bool)
    known = people_of(cohort, tasks) if tasks else everyone
    trained = known if len(tasks) == 1 else everyone
    parts = {"train": trained, "validation": trained, "test": known}
    splits = [folds.restricted(split, parts) for split in cohort.splits]
    dataset = cohort.dataset
    fitted = fitted_constants(config, cohort, tasks, [(dataset, split) for split in splits])
    constants = {(split.repeat, split.fold): own for split, own in zip(splits, fitted, strict=True)}
    replicates = task_replicates(
        config, dataset, tasks, splits, SLOT, lambda split: constants[split.repeat, split.fold]
    )
    if has_bounds:
        replicates = with_bound_rows(replicates, SLOT)
    sizes = wiring.layer_sizes(cohort.knowledge)
    spec = Spec(
        features=folds.features_of(dataset),
        rows=folds.most_rows(replicates),
        tasks=tasks,
        sites=selection_of(config).width(len(dataset.modalities[MODALITY].features), len(tasks)),
        genes=sizes[1],
        pathways=sizes[2:],
        names=tuple(cohort.knowledge.pathways[-1].names.tolist()),
        levels=cohort.levels,
        has_bounds=has_bounds,
    )
    return replicates, spec


def fitted_constants(
    config: Any,
    cohort: Cohort,
    tasks: tuple[Task, ...],
    folds_of: Sequence[tuple[Dataset, Split]],
) -> list[dict[str, np.ndarray]]:
    """The sites of every fold and their connections, of one shape.

    folds_of: the people of the cohort with the outcomes by which sites are chosen, and the split.
    """
    removed = is_removed(config, cohort.levels)
    fitted = [
        sites.fit_sites(
            dataset.modalities[MODALITY],
            cohort.covariates,
            removed,
            dataset,
            tasks,
            selection_of(config),
            split.train,
            f"fold {split.fold}, repeat {split.repeat}",
        )
        for dataset, split in folds_of
    ]
    edges = _edge_constants(config, cohort, [split for _, split in folds_of], fitted)
    return [{**own, **layers} for own, layers in zip(fitted, edges, strict=True)]


def _edge_constants(
    config: Any,
    cohort: Cohort,
    splits: Sequence[Split],
    fitted: Sequence[Mapping[str, np.ndarray]],
) -> list[dict[str, np.ndarray]]:
    """Every fold's connections, of one shape. Shuffled and random ones differ between folds."""
    sizes = wiring.layer_sizes(cohort.knowledge)
    model = config.model
    seeds = [folds.seed_of(config, split) for split in splits]
    kept = [wiring.layer_ends(cohort.knowledge, model.mask, model.hidden, s)[0] for s in seeds]
    columns = [fold["columns"] for fold in fitted]
    # Lists of the same numbers per unit have plans of one shape; others are given room.
    are_alike = model.mask != "random" and not model.hidden
    are_whole = all(fold["alive"].all() and len(fold["alive"]) == sizes[0] for fold in fitted)
    room = [None if are_alike else len(layer) for layer in kept[0]]
    if not (are_alike and are_whole):
        width = len(columns[0])
        room[0] = max(wiring.most_edges(layers[0], sizes[0], width) for layers in kept)
    return [
        wiring.wired(layers, sizes, own, room) for layers, own in zip(kept, columns, strict=True)
    ]
