"""The experiments of the multi-omics system: an arm of imputers and the networks that use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.errors import UserError
from omics_jax.settings.words import split_list
from omics_jax.study import folds
from omics_jax.study.external import check_experiment, is_external
from omics_jax.study.patients.features import logged_modalities, on_common_table
from omics_jax.study.patients.joining import FILES
from omics_jax.study.system import Arm, Experiment
from omics_jax.systems.multiomics import conclusions
from omics_jax.systems.multiomics.assembly import Spec, build, is_complete
from omics_jax.systems.multiomics.cohort import Cohort, Edges, cohort_of, edges_between
from omics_jax.systems.multiomics.patients import OTHERS, SLOT
from omics_jax.tasks.attribution import NETWORK, permuted_arm, with_attributions
from omics_jax.tasks.labels import curve_times, with_bins
from omics_jax.tasks.replicates import task_replicates
from omics_jax.tasks.task import Task
from omics_jax.training.calibration import CALIBRATION
from omics_jax.training.stage import Replicate

IMPUTERS = "imputers"
# The parts of a config that the imputers depend on.
IMPUTING = (
    "system", "seed", "folds", "repeats", "data", "simulator", "preprocess", "imputation",
)  # fmt: skip
NO_ROWS = "has the modalities of the arm; use fewer folds, or other modalities"
# Arm of the paper -> (one network for all tasks, missing modalities imputed).
LETTERS = {"A": (False, False), "B": (True, False), "C": (False, True), "D": (True, True)}


def multitask(config: Any, dataset: Dataset) -> list[Arm]:
    """One network for all tasks on all modalities; `config.missing` chooses how to treat gaps."""
    cohort = cohort_of(config, dataset)
    edges = _edges_if(config.missing == "impute", config, cohort)
    network = _network_arm(config, cohort, "multitask", cohort.names, cohort.tasks, edges)
    return [*_imputer_arms(config, cohort, edges), network]


def external(config: Any, dataset: Dataset) -> list[Arm]:
    """`multitask` trained on one set of patients, tested on another (`data.external`)."""
    check_experiment(config, dataset, "patients", f"{FILES.external}.modalities")
    cohort = cohort_of(config, dataset, outside=is_external(dataset))
    edges = _edges_if(config.missing == "impute", config, cohort)
    network = _network_arm(
        config, cohort, "multitask", cohort.names, cohort.tasks, edges, shared_test=True
    )
    return [*_imputer_arms(config, cohort, edges), network]


def arms(config: Any, dataset: Dataset) -> list[Arm]:
    """The paper's arms A to D by modality set, see `LETTERS`."""
    letters = tuple(config.arms.letters)
    if not letters or not set(letters) <= set(LETTERS):
        raise UserError(f"config.arms.letters is {letters}; give one or more of A, B, C, D")
    cohort = cohort_of(config, dataset)
    edges = _edges_if(any(LETTERS[letter][1] for letter in letters), config, cohort)
    # Simple models are compared with the networks for all tasks, or if the experiment has none,
    # with those for one task.
    any_joint = any(LETTERS[letter][0] for letter in letters)
    networks = []
    for used in _modality_sets(config.arms.sets, cohort.names):
        for letter in letters:
            is_joint = LETTERS[letter][0]
            task_sets = [cohort.tasks] if is_joint else [(task,) for task in cohort.tasks]
            for tasks in task_sets:
                arm = _letter_arm(config, cohort, letter, used, tasks, edges)
                networks.append(replace(arm, with_baselines=is_joint or not any_joint))
    # The summary is of the last network that is compared with simple models.
    main = [arm.name for arm in networks if arm.with_baselines][-1]
    networks = [replace(arm, main=arm.name == main) for arm in networks]
    return [*_imputer_arms(config, cohort, edges), *networks]


def _letter_arm(
    config: Any,
    cohort: Cohort,
    letter: str,
    used: tuple[str, ...],
    tasks: tuple[Task, ...],
    edges: Edges,
) -> Arm:
    """The network of one of the paper's arms, for one modality set and for these tasks."""
    is_joint, is_imputed = LETTERS[letter]
    modalities = "+".join(used)
    words = [letter, modalities] if is_joint else [letter, modalities, tasks[0].name]
    task_names = "+".join(task.name for task in tasks)
    return _network_arm(
        config,
        cohort,
        ", ".join(words),
        used,
        tasks,
        edges if is_imputed else {},
        missing="impute" if is_imputed and edges else "complete",
        labels={"letter": letter, "modalities": modalities, "tasks": task_names},
    )


