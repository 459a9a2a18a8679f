"""New patients for a trained gene transformer: genes that lack, stand elsewhere or are unknown."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from command import command
from every_arm import few_trees_and_draws
from gene_patients import GENES, SMOKE, tables, written

from omics_jax.run.manifest import read_manifest, write_manifest

EXPRESSION, CLINICAL = tables()
NEW = EXPRESSION.iloc[:9]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on files: one network of a class and a number in each of three folds."""
    folder = tmp_path_factory.mktemp("trained")
    with few_trees_and_draws():
        outcome = trained(folder / "run", *written(folder, EXPRESSION, CLINICAL))
    assert outcome.status == 0, outcome.err
    return folder / "run"


def trained(run, *files):
    words = ("--config.compare.mlp=()", "--config.data.numbers=age=age")
    return command(SMOKE, f"--workdir={run}", *words, *files)


@pytest.fixture(scope="module")
def predict(run, tmp_path_factory):
    """`predict(expression)`: (probabilities of kind, what the command prints)."""

    def predicted(frame):
        folder = tmp_path_factory.mktemp("new")
        path = folder / f"{folder.name}.csv"  # a folder of predictions is named after its file
        frame.to_csv(path)
        outcome = asked(run, path)
        assert outcome.status == 0, outcome.err
        return table(outcome, "kind_probability")[["A", "B"]], outcome.out

    return predicted


def asked(run, path, *words):
    files = f"--config.data.modalities=rna={path}"
    return command(SMOKE, f"--workdir={run}", "--mode=predict", files, *words)


def table(outcome, field):
    """The predictions of a field that a command wrote."""
    return pd.read_csv(f"{folder_of(outcome)}/all.{field}.csv", index_col="id")


def folder_of(outcome):
    """Where a command wrote its predictions."""
    (found,) = re.findall(r"\S*/predictions-\S+", outcome.out)
    return found


@pytest.fixture(scope="module")
def as_trained(predict):
    """The predictions of `NEW` as its file stands, and what was said."""
    return predict(NEW)


def test_a_cohort_like_the_trainings_is_predicted_without_a_warning(as_trained):
    found, out = as_trained
    assert found.index.tolist() == NEW.index.tolist() and found.columns.tolist() == ["A", "B"]
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert found["A"].nunique() == len(NEW)
    assert "rna: 6 of 6 features found." in out and "warning" not in out


def test_genes_in_another_order_and_unknown_ones_change_nothing(predict, as_trained):
    other = NEW.assign(ABC=3.0)[["ABC", *GENES[::-1]]]
    found, out = predict(other)
    pd.testing.assert_frame_equal(found, as_trained[0], check_exact=True)
    assert "6 of 6 features found; unknown to the training and not used is 1 (ABC)" in out


def test_genes_that_a_file_lacks_are_told_and_take_no_part(predict, as_trained):
    found, out = predict(NEW.drop(columns=["G1", "G4"]))
    assert "rna: 4 of 6 features found; without a value are 2 (G1, G4)" in out
    unmeasured, _ = predict(NEW.assign(G1=np.nan, G4=np.nan))
    pd.testing.assert_frame_equal(found, unmeasured, check_exact=True)
    assert (found["A"] != as_trained[0]["A"]).all()


def test_a_patient_without_any_gene_is_left_empty_and_named(predict, as_trained):
    bare = NEW.copy()
    bare.iloc[2] = np.nan
    found, out = predict(bare)
    assert found.iloc[2].isna().all()
    others = np.arange(len(NEW)) != 2
    pd.testing.assert_frame_equal(found[others], as_trained[0][others], check_exact=True)
    said = "warning: patients without a value of any feature of the training: 1 (P002); their"
    assert said in out


def test_values_outside_the_training_range_are_warned_of_and_count_as_its_ends(predict):
    far, farther = (predict(NEW.assign(G2=value)) for value in (60.0, 90.0))
    pd.testing.assert_frame_equal(far[0], farther[0], check_exact=True)
    said = "lie outside the range of the training values (1 of 6 variables, most often G2 100%)"
    assert said in far[1] and "are they in the same units and on the same scale?" in far[1]


def test_a_file_without_any_gene_of_the_training_is_refused(run, tmp_path):
    NEW.rename(columns=str.lower).to_csv(tmp_path / "lower.csv")
    outcome = asked(run, tmp_path / "lower.csv")
    assert outcome.status == 2
    (line,) = outcome.err.strip().splitlines()
    assert "rna has values of none of the 6 features of the training; they must be named" in line
    assert "the training has 'G0', the file has 'g0'" in line


