"""The sixth system: the code of docs/extending.md, from its files to a report."""

import importlib
import json
import re
import sys

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
    assert set(metrics["baselines"]) == {"PCA + linear", "forest", "no features"}
    assert metrics["comparisons"]
    page = (run / "report.html").read_text()
    assert all(name in page for name in ("type", "age", "OS"))
    again = command(f"--config={toy}/configs/toy.py:smoke", f"--workdir={run}")
    assert again.status == 0 and "finished" in again.out


def test_an_unknown_experiment_of_it_is_refused_by_name(toy):
    outcome = command(f"--config={toy}/configs/toy.py:table1", f"--workdir={toy}/other")
    assert outcome.status == 2
    assert "'table1', which is no experiment of toy; choose one of multitask" in outcome.err


def test_a_system_of_encoder_and_tasks_is_short():
    code = blocks()["omics_jax/systems/toy.py"]
    assert len([line for line in code.splitlines() if line.strip()]) <= LINES_OF_A_SYSTEM
