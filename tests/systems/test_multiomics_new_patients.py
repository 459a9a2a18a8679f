"""New patients for a trained multi-omics run: units, features, modalities, and what is said where
they do not fit.
"""

import json
import re

import numpy as np
import pandas as pd
import pytest
from command import ROOT, command, config_of
from ml_collections import ConfigDict

from omics_jax.errors import UserError
from omics_jax.settings.sections import prediction_config
from omics_jax.study.patients import reading
from omics_jax.study.system import DataSpec
from omics_jax.systems.multiomics.imputation import in_user_units
from omics_jax.systems.multiomics.reading import read

SMOKE = f"--config={ROOT}/configs/multiomics.py:smoke"
GENES = ("a", "b", "c")
COUNTS = pd.DataFrame([[0.0, 3.0, 7.0], [15.0, np.nan, 1.0]], index=["p", "q"], columns=GENES)
OBSERVED = COUNTS.notna().to_numpy()


TRAINED = config_of(SMOKE)
LOGGED = ("mirna",)


def command_for(path, *words):
    return config_of(SMOKE, f"--config.data.modalities={path}", *words)


def new(tmp_path, name="mirna", frame=COUNTS, known=("mirna",), trained=TRAINED):
    """New patients from one file, for a run that was trained with the modalities `known`."""
    path = tmp_path / "new.csv"
    frame.to_csv(path)
    config = command_for(f"{name}={path}", "--config.data.orientation=samples")
    return reading.read_new(DataSpec({m: GENES for m in known}, {}), LOGGED, trained, config)


def test_logarithms_are_taken_and_imputed_values_come_back_as_counts(tmp_path):
    dataset = new(tmp_path)
    raw, cells = dataset.modalities["mirna"], COUNTS.to_numpy()[OBSERVED]
    np.testing.assert_array_equal(raw.values[OBSERVED], cells)
    seen_by_network = reading.prepare_new(LOGGED, dataset).modalities["mirna"].values
    np.testing.assert_allclose(seen_by_network[OBSERVED], np.log2(cells + 1))
    imputed = np.where(OBSERVED, seen_by_network, 2.0)
    given = {"mirna": imputed, "mirna_sd": np.where(OBSERVED, 0, 0.5), "other": np.ones(2)}
    found = in_user_units(("mirna", "rna"), given, dataset)
    np.testing.assert_array_equal(found["mirna"][OBSERVED], COUNTS.to_numpy(np.float32)[OBSERVED])
    assert found["mirna"][~OBSERVED] == pytest.approx(3) and found["other"] is given["other"]
    assert found["mirna_sd"][~OBSERVED] == pytest.approx(np.log(2) * 4 * 0.5)
    assert (found["mirna_sd"][OBSERVED] == 0).all()


def test_what_is_no_logarithm_stays_as_it_is(tmp_path):
    dataset = new(tmp_path, "rna", known=("rna",))
    prepared = reading.prepare_new(LOGGED, dataset)
    np.testing.assert_array_equal(
        prepared.modalities["rna"].values, dataset.modalities["rna"].values
    )
    given = {"rna": np.ones((2, 3))}
    assert in_user_units(LOGGED, given, dataset)["rna"] is given["rna"]


def test_a_modality_without_a_file_is_imputed_in_the_units_of_the_files_too(tmp_path):
    """The logarithm's inverse does not depend on whether the new patients have the modality."""
    dataset = new(tmp_path, "rna", known=("rna", "mirna"))
    given = {"mirna": np.full((2, 3), 2.0), "mirna_sd": np.full((2, 3), 0.5)}
    found = in_user_units(LOGGED, given, dataset)
    np.testing.assert_allclose(found["mirna"], 3)
    np.testing.assert_allclose(found["mirna_sd"], np.log(2) * 4 * 0.5, rtol=1e-6)


def test_a_modality_that_the_run_does_not_know_is_named(tmp_path):
    with pytest.raises(
        UserError, match="the run knows no modality 'meth'; it was trained with mirna"
    ):
        new(tmp_path, "meth")


def test_a_modality_without_a_file_is_missing_and_one_without_a_feature_refused(tmp_path):
    dataset = new(tmp_path, known=("mirna", "rna"))
    assert not dataset.modalities["rna"].mask.any()
    assert "rna: no file, missing in every patient" in dataset.notes
    refusal = "mirna has values of none of the 3 features of the training"
    with pytest.raises(UserError, match=refusal):
        new(tmp_path, frame=COUNTS.rename(columns=str.upper))


def test_what_chose_features_in_training_does_not_ask_for_a_modality_that_new_patients_lack(
    tmp_path,
):
    trained = config_of(SMOKE)
    trained.preprocess.update(dict(zeros="cnv=keep", share="cnv=0.5"))
    dataset = new(tmp_path, "rna", known=("rna", "cnv"), trained=trained)
    assert not dataset.modalities["cnv"].mask.any() and dataset.modalities["rna"].mask.sum() == 5