def stages(config: Any, dataset: Dataset) -> list[Arm]:
    """What each stage contributes: training with all three, and without those in `left_out`.

    The total number of epochs is the same in every arm.
    """
    cohort = cohort_of(config, dataset)
    edges = _edges_if(config.missing == "impute", config, cohort)
    networks = []
    for left_out in ((), *(tuple(names.split("+")) for names in config.left_out)):
        name = "without " + " and ".join(left_out) if left_out else "all stages"
        arm = _network_arm(
            _without_stages(config, left_out),
            cohort,
            name,
            cohort.names,
            cohort.tasks,
            edges,
            labels={"left out": "+".join(left_out)},
            with_baselines=not left_out,
        )
        networks.append(arm)
    return [*_imputer_arms(config, cohort, edges), *networks]


def _without_stages(config: Any, left_out: Sequence[str]) -> Any:
    """The config without some of the first stages; their epochs are added to the last."""
    training = config.training
    changed = config.copy_and_resolve_references()
    first = [name for name in ("embedding", "heads", "all") if name not in left_out]
    calibration = [name for name in training.stages if name == CALIBRATION]
    changed.training.stages = (*first, *calibration)
    saved = sum(training.epochs[name] for name in left_out)
    changed.training.epochs["all"] = training.epochs["all"] + saved
    return changed


def imputation(config: Any, dataset: Dataset) -> list[Arm]:
    """How well measured modalities are imputed from others, compared with simple imputers.

    With `imputation.transfer` the imputers are also trained without pretraining on other patients.
    """
    cohort = cohort_of(config, dataset, predicts=False)
    edges = edges_between(config, cohort)
    if not edges:
        raise UserError(
            "the experiment imputation needs two modalities or more; the data hold "
            f"{cohort.names[0]} alone"
        )
    without = _imputer_arms(config, cohort, edges, transfer=False) if len(cohort.others) else []
    return [*_imputer_arms(config, cohort, edges), *without]


def interpret(config: Any, dataset: Dataset) -> list[Arm]:
    """Which features the predictions depend on, with networks on permuted outcomes as the null."""
    cohort = cohort_of(config, dataset)
    edges = _edges_if(config.missing == "impute", config, cohort)
    explained = with_attributions(config)
    arm = _network_arm(explained, cohort, NETWORK, cohort.names, cohort.tasks, edges)
    return [*_imputer_arms(config, cohort, edges), arm, permuted_arm(arm, cohort.tasks, SLOT)]


EXPERIMENTS = {
    "multitask": Experiment(multitask, conclusions.conclude_multitask),
    "arms": Experiment(arms, conclusions.conclude_arms),
    "stages": Experiment(stages, conclusions.conclude_stages),
    "imputation": Experiment(imputation, conclusions.conclude_imputation),
    "external": Experiment(external, conclusions.conclude_external),
    "interpret": Experiment(interpret, conclusions.conclude_interpret),
}


# --- arms -----------------------------------------------------------------------------------------


def _edges_if(imputes: bool, config: Any, cohort: Cohort) -> Edges:
    return edges_between(config, cohort) if imputes else {}


def _imputer_arms(config: Any, cohort: Cohort, edges: Edges, transfer: bool = True) -> list[Arm]:
    """The arm that trains an imputer for every modality with sources; [] if none has any.

    transfer: whether to pretrain on other patients, where the study is about one class.
    """
    if not edges:
        return []
    dataset, replicates = _replicates(config, cohort, cohort.splits, cohort.names, ())
    if len(cohort.others) and transfer:
        replicates = [replace(r, rows={**r.rows, OTHERS: cohort.others}) for r in replicates]
    spec = Spec(
        folds.features_of(dataset),
        folds.most_rows(replicates),
        used=cohort.names,
        edges=edges,
        widths=_widths(cohort, dataset),
        logged=logged_modalities(dataset),
    )
    arm = Arm(
        name=IMPUTERS if transfer else f"{IMPUTERS} without transfer",
        system=build(config, spec),
        config=config,
        spec=spec,
        dataset=dataset,
        replicates=replicates,
        labels={"imputer": True},
        sections=IMPUTING,
        with_baselines=transfer,
    )
    return [arm]


