"""What multi-omics does with the values it reads: logarithms by what they look like, a mask that
tells an outcome, the training range, and patients of whom nothing is known.
"""

import numpy as np
import pandas as pd
import pytest
from command import ROOT, config_of

from omics_jax.run.description import describe_data
from omics_jax.study.patients import reading
from omics_jax.study.patients.features import logged_modalities, training_range
from omics_jax.study.system import DataSpec
from omics_jax.systems import multiomics

SMOKE = f"--config={ROOT}/configs/multiomics.py:smoke"
GENES = ("TP53", "MYC", "EGFR")
IDS = [f"p{k:02}" for k in range(40)]


def written(tmp_path, values) -> str:
    frame = pd.DataFrame(values, IDS, GENES[: np.shape(values)[1]])
    frame.to_csv(tmp_path / "table.csv")
    return str(tmp_path / "table.csv")


def read(tmp_path, name, values, *words):
    path = written(tmp_path, values)
    words = (f"--config.data.modalities={name}={path}", "--config.data.orientation=samples", *words)
    return multiomics.read(config_of(SMOKE, *words))


LOGARITHMS = np.random.default_rng(0).uniform(1, 15, (40, 3))
COUNTS = np.exp2(LOGARITHMS)
BETWEEN = np.random.default_rng(0).uniform(0, 200, (40, 3))


@pytest.mark.parametrize(
    ("name", "values", "is_logged", "why"),
    [
        ("mirna", LOGARITHMS, False, "look like logarithms, shares or scores"),
        ("rna", COUNTS, True, "look like counts"),
        ("miRNA", COUNTS, True, "look like counts"),
        ("miRNA", BETWEEN, True, "do not tell whether they are counts"),
        ("rna", BETWEEN, False, "do not tell whether they are counts"),
    ],
)
def test_logarithms_are_taken_by_the_values_and_told(tmp_path, name, values, is_logged, why):
    dataset = read(tmp_path, name, values)
    expected = np.log2(values + 1) if is_logged else values
    np.testing.assert_allclose(dataset.modalities[name].values, expected, rtol=1e-5)
    said = "log2(x + 1) of every value" if is_logged else "no logarithm is taken"
    assert f"{name}: {said} (preprocess.log2=auto: its values {why})." in dataset.notes
    assert logged_modalities(dataset) == ((name,) if is_logged else ()) and not dataset.warnings


@pytest.mark.parametrize(
    ("values", "setting", "warned"),
    [
        (LOGARITHMS, "rna", "rna: its values look like logarithms already"),
        (LOGARITHMS, "()", ""),
        (COUNTS, "rna", ""),
        (COUNTS, "mirna", "rna: its values look like counts (up to "),
        (COUNTS, "()", "rna: its values look like counts (up to "),
        (COUNTS, "mirna,rna", ""),
        (BETWEEN, "rna", ""),
    ],
)
def test_names_are_obeyed_and_a_warning_says_where_the_values_look_otherwise(
    tmp_path, values, setting, warned
):
    dataset = read(tmp_path, "rna", values, f"--config.preprocess.log2={setting}")
    is_logged = "rna" in setting.split(",")
    expected = np.log2(values + 1) if is_logged else values
    np.testing.assert_allclose(dataset.modalities["rna"].values, expected, rtol=1e-5)
    assert [sentence.startswith(warned) for sentence in dataset.warnings] == [True] * bool(warned)


def test_the_logarithms_of_the_training_are_those_of_new_patients(tmp_path):
    """Whatever the new values look like by themselves."""
    path = written(tmp_path, LOGARITHMS)
    trained = config_of(SMOKE)
    command = config_of(SMOKE, f"--config.data.modalities=rna={path}")
    new = reading.read_new(DataSpec({"rna": GENES}, {}), ("rna",), trained, command)
    np.testing.assert_allclose(
        reading.prepare_new(("rna",), new).modalities["rna"].values,
        np.log2(LOGARITHMS + 1),
        rtol=1e-5,
    )


