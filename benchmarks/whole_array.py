"""Seconds and memory of a whole run of MIRACLE on a study of a whole methylation array.

Writes a GEO series matrix of all sites of an annotation (9 bytes a value: 3.3 GB for 1,000 people
by 365,860 sites) and the annotation as Illumina's manifest into a temporary folder (set TMPDIR to
one on a large disk), then runs experiments/main.py on them in two ways: with sites
selected in every fold, and with a network of all sites. Reports the seconds, and the peak of the
resident memory: of all, and without pages of mapped files, which may be given back at any time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from measuring import MAIN, ROOT, Memory, emit
from methylation_reading import write_series_matrix

WAYS = {
    "selected": [
        *("--config.selection.method=moderated_t", "--config.selection.sites=2000"),
        *("--config.folds=5", "--config.compare.single=False"),
    ],
    # Two epochs of each stage: what is asked is whether it fits, and how long an epoch takes.
    "all": [
        *("--config.selection.method=none", "--config.folds=3", "--config.compare.single=False"),
        *(f"--config.training.epochs.{stage}=2" for stage in ("autoencoder", "heads", "all")),
    ],
}
MANIFEST_HEAD = (
    "Illumina, Inc.,,,,",
    "[Heading],,,,",
    "Descriptor File Name,HumanMethylation450_15017482_v1-1.csv,,,",
    "Assay Format,Infinium 2,,,",
    "Date Manufactured,9/1/2011,,,",
    "Loci Count ,{sites},,,",
    "[Assay],,,,",
)


def write_manifest(path: Path, genes: pd.DataFrame) -> None:
    """Illumina's manifest of a table `cpg`, `gene`; places and chromosomes are invented."""
    sites = genes.groupby("cpg", sort=False)["gene"].agg(";".join)
    rows = (
        f"{site},{site},{1 + k % 22},{1000 + k},{named}"
        for k, (site, named) in enumerate(sites.items())
    )
    lines = [line.format(sites=len(sites)) for line in MANIFEST_HEAD]
    lines += ["IlmnID,Name,CHR,MAPINFO,UCSC_RefGene_Name", *rows, "[Controls],,,,"]
    path.write_text("\n".join(lines) + "\n")


def measure(way: str, folder: Path, gene_sets: Path) -> dict[str, float]:
    """Seconds and GiB of one run."""
    workdir = folder / way
    command = [
        *(sys.executable, str(MAIN), "--config=configs/miracle.py", f"--workdir={workdir}"),
        f"--config.data.studies=GSE1={folder / 'GSE1_series_matrix.txt'}",
        "--config.data.diseases=RA=disease state",
        f"--config.knowledge.site_genes={folder / 'manifest.csv'}",
        f"--config.knowledge.gene_sets={gene_sets}",
        *WAYS[way],
    ]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr)
    memory = Memory(process.pid)
    status = process.wait()
    seconds, peak = time.perf_counter() - start, memory.end()
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with {status}")
    timing = json.loads((workdir / "metrics.json").read_text())["timing"]
    return {
        "seconds": round(seconds, 1),
        **{name: round(timing[name], 1) for name in ("compile_s", "train_s")},
        "peak_gib": round(peak["VmRSS"], 2),
        "peak_without_mapped_gib": round(peak["RssAnon"], 2),
    }


def main() -> None:
    """Writes the files and measures each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    arguments = parser.parse_args()
    genes = pd.read_csv(arguments.data / "annotation/cpg2gene_450k_methylmix.csv.gz")
    gene_sets = arguments.data.resolve() / "genesets/GO_Biological_Process_2021.gmt.gz"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sites = genes["cpg"].unique()
        write_series_matrix(folder / "GSE1_series_matrix.txt", arguments.people, sites)
        write_manifest(folder / "manifest.csv", genes)
        for way in arguments.ways:
            figures = measure(way, folder, gene_sets)
            emit("whole_array", way=way, people=arguments.people, sites=len(sites), **figures)


if __name__ == "__main__":
    main()
