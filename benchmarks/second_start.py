"""Wall seconds from process start to the first epoch, with a cold and a warm compilation cache.

Runs the default and the paper's config from the command line, each in a directory of its own, kills
the process at its first line of history, and does the same again with the cache that the first left
behind.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import MAIN, PERTVAE, ROOT, cpu_seconds, emit, spread

CONFIGS = {"default": "", "paper": ":table1,paper"}
# The paper's protocol holds 950 replicates; the time to the first epoch is the same with fewer.
FEWER = {"default": [], "paper": ["--config.simulator.drugs=1", "--config.simulator.null_drugs=0"]}


def seconds_to_first_epoch(
    choice: str, words: list[str], folder: Path, cache: Path, limit: float
) -> tuple[float, float]:
    """Wall and CPU seconds until history.jsonl holds a line; the process is killed then.

    folder: the run directory; its parent gets output.txt.
    limit: seconds after which to give up.
    """
    flags = [f"--config={PERTVAE}{choice}", f"--workdir={folder}", *words]
    environment = {**os.environ, "OMICS_JAX_CACHE": str(cache)}
    before = cpu_seconds(resource.RUSAGE_CHILDREN)
    output = folder.parent / "output.txt"
    with output.open("w") as file:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, str(MAIN), *flags], cwd=ROOT, env=environment, stdout=file, stderr=file
        )
        try:
            wait_for_history(process, folder / "history.jsonl", output, start + limit)
            wall = time.perf_counter() - start
        finally:
            process.kill()
            process.wait()
    return wall, cpu_seconds(resource.RUSAGE_CHILDREN) - before


def wait_for_history(
    process: subprocess.Popen, history: Path, output: Path, deadline: float
) -> None:
    """Returns once the history holds a line.

    Errors: RuntimeError where the process ended or the deadline passed before.
    """
    while not (history.exists() and history.stat().st_size):
        if process.poll() is not None or time.perf_counter() > deadline:
            tail = output.read_text()[-600:]
            raise RuntimeError(f"no epoch in time (exit status {process.returncode}): {tail}")
        time.sleep(0.02)


def measure(name: str, warm: int, limit: float) -> dict[str, object]:
    """Figures of one config: one start with an empty cache, then `warm` starts with its cache."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cache = folder / "cache"
        starts = []
        for i in range(warm + 1):
            parent = folder / str(i)
            parent.mkdir()
            run = parent / "run"
            starts.append(seconds_to_first_epoch(CONFIGS[name], FEWER[name], run, cache, limit))
        cache_bytes = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    (cold, cold_cpu), *warm_starts = starts
    return {
        "cold_s": round(cold, 2),
        "cold_cpu_s": round(cold_cpu, 2),
        "warm_s": spread([wall for wall, _ in warm_starts], 2),
        "warm_cpu_s": spread([cpu for _, cpu in warm_starts], 2),
        "cache_mib": round(cache_bytes / 2**20, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--warm", type=int, default=3, help="repetitions with the warm cache")
    parser.add_argument("--limit", type=float, default=300.0)
    a = parser.parse_args()
    figures = {name: measure(name, a.warm, a.limit) for name in CONFIGS}
    emit("second_start", **figures)


if __name__ == "__main__":
    main()
