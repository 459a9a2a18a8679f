"""Wall seconds from process start to the first line of history, with a cold and with a warm
compilation cache.

Runs the default and the paper's config from the command line, each in a directory of its own, ends
the process at
its first epoch, and does the same again with the cache that the first left behind.
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
# The paper's protocol holds 950 replicates; the time to the first epoch is that of any number of
# them.
FEWER = {"default": [], "paper": ["--config.simulator.drugs=1", "--config.simulator.null_drugs=0"]}


def to_first_epoch(
    choice: str, words: list[str], folder: Path, cache: Path, limit: float
) -> tuple[float, float]:
    """Wall and CPU seconds until history.jsonl holds a line; the process is killed then."""
    command = [
        sys.executable,
        str(MAIN),
        f"--config={PERTVAE}{choice}",
        f"--workdir={folder}",
        *words,
    ]
    history = folder / "history.jsonl"
    before = cpu_seconds(resource.RUSAGE_CHILDREN)
    with (folder.parent / "output.txt").open("w") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "OMICS_JAX_CACHE": str(cache)},
            stdout=output,
            stderr=output,
        )
        try:
            while not (history.exists() and history.stat().st_size):
                if process.poll() is not None or time.perf_counter() - began > limit:
                    tail = Path(output.name).read_text()[-600:]
                    raise RuntimeError(
                        f"no epoch within {limit} s (exit status {process.returncode}): {tail}"
                    )
                time.sleep(0.02)
            wall = time.perf_counter() - began
        finally:
            process.kill()
            process.wait()
    return wall, cpu_seconds(resource.RUSAGE_CHILDREN) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--warm", type=int, default=3, help="repetitions with the warm cache")
    parser.add_argument("--limit", type=float, default=300.0)
    a = parser.parse_args()
    figures = {}
    for name, choice in CONFIGS.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder, cache = Path(temporary), Path(temporary) / "cache"
            runs = []
            for i in range(a.warm + 1):
                (folder / f"{i}").mkdir()
                runs.append(
                    to_first_epoch(choice, FEWER[name], folder / f"{i}" / "run", cache, a.limit)
                )
            size = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file())
        cache_mib = round(size / 2**20, 1)
        (cold, cold_cpu), *warm = runs
        figures[name] = {
            "cold_s": round(cold, 2),
            "cold_cpu_s": round(cold_cpu, 2),
            "warm_s": spread([wall for wall, _ in warm], 2),
            "warm_cpu_s": spread([cpu for _, cpu in warm], 2),
            "cache_mib": cache_mib,
        }
    emit("second_start", **figures)


if __name__ == "__main__":
    main()
