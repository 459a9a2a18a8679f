"""The EHR system's experiments as arms: an imputer first, then classifiers that start from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import product

import numpy as np
from ml_collections import ConfigDict

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.study.external import Settings, check_experiment
from omics_jax.study.system import Arm, Experiment, Range, Tuning
from omics_jax.systems.ehr import conclusions, scoring
from omics_jax.systems.ehr.assembly import build
from omics_jax.systems.ehr.replicates import (
    Deal,
    check_svm,
    deal_internal,
    deal_patients,
    imputing_replicates,
    outcome_replicates,
    spec_of,
    with_summaries,
)
from omics_jax.systems.ehr.settings import TUNED_FOLDS
from omics_jax.systems.ehr.stays import SLOT
from omics_jax.training.calibration import with_calibration_rows
from omics_jax.training.stage import Replicate

# The parts of a config that a pretrained imputer depends on.
PRETRAINING = (
    *("system", "seed", "folds", "repeats", "held_out"),
    *("data", "simulator", "model", "pretrain"),
)
# Those that a classifier depends on, too.
CLASSIFYING = ("classifier", "finetune", "tune")


def mortality(config: ConfigDict, dataset: Dataset) -> list[Arm]:
    """The outcome by the configured classifier, and by the paper's two-layer network.

    The latter is trained in every regime of `config.compare_regimes`.
    """
    return _outcome_arms(config, dataset, deal_patients)


def external(config: ConfigDict, dataset: Dataset) -> list[Arm]:
    """Trained on one set of patients, tested on another (`data.external.path`)."""
    check_experiment(config, dataset, "patients", Settings().external)
    return _outcome_arms(config, dataset, deal_internal)


def imputation(config: ConfigDict, dataset: Dataset) -> list[Arm]:
    """The error on held-out cells of the configured imputer, of others, and of simple methods.

    The others are those of `config.imputers`, in the configured imputer's size.
    """
    replicates = imputing_replicates(config, dataset)
    arms = []
    for imputer in dict.fromkeys((config.model.imputer, *config.imputers)):
        changed = config.copy_and_resolve_references()
        changed.model.imputer = imputer
        arms.append(_imputer(changed, dataset, replicates, with_baselines=not arms))
    return arms


def table2(config: ConfigDict, dataset: Dataset) -> list[Arm]:
    """Table II: classifiers on a frozen imputer."""
    return tables(config, dataset, ("frozen",))


def table3(config: ConfigDict, dataset: Dataset) -> list[Arm]:
    """Table III: classifiers whose imputer is trained with them."""
    return tables(config, dataset, ("unfrozen",))


def tables(
    config: ConfigDict, dataset: Dataset, regimes: Sequence[str] = ("frozen", "unfrozen")
) -> list[Arm]:
    """Tables II (frozen) and III (unfrozen): networks by learning rates, and classical models."""
    networks, strategies = config.tables.networks, config.tables.strategies
    _check_installed("xgboost", "boost")
    if "optuna" in strategies:
        _check_installed("optuna", "tune")
    replicates = outcome_replicates(config, dataset)
    check_svm(dataset, replicates)
    arms = [_imputer(config, dataset, replicates, with_probes=True)]
    config_of = {"frozen": config, "unfrozen": _with_forgetting(config)}
    for regime, network, strategy in product(regimes, networks, strategies):
        change = {"network": network, "regime": regime, "strategy": strategy}
        classifier = partial(_classifier, config_of[regime], dataset, replicates)
        name = f"{network}, {regime}, {strategy}"
        arms.append(classifier(name, change, with_baselines=len(arms) == 1))
    return arms


def forgetting(config: ConfigDict, dataset: Dataset) -> list[Arm]:
    """Held-out imputation error before and after fine-tuning, by network and regime."""
    replicates = outcome_replicates(config, dataset)
    config = _with_forgetting(config)
    arms = [_imputer(config, dataset, replicates)]
    for network, regime in product(config.tables.networks, ("unfrozen", "gradual")):
        change, name = {"network": network, "regime": regime}, f"{network}, {regime}"
        classifier = partial(_classifier, config, dataset, replicates)
        arms.append(classifier(name, change, with_baselines=len(arms) == 1))
    return arms


# --- arms -----------------------------------------------------------------------------------------


def _outcome_arms(config: ConfigDict, dataset: Dataset, deal: Deal) -> list[Arm]:
    """The imputer, the configured classifier, and the paper's network by regime."""
    replicates = outcome_replicates(config, dataset, deal)
    classifier = partial(_classifier, config, dataset, replicates)
    own_name = f"{config.classifier.network}, {config.finetune.regime}"
    arms = [
        _imputer(config, dataset, replicates),
        classifier(own_name, {}, with_baselines=True),
    ]
    for regime in config.compare_regimes:
        name = f"mlp2, {regime}"
        if name == own_name:
            if _is_paper_network(config):
                continue
            name += " (published)"
        arms.append(classifier(name, {"network": "mlp2", "regime": regime}))
    return arms


