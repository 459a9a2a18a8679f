"""Whether two sets of run directories hold the same numbers, bit for bit.

    python benchmarks/same_runs.py BEFORE AFTER

Both folders hold run directories of the same names, such as smoke runs of every experiment made
before and after a change. Compared are `metrics.json` without its timing, every array of
`predictions.npz`, and the tables; exit status 1 if metrics or predictions differ anywhere.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def main(before: Path, after: Path) -> int:
    """Prints a line per run; returns the exit status."""
    names = sorted(path.parent.name for path in after.glob("*/metrics.json"))
    same = True
    for name in names:
        old, new = before / name, after / name
        if not (old / "metrics.json").exists():
            print(f"{name}: no run of that name in {before}")
            continue
        metrics = differing_keys(metrics_of(old), metrics_of(new))
        arrays = differing_arrays(old / "predictions.npz", new / "predictions.npz")
        tables = differing_tables(old / "tables", new / "tables")
        same = same and not metrics and not arrays
        print(f"{name}: metrics {_words(metrics)}; predictions {_words(arrays)}")
        if metrics:
            print(f"    largest relative difference of a score: {largest_difference(old, new):.2g}")
        if tables:
            print(f"    tables that differ: {', '.join(tables)}")
    return 0 if same and names else 1


def metrics_of(run: Path) -> dict[str, Any]:
    """metrics.json without what a repeated run may change."""
    metrics = json.loads((run / "metrics.json").read_text())
    return {key: value for key, value in metrics.items() if key != "timing"}


def differing_keys(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The top-level keys whose values differ."""
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def largest_difference(old: Path, new: Path) -> float:
    """Of the scores of all models in all replicates; nan where other scores were computed."""
    scores = [pd.read_csv(run / "tables" / "scores.csv") for run in (old, new)]
    a, b = (frame["value"].to_numpy() for frame in scores)
    if not scores[0].drop(columns="value").equals(scores[1].drop(columns="value")):
        return float("nan")
    return float(np.nanmax(np.abs(a - b) / np.maximum(np.abs(a), np.finfo(float).tiny)))


def differing_arrays(old: Path, new: Path) -> list[str]:
    """The arrays that differ in a bit, in their type, or that only one file has."""
    with np.load(old) as a, np.load(new) as b:
        names = sorted({*a.files, *b.files})
        return [name for name in names if not _equal(a, b, name)]


def _equal(a: Any, b: Any, name: str) -> bool:
    if name not in a.files or name not in b.files:
        return False
    return a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes()


def differing_tables(old: Path, new: Path) -> list[str]:
    """The tables (CSV) of the newer run that the older lacks or has with other content."""
    return [
        path.name
        for path in sorted(new.glob("*.csv"))
        if not (old / path.name).exists() or (old / path.name).read_bytes() != path.read_bytes()
    ]


def _words(names: list[str]) -> str:
    return f"differ in {', '.join(names)}" if names else "the same"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
