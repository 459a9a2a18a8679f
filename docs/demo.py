"""Draws README's picture from a finished demo: python docs/demo.py [runs/demo]."""

import sys
from pathlib import Path

import pandas as pd

from omics_jax.report.figures import draw


def main(run: str = "runs/demo") -> None:
    """Writes docs/demo.svg from the run's tables."""
    change = pd.read_csv(Path(run) / "tables" / "change.csv")
    picture = draw("scatter", change, "", "predicted change (log2)", "observed change (log2)")
    Path(__file__).with_suffix(".svg").write_text(picture.svg)


if __name__ == "__main__":
    main(*sys.argv[1:])
