"""The experiments of the EHR system as arms: an imputer first, then the classifiers that start from
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from itertools import combinations, product

import numpy as np

from omics_jax.data.clinical_series.hiding import hiding_rates, median_gaps
from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.preprocessing.standardize import fit_standardizer
from omics_jax.errors import UserError
from omics_jax.evaluation.classifiers import PLATT_FOLDS
from omics_jax.study import folds
from omics_jax.study.system import Arm, DataSpec, Experiment, Range, Tuning
from omics_jax.systems.ehr import conclusions, model, scoring
from omics_jax.systems.ehr.assembly import (
    SET,
    build,
    check,
    held_levels,
    network_of,
    outcome,
    statics,
)
from omics_jax.systems.ehr.stays import SLOT
from omics_jax.training.calibration import with_calibration_rows
from omics_jax.training.stage import Replicate

# The parts of a config that a pretrained imputer depends on.
PRETRAINING = (
    "system",
    "seed",
    "folds",
    "repeats",
    "held_out",
    "data",
    "simulator",
    "model",
    "pretrain",
)
# Those that a classifier depends on, too.
CLASSIFYING = ("classifier", "finetune", "tune")
Deal = Callable[..., list[Split]]  # (config, dataset) -> splits


def mortality(config, dataset: Dataset) -> list[Arm]:
    """The outcome by the configured classifier, with the paper's two-layer network
    (`config.compare_regimes`) beside it.
    """
    return _outcome_arms(config, dataset, _splits)


def _is_published(classifier, paper_network) -> bool:
    """Whether a classifier of our config is the paper's."""
    return all(classifier[key] == value for key, value in paper_network.items())


def imputation(config, dataset: Dataset) -> list[Arm]:
    """How well held-out cells are imputed: the configured imputer, `config.imputers` in its size,
    simple methods.
    """
    replicates = _replicates(config, dataset, labels=False)
    arms = []
    for kind in dict.fromkeys((config.model.imputer, *config.imputers)):
        changed = config.copy_and_resolve_references()
        changed.model.imputer = kind
        arms.append(_imputer(changed, dataset, replicates, baselines=not arms))
    return arms


def tables(config, dataset: Dataset, regimes=("frozen", "unfrozen")) -> list[Arm]:
    """Tables II (frozen) and III (unfrozen): networks x learning-rate strategies, and the classical
    models.
    """
    _check_packages(
        {"xgboost": "boost", **({"optuna": "tune"} if "optuna" in config.tables.strategies else {})}
    )
    replicates = _replicates(config, dataset, labels=True)
    _check_probes(dataset, replicates)
    arms = [_imputer(config, dataset, replicates, probes=True)]
    own = {"frozen": config, "unfrozen": _with_forgetting(config)}
    for regime, network, strategy in product(
        regimes, config.tables.networks, config.tables.strategies
    ):
        change, name = (
            {"network": network, "regime": regime, "strategy": strategy},
            f"{network}, {regime}, {strategy}",
        )
        arms.append(
            _classifier(own[regime], dataset, replicates, name, change, baselines=len(arms) == 1)
        )
    return arms


def table2(config, dataset: Dataset) -> list[Arm]:
    """Table II: classifiers on a frozen imputer."""
    return tables(config, dataset, ("frozen",))


def table3(config, dataset: Dataset) -> list[Arm]:
    """Table III: imputer and classifier trained together."""
    return tables(config, dataset, ("unfrozen",))


def forgetting(config, dataset: Dataset) -> list[Arm]:
    """What fine-tuning does to the imputations: held-out error before it and after it, by network
    and regime.
    """
    replicates = _replicates(config, dataset, labels=True)
    config = _with_forgetting(config)
    arms = [_imputer(config, dataset, replicates)]
    for network in config.tables.networks:
        for regime in ("unfrozen", "gradual"):
            change = {"network": network, "regime": regime}
            arms.append(
                _classifier(
                    config,
                    dataset,
                    replicates,
                    f"{network}, {regime}",
                    change,
                    baselines=len(arms) == 1,
                )
            )
    return arms