def test_a_modality_that_the_run_does_not_know_is_refused(run, tmp_path):
    NEW.to_csv(tmp_path / "new.csv")
    files = f"--config.data.modalities=mirna={tmp_path}/new.csv"
    outcome = command(SMOKE, f"--workdir={run}", "--mode=predict", files)
    assert outcome.status == 2
    assert "the run knows no modality 'mirna'; it was trained with rna" in outcome.err


# --- intervals and sets ---------------------------------------------------------------------------


def test_intervals_and_sets_of_new_patients_are_those_of_the_runs_quantiles(run, tmp_path):
    bare = NEW.copy()
    bare.iloc[2] = np.nan
    bare.to_csv(tmp_path / "bounded.csv")
    outcome = asked(run, tmp_path / "bounded.csv", "--config.predict.coverage=0.8")
    assert outcome.status == 0 and "no intervals" not in outcome.out, outcome.err
    stored = pd.read_csv(run / "tables" / "conformal_quantiles.csv").query("level == 0.8")
    quantile = stored.set_index("outcome")["quantile"]
    age, kind = table(outcome, "age_value"), table(outcome, "kind_probability")
    assert age.columns.tolist() == ["age", "low_80", "high_80"]
    assert age.iloc[2].isna().all() and len(of_age := age.dropna()) == len(NEW) - 1
    np.testing.assert_allclose(of_age["high_80"] - of_age["age"], quantile["age"], rtol=1e-5)
    np.testing.assert_allclose(of_age["age"] - of_age["low_80"], quantile["age"], rtol=1e-5)
    for patient, row in kind.drop(index=NEW.index[2]).iterrows():
        first, second = ("A", "B") if row["A"] > row["B"] else ("B", "A")
        expected = f"{first}; {second}" if row[first] <= quantile["kind"] else first
        assert kind.loc[patient, "set_80"] == expected
    assert kind.iloc[2].isna().all()
    assert table(outcome, "age_value_between_replicates").columns.tolist() == ["age"]


def test_a_prediction_without_a_coverage_has_no_intervals_and_others_are_refused(run, tmp_path):
    NEW.to_csv(tmp_path / "plain.csv")
    outcome = asked(run, tmp_path / "plain.csv", "--config.predict.coverage=0.0")
    assert table(outcome, "age_value").columns.tolist() == ["age"]
    outcome = asked(run, tmp_path / "plain.csv", "--config.predict.coverage=0.85")
    assert outcome.status == 2
    assert "config.predict.coverage is 0.85; choose one of 0, 0.8, 0.9, 0.95" in outcome.err


def test_the_report_says_how_often_intervals_and_sets_hold_the_truth(run):
    frame = pd.read_csv(run / "tables" / "conformal.csv")
    own = frame[frame["model"] == "multitask"].set_index(["outcome", "level"])
    assert sorted(own.index) == [(o, level) for o in ("age", "kind") for level in (0.8, 0.9, 0.95)]
    assert (own["low"] < own["coverage"]).all() and (own["coverage"] <= own["high"]).all()
    assert (own["patients"] == len(EXPRESSION)).all()
    widths, ages = own.loc["age", "mean width"], CLINICAL["age"]
    assert widths.is_monotonic_increasing and ages.std() < widths[0.9] < 2 * np.ptp(ages)
    assert own.loc["age", "coverage"].between(0.6, 1).all()
    assert own.loc["kind", "mean classes"].between(1, 2).all()
    by_class = pd.read_csv(run / "tables" / "conformal_classes.csv")
    assert by_class["class"].tolist() == ["A", "B"] and by_class["patients"].sum() == 45
    page = (run / "report.html").read_text()
    assert "Prediction intervals and sets" in page and "tables/conformal_quantiles.csv" in page


