"""On simulated patients with a known truth: missing modalities and outcomes are found, and nothing
where nothing is.
"""

import numpy as np
import pytest
from command import ROOT, config_of
from fitted_arms import fitted

from omics_jax.data.patients.simulate import simulate_omics
from omics_jax.evaluation.concordance import concordance
from omics_jax.systems.multiomics import experiments
from omics_jax.systems.multiomics.reading import read
from omics_jax.tasks.task import known_rows, outcome

# Folds end at different times, and what lies behind a fold's follow-up is clipped with a warning.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::omics_jax.evaluation.follow_up.FollowUpWarning"),
]

WORDS = [
    f"--config={ROOT}/configs/multiomics.py",
    "--config.folds=3",
    "--config.simulator.patients=450",
    "--config.simulator.features.rna=60",
    "--config.simulator.features.methylation=50",
    "--config.simulator.features.mirna=40",
    "--config.simulator.latent=4",
    "--config.simulator.classes=3",
    "--config.simulator.censored=0.3",
    "--config.simulator.missing_modality=0.2",
    "--config.simulator.seed=3",
    "--config.imputation.hidden=48",
    "--config.imputation.members=2",
    "--config.imputation.epochs=60",
    "--config.imputation.patience=60",
    "--config.imputation.optimizer.learning_rate=0.003",
    "--config.model.branch=(32,)",
    "--config.model.shared=(32,)",
    "--config.model.latent=8",
    "--config.training.epochs.embedding=10",
    "--config.training.epochs.heads=10",
    "--config.training.epochs.all=30",
    "--config.training.batch_size=64",
    "--config.training.optimizer.learning_rate=0.003",
]


def trained(folder, *words):
    """The imputers and the network, each with its predictions, and the simulated truth."""
    config = config_of(*WORDS, *words)
    dataset = read(config)
    imputers, network = experiments.multitask(config, dataset)
    by_stage, imputed = fitted(imputers, folder / "imputers")
    last = by_stage[imputers.system.stages[-1].name]
    _, predicted = fitted(
        network, folder / "network", {k: last[k] for k in ("params", "batch_stats")}
    )
    return (imputers, imputed), (network, predicted), simulate_omics(**config.simulator.to_dict())


@pytest.fixture(scope="module", autouse=True)
def small_forests():
    """No claim here is about forests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("omics_jax.tasks.baselines.TREES", 10)
        yield


@pytest.fixture(scope="module")
def signal(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("signal"))


@pytest.fixture(scope="module")
def null(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("null"), "--config.simulator.signal=0.0")


def means(arm, predictions):
    """(model, metric) -> mean over the folds."""
    found = {}
    for replicate, predicted in zip(arm.replicates, predictions, strict=True):
        train, test = arm.dataset.take(replicate.rows["patients"]), arm.dataset.take(replicate.test)
        for name, fields in {"model": predicted, **arm.system.baselines(train, test)}.items():
            for metric, value in arm.system.evaluate(fields, test, train).metrics.items():
                found.setdefault((name, metric), []).append(value)
    return {key: np.mean(values) for key, values in found.items()}


def test_imputation_beats_the_mean_and_the_nearest_patients(signal):
    scores = means(*signal[0])
    for name in ("rna", "methylation", "mirna"):
        assert scores["model", f"{name}_rmse"] < 0.95 * scores["mean", f"{name}_rmse"], name
        assert scores["model", f"{name}_rmse"] < scores["kNN", f"{name}_rmse"], name


def test_a_missing_modality_is_imputed_towards_what_would_have_been_measured(signal):
    (arm, predictions), _, (drawn, truth) = signal
    names = {str(name): j for j, name in enumerate(drawn.modalities["rna"].features)}
    for replicate, predicted in zip(arm.replicates, predictions, strict=True):
        modality = arm.dataset.modalities["rna"]
        lacks = ~modality.observed_rows[replicate.test] & predicted["rna_source"]
        assert lacks.sum() > 5
        columns = [names[str(feature)] for feature in modality.features]
        expected = truth.noise_free["rna"][replicate.test][:, columns][lacks]
        found = predicted["rna"][lacks]
        varies = expected.std(axis=0) > 0.3
        r = [np.corrcoef(expected[:, j], found[:, j])[0, 1] for j in np.flatnonzero(varies)]
        assert np.median(r) > 0.3


def test_outcomes_are_found_and_not_better_than_the_truth_allows(signal):
    _, (arm, predictions), (_, truth) = signal
    scores = means(arm, predictions)
    assert scores["model", "type_accuracy"] > scores["no features", "type_accuracy"] + 0.1
    assert scores["model", "age_rmse"] < scores["no features", "age_rmse"]
    assert 0.6 < scores["model", "OS_c_index"] < truth.c_index + 0.05


def test_without_signal_nothing_is_found(null):
    _, (arm, predictions), _ = null
    scores = means(arm, predictions)
    assert scores["model", "type_accuracy"] < scores["no features", "type_accuracy"] + 0.08
    assert scores["model", "age_rmse"] > 0.97 * scores["no features", "age_rmse"]
    task = next(task for task in arm.spec.tasks if task.name == "OS")
    concordances = []
    for replicate, predicted in zip(arm.replicates, predictions, strict=True):
        test = arm.dataset.take(replicate.test)
        rows = known_rows(test, task)
        times, events = outcome(test, task)
        concordances.append(concordance(times[rows], events[rows], predicted["OS_risk"][rows]))
    # 3 folds of about 95 events each: standard error of a concordance about 0.02 for their mean.
    assert abs(np.mean(concordances) - 0.5) < 0.07
