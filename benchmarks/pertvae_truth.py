"""Whether PertVAE and the tests of its conclusions find what is there, and nothing where nothing
is.

--part=active trains drugs with a planted effect and compares with the truth of the simulator.
--part=null trains
many independent datasets of a drug without effect, each with its own repeated cross-validation, and
counts how often each contrast rejects at level 0.05 (--effect above 0 makes the same drugs active
and so measures power).

The contrasts of the null part, all by the corrected resampled t-test unless named otherwise:
  paper: rho_pred > rho_rec of the same model, and the same by the paper's Mann-Whitney test;
  no_change_rho, no_change_delta: the model against "x2 is x1", in rho and in the correlation of the
  change; no_change_rho_shift, no_change_delta_shift: the same of the drug's own change, prediction
  minus reconstruction; swapped_rho, swapped_delta, both also with _shift: against the same training
  with x1 and x2 of every pair exchanged
    by a coin. If the drug does nothing the two sides of a pair are exchangeable, so this is
  symmetric about 0; backward_rho: predicting x2 from x1 against predicting x1 from x2 by the same
  model, symmetric for the same reason.
"""

from __future__ import annotations

import argparse
import ast
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import emit, pertvae_config
from null_drugs import contrasts, level, scores_of, stacked_training, train_and_predict


def null_config(effect: float, repeats: int, changes: list[str]):
    """40 genes, 24 cell lines with two replicates of one drug, a network of one hidden layer of 24
    units.
    """
    config = pertvae_config("table1")
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
    study = stacked_training(config, a.datasets)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        predictions, programs = train_and_predict(study, Path(folder), a.chunk, a.strategy)
    trained = time.monotonic() - began
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
        "rejected_at_0.05": {name: level(p) for name, p in contrasts(scores).items()},
        "allowed": round(0.05 + 3 * np.sqrt(0.05 * 0.95 / a.datasets), 4),
    }


def active_part() -> dict:
    """Two active drugs and one inert one at a moderate size: is the planted change found, and its
    direction?
    """
    from omics_jax.data.perturbation.simulate import simulate_perturbations
    from omics_jax.systems.pertvae.experiments import table1

    config = pertvae_config("table1")
    config.simulator.update(dict(genes=100, cell_lines=40, singletons=100))
    config.training.update(dict(epochs=100, patience=15))
    dataset, truth = simulate_perturbations(**config.simulator)
    (arm,) = table1(config, dataset)
    study = stacked_training(config, 1, [(dataset, arm)], swapped=False)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        predictions, programs = train_and_predict(study, Path(folder), 0, "auto")
    trained = time.monotonic() - began
    found = contrasts(scores_of(study, predictions))
    drugs, control = {}, dataset.modalities["control"].values
    for i, drug in enumerate(dict.fromkeys(r.labels["group"] for r in arm.replicates)):
        mine = [
            r
            for r, x in enumerate(arm.replicates)
            if x.labels["group"] == drug and x.labels["repeat"] == 0
        ]
        rows = np.concatenate([arm.replicates[r].test for r in mine])
        after, before = (
            np.concatenate([predictions[r][k] for r in mine])
            for k in ("x2_mean", "x1_reconstruction")
        )
        planted = truth.change[rows].mean(axis=0)
        drugs[drug] = {
            "from_control": direction((after - control[rows]).mean(axis=0), planted),
            "own_change": direction((after - before).mean(axis=0), planted),
            "p": {name: float(f"{p[i]:.3g}") for name, p in found.items()},
        }
    return {
        "trainings": len(study.replicates),
        "programs": programs,
        "train_s": round(trained, 1),
        "drugs": drugs,
    }


def direction(mean: np.ndarray, planted: np.ndarray) -> dict[str, float]:
    """A predicted mean change (genes,) beside the planted one: cosine, ratio of lengths, root mean
    square.
    """
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
    began = time.monotonic()
    figures = {}
    if a.part != "null":
        figures["active"] = active_part()
    if a.part != "active":
        figures["null"] = null_part(a)
    emit("pertvae_truth", **figures, total_s=round(time.monotonic() - began, 1))


if __name__ == "__main__":
    main()