def _network_arm(
    config: Any,
    cohort: Cohort,
    name: str,
    used: tuple[str, ...],
    tasks: tuple[Task, ...],
    edges: Edges,
    missing: str = "",
    labels: Mapping[str, Any] | None = None,
    with_baselines: bool = True,
    shared_test: bool = False,
) -> Arm:
    """An arm that embeds the modalities `used` and predicts `tasks`.

    missing: "complete" trains and tests on patients that have all of `used`; "impute" imputes
      missing modalities by `edges`; "mask" leaves out the branch of a missing modality. The default
      is `config.missing`.
    shared_test: whether all folds test the same patients.
    """
    missing = missing or config.missing
    patients = _patients_of_arm(cohort, used, missing, edges)
    parts = dict.fromkeys(("train", "validation", "test"), patients)
    splits = [folds.restricted(split, parts, NO_ROWS) for split in cohort.splits]
    tasks = with_bins(config, tasks, [split.train for split in splits])
    # Imputers read all sources, even those that are not embedded, on the scale of their training.
    names, scaled_on = (cohort.names, cohort.splits) if edges else (used, splits)
    dataset, replicates = _replicates(config, cohort, splits, names, tasks, scaled_on)
    tested = np.unique(np.concatenate([split.test for split in splits]))
    spec = Spec(
        folds.features_of(dataset),
        folds.most_rows(replicates),
        used=used,
        edges=edges,
        tasks=tasks,
        times=curve_times(config, dataset, tasks, tested),
        some_incomplete=not is_complete(used, dataset)[tested].all(),
        widths=_widths(cohort, dataset),
        logged=logged_modalities(dataset),
        shared_test=shared_test,
    )
    return Arm(
        name=name,
        system=build(config, spec),
        config=config,
        spec=spec,
        dataset=dataset,
        replicates=replicates,
        start_from=IMPUTERS if edges else None,
        labels=labels or {},
        with_baselines=with_baselines,
    )


def _widths(cohort: Cohort, dataset: Dataset) -> dict[str, int]:
    """Of the modalities in an arm's dataset, see `Spec`."""
    return {name: cohort.widths[name] for name in dataset.modalities}


def _patients_of_arm(
    cohort: Cohort, used: Sequence[str], missing: str, edges: Edges
) -> Bool[np.ndarray, " n"]:
    """(n,) whether an arm includes a patient, who must have the modalities or sources of them.

    With `missing` "mask" one of the modalities is enough.
    """
    has = {name: m.observed_rows for name, m in cohort.dataset.modalities.items()}
    if missing == "mask":
        return np.any([has[name] for name in used], axis=0)
    available = []
    for name in used:
        sources = [has[source] for source in edges.get(name, ())]
        available.append(has[name] | np.any(sources, axis=0))
    return np.all(available, axis=0)


def _replicates(
    config: Any,
    cohort: Cohort,
    splits: Sequence[Split],
    names: Sequence[str],
    tasks: Sequence[Task],
    scaled_on: Sequence[Split] | None = None,
) -> tuple[Dataset, list[Replicate]]:
    """The patients on the features that any fold uses, and a replicate per split.

    scaled_on: the splits to whose training rows the preprocessing is fitted; `splits` by default.
    """
    dataset, constants_of = on_common_table(
        cohort.dataset, names, scaled_on or splits, cohort.fit, cohort.widths
    )
    return dataset, task_replicates(config, dataset, tasks, splits, SLOT, constants_of)


def _modality_sets(setting: str, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The modality sets of a setting such as "rna, rna+mirna".

    The default, "", is each modality alone, then the first two, the first three, up to all. For
    RNA, methylation and miRNA in this order these are the five sets of the paper.
    """
    if not setting:
        alone = [(name,) for name in names]
        return [*alone, *(tuple(names[:count]) for count in range(2, len(names) + 1))]
    sets = [tuple(dict.fromkeys(split_list(part, "+"))) for part in split_list(setting)]
    for name in {name for modality_set in sets for name in modality_set}:
        if name not in names:
            raise UserError(f"config.arms.sets names {name!r}; the data hold {', '.join(names)}")
    return list(dict.fromkeys(sets))
