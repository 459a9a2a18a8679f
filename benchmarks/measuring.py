"""What the benchmarks share: paths, configs, clocks, one core with one thread, lines of JSON.

Nothing here imports jax, because `one_core` must act before jax is imported.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import runpy
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MAIN = ROOT / "experiments" / "main.py"
PERTVAE = ROOT / "configs" / "pertvae.py"

SEEN_SECONDS = 0.05  # between two looks at the memory
KIB_PER_GIB = 2**20

# One thread for everything that XLA runs: without these its thread pool spreads over the machine.
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def one_core(core: int | None = None) -> int:
    """Pins this process and its children to one core; XLA, OpenMP and BLAS get one thread.

    Call it before jax is imported.

    core: its number; None for the first allowed.
    Returns: the core.
    """
    if "jax" in sys.modules:
        raise RuntimeError("jax is imported already, so its threads cannot be changed any more")
    core = min(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {core})
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD}".strip()
    os.environ.update(
        dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    )
    return core


def cpu_seconds(who: int = resource.RUSAGE_SELF) -> float:
    """User and system seconds of this process, or (RUSAGE_CHILDREN) of its finished children."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


class Stopwatch:
    """`with Stopwatch() as watch: ...`, then watch.wall and watch.cpu, this process's seconds."""

    wall = cpu = float("nan")

    def __enter__(self) -> Stopwatch:
        self._wall_start = time.perf_counter()
        self._cpu_start = cpu_seconds()
        return self

    def __exit__(self, *_) -> None:
        self.wall = time.perf_counter() - self._wall_start
        self.cpu = cpu_seconds() - self._cpu_start


class Memory:
    """The largest resident memory of a process while it is watched, by parts, in GiB.

    pid: of the process; None for this one.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._status = Path(f"/proc/{pid or os.getpid()}/status")
        self.peak = {"VmRSS": 0.0, "RssAnon": 0.0}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(SEEN_SECONDS):
            for line in self._lines():
                name, _, value = line.partition(":")
                if name in self.peak:
                    gib = int(value.split()[0]) / KIB_PER_GIB
                    self.peak[name] = max(self.peak[name], gib)

    def _lines(self) -> list[str]:
        try:
            return self._status.read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            return []

    def end(self) -> dict[str, float]:
        """Stops watching; the peaks."""
        self._ended.set()
        self._thread.join()
        return self.peak


def load_config(system: str, choice: str = "") -> Any:
    """The config of configs/SYSTEM.py with a choice such as "table1,paper"."""
    path = ROOT / "configs" / f"{system}.py"
    return runpy.run_path(str(path))["get_config"](choice)


def json_of_command(command: list[str]) -> Any:
    """The JSON in the last line that a command prints, run in the repository root.

    Errors: RuntimeError for an exit status other than 0.
    """
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        words = " ".join(command)
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stderr[-800:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(values: Sequence[float], digits: int = 5) -> dict[str, float]:
    """{"min", "median", "max"} of repeated timings."""
    summary = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, digits) for name, value in summary.items()}


def emit(bench: str, **figures: Any) -> None:
    """Prints the one line of JSON: the figures and the machine."""
    machine = {
        "python": platform.python_version(),
        "jax": version("jax"),
        "cores": os.cpu_count(),
        "load1": round(os.getloadavg()[0], 2),
    }
    print(json.dumps({"bench": bench, **figures, "machine": machine}), flush=True)


# --- runs of experiments/main.py ------------------------------------------------------------------


def findings(folder: Path) -> dict:
    """Of a run directory: means and intervals of networks and simple models, and the tests."""
    metrics = json.loads((folder / "metrics.json").read_text())
    arms = {}
    for name, arm in metrics["arms"].items():
        models = {"network": arm["summary"], **arm["baselines"]}
        arms[name] = {model: means(summary) for model, summary in models.items()}
    fields = ("a", "b", "metric", "difference", "ci95", "p_adjusted")
    return {
        "arms": arms,
        "comparisons": [
            {field: rounded(test[field]) for field in fields}
            for test in metrics["comparisons"]
            if is_shown(test["metric"])
        ],
        "timing": rounded(metrics["timing"]),
    }


def is_shown(metric: str) -> bool:
    """Whether a metric is in the tables of BUILD_NOTES.md."""
    ends = ("_auroc", "_accuracy", "_mae", "_r2", "_c_index", "explained_variance")
    return metric.endswith(ends) and not metric.startswith("validation")


def means(summary: dict) -> dict:
    """Metric -> [mean, low, high] of its 95 % interval."""
    return {
        metric: rounded([value["mean"], *value["ci95"]])
        for metric, value in summary.items()
        if is_shown(metric)
    }


def rounded(value):
    """Numbers to 4 decimals, also in lists and mappings; names and None as they are."""
    if isinstance(value, dict):
        return {key: rounded(own) for key, own in value.items()}
    if isinstance(value, list):
        return [rounded(own) for own in value]
    return round(value, 4) if isinstance(value, float) else value
