"""Whether PertVAE and its tests find planted drug effects, and none where there is no effect.

--part=active trains drugs with a planted effect and compares with the truth of the simulator.
--part=null trains many independent datasets of a drug without effect, each with its own repeated
cross-validation, and counts how often each contrast rejects at level 0.05; --effect above 0 makes
the same drugs active and so measures power.

The contrasts of the null part, all by the corrected resampled t-test unless named otherwise:

paper: rho_pred > rho_rec of the same model; paper_mann_whitney: the same by the paper's test.
no_change_rho, no_change_delta: the model against "x2 is x1", in rho and in the correlation of the
  change.
no_change_rho_shift, no_change_delta_shift: the same for the drug's own change, prediction minus
  reconstruction.
swapped_rho, swapped_delta, and both with _shift: against the same training with x1 and x2 of every
  pair exchanged by a coin. If the drug does nothing, the two sides of a pair are exchangeable, so
  this is symmetric about 0.
backward_rho: predicting x2 from x1 against predicting x1 from x2 by the same model, symmetric for
  the same reason.
"""

from __future__ import annotations

import argparse
import ast
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import emit, load_config
from null_drugs import contrasts, rejection_rate, scores_of, stack_studies, train_and_predict


def null_config(effect: float, repeats: int, changes: list[str]):
    """40 genes, 24 cell lines with two replicates of one drug, one hidden layer of 24 units.

    changes: SECTION.FIELD=VALUE of the config.
    """
    config = load_config("pertvae", "table1")
    drugs = 1 if effect else 0
    config.simulator.update(
        dict(genes=40, drugs=drugs, null_drugs=1 - drugs, cell_lines=24, replicates=2)
    )
    config.simulator.update(dict(singletons=24, latent=4, effect=effect or 0.5))
    config.model.update(
        dict(encoder=(24,), decoder=(24,), latent=4, context=8, flow_hidden=8, draws=16)
    )
    config.training.update(dict(epochs=60, batch_size=26, patience=15, monitor_draws=8))
    config.optimizer.learning_rate = 5e-3
    config.folds, config.repeats = 5, repeats
    for change in changes:
        name, value = change.split("=", 1)
        section, field = name.split(".")
        config[section][field] = ast.literal_eval(value)
    return config


def null_part(a: argparse.Namespace) -> dict:
    """Rejection rates of every contrast over independent datasets."""
    config = null_config(a.effect, a.repeats, a.set)
    study = stack_studies(config, a.datasets)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        predictions, programs = train_and_predict(study, Path(folder), a.chunk, a.strategy)
    trained = time.monotonic() - start
    scores = scores_of(study, predictions)
    mean = scores.groupby(["model", "metric"])["value"].mean().round(4)
    return {
        "datasets": a.datasets,
        "splits": f"{a.repeats} x {config.folds}",
        "effect": a.effect,
        "changes": a.set,
        "trainings": len(study.replicates),
        "programs": programs,
        "train_s": round(trained, 1),
        "mean_scores": {f"{model}/{metric}": value for (model, metric), value in mean.items()},
        "rejected_at_0.05": {name: rejection_rate(p) for name, p in contrasts(scores).items()},
        "allowed": round(0.05 + 3 * np.sqrt(0.05 * 0.95 / a.datasets), 4),
    }


def active_part() -> dict:
    """Two active drugs and one inert one at a moderate size: predicted against planted change."""
    from omics_jax.data.perturbation.simulate import simulate_perturbations
    from omics_jax.systems.pertvae.experiments import table1

    config = load_config("pertvae", "table1")
    config.simulator.update(dict(genes=100, cell_lines=40, singletons=100))
    config.training.update(dict(epochs=100, patience=15))
    dataset, truth = simulate_perturbations(**config.simulator)
    (arm,) = table1(config, dataset)
    study = stack_studies(config, 1, [(dataset, arm)], swapped=False)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        predictions, programs = train_and_predict(study, Path(folder), 0, "auto")
    trained = time.monotonic() - start
    p_values = contrasts(scores_of(study, predictions))
    control = dataset.modalities["control"].values
    drugs = {}
    for i, drug in enumerate(dict.fromkeys(r.labels["group"] for r in arm.replicates)):
        folds = folds_of_first_repeat(arm, drug)
        rows = np.concatenate([arm.replicates[r].test for r in folds])
        after = np.concatenate([predictions[r]["x2_mean"] for r in folds])
        before = np.concatenate([predictions[r]["x1_reconstruction"] for r in folds])
        planted = truth.change[rows].mean(axis=0)
        drugs[drug] = {
            "from_control": direction((after - control[rows]).mean(axis=0), planted),
            "own_change": direction((after - before).mean(axis=0), planted),
            "p": {name: float(f"{p[i]:.3g}") for name, p in p_values.items()},
        }
    return {
        "trainings": len(study.replicates),
        "programs": programs,
        "train_s": round(trained, 1),
        "drugs": drugs,
    }


def folds_of_first_repeat(arm, drug: str) -> list[int]:
    """Places of a drug's replicates of repeat 0, whose test rows are all its pairs once."""
    labels = [replicate.labels for replicate in arm.replicates]
    return [r for r, x in enumerate(labels) if x["group"] == drug and x["repeat"] == 0]


def direction(mean: np.ndarray, planted: np.ndarray) -> dict[str, float]:
    """A predicted mean change (genes,) against the planted one: size, cosine, ratio of lengths."""
    rms = {"rms_predicted": round(float(np.sqrt(np.mean(mean**2))), 4)}
    if not planted.any():
        return rms
    lengths = np.linalg.norm(mean), np.linalg.norm(planted)
    cosine = float(mean @ planted / (lengths[0] * lengths[1]))
    return {
        **rms,
        "cosine_with_planted": round(cosine, 4),
        "length_over_planted": round(lengths[0] / lengths[1], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("active", "null", "both"), default="both")
    parser.add_argument("--datasets", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--effect", type=float, default=0.0)
    parser.add_argument("--chunk", type=int, default=400)
    parser.add_argument("--strategy", choices=("map", "vmap"), default="vmap")
    parser.add_argument(
        "--set", nargs="*", default=[], help="changes of the null part, e.g. model.latent=16"
    )
    a = parser.parse_args()
    start = time.monotonic()
    figures = {}
    if a.part != "null":
        figures["active"] = active_part()
    if a.part != "active":
        figures["null"] = null_part(a)
    emit("pertvae_truth", **figures, total_s=round(time.monotonic() - start, 1))


if __name__ == "__main__":
    main()