def external(config, dataset: Dataset) -> list[Arm]:
    """Trained on one set of patients, tested on another (`data.external.path`)."""
    if SET not in dataset.table or set(dataset.table[SET]) != {"internal", "external"}:
        raise UserError(
            "the experiment external needs patients to test on; name their files with "
            "data.external.path"
        )
    if config.repeats > 1:
        raise UserError(
            f"config.repeats is {config.repeats}; external trains config.folds models: give 1, and "
            "for more models more folds"
        )
    return _outcome_arms(config, dataset, _external_splits)


def _outcome_arms(config, dataset: Dataset, deal: Deal) -> list[Arm]:
    """The imputer, the configured classifier, and the paper's two-layer network by regime."""
    replicates = _replicates(config, dataset, labels=True, deal=deal)
    arms = [
        _imputer(config, dataset, replicates),
        _classifier(
            config,
            dataset,
            replicates,
            f"{config.classifier.network}, {config.finetune.regime}",
            {},
            True,
        ),
    ]
    for regime in config.compare_regimes:
        name, change = f"mlp2, {regime}", {"network": "mlp2", "regime": regime}
        if name == arms[1].name:
            if _is_published(config.classifier, config.paper_network):
                continue
            name += " (published)"
        arms.append(_classifier(config, dataset, replicates, name, change))
    return arms


# --- arms -----------------------------------------------------------------------------------------


def _imputer(config, dataset, replicates, baselines=True, probes=False) -> Arm:
    """The arm that pretrains, named after its imputer."""
    config = config.copy_and_resolve_references()
    config.classifier.network = ""
    spec = spec_of(dataset, replicates)
    system = build(config, spec, probes=scoring.learned_features if probes else None)
    return Arm(
        config.model.imputer,
        system,
        config,
        spec,
        dataset,
        replicates,
        labels={"imputer": True},
        sections=PRETRAINING,
        with_baselines=baselines,
    )


def _classifier(config, dataset, replicates, name, change, baselines=False) -> Arm:
    """An arm that classifies from the imputer's state. change: network, regime, strategy, where not
    the config's.
    """
    config = config.copy_and_resolve_references()
    for key, section in (("network", config.classifier), ("regime", config.finetune)):
        if key in change:
            section[key] = change[key]
    if "network" in change:
        config.classifier.update(config.paper_network)
    tuning = None
    if "strategy" in change:
        with config.ignore_type():  # a number becomes a schedule
            config.finetune.optimizer.learning_rate = config.strategies[change["strategy"]]
        if change["strategy"] == "optuna":
            if config.classifier.calibrated:
                raise UserError(
                    "a tuned network cannot be calibrated; set paper_network.calibrated to False"
                )
            low, high = _pair(config.tune.learning_rate, "tune.learning_rate")
            tuning = Tuning({"learning_rate": Range(low, high)}, config.seed, config.tune.trials)
            # Every replicate has the constant from the start; tuning replaces it.
            replicates = [
                replace(
                    r, constants={**r.constants, "learning_rate": np.float32(np.sqrt(low * high))}
                )
                for r in replicates
            ]
    if config.classifier.calibrated:
        replicates = with_calibration_rows(replicates, SLOT)
    if config.classifier.network == "summary":
        replicates = _with_summaries(config, dataset, replicates)
    spec = spec_of(dataset, replicates)
    system = build(config, spec)
    labels = {"network": config.classifier.network, "regime": config.finetune.regime, **change}
    origin = {"start_from": config.model.imputer, "sections": (*PRETRAINING, *CLASSIFYING)}
    return Arm(
        name,
        system,
        config,
        spec,
        dataset,
        replicates,
        labels=labels,
        tuning=tuning,
        with_baselines=baselines,
        **origin,
    )


def _with_forgetting(config):
    """The config of classifiers that also say how well their imputer still imputes."""
    config = config.copy_and_resolve_references()
    config.predict.forgetting = True
    return config


