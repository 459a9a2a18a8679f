"""What one network for six simulated diseases gains over a network for one, over draws of data.

    python benchmarks/multitask_gain.py [--draws=8]

Every draw has six studies of 200 people. Either one pathway is active in the cases of all diseases
(`shared`), or each disease has one of its own (`own`). Networks are trained on an eighth of each
study, validated on another, and tested on the rest, for four choices of these eighths; a gain is
the mean difference of AUROC of the first disease. Where nothing is shared it need not be 0, because
the autoencoder of the one network sees six times as many people and pathways have genes in common.
Intervals are of Student's t over the draws, each with data and seed of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measuring import emit, load_config
from pathway_discoveries import train

EIGHTHS = 4  # of the studies, on each of which both networks are trained
KINDS = {
    "shared": dict(active=0, shared=1, diseases_of_shared=6),
    "own": dict(active=1, shared=0),
}


def draw_config(seed: int, kind: str) -> Any:
    """One draw: 120 sites of 48 genes in 12 pathways."""
    config = load_config("miracle", "multitask")
    config.seed, config.folds = seed, 8
    sizes = dict(people=(200,) * 6, sites=120, genes=48, pathways=12, pathway_genes=6)
    strength = dict(effect=1.5, batch=0.2, hidden=0.0)
    config.simulator.update({**sizes, **strength, **KINDS[kind], "seed": seed})
    config.training.epochs.update(autoencoder=20, heads=20, all=40)
    return config


def networks(config: Any) -> tuple[list, Any]:
    """(arms of all diseases and of the first alone, the first), tested on most of the people."""
    from omics_jax.systems.miracle import reading
    from omics_jax.systems.miracle.arms import network_arm
    from omics_jax.systems.miracle.cohort import cohort_of

    cohort = cohort_of(config, reading.read(config))
    splits = [replace(s, train=s.test, test=s.train) for s in cohort.splits[:EIGHTHS]]
    cohort = replace(cohort, splits=splits)
    task = cohort.tasks[0]
    together = network_arm(config, cohort, "together", cohort.tasks)
    return [together, network_arm(config, cohort, "alone", (task,))], task


def scores_of(seed: int, kind: str) -> list[float]:
    """Mean AUROC of the network for all diseases, and of that for the first alone."""
    from sklearn.metrics import roc_auc_score

    from omics_jax.tasks.task import known_rows, outcome

    arms, task = networks(draw_config(seed, kind))
    means = []
    with tempfile.TemporaryDirectory() as folder:
        for arm in arms:
            predicted = train(arm, Path(folder) / arm.name)
            scores = []
            for index, replicate in enumerate(arm.replicates):
                known = known_rows(arm.dataset, task)[replicate.test]
                truth = outcome(arm.dataset, task)[replicate.test][known]
                probability = predicted[index][f"{task.name}_probability"][known, 1]
                scores.append(roc_auc_score(truth, probability))
            means.append(float(np.mean(scores)))
    return means


def mean_and_interval(values: list[float]) -> list[float] | None:
    """Mean and 95 % interval of Student's t; None for fewer than two values."""
    from scipy import stats

    if len(values) < 2:
        return None
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    mean = float(np.mean(values))
    return [round(float(number), 4) for number in (mean, mean - half, mean + half)]


def main() -> None:
    """Prints a line after every draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=8)
    arguments = parser.parse_args()
    start = time.monotonic()
    aurocs: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    for seed in range(arguments.draws):
        for kind, own in aurocs.items():
            own.append(scores_of(seed, kind))
        together, alone = (
            {k: [pair[i] for pair in own] for k, own in aurocs.items()} for i in (0, 1)
        )
        gains = {kind: np.subtract(together[kind], alone[kind]).tolist() for kind in KINDS}
        emit(
            "multitask_gain",
            draws=seed + 1,
            together_auroc={kind: round(float(np.mean(together[kind])), 4) for kind in KINDS},
            alone_auroc={kind: round(float(np.mean(alone[kind])), 4) for kind in KINDS},
            gain={kind: mean_and_interval(gains[kind]) for kind in KINDS},
            shared_minus_own=mean_and_interval(np.subtract(gains["shared"], gains["own"]).tolist()),
            seconds=round(time.monotonic() - start),
        )


if __name__ == "__main__":
    main()
