"""Whether MIRACLE's test of pathways keeps its false discovery rate on simulated studies.

    python benchmarks/pathway_discoveries.py [--studies=20] [--effect=2.5]

Every dataset is one draw of the simulator, with its own knowledge and truth, through the whole
experiment `pathways`, its permuted trainings included. A pathway with q < .05 is a true discovery
where it is active in the disease's cases, and where it shares genes with one that is: its sites
really differ. Of the others each is false. `--effect=0` is the null, on which every discovery is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from measuring import emit, load_config

LEVEL = 0.05
KINDS = ("active", "sharing", "false")  # of discoveries


def study_config(seed: int, effect: float):
    """Two diseases of 120 and 100 people, 480 sites of 240 genes in 24 pathways."""
    config = load_config("miracle", "pathways")
    config.seed, config.folds = seed, 4
    config.simulator.update(
        dict(people=(120, 100), sites=480, genes=240, pathways=24, pathway_genes=8)
    )
    config.simulator.update(
        dict(active=2, shared=1, diseases_of_shared=2, hidden=0.0, effect=effect, seed=seed)
    )
    config.interpret.update(dict(permutations=20, steps=4))
    config.training.epochs.update(autoencoder=20, heads=10, all=30)
    return config


def train(arm, folder: Path) -> dict[int, dict[str, np.ndarray]]:
    """Replicate -> what the arm's training predicts of its test rows."""
    from omics_jax.run.options import run_options
    from omics_jax.training.history import History
    from omics_jax.training.loop import RunContext, fit
    from omics_jax.training.plan import Training, make_plan
    from omics_jax.training.rows import apply_to_rows, compile_row_function

    if arm.sources:
        raise ValueError(f"{arm.name} starts from other arms, which this script does not train")
    system = arm.system
    table = system.arrays(arm.dataset)
    training = Training(system.stages, system.init, table, arm.dataset.ids, arm.replicates)
    plan = make_plan(training, run_options(arm.config))
    folder.mkdir()
    context = RunContext(folder / "checkpoints", History(folder / "history.jsonl"))
    width = min(system.predict_batch, max(len(own.test) for own in arm.replicates))
    predictor = compile_row_function(system.predict, width)
    predicted = {}
    for chunk, by_stage in fit(plan, context):
        rows = [arm.replicates[r].test for r in chunk]
        variables = by_stage[system.stages[-1].name]
        found = apply_to_rows(predictor, width, variables, plan.table, rows)
        predicted.update(zip(chunk, found, strict=True))
    return predicted


def discoveries(seed: int, effect: float) -> list[dict]:
    """For every disease the numbers of discoveries by what is true of them."""
    from omics_jax.run.scores import score_arms
    from omics_jax.systems.miracle import findings, reading
    from omics_jax.systems.miracle.experiments import EXPERIMENTS

    config = study_config(seed, effect)
    simulated = reading.simulated(config)
    arms = [
        replace(arm, with_baselines=False)
        for arm in EXPERIMENTS["pathways"].arms(config, reading.read(config))
    ]
    with tempfile.TemporaryDirectory() as folder:
        predicted = {arm.name: train(arm, Path(folder) / f"{i}") for i, arm in enumerate(arms)}
    results = score_arms(arms, lambda arm, replicate, part: predicted[arm.name][replicate])
    tables = findings.conclude_pathways(results).tables
    sets = {name: set(genes) for name, genes in simulated.gene_sets.genes.items()}
    lines = []
    for disease, active in simulated.truth.active.items():
        frame = tables[f"{disease}_pathways"].frame
        found = set(frame.loc[frame["q"] < LEVEL, "pathway"])
        of_active = set().union(*(sets[name] for name in active)) if effect else set()
        touched = {name for name, genes in sets.items() if genes & of_active}
        true = set(active) if effect else set()
        lines.append(
            {
                "seed": seed,
                "disease": disease,
                "active": len(true),
                "found_active": len(found & true),
                "found_sharing": len(found & touched - true),
                "found_false": len(found - touched - true),
                "could_be_false": len(set(frame["pathway"]) - touched - true),
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=20, help="draws of the simulator")
    parser.add_argument("--effect", type=float, default=2.5, help="in s.d. of a pathway's activity")
    arguments = parser.parse_args()
    start = time.monotonic()
    lines = []
    for seed in range(arguments.studies):
        lines += discoveries(seed, arguments.effect)
        found = [sum(line[f"found_{kind}"] for kind in KINDS) for line in lines]
        shares = [line["found_false"] / max(1, n) for line, n in zip(lines, found, strict=True)]
        # The diseases of a study share its network.
        by_study = np.reshape(shares, (seed + 1, -1)).mean(axis=1)
        totals = {
            name: sum(line[name] for line in lines)
            for name in ("active", *(f"found_{kind}" for kind in KINDS), "could_be_false")
        }
        emit(
            "pathway_discoveries",
            effect=arguments.effect,
            studies=seed + 1,
            tests=len(lines),
            **totals,
            false_discovery_rate=round(float(by_study.mean()), 4),
            standard_error=round(float(by_study.std(ddof=1) / np.sqrt(seed + 1)), 4)
            if seed
            else None,
            any_false=round(float(np.mean([line["found_false"] > 0 for line in lines])), 4),
            seconds=round(time.monotonic() - start),
        )


if __name__ == "__main__":
    main()
