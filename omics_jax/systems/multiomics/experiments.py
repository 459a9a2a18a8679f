"""The experiments of the multi-omics system as arms: imputers first, then the networks that start
from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split, repeated_group_folds
from omics_jax.data.preprocessing.features import fit_folds, on_union
from omics_jax.errors import UserError
from omics_jax.study.system import Arm, DataSpec, System
from omics_jax.systems.multiomics import conclusions
from omics_jax.systems.multiomics.assembly import (
    build,
    complete,
    edges_of,
    levels_of,
    network_of,
    rules_of,
    target_class,
    weights_of,
)
from omics_jax.systems.multiomics.patients import OTHERS, SLOT
from omics_jax.tasks import interpretation, scoring
from omics_jax.tasks.labels import (
    check_labels,
    check_members,
    event_quartiles,
    scales,
    survival_bins,
    survival_grid,
)
from omics_jax.tasks.task import Task, known, outcome, tasks_of
from omics_jax.training.calibration import with_calibration_rows
from omics_jax.training.stage import Replicate

IMPUTERS = "imputers"
# The parts of a config that the imputers depend on.
IMPUTING = ("system", "seed", "folds", "repeats", "data", "simulator", "preprocess", "imputation")
# Tables and columns beside those named after outcomes.
RESERVED = ("latent", "overlap", "imputed_share", "id", "x", "y", "model", "arm", "group", "fold")
# Arm of the paper -> (one network for all tasks, missing modalities imputed).
LETTERS = {"A": (False, False), "B": (True, False), "C": (False, True), "D": (True, True)}


def multitask(config, dataset: Dataset) -> list[Arm]:
    """One network for all tasks on all modalities; what becomes of missing ones says
    `config.missing`.
    """
    study = Study(config, dataset)
    arm = study.network("multitask", study.names, study.tasks, config.missing)
    return [*study.imputers(config.missing == "impute"), arm]


def arms(config, dataset: Dataset) -> list[Arm]:
    """The paper's arms A to D (one network per task or one for all; complete or imputed data) by
    modality set.
    """
    study = Study(config, dataset)
    unknown = [letter for letter in config.arms.letters if letter not in LETTERS]
    if unknown or not config.arms.letters:
        raise UserError(
            f"config.arms.letters is {tuple(config.arms.letters)}; give one or more of A, B, C, D"
        )
    out = study.imputers(any(LETTERS[letter][1] for letter in config.arms.letters))
    # Simple models stand beside the networks for all tasks, or, where none is asked for, beside
    # those for one.
    all_joint = any(LETTERS[letter][0] for letter in config.arms.letters)
    for used in _modality_sets(config.arms.sets, study.names):
        for letter in config.arms.letters:
            joint, imputed = LETTERS[letter]
            for tasks in [study.tasks] if joint else [(task,) for task in study.tasks]:
                words = [letter, "+".join(used), *([] if joint else [tasks[0].name])]
                missing = "impute" if imputed and study.edges else "complete"
                labels = {
                    "letter": letter,
                    "modalities": "+".join(used),
                    "tasks": "+".join(t.name for t in tasks),
                }
                simple = joint or not all_joint
                out.append(
                    study.network(", ".join(words), used, tasks, missing, labels, baselines=simple)
                )
    # The last network for all tasks, which is what A to D lead up to, and has simple models beside
    # it.
    main = [
        arm.name
        for arm in out
        if arm.labels.get("letter") in (("B", "D") if all_joint else ("A", "C"))
    ][-1:]
    return [replace(arm, main=arm.name in main) for arm in out]


def stages(config, dataset: Dataset) -> list[Arm]:
    """What each stage is worth: all three, and without those of `config.left_out`, over as many
    epochs in all.
    """
    study = Study(config, dataset)
    epochs = config.training.epochs
    out = study.imputers(config.missing == "impute")
    for left_out in ((), *(tuple(names.split("+")) for names in config.left_out)):
        changed = config.copy_and_resolve_references()
        kept = [s for s in ("embedding", "heads", "all") if s not in left_out]
        changed.training.stages = (
            *kept,
            *(s for s in config.training.stages if s == "calibration"),
        )
        changed.training.epochs["all"] = epochs["all"] + sum(epochs[s] for s in left_out)
        name = "all stages" if not left_out else "without " + " and ".join(left_out)
        arm = replace(study, config=changed).network(
            name,
            study.names,
            study.tasks,
            config.missing,
            {"left out": "+".join(left_out)},
            baselines=not left_out,
        )
        out.append(arm)
    return out


def imputation(config, dataset: Dataset) -> list[Arm]:
    """How well measured modalities are imputed from others, by direction, beside simple methods.

    With `imputation.transfer` the same without what others have taught, too.
    """
    study = Study(config, dataset)
    found = study.imputers(True)
    if not found:
        raise UserError(
            "the experiment imputation needs two modalities or more; the data hold "
            f"{study.names[0]} alone"
        )
    return [*found, *(study.imputers(True, alone=True) if len(study.others) else [])]


def interpret(config, dataset: Dataset) -> list[Arm]:
    """Which features every prediction stands on, beside networks that learned from permuted
    outcomes.
    """
    study = Study(config, dataset)
    imputers = study.imputers(config.missing == "impute")
    arm = study.network(interpretation.NETWORK, study.names, study.tasks, config.missing)
    arm = replace(
        arm, system=interpretation.explained(network_of(arm.config, arm.spec), arm.system)
    )
    return [*imputers, arm, interpretation.permuted(arm, study.tasks)]


EXPERIMENTS = {
    "multitask": multitask,
    "arms": arms,
    "stages": stages,
    "imputation": imputation,
    "interpret": interpret,
}


# --- arms -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """The patients dealt to folds, once for all arms, and what is made of them. config: of the run."""

    config: Any
    dataset: Dataset

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, in the order of the data."""
        return tuple(self.dataset.modalities)

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """What the data's targets ask to be predicted; refuses names that stand for something else.

        Not the class that all patients of the study share.
        """
        found = tuple(
            task
            for task in tasks_of(self.dataset)
            if not self._target or task.name != self._target[0]
        )
        for task in found:
            if task.name in (*self.names, *RESERVED):
                raise UserError(
                    f"{task.name!r} is the name of an outcome and of "
                    f"{'a modality' if task.name in self.names else 'a table of every run'}; "
                    "rename the outcome"
                )
        strangers = sorted(weights_of(self.config).keys() - {task.name for task in found})
        if strangers:
            there = ", ".join(task.name for task in found) or "none"
            raise UserError(
                f"config.weights names {strangers[0]!r}, which is no outcome of the data; they "
                f"have {there}"
            )
        for task in found:
            check_members(self.dataset, task, self.config.folds)
        if not found and self.config.experiment != "imputation":
            raise UserError(
                "the data hold nothing to predict; name columns with data.classes, data.numbers "
                "or data.survival_times"
            )
        return found

    @cached_property
    def _target(self) -> tuple[str, np.ndarray] | None:
        return target_class(self.config, self.dataset)

    @cached_property
    def others(self) -> np.ndarray:
        """Patients on whom the imputers are pretrained: none, or those not known to be of the class
        of the transfer.

        Nobody who is, by another sample, a patient of the study.
        """
        if not self._target:
            return np.array([], int)
        groups, rows = self.dataset.groups.astype(str), self._target[1]
        return np.flatnonzero(~rows & ~np.isin(groups, groups[rows]))

    @cached_property
    def edges(self) -> dict[str, tuple[str, ...]]:
        """Modality -> its sources; refuses a fold without patients from whom to learn an
        imputation.
        """
        edges = edges_of(self.config, self.names)
        has = {name: m.observed_rows for name, m in self.dataset.modalities.items()}
        for split in self.splits:
            for part in ("train", "validation"):
                rows = getattr(split, part)
                for target, sources in edges.items():
                    if not (
                        has[target][rows] & np.any([has[s][rows] for s in sources], axis=0)
                    ).any():
                        raise UserError(
                            f"fold {split.fold}: none of its {len(rows):,} {part} rows has both "
                            f"{target} and one of {', '.join(sources)}, so that {target} cannot be "
                            "imputed; use fewer folds, name other sources in imputation.edges, or "
                            "set missing to mask or complete"
                        )
        return edges

    @cached_property
    def splits(self) -> list[Split]:
        """Folds of the study's patients, stratified by the first classes or, without any, by the
        first event.
        """
        c = self.config
        groups, rows = self.dataset.groups.astype(str), self._target[1] if self._target else None
        return repeated_group_folds(
            groups, folds=c.folds, repeats=c.repeats, seed=c.seed, strata=self._strata(), rows=rows
        )

    def _strata(self) -> np.ndarray | None:
        tasks = sorted(
            self.tasks, key=lambda t: ("classification", "survival", "regression").index(t.kind)
        )
        if not tasks or tasks[0].kind == "regression":
            return None
        task = tasks[0]
        code = outcome(self.dataset, task)
        code = code[1] if task.kind == "survival" else code
        return np.where(known(self.dataset, task), code, -1)

    def imputers(self, wanted: bool, alone: bool = False) -> list[Arm]:
        """The arm that trains an imputer for every modality that has sources, if there is one.

        alone: without pretraining on others.
        """
        if not (wanted and self.edges):
            return []
        config = self.config
        dataset, replicates = self._fitted(self.splits, self.names, ())
        if len(self.others) and not alone:
            replicates = [replace(r, rows={**r.rows, OTHERS: self.others}) for r in replicates]
        spec = self._spec(dataset, replicates, self.names, self.edges, ())
        system = build(config, spec)
        if (
            OTHERS in spec.rows
        ):  # simple methods learn, and are scored, on the scale of the network: that of SLOT
            system = replace(
                system,
                baselines=partial(_fitted_to, self.dataset.ids[self._target[1]], system.baselines),
            )
        system = _judged(system, conclusions.conclude_imputation, not alone)
        name = f"{IMPUTERS} without transfer" if alone else IMPUTERS
        return [
            Arm(
                name,
                system,
                config,
                spec,
                dataset,
                replicates,
                labels={"imputer": True},
                sections=IMPUTING,
            )
        ]

    def network(
        self,
        name: str,
        used: tuple[str, ...],
        tasks: tuple[Task, ...],
        missing: str,
        labels: Mapping[str, Any] | None = None,
        baselines: bool = True,
    ) -> Arm:
        """An arm that embeds the modalities `used` and predicts `tasks`.

        missing: "complete" trains and tests on patients that have all of `used`; "impute" imputes
        what is missing; "mask" leaves the branch of a missing modality out.
        """
        edges = self.edges if missing == "impute" else {}
        # What an imputed modality is imputed from is there, too, whether or not it is embedded.
        names = self.names if edges else used
        splits = [_on(split, self._rows(used, missing, edges)) for split in self.splits]
        dataset, replicates = self._fitted(splits, names, tasks, self.splits if edges else None)
        config, survival = self.config, [task for task in tasks if task.kind == "survival"]
        bins = {
            t.name: config.survival.bins or survival_bins(dataset, t, replicates) for t in survival
        }
        grids = lambda r: {
            f"{t.name}_edges": survival_grid(config, dataset, t, r, bins[t.name]) for t in survival
        }
        replicates = [replace(r, constants={**r.constants, **grids(r)}) for r in replicates]
        if "calibration" in config.training.stages:
            replicates = with_calibration_rows(replicates, SLOT)
        spec = self._spec(dataset, replicates, used, edges, tasks, bins)
        conclude = conclusions.BY_EXPERIMENT[config.experiment]
        start = IMPUTERS if edges else None
        # Of one set of times and one set of metrics in every fold.
        whole = partial(complete, used)
        apart = not whole(dataset)[np.concatenate([split.test for split in splits])].all()
        times = {
            t.name: tuple(config.survival.times) or event_quartiles(dataset, t) for t in survival
        }
        evaluate = partial(scoring.evaluate, tasks, whole if apart else None, times)
        system = _judged(replace(build(config, spec), evaluate=evaluate), conclude, baselines)
        return Arm(
            name, system, config, spec, dataset, replicates, start_from=start, labels=labels or {}
        )

    def _rows(self, used, missing: str, edges) -> np.ndarray:
        """(n,) the patients an arm is about."""
        has = {name: m.observed_rows for name, m in self.dataset.modalities.items()}
        if missing == "mask":
            return np.any([has[name] for name in used], axis=0)
        whole = [has[name] | np.any([has[s] for s in edges.get(name, ())], axis=0) for name in used]
        return np.all(whole, axis=0)

    def _fitted(self, splits, names, tasks, preprocessing=None) -> tuple[Dataset, list[Replicate]]:
        """The patients on the features that any fold uses, and a replicate per split with what is
        fitted to it.

        preprocessing: the splits whose training rows the preprocessing is fitted to; those of
        `splits` themselves unless an imputer was fitted with others.
        """
        rows = [split.train for split in preprocessing or splits]
        modalities, constants = {}, [{} for _ in rows]
        for name in names:
            m = self.dataset.modalities[name]
            found = fit_folds(m, rows, rules_of(self.config, name), name)
            columns, fitted = on_union(found, len(m.features))
            modalities[name] = m.select_features(m.features[columns])
            for own, values in zip(constants, fitted, strict=True):
                own.update({f"{name}_{key}": value for key, value in values.items()})
        dataset = replace(self.dataset, modalities=modalities)
        replicates = []
        for split, own in zip(splits, constants, strict=True):
            check_labels(dataset, tasks, split)
            replicates.append(
                Replicate(
                    rows={SLOT: split.train},
                    validation={SLOT: split.validation},
                    test=split.test,
                    seed=self.config.seed + 1000 * split.repeat + split.fold,
                    constants={**own, **scales(dataset, tasks, split.train)},
                    labels={"group": "all", "fold": split.fold, "repeat": split.repeat},
                )
            )
        return dataset, replicates

    def _spec(self, dataset, replicates, used, edges, tasks, bins=None) -> DataSpec:
        features = {
            name: tuple(m.features.astype(str).tolist()) for name, m in dataset.modalities.items()
        }
        rows = {slot: max(len(r.rows[slot]) for r in replicates) for slot in replicates[0].rows}
        return DataSpec(features, rows, levels_of(used, edges, tasks, bins or {}))


