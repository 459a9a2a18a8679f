"""What one network for six simulated diseases gains over a network for one, over draws of data.

    python benchmarks/multitask_gain.py [--draws=8]

Every draw has six studies of 60 people. Either three active pathways are the same in all diseases
(`shared`), or each disease has three of its own (`own`). What sharing is worth is by how much the
first gain is larger: the second need not be 0, because the autoencoder of the one network sees six
times as many people, and pathways have genes in common. A gain is the mean difference of AUROC over
two of the diseases and four folds. Intervals are of Student's t over the draws, each with data and
seed of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from measuring import emit, load_config
from pathway_discoveries import train

PEOPLE = (60,) * 6
SCORED = 2  # diseases with a network of their own
KINDS = {
    "shared": dict(active=0, shared=3, diseases_of_shared=6),
    "own": dict(active=3, shared=0),
}


def draw_config(seed: int, kind: str):
    """One draw: 600 sites of 200 genes in 40 pathways."""
    config = load_config("miracle", "multitask")
    config.seed, config.folds = seed, 4
    config.simulator.update(dict(people=PEOPLE, sites=600, genes=200, pathways=40))
    config.simulator.update(dict(pathway_genes=10, seed=seed, **KINDS[kind]))
    return config


def scores_of(seed: int, kind: str) -> tuple[float, float]:
    """Mean AUROC of the network for all diseases, and of the networks for one."""
    from omics_jax.run.scores import score_arms
    from omics_jax.systems.miracle import reading
    from omics_jax.systems.miracle.experiments import EXPERIMENTS

    config = draw_config(seed, kind)
    *single, joint = EXPERIMENTS["multitask"].arms(config, reading.read(config))
    arms = [replace(arm, with_baselines=False) for arm in (*single[:SCORED], joint)]
    with tempfile.TemporaryDirectory() as folder:
        predicted = {arm.name: train(arm, Path(folder) / f"{i}") for i, arm in enumerate(arms)}
    scores = score_arms(arms, lambda arm, replicate, part: predicted[arm.name][replicate]).scores
    metrics = [f"{arm.labels['single']}_auroc" for arm in arms[:SCORED]]
    scored = scores[scores["metric"].isin(metrics)]
    is_joint = scored["arm"] == joint.name
    return float(scored[is_joint]["value"].mean()), float(scored[~is_joint]["value"].mean())


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
    joint: dict[str, list[float]] = {kind: [] for kind in KINDS}
    alone: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for seed in range(arguments.draws):
        for kind in KINDS:
            one, each = scores_of(seed, kind)
            joint[kind].append(one)
            alone[kind].append(each)
        gains = {kind: np.subtract(joint[kind], alone[kind]).tolist() for kind in KINDS}
        emit(
            "multitask_gain",
            draws=seed + 1,
            joint_auroc={kind: round(float(np.mean(joint[kind])), 4) for kind in KINDS},
            alone_auroc={kind: round(float(np.mean(alone[kind])), 4) for kind in KINDS},
            gain={kind: mean_and_interval(gains[kind]) for kind in KINDS},
            shared_minus_own=mean_and_interval(np.subtract(gains["shared"], gains["own"]).tolist()),
            seconds=round(time.monotonic() - start),
        )


if __name__ == "__main__":
    main()
