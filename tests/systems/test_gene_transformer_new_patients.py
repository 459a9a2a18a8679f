"""New patients for a trained gene transformer: genes that lack, stand elsewhere or are unknown."""

import re

import numpy as np
import pandas as pd
import pytest
from command import command
from every_arm import few_trees_and_draws
from gene_patients import GENES, SMOKE, tables, written

EXPRESSION, CLINICAL = tables()
NEW = EXPRESSION.iloc[:9]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on files: one network of one outcome in each of three folds."""
    folder = tmp_path_factory.mktemp("trained")
    files = written(folder, EXPRESSION, CLINICAL)
    with few_trees_and_draws():
        outcome = command(SMOKE, f"--workdir={folder}/run", "--config.compare.mlp=()", *files)
    assert outcome.status == 0, outcome.err
    return folder / "run"


@pytest.fixture(scope="module")
def predict(run, tmp_path_factory):
    """`predict(expression)`: (probabilities of kind, what the command prints)."""

    def predicted(frame):
        folder = tmp_path_factory.mktemp("new")
        path = folder / f"{folder.name}.csv"  # a folder of predictions is named after its file
        frame.to_csv(path)
        outcome = asked(run, path)
        assert outcome.status == 0, outcome.err
        (found,) = re.findall(r"\S*/predictions-\S+", outcome.out)
        return pd.read_csv(f"{found}/all.kind_probability.csv", index_col="id"), outcome.out

    return predicted


def asked(run, path):
    files = f"--config.data.modalities=rna={path}"
    return command(SMOKE, f"--workdir={run}", "--mode=predict", files)


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
    (found,) = re.findall(r"\S*/predictions-\S+", outcome.out)
    return pd.read_csv(f"{found}/all.kind_probability.csv", index_col="id"), outcome.out


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
