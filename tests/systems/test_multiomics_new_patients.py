"""New patients for a trained multi-omics run: units, features, modalities, and what is said where
they do not fit.
"""

import numpy as np
import pandas as pd
import pytest
from command import ROOT, config_of

from omics_jax.errors import UserError
from omics_jax.run.command import system_module
from omics_jax.run.predict import _with_preprocessing
from omics_jax.study.system import DataSpec
from omics_jax.systems.multiomics.reading import in_user_units, raw_name

MODULE = system_module("multiomics")
SMOKE = f"--config={ROOT}/configs/multiomics.py:smoke"
GENES = ("a", "b", "c")
COUNTS = pd.DataFrame([[0.0, 3.0, 7.0], [15.0, np.nan, 1.0]], index=["p", "q"], columns=GENES)


def new(tmp_path, name="mirna", frame=COUNTS, known=("mirna",)):
    path = tmp_path / "new.csv"
    frame.to_csv(path)
    config = config_of(
        SMOKE, f"--config.data.modalities={name}={path}", "--config.data.orientation=samples"
    )
    return MODULE.read_new(config, DataSpec({m: GENES for m in known}, {}))


def test_logarithms_are_taken_and_imputed_values_come_back_as_counts(tmp_path):
    dataset = new(tmp_path)
    seen = COUNTS.notna().to_numpy()
    np.testing.assert_allclose(
        dataset.modalities["mirna"].values[seen], np.log2(COUNTS.to_numpy()[seen] + 1)
    )
    imputed = np.where(seen, dataset.modalities["mirna"].values, 2.0)
    given = {"mirna": imputed, "mirna_sd": np.where(seen, 0, 0.5), "other": np.ones(2)}
    found = in_user_units(("mirna", "rna"), given, dataset)
    np.testing.assert_array_equal(found["mirna"][seen], COUNTS.to_numpy(np.float32)[seen])
    assert found["mirna"][~seen] == pytest.approx(3) and found["other"] is given["other"]
    assert (
        found["mirna_sd"][~seen] == pytest.approx(np.log(2) * 4 * 0.5)
        and (found["mirna_sd"][seen] == 0).all()
    )


def test_what_is_no_logarithm_stays_as_it_is(tmp_path):
    dataset = new(tmp_path, "rna", known=("rna",))
    assert raw_name("rna") not in dataset.modalities
    given = {"rna": np.ones((2, 3))}
    assert in_user_units(("mirna",), given, dataset)["rna"] is given["rna"]


def test_a_modality_that_the_run_does_not_know_is_named(tmp_path):
    with pytest.raises(
        UserError, match="the run knows no modality 'meth'; it was trained with mirna"
    ):
        new(tmp_path, "meth")


def test_a_modality_without_a_file_is_missing_and_one_without_a_feature_refused(tmp_path):
    dataset = new(tmp_path, known=("mirna", "rna"))
    assert (
        not dataset.modalities["rna"].mask.any()
        and "rna: no file, missing in every patient" in dataset.notes
    )
    with pytest.raises(UserError, match="mirna has none of the 3 features of the training"):
        new(tmp_path, frame=COUNTS.rename(columns=str.upper))


def test_what_chose_features_in_training_does_not_ask_for_a_modality_that_new_patients_lack(
    tmp_path,
):
    path = tmp_path / "new.csv"
    COUNTS.to_csv(path)
    config = config_of(
        SMOKE, f"--config.data.modalities=rna={path}", "--config.data.orientation=samples"
    )
    config.preprocess.update(dict(zeros="cnv=keep", share="cnv=0.5", log2=("cnv",)))
    dataset = MODULE.read_new(config, DataSpec({m: GENES for m in ("rna", "cnv")}, {}))
    assert not dataset.modalities["cnv"].mask.any() and dataset.modalities["rna"].mask.sum() == 5


def test_what_is_known_of_new_patients_is_not_read(tmp_path):
    """Nor need it be in order: outcomes may be unknown, or not yet."""
    COUNTS.T.to_csv(tmp_path / "A.tsv", sep="\t")
    pd.DataFrame({"id": ["p", "q"], "label": ["", ""]}).to_csv(
        tmp_path / "labels.tsv", sep="\t", index=False
    )
    pd.DataFrame({"id": ["p", "q"], "t": [0, 0], "e": [0, 1]}).to_csv(
        tmp_path / "survival.tsv", sep="\t", index=False
    )
    config = config_of(SMOKE, f"--config.data.path={tmp_path}", "--config.data.only=stage=I")
    dataset = MODULE.read_new(config, DataSpec({"rna": GENES}, {}))
    assert dataset.ids.tolist() == ["p", "q"] and not dataset.targets
    assert "All patients of the files are predicted: data.only is for training." in dataset.notes


def test_new_rows_are_preprocessed_as_those_of_the_training_were():
    config = config_of(SMOKE)
    trained = {"preprocess": {**config.preprocess.to_dict(), "log2": ["rna", "mirna"]}}
    assert tuple(_with_preprocessing(config, trained).preprocess.log2) == ("rna", "mirna")
    assert tuple(config.preprocess.log2) == ("mirna",)
