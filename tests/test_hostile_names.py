"""Names that look like paths: nothing outside a run directory is written or removed.

Whole runs with a modality, an outcome, a class and an arm of hostile names; single functions are
tested where they stand (`test_file_names`).
"""

import json

import numpy as np
import pandas as pd
import pytest
from command import ROOT, command

CONFIG = f"--config={ROOT}/configs/multiomics.py:smoke"
OUTSIDE = "a/../../../../victim"
OUTCOME = "../../../pwn"


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """The words that name two modalities and the outcomes of 40 patients."""
    folder = tmp_path_factory.mktemp("patients")
    random = np.random.default_rng(0)
    ids = [f"p{i:02d}" for i in range(40)]
    for name, features in {"rna": 8, "mirna": 6}.items():
        frame = pd.DataFrame(random.normal(size=(40, features)), index=ids)
        frame.add_prefix(f"{name}-").to_csv(folder / f"{name}.csv")
    clinical = pd.DataFrame({"cancer": np.where(random.random(40) < 0.5, "../a", "b")}, index=ids)
    clinical.to_csv(folder / "clinical.csv", index_label="id")
    return folder


def files_of(folder):
    return {str(path.relative_to(folder)): path.is_dir() for path in folder.rglob("*")}


def test_hostile_names_stay_inside_the_run_directory(patients, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept.txt").write_text("kept")
    (tmp_path / "pwn_confusion.csv").write_text("kept")
    run = tmp_path / "runs" / "one"
    words = [
        CONFIG,
        f"--workdir={run}",
        f"--config.data.modalities={OUTSIDE}={patients}/rna.csv, mirna={patients}/mirna.csv",
        "--config.data.orientation=samples",
        "--config.preprocess.log2=()",
        "--config.preprocess.without_y=()",
    ]
    outcome = command(
        *words,
        f"--config.data.clinical={patients}/clinical.csv",
        f"--config.data.classes={OUTCOME}=cancer",
    )
    assert outcome.status == 0, outcome.err
    assert (victim / "kept.txt").read_text() == "kept"
    assert (tmp_path / "pwn_confusion.csv").read_text() == "kept"
    outside = {name for name in files_of(tmp_path) if not name.startswith("runs")}
    assert outside == {"victim", "victim/kept.txt", "pwn_confusion.csv"}
    index = json.loads((run / "tables" / "index.json").read_text())
    assert any(entry["name"] == f"{OUTCOME}_confusion" for entry in index)
    assert all((run / "tables" / entry["file"]).exists() for entry in index)

    predicted = command(*words, "--mode=predict")
    assert predicted.status == 0, predicted.err
    (folder,) = run.glob("predictions-*")
    (file,) = folder.glob("*probability.csv")
    assert len(pd.read_csv(file)) == 40
    assert {name for name in files_of(tmp_path) if not name.startswith("runs")} == outside