def _is_paper_network(config: ConfigDict) -> bool:
    """Whether the configured classifier has the settings of the paper's."""
    return all(config.classifier[key] == value for key, value in config.paper_network.items())


def _imputer(
    config: ConfigDict,
    dataset: Dataset,
    replicates: Sequence[Replicate],
    with_baselines: bool = True,
    with_probes: bool = False,
) -> Arm:
    """The arm that pretrains, named after its imputer.

    with_probes: whether classical models are fitted to its output.
    """
    config = config.copy_and_resolve_references()
    config.classifier.network = ""
    spec = spec_of(dataset, replicates)
    return Arm(
        name=config.model.imputer,
        system=build(config, spec, scoring.learned_features if with_probes else None),
        config=config,
        spec=spec,
        dataset=dataset,
        replicates=replicates,
        labels={"imputer": True},
        sections=PRETRAINING,
        with_baselines=with_baselines,
    )


def _classifier(
    config: ConfigDict,
    dataset: Dataset,
    replicates: Sequence[Replicate],
    name: str,
    change: Mapping[str, str],
    with_baselines: bool = False,
) -> Arm:
    """An arm that classifies from the imputer's state.

    change: network, regime and strategy, where they are not the config's.
    """
    config = _changed_config(config, change)
    tuning = _tuning(config) if change.get("strategy") == "optuna" else None
    if tuning:
        replicates = _with_learning_rate(replicates, tuning.space["learning_rate"])
    if config.classifier.calibrated:
        replicates = with_calibration_rows(replicates, SLOT)
    if config.classifier.network == "summary":
        replicates = with_summaries(config, dataset, replicates)
    spec = spec_of(dataset, replicates)
    return Arm(
        name=name,
        system=build(config, spec),
        config=config,
        spec=spec,
        dataset=dataset,
        replicates=replicates,
        start_from=config.model.imputer,
        labels={
            "network": config.classifier.network,
            "regime": config.finetune.regime,
            **change,
        },
        tuning=tuning,
        sections=(*PRETRAINING, *CLASSIFYING),
        with_baselines=with_baselines,
        notes=_tuning_notes(tuning, replicates),
    )


def _changed_config(config: ConfigDict, change: Mapping[str, str]) -> ConfigDict:
    """The config with another network (then the paper's), regime or learning-rate strategy."""
    config = config.copy_and_resolve_references()
    if "network" in change:
        config.classifier.network = change["network"]
        config.classifier.update(config.paper_network)
    if "regime" in change:
        config.finetune.regime = change["regime"]
    if "strategy" in change:
        with config.ignore_type():  # a number becomes a schedule
            config.finetune.optimizer.learning_rate = config.strategies[change["strategy"]]
    return config


def _tuning(config: ConfigDict) -> Tuning:
    """How the learning rate of the strategy "optuna" is chosen."""
    if config.classifier.calibrated:
        raise UserError(
            "a tuned network cannot be calibrated; set paper_network.calibrated to False"
        )
    bounds = tuple(config.tune.learning_rate)
    if len(bounds) != 2:
        raise UserError(
            f"config.tune.learning_rate is {bounds}; give two numbers, the least and the most"
        )
    return Tuning(
        {"learning_rate": Range(*bounds)},
        seed=config.seed,
        trials=config.tune.trials,
        replicate=TUNED_FOLDS[config.tune.folds],
    )


def _tuning_notes(tuning: Tuning | None, replicates: Sequence[Replicate]) -> tuple[str, ...]:
    """That a learning rate which serves all folds has seen test patients, where it has."""
    if tuning is None or tuning.replicate is None:
        return ()
    first = replicates[tuning.replicate]
    seen = np.concatenate([*first.rows.values(), *first.validation.values()])
    testing = sum(bool(np.isin(seen, replicate.test).any()) for replicate in replicates)
    if not testing:
        return ()
    return (
        "Optuna chooses the learning rate on the first fold's training and validation patients "
        f"(config.tune.folds=first), some of whom are test patients of {testing} other folds: "
        "their scores may be a little too good; --config.tune.folds=each gives every fold its own",
    )


def _with_learning_rate(replicates: Iterable[Replicate], rates: Range) -> list[Replicate]:
    """The replicates with a learning rate to start from, which tuning replaces."""
    middle = np.float32(np.sqrt(rates.low * rates.high))
    return [replace(r, constants={**r.constants, "learning_rate": middle}) for r in replicates]


def _with_forgetting(config: ConfigDict) -> ConfigDict:
    """The config of classifiers that are also scored on the imputations of their imputer."""
    config = config.copy_and_resolve_references()
    config.predict.forgetting = True
    return config


def _check_installed(package: str, extra: str) -> None:
    """Refuses an experiment before training if it needs a missing package after it.

    extra: the extra of omics_jax that installs the package.
    """
    if find_spec(package) is None:
        raise UserError(
            f"this experiment needs {package}; install it with pip install 'omics_jax[{extra}]'"
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