def _fitted_to(ids: np.ndarray, baselines, train: Dataset, test: Dataset):
    """The baselines, fitted to those training rows alone that have these ids."""
    return baselines(train.take(np.isin(train.ids, ids)), test)


def _judged(system: System, conclude, baselines: bool) -> System:
    """The system with the experiment's conclusions, and without baselines where another arm of it
    has them already.
    """
    simple = system.baselines if baselines else lambda train, test: {}
    return replace(system, conclude=conclude, baselines=simple)


def _modality_sets(text: str, names: Sequence[str]) -> list[tuple[str, ...]]:
    """ "rna, rna+mirna" as modality sets; "" is each modality alone, then the first two, the first
    three, up to all.

    Of RNA, methylation and miRNA in this order "" is the five sets of the paper.
    """
    if not text:
        return [
            *((name,) for name in names),
            *(tuple(names[:count]) for count in range(2, len(names) + 1)),
        ]
    sets = [
        tuple(dict.fromkeys(name.strip() for name in part.split("+"))) for part in text.split(",")
    ]
    for name in {name for one in sets for name in one}:
        if name not in names:
            raise UserError(f"config.arms.sets names {name!r}; the data hold {', '.join(names)}")
    return list(dict.fromkeys(sets))


def _on(split: Split, chosen: np.ndarray) -> Split:
    """The split's rows among the chosen ones (n,) bool."""
    parts = {part: getattr(split, part) for part in ("train", "validation", "test")}
    kept = {part: rows[chosen[rows]] for part, rows in parts.items()}
    for part, rows in kept.items():
        if not len(rows):
            raise UserError(
                f"fold {split.fold}: none of its {part} rows has the modalities of the arm; use "
                "fewer folds, or other modalities"
            )
    return replace(split, **kept)
