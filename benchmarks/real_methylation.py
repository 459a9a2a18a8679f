"""MIRACLE on public blood methylation: runs of experiments/main.py, a JSON line each.

    python benchmarks/real_methylation.py --data=$OMICS_JAX_DATA/methylation [--out=DIR] [RUN ...]

The folder holds blood4_clock591.npz (four case-control studies) and ra100_cpg3000.npz with their
.meta.csv, blood_controls903_clock2058.npz, annotation/ and genesets/. Without a RUN all are run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import findings

ROOT = Path(__file__).resolve().parent.parent
STUDIES = ("RA", "MS", "PD", "depression")
SETS = {
    "go": "GO_Biological_Process_2021.gmt.gz",
    "reactome": "ReactomePathways.gmt.gz",
    "hallmark": "msigdb_hallmark_v7.0.gmt.gz",
    "wikipathways": "wikipathways_human.gmt.gz",
}
TEN_BY_FIVE, TWO_BY_FIVE = "--config.repeats=10", "--config.repeats=2"
FOUR_BY_FIVE = "--config.repeats=4"
FIVE_MEMBERS = "--config.members=5"


def runs(data: Path, made: Path) -> dict[str, list[str]]:
    """Name -> flags of experiments/main.py. made: a folder for files that are derived."""
    config = "--config=configs/miracle.py:"
    genes = [
        f"--config.knowledge.site_genes={data / 'annotation/cpg2gene_450k_methylmix.csv.gz'}",
        f"--config.knowledge.gene_sets={data / 'genesets' / SETS['go']}",
    ]
    blood = [
        f"--config.data.studies=blood={data / 'blood4_clock591.npz'}",
        f"--config.data.clinical={data / 'blood4_clock591.meta.csv'}",
        *("--config.data.id=sample", "--config.data.study=task"),
        *genes,
    ]
    diseases = [
        "--config.data.diseases=" + ",".join(f"{name}=disease:study={name}" for name in STUDIES)
    ]
    # Studies differ by up to 26 years of mean age, which goes with their means.
    ages = [
        *("--config.data.numbers=age=age", "--config.data.only=disease=0"),
        "--config.adjust.remove=()",
    ]
    ra = [
        f"--config.data.studies=RA={data / 'ra100_cpg3000.npz'}",
        f"--config.data.clinical={data / 'ra100_cpg3000.meta.csv'}",
        *("--config.data.id=sample", "--config.data.diseases=RA=disease"),
        *genes,
    ]
    four = [*blood, *diseases, TEN_BY_FIVE]
    few = [*blood, *diseases, TWO_BY_FIVE]
    one = [*blood, *diseases, "--config.repeats=1"]
    sources = {
        f"multitask-{name}": [
            f"{config}multitask",
            *few,
            f"--config.knowledge.gene_sets={data / 'genesets' / file}",
            "--config.compare.single=False",
        ]
        for name, file in SETS.items()
    }
    return {
        "multitask": [f"{config}multitask", *four],
        **sources,
        "members": [
            f"{config}multitask",
            *(*blood, *diseases, FOUR_BY_FIVE, FIVE_MEMBERS),
            "--config.compare.single=False",
        ],
        "knowledge": [f"{config}knowledge", *four],
        "weights": [f"{config}weights", *four],
        "sites": [f"{config}sites", *one, "--config.selection.method=t"],
        "paper": [f"{config}multitask,paper", *blood, *diseases],
        "transfer": [
            f"{config}transfer",
            *with_controls(data, made),
            *genes,
            *diseases,
            "--config.repeats=1",
        ],
        "pathways": [f"{config}pathways", *one],
        "ra100": [f"{config}multitask", *ra, TEN_BY_FIVE],
        "age": [f"{config}multitask", *blood, *ages, TEN_BY_FIVE],
    }


def with_controls(data: Path, made: Path) -> list[str]:
    """Flags that add the 903 controls, measured at 2,058 sites, as studies without outcomes.

    They are controls of the four studies: a person's two rows stay together.
    """
    people = pd.read_csv(data / "blood4_clock591.meta.csv", dtype={"sample": str})
    people["person"] = people["sample"]
    controls = np.load(data / "blood_controls903_clock2058.npz")
    rows = people.set_index("sample").loc[controls["samples"]].reset_index()
    rows["sample"] = rows["person"] + "_control"
    rows["task"] += " controls"
    rows["disease"] = ""
    made.mkdir(parents=True, exist_ok=True)
    table, matrix = made / "people_and_controls.csv", made / "controls.npz"
    pd.concat([people, rows]).to_csv(table, index=False)
    arrays = {"X": controls["X"], "features": controls["features"]}
    np.savez(matrix, samples=rows["sample"].to_numpy(str), **arrays)
    return [
        f"--config.data.studies=blood={data / 'blood4_clock591.npz'},controls={matrix}",
        f"--config.data.clinical={table}",
        *("--config.data.id=sample", "--config.data.study=task", "--config.data.group=person"),
    ]


def main() -> None:
    """Runs what was asked for, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "real")
    parser.add_argument("run", nargs="*")
    arguments = parser.parse_args()
    known = runs(arguments.data, arguments.out / "made")
    for name in arguments.run or known:
        folder = arguments.out / name
        command = [sys.executable, "experiments/main.py", *known[name], f"--workdir={folder}"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
        print(json.dumps({"run": name, **findings(folder)}), flush=True)


if __name__ == "__main__":
    main()
