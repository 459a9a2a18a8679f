"""The experiments of MIRACLE: networks for all diseases and for one, and what is varied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.study.system import Arm, Experiment
from omics_jax.systems.miracle import conclusions
from omics_jax.systems.miracle.arms import (
    bounding_arms,
    network_arm,
    pretrained_arm,
    pretraining_arm,
    single_arms,
)
from omics_jax.systems.miracle.cohort import cohort_of
from omics_jax.systems.miracle.findings import conclude_pathways
from omics_jax.systems.miracle.model import AUTOENCODER
from omics_jax.systems.miracle.pathways import pathways
from omics_jax.systems.miracle.rediscovery import with_rediscovery
from omics_jax.systems.miracle.stability import with_stability
from omics_jax.tasks.losses import BY_BOUND

MULTITASK = "multitask"
PRETRAINED = "autoencoder of all people"
# Of the connections that a share is hidden of, the names of the arms.
HIDDEN = {"both": "connections hidden", "shuffled": "shuffled connections hidden"}


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
    """Knowledge in encoder and decoder, in the decoder, in neither, and in false connections.

    Two more networks have a share of the connections hidden, of the knowledge and of shuffled ones,
    to see which are found again.
    """
    cohort = cohort_of(config, dataset)
    bounding, arms = bounding_arms(config, cohort), []
    for how in config.compare.knowledge:
        varied = config.copy_and_resolve_references()
        varied.model.mask = how
        labels = {"knowledge": how}
        arms.append(network_arm(varied, cohort, how, cohort.tasks, starts=bounding, labels=labels))
    for how in ("both", "shuffled") if config.compare.hidden else ():
        varied = config.copy_and_resolve_references()
        varied.model.mask = how
        varied.model.hidden = config.compare.hidden
        varied.model.softness = config.compare.softness
        name, labels = HIDDEN[how], {"hidden": how}
        arm = network_arm(varied, cohort, name, cohort.tasks, starts=bounding, labels=labels)
        arms.append(with_rediscovery(arm, cohort))
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
        arm = network_arm(varied, cohort, name, cohort.tasks, starts=bounding, labels=labels)
        arms.append(with_stability(arm, cohort))
    return [*bounding, *arms]


def transfer(config: Any, dataset: Dataset) -> list[Arm]:
    """Networks for one disease whose autoencoder was trained on its people, or on everyone.

    Everyone: the people of all studies, also of studies without any outcome.
    """
    cohort = cohort_of(config, dataset)
    if config.selection.method != "none":
        raise UserError(
            "the experiment transfer hands an autoencoder on, and selection.method="
            f"{config.selection.method} gives every network other sites; set "
            "--config.selection.method=none"
        )
    if AUTOENCODER not in config.training.stages:
        raise UserError(
            "the experiment transfer hands an autoencoder on, and config.training.stages lacks the "
            f"stage {AUTOENCODER}; add it"
        )
    source = pretraining_arm(config, cohort, PRETRAINED)
    pretrained = [pretrained_arm(config, cohort, task, source) for task in cohort.tasks]
    # No network of all outcomes stands beside these, which has the simple models elsewhere.
    alone = single_arms(config, cohort, with_baselines=True)
    return [source, *alone, *pretrained]


EXPERIMENTS = {
    "multitask": Experiment(multitask, conclusions.conclude_multitask),
    "weights": Experiment(weights, conclusions.conclude_weights),
    "knowledge": Experiment(knowledge, conclusions.conclude_knowledge),
    "sites": Experiment(numbers_of_sites, conclusions.conclude_sites),
    "transfer": Experiment(transfer, conclusions.conclude_transfer),
    "pathways": Experiment(pathways, conclude_pathways),
}


def _first_with_baselines(arms: Sequence[Arm]) -> list[Arm]:
    """The arms; simple models stand beside the first, on which all have the same ones."""
    return [replace(arm, with_baselines=i == 0, main=i == 0) for i, arm in enumerate(arms)]
