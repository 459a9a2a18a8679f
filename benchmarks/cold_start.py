"""Seconds until the command line answers `--help` or a mistake in a config, and of the import.

Every figure is the median of seven fresh processes; an eighth before them reads the files from disk
and is not counted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from measuring import MAIN, PERTVAE, ROOT, emit, spread

CASES = {
    "help": ([str(MAIN), "--help"], 0),
    "unknown_field": ([str(MAIN), f"--config={PERTVAE}", "--config.model.latnet=3"], 2),
    "unknown_experiment": ([str(MAIN), f"--config={PERTVAE}:table9"], 2),
    "unknown_system": ([str(MAIN), f"--config={PERTVAE}", "--config.system=pertvea"], 2),
    "import_omics_jax": (["-c", "import omics_jax"], 0),
    "bare_python": (["-c", "pass"], 0),
}


def time_process(words: list[str], status: int) -> tuple[float, bool]:
    """Wall seconds of one process, and whether it answered with a traceback.

    Errors: RuntimeError for another exit status.
    """
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    elapsed = time.perf_counter() - start
    if done.returncode != status:
        raise RuntimeError(
            f"{words} ended with {done.returncode}, not {status}: {done.stderr[-500:]}"
        )
    return elapsed, "Traceback" in done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    figures, tracebacks = {}, []
    for name, (words, status) in CASES.items():
        _, has_traceback = time_process(words, status)
        if has_traceback:
            tracebacks.append(name)
        seconds = [time_process(words, status)[0] for _ in range(repeats)]
        figures[name] = spread(seconds, 3)
    emit("cold_start", seconds=figures, answered_with_a_traceback=tracebacks, repeats=repeats)


if __name__ == "__main__":
    main()
