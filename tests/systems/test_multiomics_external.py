"""Multi-omics models tested on the patients of other files: who is read, what is refused, and that
no external outcome reaches what is trained.
"""

import json

import jax
import numpy as np
import pandas as pd
import pytest
from command import ROOT, command, config_of
from every_arm import few_trees_and_draws, with_other_outcomes
from fitted_arms import fitted
from sklearn import metrics

from omics_jax.errors import UserError
from omics_jax.run.command import system_module

MODULE = system_module("multiomics")
EXTERNAL = f"--config={ROOT}/configs/multiomics.py:external,smoke"
ONE_STAGE = ("--config.missing=mask", "--config.training.stages=('all',)")  # less to compile
OUTCOMES = (
    "--config.data.classes=type=type",
    "--config.data.numbers=age=age",
    "--config.data.survival_times=OS=time:event",
)


def cohort(folder, name, patients, seed, features=8, first=0):
    """Files of RNA (counts) and protein, and a clinical table; paths by what they are."""
    rng = np.random.default_rng(seed)
    ids = [f"{name}{i:02d}" for i in range(patients)]
    genes = [f"g{j}" for j in range(first, first + features)]
    rna = pd.DataFrame(rng.poisson(200, (patients, features)), ids, genes)
    protein = pd.DataFrame(rng.normal(size=(patients, 5)), ids, [f"q{j}" for j in range(5)])
    table = {
        "type": np.where(np.arange(patients) % 2, "B", "A"),
        "age": rng.normal(60, 9, patients).round(1),
        "time": rng.integers(1, 900, patients),
        "event": np.arange(patients) % 3 > 0,
    }
    frames = {"rna": rna, "protein": protein, "clinical": pd.DataFrame(table, ids)}
    frames["clinical"]["event"] = frames["clinical"]["event"].astype(int)
    for part, frame in frames.items():
        frame.to_csv(folder / f"{name}_{part}.csv", index_label="patient")
    return frames


@pytest.fixture
def files(tmp_path):
    """Two cohorts; the second lacks g0 and g1, has g8 and g9, and no protein."""
    frames = cohort(tmp_path, "in", 30, 0), cohort(tmp_path, "out", 14, 1, first=2)
    words = [
        f"--config.data.modalities=rna={tmp_path}/in_rna.csv, protein={tmp_path}/in_protein.csv",
        f"--config.data.clinical={tmp_path}/in_clinical.csv",
        "--config.data.orientation=samples",
        *OUTCOMES,
    ]
    return tmp_path, frames, words


def external_words(folder, name="out", **modalities):
    modalities = modalities or {"rna": f"{name}_rna.csv"}
    named = ", ".join(f"{key}={folder}/{file}" for key, file in modalities.items())
    return [
        f"--config.data.external.modalities={named}",
        f"--config.data.external.clinical={folder}/{name}_clinical.csv",
    ]


def test_patients_of_other_files_are_read_as_the_first_and_what_they_lack_is_missing(files):
    folder, (ours, theirs), words = files
    dataset = MODULE.read(config_of(EXTERNAL, *words, *external_words(folder)))
    outside = (dataset.table["set"] == "external").to_numpy()
    assert dataset.ids[outside].tolist() == theirs["rna"].index.tolist()
    assert outside.sum() == 14 and len(dataset) == 44
    rna = dataset.modalities["rna"]
    assert rna.features.tolist() == ours["rna"].columns.tolist()
    assert not rna.mask[outside, :2].any() and rna.mask[outside, 2:].all()
    shared = theirs["rna"].iloc[:, :6].to_numpy()
    np.testing.assert_allclose(rna.values[outside, 2:], np.log2(shared + 1), rtol=1e-6)
    assert not dataset.modalities["protein"].mask[outside].any()
    values, known = dataset.targets["age"]
    np.testing.assert_allclose(values[outside], theirs["clinical"]["age"], rtol=1e-6)
    codes = dataset.targets["type"][0][outside]
    names = np.array(dataset.classes["type"])[codes]
    assert names.tolist() == theirs["clinical"]["type"].tolist() and known.all()
    said = "\n".join(dataset.notes)
    assert "external: rna: 6 of 8 features found; without a value are 2 (g0, g1); unknown" in said
    assert "external: protein: no file, missing in every external patient" in said
    assert "rna: log2(x + 1) of every value (preprocess.log2=auto: its values look like" in said


def test_all_external_patients_are_tested_and_none_of_the_others(files):
    folder, _, words = files
    config = config_of(EXTERNAL, *words, *external_words(folder), "--config.missing=mask")
    dataset = MODULE.read(config)
    (network,) = MODULE.EXPERIMENTS["external"].arms(config, dataset)
    for replicate in network.replicates:
        assert replicate.test.tolist() == list(range(30, 44))
        assert max(*replicate.rows["patients"], *replicate.validation["patients"]) < 30
    assert network.spec.shared_test and network.spec.some_incomplete


