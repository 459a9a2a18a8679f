"""People's files through MIRACLE: outcomes of several kinds, one disease, and new people."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from command import command, config_of
from every_arm import few_trees_and_draws
from miracle_files import write_matrix, write_people
from miracle_people import MODULE, SMOKE, smoke_data

pytestmark = pytest.mark.slow

SHORT = (
    *("--config.training.epochs.autoencoder=1", "--config.training.epochs.heads=1"),
    "--config.training.epochs.all=1",
)


def words_of(settings):
    return [f"--config.{key}={value}" for key, value in settings.items()]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    return folder, write_people(folder, *smoke_data())


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """A run on files: two diseases, age and sex; adjusted for study, age and sex."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = (
        *words_of(files[1]),
        *("--config.data.numbers=age=age", "--config.data.classes=sex=sex"),
        *("--config.adjust.remove=('study','age')", "--config.adjust.inputs=('sex',)"),
        *("--config.selection.method=t", "--config.selection.sites=15"),
        "--config.compare.single=False",
    )
    with few_trees_and_draws():
        outcome = command(SMOKE, f"--workdir={folder}", *words, *SHORT)
    assert outcome.status == 0, outcome.err
    return folder, words


def test_diseases_numbers_and_classes_of_the_files_have_heads(run):
    metrics = json.loads((run[0] / "metrics.json").read_text())
    for name in ("IBD_auroc", "MS_auroc", "sex_auroc", "age_mae"):
        assert np.isfinite(metrics["summary"][name]["mean"]), sorted(metrics["summary"])
    assert {"elastic net", "nearest centroid", "boosting"} <= set(metrics["baselines"])


def new_people(folder, n=6, sites=slice(None)):
    """New people's methylation, of the simulated sites in another order."""
    dataset = smoke_data()[1]
    modality = dataset.modalities["methylation"]
    names = np.random.default_rng(0).permutation(modality.features)[sites]
    frame = pd.DataFrame(modality.values[:n], [f"N{i}" for i in range(n)], modality.features)
    frame = frame.where(modality.mask[:n])[list(names)]
    write_matrix(folder / "new.csv", frame)
    return f"--config.data.studies=new={folder}/new.csv"


def predicted(run, *words):
    """activity of the new people that `--mode=predict` writes, and what it prints."""
    outcome = command(SMOKE, f"--workdir={run[0]}", "--mode=predict", *words)
    assert outcome.status == 0, outcome.err
    (written,) = re.findall(r"\S*/predictions-\S+", outcome.out)
    return pd.read_csv(f"{written}/all.activity.csv", index_col="id"), outcome.out


def clinical(path, **columns):
    pd.DataFrame({"person": [f"N{i}" for i in range(6)], **columns}).to_csv(path, index=False)
    return f"--config.data.clinical={path}"


def test_new_people_without_a_table_count_as_the_mean_and_this_is_said(run, tmp_path):
    activity, said = predicted(run, new_people(tmp_path))
    assert activity.shape == (6, 12)  # 8 pathways and 4 units without one
    assert np.isfinite(activity.to_numpy()).all()
    for words in (
        "study: no word of the training (IBD, MS) is known of 6 of 6 new people",
        "age: no number is known of 6 of 6 new people, who count as the mean of the training",
        "sex: no word of the training (female, male) is known of 6 of 6 new people",
    ):
        assert words in said


def test_covariates_of_new_people_are_read_from_their_table(run, tmp_path):
    people = new_people(tmp_path)
    without, _ = predicted(run, people)
    table = clinical(tmp_path / "n.csv", age=[30, 40, 50, 60, 70, ""], sex=["male"] * 4 + ["x", ""])
    activity, said = predicted(run, people, table)
    assert "age: no number is known of 1 of 6 new people" in said
    assert "sex: no word of the training (female, male) is known of 2 of 6 new people" in said
    moved = np.abs(activity - without).to_numpy().max(axis=1)
    assert (moved[:5] > 1e-4).all() and moved[5] < 1e-6


def test_activity_is_also_written_as_anndata(run, tmp_path):
    anndata = pytest.importorskip("anndata")
    table = clinical(tmp_path / "n.csv", age=[30, 40, 50, 60, 70, ""], sex=["male"] * 6)
    activity, said = predicted(run, new_people(tmp_path), table)
    (written,) = re.findall(r"\S*/predictions-\S+", said)
    stored = anndata.read_h5ad(f"{written}/all.activity.h5ad")
    assert stored.obs_names.tolist() == activity.index.tolist()
    assert stored.var_names.tolist() == activity.columns.tolist()
    np.testing.assert_allclose(stored.X, activity.to_numpy(), rtol=1e-6)
    assert stored.obs["age"].tolist() == ["30", "40", "50", "60", "70", ""]


def test_a_table_with_unknown_columns_and_study_names_changes_nothing(run, tmp_path):
    people = new_people(tmp_path)
    without, _ = predicted(run, people)
    table = clinical(tmp_path / "n.csv", smoker=["yes"] * 6, study=["elsewhere"] * 6)
    activity, said = predicted(run, people, table)
    pd.testing.assert_frame_equal(activity, without)
    assert "age: no number is known of 6 of 6 new people" in said


def test_sites_that_new_people_lack_are_missing(run, tmp_path):
    whole, _ = predicted(run, new_people(tmp_path))
    activity, said = predicted(run, new_people(tmp_path, sites=slice(0, 30)))
    assert "30 of 60 sites found" in said
    assert np.isfinite(activity.to_numpy()).all() and not np.allclose(activity, whole)


def test_new_people_without_files_or_sites_are_refused(run, tmp_path):
    outcome = command(SMOKE, f"--workdir={run[0]}", "--mode=predict")
    assert outcome.status == 2 and "--config.data.studies" in outcome.err
    write_matrix(tmp_path / "o.csv", pd.DataFrame([[0.5, 0.1]], ["N0"], ["cg9", "cg8"]))
    words = f"--config.data.studies=o={tmp_path}/o.csv"
    outcome = command(SMOKE, f"--workdir={run[0]}", "--mode=predict", words)
    assert outcome.status == 2 and "none of the 60 sites of the training" in outcome.err


def test_one_disease_is_one_network(files):
    """No network of its own beside the network of all, and nothing to balance."""
    folder, settings = files
    only = {"data.studies": f"IBD={folder}/IBD.csv", "data.diseases": "IBD=IBD"}
    for balancing in ("fixed", "pwinval"):
        words = words_of({**settings, **only, "balancing.name": balancing})
        config = config_of(SMOKE, *words)
        (arm,) = MODULE.EXPERIMENTS["multitask"].arms(config, MODULE.read(config))
        assert [task.name for task in arm.spec.tasks] == ["IBD"] and not arm.sources
        assert arm.system.stages[-1].balance is None