def _pair(values, name: str) -> tuple[float, float]:
    if len(values) != 2:
        raise UserError(
            f"config.{name} is {tuple(values)}; give two numbers, the least and the most"
        )
    return tuple(values)


def _check_packages(extras: Mapping[str, str]) -> None:
    """Refuses an experiment at its start whose last steps would lack a package. extras: package ->
    what installs it.
    """
    for package, extra in extras.items():
        if find_spec(package) is None:
            raise UserError(
                f"this experiment needs {package}; install it with pip install 'omics_jax[{extra}]'"
            )


# --- replicates -----------------------------------------------------------------------------------


def _replicates(
    config, dataset: Dataset, labels: bool, deal: Deal | None = None
) -> list[Replicate]:
    """A replicate per fold and repeat, folds dealt by group and stratified by the outcome.

    labels: whether the outcome is predicted. deal: how the folds are dealt; `_splits` unless given.
    """
    if labels:
        _check_outcome(config, dataset)
    check(config)
    splits = (deal or _splits)(config, dataset)
    held = held_levels(tuple(config.held_out), config.seed, dataset) == 1
    for split in splits:
        if labels:
            _check_classes(dataset, split)
        _check_held(held, split)
    constants = lambda split: constants_of(config, dataset, split.train)
    return folds.replicates(config, splits, SLOT, constants)


def _splits(config, dataset: Dataset) -> list[Split]:
    """Folds of all patients, or the parts that the file has."""
    if config.data.split == "file":
        return [_split_of_file(dataset)]
    return folds.deal_folds(config, dataset, _strata(dataset))


def _external_splits(config, dataset: Dataset) -> list[Split]:
    """Folds of the internal patients, of which one validates and the others train; all external
    patients are tested.
    """
    if config.data.split == "file":
        return [_split_of_file(dataset)]
    outside = (dataset.table[SET] == "external").to_numpy()
    splits = folds.deal_folds(config, dataset, _strata(dataset), rows=~outside)
    tested = np.flatnonzero(outside)
    return [replace(s, train=np.union1d(s.train, s.test), test=tested) for s in splits]


def _split_of_file(dataset: Dataset) -> Split:
    """The parts train, val and test that the file itself has."""
    given = dataset.table.get("split")
    of = lambda part: np.flatnonzero(given == part) if given is not None else np.array([], int)
    parts = {part: of(part) for part in ("train", "val", "test")}
    lacking = [part for part, rows in parts.items() if not len(rows)]
    if lacking:
        raise UserError(
            f"config.data.split is file, and the data have no part {', '.join(lacking)}; store X "
            "in each of the groups train, val and test, or set data.split=folds"
        )
    for a, b in combinations(parts, 2):
        both = np.intersect1d(*(dataset.groups[parts[part]].astype(str) for part in (a, b)))
        if len(both):
            raise UserError(
                f"config.data.split is file, and {count_phrase(len(both), 'group', both.tolist())} in its "
                f"parts {a} and {b}; keep each person in one of them, or set data.split=folds"
            )
    return Split(parts["train"], parts["val"], parts["test"], fold=0, repeat=0)


def _strata(dataset: Dataset) -> np.ndarray | None:
    """1 for patients with the outcome, 0 without, -1 unknown."""
    if not dataset.targets:
        return None
    label, mask = outcome(dataset)
    return folds.strata_of(label.astype(int), mask)