def test_what_the_training_knew_of_its_files_holds_for_new_ones(tmp_path):
    values = LOGARITHMS.copy()
    values[0, 0] = -999
    frame = pd.DataFrame(values, [f"TCGA-AA-{k:04}-01A" for k in range(40)], GENES)
    frame.assign(XIST=1.0).T.to_csv(tmp_path / "new.tsv", sep="\t")
    trained = config_of(
        SMOKE,
        "--config.data.missing_values=-999",
        "--config.data.barcode=tcga",
        "--config.data.orientation=samples",
        "--config.data.limits=rna=0:1000, mirna=0:30",
    )
    command = config_of(
        SMOKE,
        f"--config.data.modalities=rna={tmp_path}/new.tsv",
        "--config.data.clinical=known.csv",
    )
    new = reading.read_new(DataSpec({"rna": GENES}, {}), (), trained, command)
    assert new.ids[0] == "TCGA-AA-0000" and len(new) == 40
    assert new.modalities["rna"].features.tolist() == list(GENES)
    assert not new.modalities["rna"].mask[0, 0] and new.modalities["rna"].mask.sum() == 119
    for note in (
        "rna: 3 of 3 features found; unknown to the training and not used is 1 (XIST).",
        "Outcomes of the new patients are not read (data.clinical): the experiment external "
        "scores predictions, with these files as --config.data.external.modalities, .clinical and "
        ".survival.",
    ):
        assert note in new.notes


def test_new_patients_need_no_barcode_of_the_training(tmp_path):
    path = written(tmp_path, LOGARITHMS)
    trained = config_of(SMOKE, "--config.data.barcode=tcga")
    command = config_of(SMOKE, f"--config.data.modalities=rna={path}")
    new = reading.read_new(DataSpec({"rna": GENES}, {}), (), trained, command)
    assert sorted(new.ids.tolist()) == sorted(IDS)


def test_a_patient_without_any_value_is_predicted_as_unknown_and_named(tmp_path):
    values = LOGARITHMS.copy()
    values[3] = np.nan
    path = tmp_path / "table.csv"
    frame = pd.DataFrame(values, IDS, GENES).assign(other=1.0)
    frame.to_csv(path)
    command = config_of(SMOKE, f"--config.data.modalities=rna={path}")
    new = reading.read_new(DataSpec({"rna": GENES}, {}), (), config_of(SMOKE), command)
    row = new.ids.tolist().index("p03")
    assert new.warnings[-1].startswith(
        "patients without a value of any feature of the training: 1 (p03)"
    )
    given = {
        "age_value": np.ones(40, np.float32),
        "type_probability": np.ones((40, 2), np.float32),
        "reached": np.ones(40, bool),
        "embedding": np.ones((40, 4), np.float32),
    }
    found = reading.without_empty_rows(("age_value", "type_probability", "reached"), given, new)
    for field in ("age_value", "type_probability", "reached"):
        unknown = np.isnan(found[field].reshape(40, -1)).all(axis=1)
        assert np.flatnonzero(unknown).tolist() == [row]
    assert found["embedding"] is given["embedding"]


def test_the_training_range_is_that_of_the_features_in_use():
    constants = {
        "rna_alive": np.array([True, False]),
        "rna_low": np.float32([1, 0]),
        "rna_high": np.float32([5, 0]),
    }
    low, high = training_range(("rna",), {"constants": constants})["rna"]
    np.testing.assert_array_equal(low, [1, np.nan])
    np.testing.assert_array_equal(high, [5, np.nan])


def test_inspect_warns_where_the_missing_cells_tell_the_class(tmp_path):
    values = LOGARITHMS.copy()
    classes = np.repeat(["a", "b"], 20)
    values[:18, 1:] = np.nan
    told = pd.DataFrame({"type": classes}, pd.Index(IDS, name="patient"))
    told.to_csv(tmp_path / "told.csv")
    words = (f"--config.data.clinical={tmp_path}/told.csv", "--config.data.classes=type=type")
    dataset = read(tmp_path, "rna", values, *words)
    (warning,) = describe_data(dataset).warnings
    assert warning.startswith("rna: which of its values are missing predicts type (a tree on")
    complete = read(tmp_path, "rna", LOGARITHMS, *words)
    assert not describe_data(complete).warnings