def test_patients_of_other_classes_pretrain_only_from_the_first_set(files):
    folder, _, words = files
    transfer = "--config.imputation.transfer=type=A"
    both = external_words(folder, rna="out_rna.csv", protein="out_protein.csv")
    config = config_of(EXTERNAL, *words, *both, transfer)
    dataset = MODULE.read(config)
    imputers, network = MODULE.EXPERIMENTS["external"].arms(config, dataset)
    for replicate in imputers.replicates:
        assert replicate.rows["others"].tolist() == list(range(1, 30, 2))
        assert replicate.test.tolist() == list(range(30, 44, 2))
    assert [task.name for task in network.spec.tasks] == ["age", "OS"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda theirs: {"rna": theirs["rna"].add_prefix("x")},
            "external: rna has values of none of the 8 features of the training; they must be "
            "named alike: the training has 'g0', the file has 'xg2'",
        ),
        (
            lambda theirs: {"clinical": theirs["clinical"].assign(type="C")},
            "--config.data.external has the type 'C', and --config.data A, B; name classes alike",
        ),
        (
            lambda theirs: {k: v.rename(index={"out01": "in07"}) for k, v in theirs.items()},
            "1 patient (in07) is in --config.data and in --config.data.external; a model cannot be "
            "tested on persons it was trained on",
        ),
        (lambda theirs: {"clinical": theirs["clinical"].drop(columns="age")}, "'age'"),
    ],
    ids=["features", "classes", "patients", "outcomes"],
)
def test_what_does_not_fit_is_refused_in_one_sentence(files, change, sentence):
    folder, (_, theirs), words = files
    for part, frame in change(theirs).items():
        frame.to_csv(folder / f"out_{part}.csv", index_label="patient")
    outcome = command(EXTERNAL, *words, *external_words(folder), "--mode=inspect")
    assert outcome.status == 2 and sentence in outcome.err and "Traceback" not in outcome.err


def test_other_modalities_are_refused(files):
    folder, _, words = files
    other = external_words(folder, mirna="out_rna.csv")
    with pytest.raises(UserError, match="has the modalities mirna, and --config.data rna, protein"):
        MODULE.read(config_of(EXTERNAL, *words, *other))
    more = external_words(folder, mirna="out_protein.csv", rna="out_rna.csv")
    dataset = MODULE.read(config_of(EXTERNAL, *words, *more))
    assert "external: not used, as the training has none: mirna" in dataset.notes


def test_external_patients_without_a_table_have_no_outcome_to_score(files):
    folder, _, words = files
    with pytest.raises(UserError, match="OS.event, OS.time, age, type and .* none; give both"):
        MODULE.read(config_of(EXTERNAL, *words, external_words(folder)[0]))


def test_files_are_named_for_this_experiment_and_no_other(files):
    folder, _, words = files
    other = EXTERNAL.replace("external,", "multitask,")
    with pytest.raises(UserError, match="data.external is for the experiment external, and this i"):
        MODULE.read(config_of(other, *words, *external_words(folder)))
    config = config_of(EXTERNAL, *words)
    with pytest.raises(UserError, match="needs patients to test on; name their files with --confi"):
        MODULE.EXPERIMENTS["external"].arms(config, MODULE.read(config))


def test_one_set_of_counts_and_one_of_logarithms_is_a_warning(files):
    folder, (_, theirs), words = files
    np.log2(theirs["rna"] + 1).to_csv(folder / "out_rna.csv", index_label="patient")
    warnings = MODULE.read(config_of(EXTERNAL, *words, *external_words(folder))).warnings
    assert any(
        "rna: the values of --config.data.external look like logarithms and those of --config.data "
        "like counts; give both on one scale." in text
        for text in warnings
    )


def test_simulated_external_patients_are_others_of_one_world():
    config = config_of(EXTERNAL)
    dataset = MODULE.read(config)
    alone = MODULE.read(config_of(EXTERNAL.replace("external,", "multitask,")))
    outside = (dataset.table["set"] == "external").to_numpy()
    assert outside.tolist() == [False] * 60 + [True] * 60
    for name, modality in alone.modalities.items():
        np.testing.assert_array_equal(modality.features, dataset.modalities[name].features)


@pytest.mark.slow
def test_external_outcomes_reach_no_trained_bit(tmp_path):
    """The network of the first fold, trained with other outcomes of the external patients."""
    config = config_of(EXTERNAL, *ONE_STAGE)
    dataset = MODULE.read(config)
    outside = np.flatnonzero(dataset.table["set"] == "external")
    trained = []
    for name, given in (("one", dataset), ("two", with_other_outcomes(dataset, outside))):
        (arm,) = MODULE.EXPERIMENTS["external"].arms(config, given)
        trained.append(fitted(arm, tmp_path / name))
    (variables, predicted), (others, again) = trained
    for a, b in zip(jax.tree.leaves(variables), jax.tree.leaves(others), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(jax.tree.leaves(predicted), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.optimised
def test_scores_are_those_of_the_stored_predictions(tmp_path, files):
    """The command on files; its means are the metrics by scikit-learn of predictions.npz."""
    folder, (_, theirs), words = files
    run = tmp_path / "run"
    with few_trees_and_draws():
        outcome = command(EXTERNAL, *words, *external_words(folder), *ONE_STAGE, f"--workdir={run}")
    assert outcome.status == 0, outcome.err
    found = json.loads((run / "metrics.json").read_text())
    with np.load(run / "predictions.npz") as stored:
        fields = {key.removeprefix("multitask/"): stored[key] for key in stored.files}
    truth = theirs["clinical"].loc[fields["id"]]
    label = (truth["type"] == "B").astype(int).to_numpy()
    by_fold = {"type_accuracy": [], "age_mae": []}
    for fold in range(3):
        rows = fields["replicate"] == fold
        predicted = fields["type_probability"][rows].argmax(axis=1)
        by_fold["type_accuracy"].append(metrics.accuracy_score(label[rows], predicted))
        value = fields["age_value"][rows]
        by_fold["age_mae"].append(metrics.mean_absolute_error(truth["age"][rows], value))
    for metric, values in by_fold.items():
        assert found["summary"][metric]["mean"] == pytest.approx(np.mean(values), rel=1e-5)
        assert found["summary"][metric]["ci_method"].startswith("bootstrap of test patients")
    assert found["summary"]["OS_ibs"]["ci_method"].startswith("none")
    assert found["baselines"] and all(t["test"].startswith("boot") for t in found["comparisons"])
    # Every fold tests the same patients, so that none is left to calibrate intervals and sets.
    assert not list((run / "tables").glob("conformal*"))
