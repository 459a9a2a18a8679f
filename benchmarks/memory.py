"""Growth of the resident memory of a small run between its fifth and its fiftieth epoch.

Trains PertVAE in size smoke, in blocks of one epoch each, and reads /proc/self/statm whenever the
loop reports progress: once without checkpoints and once with one every epoch.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from measuring import emit, load_config

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_mib() -> float:
    """Resident memory of this process."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * PAGE / 2**20


def memory_by_epoch(epochs: int, replicates: int, checkpoint_seconds: float) -> list[float]:
    """MiB at the end of every epoch of one chunk of replicates."""
    import dataclasses

    from omics_jax.run.options import run_options
    from omics_jax.systems import pertvae
    from omics_jax.training.history import History
    from omics_jax.training.loop import RunContext, fit
    from omics_jax.training.plan import Training, make_plan

    config = load_config("pertvae", "smoke")
    config.training.epochs, config.training.patience = epochs, epochs + 1
    dataset = pertvae.read(config)
    (arm,) = pertvae.EXPERIMENTS["table1"].arms(config, dataset)
    system = arm.system
    table, chunk = system.arrays(dataset), arm.replicates[:replicates]
    training = Training(system.stages, system.init, table, dataset.ids, chunk)
    options = run_options(config)
    per_epoch = make_plan(training, options).stages[0].shape.per_epoch
    options = dataclasses.replace(
        options, block_steps=per_epoch, checkpoint_seconds=checkpoint_seconds
    )
    plan = make_plan(training, options)
    memory = []

    def on_progress(done, total, what) -> None:
        memory.append(resident_mib())

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        history = History(folder / "history.jsonl")
        for _ in fit(plan, RunContext(folder / "checkpoints", history, on_progress)):
            pass
    return memory[:epochs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--replicates", type=int, default=3)
    a = parser.parse_args()
    if a.epochs < 50:
        raise SystemExit("give --epochs of 50 or more")
    shown = [e for e in (1, 5, 10, 20, 50, 100, 200) if e <= a.epochs]
    figures = {}
    for name, seconds in {"no_saves": 1e9, "a_save_every_epoch": 0.0}.items():
        memory = memory_by_epoch(a.epochs, a.replicates, seconds)
        after_50 = (memory[-1] - memory[49]) / max(a.epochs - 50, 1)
        figures[name] = {
            "resident_mib": {f"epoch_{e}": round(memory[e - 1], 1) for e in shown},
            "growth_5_to_50_mib": round(memory[49] - memory[4], 2),
            "mib_per_epoch_after_50": round(after_50, 3),
        }
    emit("memory", **figures, allowed_growth_mib=20)


if __name__ == "__main__":
    main()
