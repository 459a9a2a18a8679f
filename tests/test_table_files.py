"""The files of `tables/`: every table as a CSV, beside it the other formats that it has."""

import json

import pandas as pd

from omics_jax.evaluation.tables import Table
from omics_jax.run.outputs import save_tables
from omics_jax.study.system import Results


def test_another_format_stands_beside_the_csv_and_in_the_index(tmp_path):
    frame = pd.DataFrame({"source": ["a"], "target": ["b"], "value": [1.0]})
    tables = {
        "../pairs": Table("network", frame, "Pairs", "", formats={"graphml": b"<graphml/>\n"}),
        "plain": Table("table", frame, "Plain", ""),
    }
    folder = tmp_path / "run" / "tables"
    folder.parent.mkdir()
    files = save_tables(folder, tables, Results(pd.DataFrame({"score": [0.5]}), {}, {}))
    names = ["%2E%2E%2Fpairs.csv", "plain.csv", "scores.csv", "%2E%2E%2Fpairs.graphml"]
    assert [file.name for file in files] == [*names, "index.json"]
    assert {file.name for file in folder.iterdir()} == {file.name for file in files}
    assert (folder / names[3]).read_bytes() == b"<graphml/>\n"
    first, second = json.loads((folder / "index.json").read_text())
    assert (first["name"], first["file"], first["formats"]) == ("../pairs", names[0], ["graphml"])
    assert second["formats"] == []
