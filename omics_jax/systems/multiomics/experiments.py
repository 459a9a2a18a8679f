"""The experiments of the multi-omics system as arms: imputers first, then the networks that start
from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.data.preprocessing.features import on_union
from omics_jax.errors import UserError
from omics_jax.study import folds
from omics_jax.study.system import Arm, Experiment
from omics_jax.systems.multiomics import conclusions
from omics_jax.systems.multiomics.assembly import Spec, build, is_complete
from omics_jax.systems.multiomics.cohort import Cohort, Edges, cohort_of, edges_between
from omics_jax.systems.multiomics.patients import OTHERS, SLOT
from omics_jax.tasks.attribution import NETWORK, permuted
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
# Arm of the paper -> (one network for all tasks, missing modalities imputed).
LETTERS = {"A": (False, False), "B": (True, False), "C": (False, True), "D": (True, True)}


def multitask(config: Any, dataset: Dataset) -> list[Arm]:
    """One network for all tasks on all modalities; `config.missing` says what becomes of missing
    ones.
    """
    cohort = cohort_of(config, dataset)
    edges = _edges_if(config.missing == "impute", config, cohort)
    network = _network_arm(config, cohort, "multitask", cohort.names, cohort.tasks, edges)
    return [*_imputer_arms(config, cohort, edges), network]


def arms(config: Any, dataset: Dataset) -> list[Arm]:
    """The paper's arms A to D (one network per task or one for all; complete or imputed data) by
    modality set.
    """
    letters = tuple(config.arms.letters)
    if not letters or not set(letters) <= set(LETTERS):
        raise UserError(f"config.arms.letters is {letters}; give one or more of A, B, C, D")
    cohort = cohort_of(config, dataset)
    edges = _edges_if(any(LETTERS[letter][1] for letter in letters), config, cohort)
    # Simple models stand beside the networks for all tasks, or, where none is asked for, beside
    # those for one.
    any_joint = any(LETTERS[letter][0] for letter in letters)
    networks = []
    for used in _modality_sets(config.arms.sets, cohort.names):
        for letter in letters:
            joint, imputed = LETTERS[letter]
            for tasks in [cohort.tasks] if joint else [(task,) for task in cohort.tasks]:
                words = [letter, "+".join(used), *([] if joint else [tasks[0].name])]
                arm = _network_arm(
                    config,
                    cohort,
                    ", ".join(words),
                    used,
                    tasks,
                    edges if imputed else {},
                    missing="impute" if imputed and edges else "complete",
                    labels={
                        "letter": letter,
                        "modalities": "+".join(used),
                        "tasks": "+".join(task.name for task in tasks),
                    },
                    with_baselines=joint or not any_joint,
                )
                networks.append(arm)
    # The last network for all tasks, which is what A to D lead up to, and has simple models beside
    # it.
    leading = ("B", "D") if any_joint else ("A", "C")
    main = [arm.name for arm in networks if arm.labels["letter"] in leading][-1]
    networks = [replace(arm, main=arm.name == main) for arm in networks]
    return [*_imputer_arms(config, cohort, edges), *networks]


def stages(config: Any, dataset: Dataset) -> list[Arm]:
    """What each stage is worth: all three, and without those of `config.left_out`, over as many
    epochs in all.
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
    """How well measured modalities are imputed from others, by direction, beside simple methods.

    With `imputation.transfer` also without what other patients have taught.
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
    """Which features every prediction stands on, beside networks that learned permuted outcomes."""
    cohort = cohort_of(config, dataset)
    edges = _edges_if(config.missing == "impute", config, cohort)
    explaining = config.copy_and_resolve_references()
    explaining.predict.attributions = True
    arm = _network_arm(explaining, cohort, NETWORK, cohort.names, cohort.tasks, edges)
    return [*_imputer_arms(config, cohort, edges), arm, permuted(arm, cohort.tasks, SLOT)]


EXPERIMENTS = {
    "multitask": Experiment(multitask, conclusions.conclude_multitask),
    "arms": Experiment(arms, conclusions.conclude_arms),
    "stages": Experiment(stages, conclusions.conclude_stages),
    "imputation": Experiment(imputation, conclusions.conclude_imputation),
    "interpret": Experiment(interpret, conclusions.conclude_interpret),
}


# --- arms -----------------------------------------------------------------------------------------


def _edges_if(wanted: bool, config: Any, cohort: Cohort) -> Edges:
    return edges_between(config, cohort) if wanted else {}


def _imputer_arms(config: Any, cohort: Cohort, edges: Edges, transfer: bool = True) -> list[Arm]:
    """The arm that trains an imputer for every modality that has sources, if there is one.

    transfer: with pretraining on other patients, where the study is about one class.
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
) -> Arm:
    """An arm that embeds the modalities `used` and predicts `tasks`.

    missing: "complete" trains and tests on patients that have all of `used`; "impute" imputes what
      is missing by `edges`; "mask" leaves the branch of a missing modality out. `config.missing`
      unless given.
    """
    missing = missing or config.missing
    patients = _patients_of_arm(cohort, used, missing, edges)
    splits = [_restricted(split, patients) for split in cohort.splits]
    tasks = with_bins(config, cohort.dataset, tasks, [split.train for split in splits])
    # An imputed modality needs its sources, whether or not they are embedded, on the scale that the
    # imputers were fitted on.
    names, scaled_on = (cohort.names, cohort.splits) if edges else (used, splits)
    dataset, replicates = _replicates(config, cohort, splits, names, tasks, scaled_on)
    tested = np.concatenate([split.test for split in splits])
    spec = Spec(
        folds.features_of(dataset),
        folds.most_rows(replicates),
        used=used,
        edges=edges,
        tasks=tasks,
        times=curve_times(config, dataset, tasks),
        some_incomplete=not is_complete(used, dataset)[tested].all(),
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


def _patients_of_arm(
    cohort: Cohort, used: Sequence[str], missing: str, edges: Edges
) -> Bool[np.ndarray, " n"]:
    """The patients an arm is about: those that have, or can be given, the modalities."""
    has = {name: m.observed_rows for name, m in cohort.dataset.modalities.items()}
    if missing == "mask":
        return np.any([has[name] for name in used], axis=0)
    available = [
        has[name] | np.any([has[source] for source in edges.get(name, ())], axis=0) for name in used
    ]
    return np.all(available, axis=0)


def _restricted(split: Split, chosen: Bool[np.ndarray, " n"]) -> Split:
    """The split's rows among the chosen ones."""
    rows = {part: getattr(split, part) for part in ("train", "validation", "test")}
    rows = {part: indices[chosen[indices]] for part, indices in rows.items()}
    for part, indices in rows.items():
        if not len(indices):
            raise UserError(
                f"fold {split.fold}: none of its {part} rows has the modalities of the arm; use "
                "fewer folds, or other modalities"
            )
    return replace(split, **rows)


def _replicates(
    config: Any,
    cohort: Cohort,
    splits: Sequence[Split],
    names: Sequence[str],
    tasks: Sequence[Task],
    scaled_on: Sequence[Split] | None = None,
) -> tuple[Dataset, list[Replicate]]:
    """The patients on the features that any fold uses, and a replicate per split with what is
    fitted to it.

    scaled_on: the splits whose training rows the preprocessing is fitted to; `splits` unless given.
    """
    modalities, constants = {}, {split: {} for split in map(_place, splits)}
    for name in names:
        modality = cohort.dataset.modalities[name]
        fitted = cohort.fit(name, scaled_on or splits)
        columns, by_fold = on_union(fitted, len(modality.features))
        modalities[name] = modality.select_features(modality.features[columns])
        for split, values in zip(splits, by_fold, strict=True):
            own = {f"{name}_{key}": value for key, value in values.items()}
            constants[_place(split)].update(own)
    dataset = replace(cohort.dataset, modalities=modalities)

    replicates = task_replicates(
        config, dataset, tasks, splits, SLOT, lambda split: constants[_place(split)]
    )
    return dataset, replicates


def _place(split: Split) -> tuple[int, int]:
    return split.repeat, split.fold


def _modality_sets(setting: str, names: Sequence[str]) -> list[tuple[str, ...]]:
    """ "rna, rna+mirna" as modality sets; "" is each modality alone, then the first two, the first
    three, up to all.

    Of RNA, methylation and miRNA in this order "" is the five sets of the paper.
    """
    if not setting:
        alone = [(name,) for name in names]
        return [*alone, *(tuple(names[:count]) for count in range(2, len(names) + 1))]
    sets = [
        tuple(dict.fromkeys(name.strip() for name in part.split("+")))
        for part in setting.split(",")
    ]
    for name in {name for one in sets for name in one}:
        if name not in names:
            raise UserError(f"config.arms.sets names {name!r}; the data hold {', '.join(names)}")
    return list(dict.fromkeys(sets))
