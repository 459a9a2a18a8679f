"""Seconds and memory of reading a study as large as a methylation array from a GEO series matrix.

Writes such a file into a temporary folder (9 bytes a value: 4 GB for 1,000 people by 450,000 sites;
set TMPDIR to a folder on a large disk), reads it in this process, and reports the resident memory:
its peak, of which pages of mapped files may be given back at any time, and the peak without these.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from measuring import Memory, emit

_DIFFERENT_ROWS = 300  # of the file, in turn


def write_series_matrix(path: Path, people: int, sites: Sequence[str]) -> None:
    """Random beta values with six digits, half of the people cases."""
    import numpy as np

    values = np.random.default_rng(0).beta(0.5, 0.5, (min(len(sites), _DIFFERENT_ROWS), people))
    rows = ["\t".join(f"{value:.6f}" for value in row) for row in values]
    ids = "\t".join(f'"GSM{i:07d}"' for i in range(people))
    states = "\t".join(f'"disease state: {("normal", "RA")[i % 2]}"' for i in range(people))
    with path.open("w") as stream:
        stream.write(f"!Sample_geo_accession\t{ids}\n!Sample_characteristics_ch1\t{states}\n")
        stream.write(f'!series_matrix_table_begin\n"ID_REF"\t{ids}\n')
        stream.writelines(f'"{site}"\t{rows[j % len(rows)]}\n' for j, site in enumerate(sites))
        stream.write("!series_matrix_table_end\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--sites", type=int, default=450_000)
    arguments = parser.parse_args()

    from omics_jax.data.methylation.read import read_methylation
    from omics_jax.data.methylation.text_settings import parse_settings
    from omics_jax.settings.sections import methylation_section

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "GSE1_series_matrix.txt"
        sites = [f"cg{j:08d}" for j in range(arguments.sites)]
        write_series_matrix(path, arguments.people, sites)
        section = methylation_section()
        section.update(studies=f"GSE1={path}", diseases="RA=disease state")
        settings = parse_settings(section)
        memory, start = Memory(), time.perf_counter()
        modality = read_methylation(settings).modalities["methylation"]
        seconds, peak = time.perf_counter() - start, memory.end()
        emit(
            "methylation_reading",
            people=arguments.people,
            sites=len(modality.features),
            file_gib=round(path.stat().st_size / 2**30, 2),
            seconds=round(seconds, 1),
            peak_gib=round(peak["VmRSS"], 2),
            peak_without_mapped_gib=round(peak["RssAnon"], 2),
        )


if __name__ == "__main__":
    main()
