"""The experiments of MIRACLE: networks for all diseases and for one, and what is varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.data.methylation.simulate import MODALITY
from omics_jax.errors import UserError
from omics_jax.study import folds
from omics_jax.study.system import Arm, Experiment
from omics_jax.systems.miracle import conclusions, sites, wiring
from omics_jax.systems.miracle.assembly import Spec, build, is_removed, selection_of
from omics_jax.systems.miracle.cohort import Cohort, cohort_of, people_of, restricted
from omics_jax.systems.miracle.model import SLOT
from omics_jax.tasks.bounds import with_bound_rows
from omics_jax.tasks.losses import BY_BOUND, bound_name
from omics_jax.tasks.replicates import task_replicates
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Replicate

MULTITASK = "multitask"


def multitask(config: Any, dataset: Dataset) -> list[Arm]:
    """One network for all diseases, beside a network of the same shape for each."""
    cohort = cohort_of(config, dataset)
    has_several = len(cohort.tasks) > 1
    bounding = bounding_arms(config, cohort)
    single = bounding or (
        single_arms(config, cohort) if config.compare.single and has_several else []
    )
    return [*single, network_arm(config, cohort, MULTITASK, cohort.tasks, starts=bounding)]


def weights(config: Any, dataset: Dataset) -> list[Arm]:
    """Every policy of task weights in `config.compare.weights`, on the same folds."""
    cohort = cohort_of(config, dataset)
    if len(cohort.tasks) < 2:
        raise UserError(
            "the experiment weights compares weights between outcomes, and the data hold one; name "
            "more with --config.data.diseases, or choose the experiment multitask"
        )
    single = single_arms(config, cohort)
    arms = []
    for policy in config.compare.weights:
        varied = config.copy_and_resolve_references()
        varied.balancing.name = policy
        starts = single if policy in BY_BOUND else []
        arms.append(
            network_arm(
                varied, cohort, policy, cohort.tasks, starts=starts, labels={"weights": policy}
            )
        )
    return [*single, *_first_with_baselines(arms)]


def knowledge(config: Any, dataset: Dataset) -> list[Arm]:
    """Knowledge in encoder and decoder, in the decoder, in neither, and in false connections."""
    cohort = cohort_of(config, dataset)
    bounding, arms = bounding_arms(config, cohort), []
    for how in config.compare.knowledge:
        varied = config.copy_and_resolve_references()
        varied.model.mask = how
        labels = {"knowledge": how}
        arms.append(network_arm(varied, cohort, how, cohort.tasks, starts=bounding, labels=labels))
    return [*bounding, *_first_with_baselines(arms)]


def numbers_of_sites(config: Any, dataset: Dataset) -> list[Arm]:
    """The network with different numbers of selected sites, see `config.compare.sites`."""
    cohort = cohort_of(config, dataset)
    if config.selection.method == "none":
        raise UserError(
            "the experiment sites varies the number of selected sites, and selection.method is "
            "none; set --config.selection.method to t, moderated_t or variance"
        )
    bounding, arms = bounding_arms(config, cohort), []
    for text in config.compare.sites:
        if not str(text).isdigit() or int(text) < 1:
            raise UserError(
                f"config.compare.sites has {text!r}; give whole numbers such as 50,200,1000"
            )
        varied = config.copy_and_resolve_references()
        varied.selection.sites = int(text)
        name, labels = f"{int(text)} sites", {"sites": int(text)}
        arms.append(network_arm(varied, cohort, name, cohort.tasks, starts=bounding, labels=labels))
    return [*bounding, *arms]


EXPERIMENTS = {
    "multitask": Experiment(multitask, conclusions.conclude_multitask),
    "weights": Experiment(weights, conclusions.conclude_weights),
    "knowledge": Experiment(knowledge, conclusions.conclude_knowledge),
    "sites": Experiment(numbers_of_sites, conclusions.conclude_sites),
}


# --- arms -----------------------------------------------------------------------------------------


def _first_with_baselines(arms: Sequence[Arm]) -> list[Arm]:
    """The arms; simple models stand beside the first, on which all have the same ones."""
    return [replace(arm, with_baselines=i == 0, main=i == 0) for i, arm in enumerate(arms)]


def single_name(task: Task) -> str:
    """The arm of the network for one outcome."""
    return f"{task.name} alone"


def single_arms(config: Any, cohort: Cohort) -> list[Arm]:
    """For each outcome a network for it alone, trained on the people in whom it is known."""
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
        )
        for task in cohort.tasks
    ]


def bounding_arms(config: Any, cohort: Cohort) -> list[Arm]:
    """The networks whose accuracies bound those of a network of several outcomes, if it asks."""
    needs_bounds = config.balancing.name in BY_BOUND and len(cohort.tasks) > 1
    return single_arms(config, cohort) if needs_bounds else []


def network_arm(
    config: Any,
    cohort: Cohort,
    name: str,
    tasks: tuple[Task, ...],
    *,
    starts: Sequence[Arm] = (),
    labels: Mapping[str, Any] | None = None,
    has_bounds: bool = False,
) -> Arm:
    """A network that predicts `tasks`, trained on all people, or on those of its only task.

    starts: arms whose accuracies bound those of the tasks that are classes (PWInVal).
    has_bounds: whether its own accuracy is kept as such a bound.
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
    known = people_of(cohort, tasks)
    everyone = np.ones_like(known)
    trained = known if len(tasks) == 1 else everyone
    parts = {"train": trained, "validation": trained, "test": known}
    splits = [restricted(split, parts) for split in cohort.splits]
    modality = cohort.dataset.modalities[MODALITY]
    removed = is_removed(config, cohort.levels)
    selection = selection_of(config)
    fitted = [
        sites.fit_sites(
            modality,
            cohort.covariates,
            removed,
            cohort.dataset,
            tasks,
            selection,
            split.train,
            f"fold {split.fold}, repeat {split.repeat}",
        )
        for split in splits
    ]
    dataset = cohort.dataset
    edges = _edge_constants(config, cohort, splits, fitted)
    constants = {
        (split.repeat, split.fold): {**fold, **layers}
        for split, fold, layers in zip(splits, fitted, edges, strict=True)
    }
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
        sites=selection.width(len(modality.features), len(tasks)),
        genes=sizes[1],
        pathways=sizes[2:],
        names=tuple(cohort.knowledge.pathways[-1].names.tolist()),
        levels=cohort.levels,
        has_bounds=has_bounds,
    )
    return replicates, spec


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
    ends = [wiring.layer_ends(cohort.knowledge, model.mask, model.hidden, s)[0] for s in seeds]
    columns = [fold["columns"] for fold in fitted]
    # Lists of the same numbers per unit have plans of one shape; others are given room.
    are_alike = model.mask != "random" and not model.hidden
    are_whole = all(fold["alive"].all() and len(fold["alive"]) == sizes[0] for fold in fitted)
    room = [None if are_alike else len(layer) for layer in ends[0]]
    if not (are_alike and are_whole):
        width = len(columns[0])
        room[0] = max(wiring.most_edges(layers[0], sizes[0], width) for layers in ends)
    return [
        wiring.wired(layers, sizes, own, room) for layers, own in zip(ends, columns, strict=True)
    ]