def test_a_run_without_quantiles_says_that_it_has_no_intervals(run, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    manifest = read_manifest(copied)
    files = {k: v for k, v in manifest.files.items() if "conformal" not in k}
    write_manifest(copied, replace(manifest, files=files))
    NEW.to_csv(tmp_path / "bare.csv")
    outcome = asked(copied, tmp_path / "bare.csv")
    assert outcome.status == 0, outcome.err
    assert "note: no intervals and no sets of classes: this run has no test patients" in outcome.out
    assert table(outcome, "age_value").columns.tolist() == ["age"]


# --- vectors and attributions ---------------------------------------------------------------------


def test_vectors_of_the_first_folds_patients_and_genes_stand_in_the_run(run):
    anndata = pytest.importorskip("anndata")
    patients, genes = (
        anndata.read_h5ad(run / "vectors" / f"multitask.{name}.h5ad")
        for name in ("embedding", "genes")
    )
    with np.load(run / "predictions.npz") as arrays:
        first = arrays["multitask/replicate"] == 0
        assert patients.obs_names.tolist() == arrays["multitask/id"][first].tolist()
        np.testing.assert_array_equal(patients.X, arrays["multitask/embedding"][first])
        best = arrays["multitask/kind_probability"][first].argmax(axis=1)
        ages = arrays["multitask/age_value"][first]
    np.testing.assert_array_equal(patients.obs["age_predicted"], ages)
    assert patients.obs["kind_predicted"].tolist() == np.array(["A", "B"])[best].tolist()
    known = CLINICAL.loc[patients.obs_names]
    for column in ("kind", "age", "sex"):
        assert patients.obs[column].tolist() == known[column].tolist()
    assert genes.obs_names.tolist() == list(GENES) and (genes.obs["modality"] == "rna").all()
    assert genes.shape == (len(GENES), 8) and np.ptp(genes.X, axis=0).min() > 0


def test_lost_vectors_are_written_again(run, tmp_path):
    pytest.importorskip("anndata")
    copied = shutil.copytree(run, tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (copied / "vectors").iterdir()}
    shutil.rmtree(copied / "vectors")
    with few_trees_and_draws():
        outcome = trained(copied, *written(run.parent, EXPRESSION, CLINICAL))
    assert outcome.status == 0 and "made again: vectors/" in outcome.out, outcome.err
    assert before == {file.name: file.read_bytes() for file in (copied / "vectors").iterdir()}


def test_new_patients_have_vectors_with_what_is_predicted_of_them(run, tmp_path):
    anndata = pytest.importorskip("anndata")
    bare = NEW.copy()
    bare.iloc[2] = np.nan
    bare.to_csv(tmp_path / "embedded.csv")
    found = folder_of(asked(run, tmp_path / "embedded.csv"))
    stored = anndata.read_h5ad(f"{found}/all.embedding.h5ad")
    assert stored.obs_names.tolist() == NEW.index.tolist()
    with np.load(f"{found}/all-0.npz") as first:
        np.testing.assert_array_equal(stored.X, first["embedding"])
        best = first["kind_probability"].argmax(axis=1)
    is_bare = np.arange(len(NEW)) == 2
    assert np.isnan(stored.X[is_bare]).all() and np.isfinite(stored.X[~is_bare]).all()
    expected = np.where(is_bare, "", np.array(["A", "B"])[best])
    assert stored.obs["kind_predicted"].tolist() == expected.tolist()


def test_new_patients_are_explained_where_asked(run, tmp_path):
    """The attributions are in the files of the folds, 0 for the genes that a file lacks."""
    NEW.drop(columns=["G1"]).to_csv(tmp_path / "explained.csv")
    asked_for = "--config.predict.attributions=True"
    found = folder_of(asked(run, tmp_path / "explained.csv", asked_for))
    with np.load(f"{found}/all-1.npz") as fold:
        parts = fold["kind_attribution_rna"]
    assert parts.shape == (len(NEW), len(GENES))
    assert (parts[:, 1] == 0).all() and np.abs(np.delete(parts, 1, axis=1)).min() > 0


# --- covariates -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_sex(tmp_path_factory):
    """A run whose networks also read the patients' sex."""
    folder = tmp_path_factory.mktemp("trained_with_sex")
    files = written(folder, EXPRESSION, CLINICAL)
    words = ("--config.compare.mlp=()", "--config.data.covariates=sex")
    with few_trees_and_draws():
        outcome = command(SMOKE, f"--workdir={folder}/run", *words, *files)
    assert outcome.status == 0, outcome.err
    return folder / "run"


def probabilities(run, folder, clinical=None):
    """(probabilities of kind of `NEW`, what the command prints) with this clinical table."""
    folder.mkdir()
    NEW.to_csv(folder / f"{folder.name}.csv")
    words = [f"--config.data.modalities=rna={folder / folder.name}.csv"]
    if clinical is not None:
        clinical.to_csv(folder / "clinical.csv")
        words.append(f"--config.data.clinical={folder / 'clinical.csv'}")
    outcome = command(SMOKE, f"--workdir={run}", "--mode=predict", *words)
    assert outcome.status == 0, outcome.err
    return table(outcome, "kind_probability")[["A", "B"]], outcome.out


def test_covariates_of_new_patients_are_read_and_unknown_ones_are_told(with_sex, tmp_path):
    known = CLINICAL.loc[NEW.index, ["sex"]]
    swapped = known.replace({"sex": {"f": "m", "m": "f"}})
    found, out = probabilities(with_sex, tmp_path / "known", known)
    assert "warning" not in out
    other, _ = probabilities(with_sex, tmp_path / "swapped", swapped)
    assert not np.allclose(found, other)
    _, out = probabilities(with_sex, tmp_path / "without")
    words = "is known of 9 of 9 new people, who are predicted without it; data.clinical names"
    assert "sex: no word of the training (f, m) " + words in out
