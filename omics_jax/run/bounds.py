"""What a run stored for the intervals and sets of new rows, see `study.conformal`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.file_names import file_name
from omics_jax.run.manifest import check_files, read_manifest
from omics_jax.study.conformal import COLUMNS, QUANTILES

NO_QUANTILES = (
    "no intervals and no sets of classes: this run has no test patients of other folds to "
    "calibrate them on"
)


def stored_quantiles(folder: Path, arm: str) -> pd.DataFrame:
    """The rows of an arm in the run's table of conformal quantiles; none where it has no such
    table.

    Raises:
      UserError: the table is missing or damaged.
    """
    name = f"tables/{file_name(QUANTILES)}.csv"
    if name not in read_manifest(folder).files:
        return pd.DataFrame(columns=COLUMNS)
    check_files(folder, [name])
    numbers = ("level", "quantile")
    types = {column: np.float64 if column in numbers else str for column in COLUMNS}
    # Names are names: an outcome called NA is not missing. Numbers are read bit by bit.
    table = pd.read_csv(
        folder / name, dtype=types, keep_default_na=False, float_precision="round_trip"
    )
    return table[table["arm"] == arm]
