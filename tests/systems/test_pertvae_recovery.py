"""On simulated experiments with a known truth PertVAE finds what an active drug does, and nothing
for an inert one.
"""

import json

import numpy as np
import pandas as pd
import pytest
from command import ROOT, command, config_of

from omics_jax.data.perturbation.simulate import simulate_perturbations

pytestmark = pytest.mark.slow

WORDS = [
    f"--config={ROOT}/configs/pertvae.py",
    "--config.seed=3",
    "--config.folds=3",
    "--config.repeats=1",
    "--config.simulator.genes=60",
    "--config.simulator.drugs=1",
    "--config.simulator.null_drugs=1",
    "--config.simulator.cell_lines=36",
    "--config.simulator.singletons=120",
    "--config.simulator.latent=4",
    "--config.simulator.effect=1.0",
    "--config.simulator.seed=11",
    "--config.model.encoder=(48,)",
    "--config.model.decoder=(48,)",
    "--config.model.latent=6",
    "--config.model.context=8",
    "--config.model.flow_hidden=16",
    "--config.model.draws=32",
    "--config.training.epochs=60",
    "--config.training.batch_size=40",
]


@pytest.fixture(scope="module")
def recovered(tmp_path_factory):
    """(scores, mean change of each gene per drug: predicted, observed, true)."""
    folder = tmp_path_factory.mktemp("recovery")
    outcome = command(*WORDS, f"--workdir={folder}")
    assert outcome.status == 0, outcome.err
    dataset, truth = simulate_perturbations(**config_of(*WORDS).simulator)
    drug = dataset.table["drug"].to_numpy()
    found = np.load(folder / "predictions.npz")
    row = pd.Series(np.arange(len(dataset)), index=dataset.ids)[found["pertvae/id"]].to_numpy()
    shift = found["pertvae/x2_mean"] - found["pertvae/x1_reconstruction"]
    changes = {
        name: (
            shift[drug[row] == name].mean(axis=0),
            truth.change[row[drug[row] == name]].mean(axis=0),
        )
        for name in truth.drugs
    }
    scores = pd.read_csv(folder / "tables" / "scores.csv")
    return scores, changes, json.loads((folder / "metrics.json").read_text())


def score(scores, drug, model, metric):
    chosen = scores.query("group == @drug and model == @model and metric == @metric")
    return chosen["value"].mean()


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_the_planted_change_is_found(recovered):
    _, changes, _ = recovered
    predicted, true = changes["active-1"]
    # On three other seeds of the simulator: cosine 0.99, and 0.65 to 0.75 of the true size.
    assert cosine(predicted, true) > 0.95
    assert 0.5 < np.linalg.norm(predicted) / np.linalg.norm(true) < 1.2


def test_for_an_active_drug_the_model_beats_no_change(recovered):
    scores, _, _ = recovered
    of = lambda model, metric: score(scores, "active-1", model, metric)
    assert of("model", "delta_pearson") > 0.4 > of("no change", "delta_pearson") == 0
    assert of("model", "rho_pred") > of("no change", "rho_pred") + 0.03
    assert of("model", "rho_pred") > of("model", "rho_rec") + 0.03
    assert of("model", "rmse") < of("no change", "rmse")


def test_for_an_inert_drug_next_to_nothing_is_predicted(recovered):
    scores, changes, metrics = recovered
    size = {name: np.linalg.norm(predicted) for name, (predicted, _) in changes.items()}
    assert size["inert-1"] < 0.2 * size["active-1"]
    difference = score(scores, "inert-1", "model", "rho_pred") - score(
        scores, "inert-1", "model", "rho_rec"
    )
    assert abs(difference) < 0.03
    p = {c["group"]: c["p_adjusted"] for c in metrics["comparisons"] if c["metric"] == "rho"}
    assert p["inert-1"] > 0.05


def test_intervals_cover_about_as_often_as_they_say(recovered):
    scores, _, _ = recovered
    assert 0.85 < score(scores, "active-1", "model", "coverage95") < 0.99
