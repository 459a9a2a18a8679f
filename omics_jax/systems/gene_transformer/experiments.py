"""The experiments of the gene transformer: one network or several, and what is varied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.study.external import check_experiment, is_external
from omics_jax.study.patients.joining import FILES
from omics_jax.study.system import Arm, Experiment
from omics_jax.systems.gene_transformer import conclusions
from omics_jax.systems.gene_transformer.arms import (
    mlp_arm,
    network_arm,
    pretrained_arm,
    pretraining_arm,
    shuffled,
    single_arms,
    vector_arms,
)
from omics_jax.systems.gene_transformer.cohort import cohort_of
from omics_jax.systems.gene_transformer.interaction_arms import interaction_arms
from omics_jax.systems.gene_transformer.interactions import MOST_GENES
from omics_jax.systems.gene_transformer.model import SLOT
from omics_jax.systems.gene_transformer.pretraining import PRETRAINING
from omics_jax.tasks.attribution import NETWORK, permuted_arm, with_attributions

MULTITASK = "multitask"
ALL, LEAST_LABELLED = "all", 10  # labelled patients
SHUFFLED = "shuffled"  # instead of an encoding: values exchanged among the genes


def multitask(config: Any, dataset: Dataset) -> list[Arm]:
    """One network for all outcomes, beside one for each, and dense layers with the same heads."""
    cohort = cohort_of(config, dataset)
    has_several = len(cohort.tasks) > 1
    single = single_arms(config, cohort) if config.compare.single and has_several else []
    dense = [mlp_arm(config, cohort)] if config.compare.mlp else []
    joint = network_arm(config, cohort, MULTITASK, cohort.tasks)
    return [*vector_arms(config, cohort), joint, *single, *dense]


def encodings(config: Any, dataset: Dataset) -> list[Arm]:
    """Every encoding of values in `config.compare.encodings`, on the same folds."""
    cohort, arms = cohort_of(config, dataset), []
    _check_differ("encodings", config.compare.encodings)
    if config.compare.encodings[0] == SHUFFLED:
        raise UserError(
            f"config.compare.encodings begins with {SHUFFLED}, and the first is what simple models "
            "stand beside and the others are compared with; name an encoding first"
        )
    for name in config.compare.encodings:
        varied, own = config.copy_and_resolve_references(), cohort
        if name == SHUFFLED:
            own = cohort_of(config, shuffled(dataset, config.seed))
        else:
            varied.model.encoding = name
        labels = {"encoding": name}
        arms.append(network_arm(varied, own, name, cohort.tasks, labels=labels))
    return [*vector_arms(config, cohort), *_first_with_baselines(arms)]


def balancing(config: Any, dataset: Dataset) -> list[Arm]:
    """Every way of `config.compare.balancing` to weigh outcomes against each other."""
    cohort, arms = cohort_of(config, dataset), []
    if len(cohort.tasks) < 2:
        raise UserError(
            "the experiment balancing weighs outcomes against each other, and the data hold one; "
            "name more (data.classes, data.numbers, data.survival_times), or choose the experiment "
            "multitask"
        )
    _check_differ("balancing", config.compare.balancing)
    for name in config.compare.balancing:
        varied = config.copy_and_resolve_references()
        varied.balancing.name = name
        arms.append(network_arm(varied, cohort, name, cohort.tasks, labels={"balancing": name}))
    return [*vector_arms(config, cohort), *_first_with_baselines(arms)]


def external(config: Any, dataset: Dataset) -> list[Arm]:
    """One network trained on one set of patients, tested on another (`data.external`)."""
    check_experiment(config, dataset, "patients", f"{FILES.external}.modalities")
    cohort = cohort_of(config, dataset, outside=is_external(dataset))
    arm = network_arm(config, cohort, MULTITASK, cohort.tasks, shared_test=True)
    return [*vector_arms(config, cohort), arm]


def network(config: Any, dataset: Dataset) -> list[Arm]:
    """Which genes act together, beside networks on outcomes in which no two genes do."""
    cohort = cohort_of(config, dataset)
    genes = sum(cohort.widths.values())
    if genes > MOST_GENES:
        raise UserError(
            f"the experiment network computes all pairs of at most {MOST_GENES} genes, and a fold "
            f"reads {genes:,}; set --config.preprocess.top_k={MOST_GENES // len(cohort.widths)} "
            "or less"
        )
    if genes < 2:
        raise UserError(
            "the experiment network needs two genes or more, and a fold reads one; give more genes"
        )
    return [*vector_arms(config, cohort), *interaction_arms(config, cohort)]


def interpret(config: Any, dataset: Dataset) -> list[Arm]:
    """Which genes the outcomes depend on, with networks on permuted outcomes as the null."""
    cohort = cohort_of(config, dataset)
    arm = network_arm(with_attributions(config), cohort, NETWORK, cohort.tasks)
    return [*vector_arms(config, cohort), arm, permuted_arm(arm, cohort.tasks, SLOT)]


def pretrain(config: Any, dataset: Dataset) -> list[Arm]:
    """Networks on a pretrained transformer and on a new one, by the number of labelled patients.

    Pretraining reads the expression of all training patients.
    """
    cohort = cohort_of(config, dataset)
    _check_differ("labelled", config.compare.labelled)
    own = config.copy_and_resolve_references()
    own.training.stages = tuple(name for name in own.training.stages if name != PRETRAINING)
    source = pretraining_arm(config, cohort)
    arms = []
    for text in config.compare.labelled:
        count = labelled_of(text)
        labels, name = {"labelled": text}, f"{text} labelled"
        new = network_arm(own, cohort, name, cohort.tasks, labelled=count, labels=labels)
        labels = {"pretrained": text}
        taken = pretrained_arm(
            own, cohort, f"{name}, pretrained", source, labelled=count, labels=labels
        )
        arms += [replace(new, main=text == config.compare.labelled[-1]), replace(taken, main=False)]
    return [*vector_arms(config, cohort), source, *arms]


def _check_differ(name: str, words: Sequence[str]) -> None:
    """Refuses an empty list of what is compared, and one that names something twice."""
    if not words:
        raise UserError(f"config.compare.{name} is empty; name what is to be compared")
    repeated = [word for word in words if list(words).count(word) > 1]
    if repeated:
        raise UserError(f"config.compare.{name} names {repeated[0]!r} twice; name it once")


def labelled_of(text: str) -> int | None:
    """A number of labelled patients in `config.compare.labelled`; None for "all".

    Raises:
      UserError: another word, or a number below 10.
    """
    if text == ALL:
        return None
    if not str(text).isdigit() or int(text) < LEAST_LABELLED:
        raise UserError(
            f"config.compare.labelled has {text!r}; give whole numbers of {LEAST_LABELLED} or "
            f"more, or {ALL}, such as 100,300,{ALL}"
        )
    return int(text)


EXPERIMENTS = {
    "multitask": Experiment(multitask, conclusions.conclude_multitask),
    "encodings": Experiment(encodings, conclusions.conclude_encodings),
    "balancing": Experiment(balancing, conclusions.conclude_balancing),
    "network": Experiment(network, conclusions.conclude_network),
    "interpret": Experiment(interpret, conclusions.conclude_interpret),
    "pretrain": Experiment(pretrain, conclusions.conclude_pretrain),
    "external": Experiment(external, conclusions.conclude_external),
}


def _first_with_baselines(arms: Sequence[Arm]) -> list[Arm]:
    """The arms; simple models stand beside the first, on which all have the same ones."""
    return [replace(arm, with_baselines=i == 0, main=i == 0) for i, arm in enumerate(arms)]