def test_what_is_known_of_new_patients_is_not_read(tmp_path):
    """Nor need it be in order: outcomes may be unknown, or not yet."""
    COUNTS.T.to_csv(tmp_path / "A.tsv", sep="\t")
    labels = pd.DataFrame({"id": ["p", "q"], "label": ["", ""]})
    labels.to_csv(tmp_path / "labels.tsv", sep="\t", index=False)
    survival = pd.DataFrame({"id": ["p", "q"], "t": [0, 0], "e": [0, 1]})
    survival.to_csv(tmp_path / "survival.tsv", sep="\t", index=False)
    config = config_of(SMOKE, f"--config.data.path={tmp_path}", "--config.data.only=stage=I")
    dataset = reading.read_new(DataSpec({"rna": GENES}, {}), LOGGED, TRAINED, config)
    assert dataset.ids.tolist() == ["p", "q"] and not dataset.targets
    assert "All patients of the files are predicted: data.only is for training." in dataset.notes


def test_new_rows_are_preprocessed_as_those_of_the_training_were():
    config, trained = config_of(SMOKE), config_of(SMOKE, "--config.preprocess.log2=rna,mirna")
    record = ConfigDict(json.loads(trained.to_json_best_effort()))
    # A command that has parsed tuples before splits them; both spellings name the same modalities.
    assert ",".join(prediction_config(record, config).preprocess.log2) == "rna,mirna"
    assert tuple(config.preprocess.log2) == ("auto",)


# --- from a run to its predictions ----------------------------------------------------------------


@pytest.fixture(scope="module")
def imputing_run(tmp_path_factory):
    """A run of the imputers on simulated counts of which it took the logarithms."""
    folder = tmp_path_factory.mktemp("imputing") / "run"
    words = (
        "--config.preprocess.log2=('mirna',)",
        "--config.imputation.edges=mirna<rna",
        "--config.imputation.epochs=1",
    )
    smoke = SMOKE.replace(":smoke", ":imputation,smoke")
    outcome = command(smoke, f"--workdir={folder}", *words)
    assert outcome.status == 0, outcome.err
    return folder


def predicted(run, folder, rna, mirna=None):
    """The miRNA that `--mode=predict` writes for patients of these tables, and what it prints."""
    tables = {"rna": rna} if mirna is None else {"rna": rna, "mirna": mirna}
    paths = {}
    for name, frame in tables.items():
        paths[name] = folder / f"{name}.csv"
        frame.to_csv(paths[name])
    files = ",".join(f"{name}={path}" for name, path in paths.items())
    outcome = command(
        SMOKE.replace(":smoke", ":imputation,smoke"),
        f"--workdir={run}",
        "--mode=predict",
        f"--config.data.modalities={files}",
        "--config.data.orientation=samples",
        "--config.preprocess.log2=()",
    )
    assert outcome.status == 0, outcome.err
    (written,) = re.findall(r"\S*/predictions-\S+", outcome.out)
    return pd.read_csv(f"{written}/all.mirna.csv", index_col="id"), outcome.out


@pytest.mark.slow
def test_the_preprocessing_of_the_training_holds_for_new_patients_of_every_make(
    imputing_run, tmp_path
):
    """Imputed values are the file's own units whether or not the new patients have the modality,
    though the command's own config takes no such logarithm of theirs.
    """
    spec = json.loads((imputing_run / "training.json").read_text())["imputers"]["spec"]
    genes, mirnas = (list(spec["features"][name]) for name in ("rna", "mirna"))
    random = np.random.default_rng(0)
    ids = [f"new{i}" for i in range(6)]
    rna = pd.DataFrame(random.normal(8, 2, (6, len(genes))), index=ids, columns=genes)
    counts = pd.DataFrame(random.gamma(2, 40, (6, len(mirnas))), index=ids, columns=mirnas)
    counts.iloc[3:] = np.nan
    with_file, _ = predicted(imputing_run, tmp_path, rna, counts)
    without_file, out = predicted(imputing_run, tmp_path, rna)
    assert "mirna: no file, missing in every patient" in out
    np.testing.assert_allclose(with_file.iloc[:3], counts.iloc[:3], rtol=1e-6)
    np.testing.assert_allclose(without_file.iloc[3:], with_file.iloc[3:], rtol=1e-5)


@pytest.mark.slow
def test_new_values_on_another_scale_are_warned_of(imputing_run, tmp_path):
    """Patients of the training themselves, then the same with 2^x + 100 for x."""
    rna = read(config_of(SMOKE)).modalities["rna"]
    rows = np.flatnonzero(rna.mask.all(axis=1))[:6]
    logs = pd.DataFrame(rna.values[rows], [f"new{i}" for i in range(6)], rna.features)
    _, out = predicted(imputing_run, tmp_path, logs)
    assert "outside the range of the training values" not in out
    _, out = predicted(imputing_run, tmp_path, np.exp2(logs) + 100)
    assert (
        "warning: rna: 100.0% of the new values lie outside the range of the training values" in out
        and "are they in the same units and on the same scale?" in out
    )
