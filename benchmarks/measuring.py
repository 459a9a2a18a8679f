"""What the benchmarks share: where the repository is, clocks, one JSON line out, one core with one
thread.

Nothing here imports jax, because `one_core` must act before jax is imported.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MAIN = ROOT / "experiments" / "main.py"
PERTVAE = ROOT / "configs" / "pertvae.py"

# One thread for everything that XLA runs: without these its thread pool spreads over the machine.
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def one_core(core: int | None = None) -> int:
    """Pins this process and its children to one core and XLA, OpenMP and BLAS to one thread;
    returns the core.

    Call it before jax is imported.
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


def cpu_seconds(whom: int = resource.RUSAGE_SELF) -> float:
    """User and system seconds of this process (or of its finished children:
    resource.RUSAGE_CHILDREN).
    """
    used = resource.getrusage(whom)
    return used.ru_utime + used.ru_stime


class Stopwatch:
    """`with Stopwatch() as took: ...`, then took.wall and took.cpu, in seconds of this process."""

    wall = cpu = float("nan")

    def __enter__(self) -> Stopwatch:
        self._wall, self._cpu = time.perf_counter(), cpu_seconds()
        return self

    def __exit__(self, *_) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, cpu_seconds() - self._cpu


def pertvae_config(choice: str = "") -> Any:
    """`configs/pertvae.py` with a choice such as "table1,paper"."""
    spec = importlib.util.spec_from_file_location("pertvae_config", PERTVAE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(choice)


def spread(values: Sequence[float], digits: int = 5) -> dict[str, float]:
    """{"min", "median", "max"} of repeated timings."""
    of = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, digits) for name, value in of.items()}


def emit(bench: str, **figures: Any) -> None:
    """Prints the one line of JSON: what was measured, and on what."""
    machine = {
        "python": platform.python_version(),
        "jax": version("jax"),
        "cores": os.cpu_count(),
        "load1": round(os.getloadavg()[0], 2),
    }
    print(json.dumps({"bench": bench, **figures, "machine": machine}), flush=True)