def constants_of(config, dataset: Dataset, train: np.ndarray) -> dict[str, np.ndarray]:
    """What is fitted on training rows: scales, usual gaps (hours or steps) and hiding rates per
    variable.
    """
    series, hours, static = (
        dataset.modalities["series"],
        dataset.modalities["hours"].values,
        statics(dataset),
    )
    mean, sd = scoring.scale_of(dataset.take(train))
    mask = series.mask[train]
    fitted = {"static_mean": np.zeros(0, np.float32), "static_sd": np.ones(0, np.float32)}
    if static.values.shape[1]:
        found = fit_standardizer(
            static.values[train], static.mask[train], np.zeros(len(train), int), 1
        )
        # Of a descriptor that no training row has nothing is known: any other z than 0 would be
        # noise to the network.
        spread = np.where(static.mask[train].any(axis=0), found["sd"][0], np.float32(np.inf))
        fitted = {"static_mean": found["mean"][0], "static_sd": spread}
    rates = hiding_rates(mask, config.pretrain.hide, config.pretrain.increase)
    # Gaps of the convention "code" count steps, and so must what is usual among them.
    times = (
        hours
        if config.model.gaps == "paper"
        else np.broadcast_to(np.arange(hours.shape[1]), hours.shape)
    )
    usual = median_gaps(mask, times[train].astype(np.float32)).astype(np.float32)
    return {
        "mean": mean,
        "sd": sd,
        "usual_gap": usual,
        "hiding_rate": rates.astype(np.float32),
        **fitted,
    }


def _with_summaries(config, dataset: Dataset, replicates) -> list[Replicate]:
    """The replicates with what the network `summary` fits on their training rows."""
    spec = spec_of(dataset, replicates)
    table, network = build(config, spec).arrays(dataset), network_of(config, spec)
    rows = lambda r: {name: values[r.rows[SLOT]] for name, values in table.items()}
    fitted = lambda r: model.fit_summaries(network, r.constants, rows(r))
    return [replace(r, constants={**r.constants, **fitted(r)}) for r in replicates]


def spec_of(dataset: Dataset, replicates) -> DataSpec:
    """Names of variables, steps and descriptors, and the most rows that a replicate has of each
    kind.
    """
    return DataSpec(folds.features_of(dataset), folds.most_rows(replicates))


def _check_outcome(config, dataset: Dataset) -> None:
    if not dataset.targets or not next(iter(dataset.targets.values()))[1].any():
        raise UserError(
            f"the experiment {config.experiment} predicts an outcome and the data hold none; name "
            "the outcomes' file with data.outcomes, or choose the experiment imputation"
        )


def _check_held(held: np.ndarray, split: Split) -> None:
    """Refuses a fold in which nothing tells how well values are imputed. held: (n, T, D) cells of
    the first level.
    """
    for part in ("validation", "test"):
        if not held[getattr(split, part)].any():
            raise UserError(
                f"fold {split.fold}, repeat {split.repeat}: no value of its {part} rows is held "
                "out, so that an imputation of them cannot be judged; use fewer folds, a larger "
                "first share in held_out, or leave X_ori out of the file"
            )


def _check_classes(dataset: Dataset, split: Split) -> None:
    label, mask = outcome(dataset)
    for part in ("train", "validation", "test"):
        rows = getattr(split, part)
        known = label[rows][mask[rows]]
        if len(np.unique(known)) < 2:
            raise UserError(
                f"fold {split.fold}, repeat {split.repeat}: its {part} rows hold one class only "
                f"({int(known.sum())} of {len(known)} with the outcome); use fewer folds, or more "
                "patients"
            )


def _check_probes(dataset: Dataset, replicates) -> None:
    """Refuses, before anything is trained, folds on whose training rows the SVM could not be fitted
    at the end.
    """
    label, mask = outcome(dataset)
    for r in replicates:
        rows = r.rows[SLOT]
        rarest = int(min(np.bincount(label[rows][mask[rows]].astype(int), minlength=2)))
        if rarest < PLATT_FOLDS:
            raise UserError(
                f"{r.name}: one class has {rarest} training rows and the SVM of these tables needs "
                f"{PLATT_FOLDS}; use fewer folds, more patients, or the experiment mortality"
            )


EXPERIMENTS = {
    "mortality": Experiment(mortality, conclusions.conclude_outcome),
    "table2": Experiment(table2, conclusions.conclude_tables),
    "table3": Experiment(table3, conclusions.conclude_tables),
    "imputation": Experiment(imputation, conclusions.conclude_imputation),
    "forgetting": Experiment(forgetting, conclusions.conclude_forgetting),
    "external": Experiment(external, conclusions.conclude_external),
    "tables": Experiment(tables, conclusions.conclude_tables),
}
