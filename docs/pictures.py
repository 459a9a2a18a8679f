r"""Draws the documentation's pictures from finished runs, into docs/images.

    make demo
    python docs/pictures.py demo=runs/demo
    python docs/pictures.py pertvae=runs/vorinostat ehr=runs/stays multiomics=runs/patients \
        miracle=runs/pathways gene_transformer=runs/patients

The first run is the demo; the pages of the systems make the others.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

from omics_jax.report.figures import draw

# The table of the run that each picture shows; in EHR, of two patients and three variables only.
TABLES = {
    "demo": "change",
    "pertvae": "change",
    "ehr": "series",
    "multiomics": "OS_groups",
    "miracle": "RA_ranking",
    "gene_transformer": "dose_scatter",
}
SHOWN = {"panel": 2, "variable": 3}


def main(pairs: list[str]) -> None:
    """Draws every NAME=RUN."""
    for pair in pairs:
        name, run = pair.split("=", 1)
        target = Path(__file__).parent / "images" / f"{name}.svg"
        target.write_text(picture(Path(run), TABLES[name]))
        print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


def picture(run: Path, table: str) -> str:
    """The SVG of one table of a run, drawn as in its report."""
    index = json.loads((run / "tables" / "index.json").read_text())
    entry = next(entry for entry in index if entry["name"] == table)
    frame = pd.read_csv(run / "tables" / f"{table}.csv")
    for column, count in SHOWN.items():
        if column in frame:
            frame = frame[frame[column].isin(frame[column].unique()[:count])]
    return draw(entry["kind"], frame, "", entry["x_label"], entry["y_label"]).svg


if __name__ == "__main__":
    main(sys.argv[1:])
