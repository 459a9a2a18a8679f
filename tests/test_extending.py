"""A new system: the code of docs/extending.md, from its files to a report."""

import importlib
import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
from command import ROOT, command

import omics_jax.systems

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "extending.md"
LINES_OF_A_SYSTEM = 60


def blocks() -> dict[str, str]:
    """File name -> its code, of the blocks that name one."""
    return dict(re.findall(r'```python title="([^"]+)"\n(.*?)```', PAGE.read_text(), re.DOTALL))


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The folder in which the files of the page lie as they would in a checkout."""
    for name, code in blocks().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    systems = [*omics_jax.systems.__path__, str(tmp_path / "omics_jax" / "systems")]
    monkeypatch.setattr(omics_jax.systems, "__path__", systems)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("omics_jax.systems.toy", None)


def test_the_system_of_the_page_runs_from_data_to_report(toy):
    run = toy / "run"
    outcome = command(f"--config={toy}/configs/toy.py:smoke", f"--workdir={run}")
    assert outcome.status == 0, outcome.err
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["experiment"] == "multitask"
    scores = {"type_accuracy", "age_rmse", "OS_c_index"}
    assert scores <= metrics["summary"].keys()
    clinical = {"class alone", "class and clinical"}
    assert set(metrics["baselines"]) == {
        "PCA + linear",
        "forest",
        "no features",
        "ridge",
        *clinical,
    }
    assert metrics["comparisons"]
    page = (run / "report.html").read_text()
    assert all(name in page for name in ("type", "age", "OS"))
    again = command(f"--config={toy}/configs/toy.py:smoke", f"--workdir={run}")
    assert again.status == 0 and "finished" in again.out


def test_it_reads_a_users_files(toy):
    random = np.random.default_rng(0)
    ids = [f"p{i:02d}" for i in range(45)]
    genes = pd.DataFrame(random.normal(size=(45, 6)), index=ids).add_prefix("gene-")
    genes.to_csv(toy / "rna.csv")
    outcomes = {
        "cancer": np.where(genes["gene-0"] > 0, "a", "b"),
        "age_years": 50 + genes["gene-1"],
    }
    pd.DataFrame(outcomes, index=ids).to_csv(toy / "clinical.csv", index_label="id")
    outcome = command(
        f"--config={toy}/configs/toy.py:smoke",
        f"--workdir={toy}/mine",
        f"--config.data.modalities=rna={toy}/rna.csv",
        f"--config.data.clinical={toy}/clinical.csv",
        "--config.data.classes=type=cancer",
        "--config.data.numbers=age=age_years",
    )
    assert outcome.status == 0, outcome.err
    found = json.loads((toy / "mine" / "metrics.json").read_text())["summary"]
    assert {"type_accuracy", "age_rmse"} <= found.keys()


def test_an_unknown_experiment_of_it_is_refused_by_name(toy):
    outcome = command(f"--config={toy}/configs/toy.py:table1", f"--workdir={toy}/other")
    assert outcome.status == 2
    assert "'table1', which is not an experiment of toy; choose one of multitask" in outcome.err


def test_a_system_of_encoder_and_tasks_is_short():
    code = blocks()["omics_jax/systems/toy.py"]
    assert len([line for line in code.splitlines() if line.strip()]) <= LINES_OF_A_SYSTEM
