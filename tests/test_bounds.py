"""The conformal quantiles that a run stored, as its predictions read them again."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.errors import UserError
from omics_jax.run.bounds import stored_quantiles
from omics_jax.run.manifest import list_files
from omics_jax.study.conformal import COLUMNS, QUANTILES

# Names that a reader of tables takes for missing values or numbers, and a number of 17 digits.
ROWS = [
    ("NA", "all", "null", 0.9, 0.1 + 0.2),
    ("NA", "all", "007", 0.95, np.inf),
    ("other, too", "all", "null", 0.9, 1.0),
]


@pytest.fixture
def folder(tmp_path):
    """A run directory with these rows in its table."""
    path = tmp_path / "tables" / f"{QUANTILES}.csv"
    path.parent.mkdir()
    pd.DataFrame(ROWS, columns=COLUMNS).to_csv(path, index=False)
    list_files(tmp_path, [f"tables/{QUANTILES}.csv"])
    return tmp_path


def test_the_rows_of_an_arm_are_read_as_they_were_written(folder):
    assert list(stored_quantiles(folder, "NA").itertuples(index=False, name=None)) == ROWS[:2]
    assert len(stored_quantiles(folder, "other, too")) == 1
    assert stored_quantiles(folder, "none").empty


def test_a_run_without_the_table_has_no_rows(tmp_path):
    found = stored_quantiles(tmp_path, "NA")
    assert found.empty and found.columns.tolist() == list(COLUMNS)


def test_a_damaged_table_is_refused(folder):
    (folder / "tables" / f"{QUANTILES}.csv").write_text("arm\n")
    with pytest.raises(UserError, match=f"{QUANTILES}.csv is damaged"):
        stored_quantiles(folder, "NA")
