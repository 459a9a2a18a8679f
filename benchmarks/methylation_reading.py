"""Seconds and memory of reading a study as large as a methylation array from a GEO series matrix.

Writes such a file into a temporary folder (9 bytes a value: 4 GB for 1,000 people by 450,000 sites;
set TMPDIR to a folder on a large disk), reads it in this process, and reports the resident memory:
its peak, of which pages of mapped files may be given back at any time, and the peak without these.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

from measuring import emit

_SEEN_SECONDS = 0.05  # between two looks at the memory
_DIFFERENT_ROWS = 300  # of the file, in turn
_KIB_PER_GIB = 2**20


class Memory:
    """The largest resident memory since `watch` began, by parts, in GiB."""

    def __init__(self) -> None:
        self.peak = {"VmRSS": 0.0, "RssAnon": 0.0}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(_SEEN_SECONDS):
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in self.peak:
                    gib = int(value.split()[0]) / _KIB_PER_GIB
                    self.peak[name] = max(self.peak[name], gib)

    def end(self) -> dict[str, float]:
        """Stops watching; the peaks."""
        self._ended.set()
        self._thread.join()
        return self.peak


def write_series_matrix(path: Path, people: int, sites: int) -> None:
    """Random beta values with six digits, half of the people cases."""
    import numpy as np

    values = np.random.default_rng(0).beta(0.5, 0.5, (min(sites, _DIFFERENT_ROWS), people))
    rows = ["\t".join(f"{value:.6f}" for value in row) for row in values]
    ids = "\t".join(f'"GSM{i:07d}"' for i in range(people))
    states = "\t".join(f'"disease state: {("normal", "RA")[i % 2]}"' for i in range(people))
    with path.open("w") as stream:
        stream.write(f"!Sample_geo_accession\t{ids}\n!Sample_characteristics_ch1\t{states}\n")
        stream.write(f'!series_matrix_table_begin\n"ID_REF"\t{ids}\n')
        stream.writelines(f'"cg{j:08d}"\t{rows[j % len(rows)]}\n' for j in range(sites))
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
        write_series_matrix(path, arguments.people, arguments.sites)
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
