"""What one network for several diseases gains over a network for one, on simulated studies.

Networks are trained on an eighth of each study (25 people) and tested on most of the rest, so that
a difference of AUROC is that of the networks and not of whom they happen to be tested on.
`benchmarks/multitask_gain.py` does the same over more draws.
"""

from dataclasses import replace

import numpy as np
import pytest
from command import ROOT, config_of
from fitted_arms import fitted
from sklearn.metrics import roc_auc_score

from omics_jax.systems.miracle import reading
from omics_jax.systems.miracle.arms import network_arm
from omics_jax.systems.miracle.cohort import cohort_of
from omics_jax.tasks.task import known_rows, outcome

pytestmark = pytest.mark.slow

WORDS = [
    f"--config={ROOT}/configs/miracle.py",
    "--config.folds=8",
    "--config.simulator.people=(200, 200, 200, 200, 200, 200)",
    "--config.simulator.sites=120",
    "--config.simulator.genes=48",
    "--config.simulator.pathways=12",
    "--config.simulator.pathway_genes=6",
    "--config.simulator.effect=1.5",
    "--config.simulator.batch=0.2",
    "--config.simulator.hidden=0.0",
    "--config.training.epochs.autoencoder=20",
    "--config.training.epochs.heads=20",
    "--config.training.epochs.all=40",
]
SHARED = [
    "--config.simulator.active=0",
    "--config.simulator.shared=1",
    "--config.simulator.diseases_of_shared=6",
]
OWN = ["--config.simulator.active=1", "--config.simulator.shared=0"]
DRAWS, EIGHTHS = 2, 4


def aurocs(arm, task, folder):
    """Of every replicate's predictions of one disease."""
    scores = []
    for replicate, predicted in zip(arm.replicates, fitted(arm, folder)[1], strict=True):
        known = known_rows(arm.dataset, task)[replicate.test]
        truth = outcome(arm.dataset, task)[replicate.test][known]
        scores.append(roc_auc_score(truth, predicted[f"{task.name}_probability"][known, 1]))
    return scores


def mean_gain(words, folder):
    """The AUROC of the first disease by the network for all, less that by the network for it."""
    gains = []
    for draw in range(DRAWS):
        seeds = [f"--config.seed={draw}", f"--config.simulator.seed={draw}"]
        config = config_of(*WORDS, *words, *seeds)
        cohort = cohort_of(config, reading.read(config))
        splits = [replace(s, train=s.test, test=s.train) for s in cohort.splits[:EIGHTHS]]
        cohort = replace(cohort, splits=splits)
        task = cohort.tasks[0]
        together = network_arm(config, cohort, "together", cohort.tasks)
        alone = network_arm(config, cohort, "alone", (task,))
        pair = [aurocs(arm, task, folder / f"{arm.name} {draw}") for arm in (together, alone)]
        gains.append(np.subtract(*pair))
    return np.mean(gains)


def test_diseases_that_share_a_pathway_gain_from_each_other(tmp_path):
    assert mean_gain(SHARED, tmp_path) > 0.05


def test_diseases_that_share_none_gain_less_than_a_twentieth(tmp_path):
    assert abs(mean_gain(OWN, tmp_path)) < 0.05
