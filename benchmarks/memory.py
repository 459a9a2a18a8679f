"""Growth of the resident memory of a small run between its fifth and its fiftieth epoch.

Trains a smoke-sized PertVAE from the command line's own entry point, block by block of one epoch
each, and reads /proc/self/statm whenever the loop reports progress. Checkpoints are written all the
while.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from measuring import emit, pertvae_config

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def memory_by_epoch(epochs: int, replicates: int, checkpoint_seconds: float) -> list[float]:
    """MiB at the end of every epoch of one chunk."""
    import dataclasses

    from omics_jax.run.options import run_options
    from omics_jax.systems import pertvae
    from omics_jax.training.history import History
    from omics_jax.training.loop import RunContext, fit
    from omics_jax.training.plan import Training, make_plan

    config = pertvae_config("smoke")
    config.training.epochs, config.training.patience = epochs, epochs + 1
    dataset = pertvae.read(config)
    (arm,) = pertvae.EXPERIMENTS["table1"].arms(config, dataset)
    system = arm.system
    training = Training(
        system.stages, system.init, system.arrays(dataset), dataset.ids, arm.replicates[:replicates]
    )
    options = run_options(config)
    per_epoch = make_plan(training, options).stages[0].shape.per_epoch
    plan = make_plan(
        training,
        dataclasses.replace(options, block_steps=per_epoch, checkpoint_seconds=checkpoint_seconds),
    )
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        on_progress = lambda done, total, what: seen.append(resident_mib())
        context = RunContext(
            Path(folder) / "checkpoints", History(Path(folder) / "history.jsonl"), on_progress
        )
        for _ in fit(plan, context):
            pass
    return seen[:epochs]


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
        seen = memory_by_epoch(a.epochs, a.replicates, seconds)
        at = {f"epoch_{e}": round(seen[e - 1], 1) for e in shown}
        late = round((seen[-1] - seen[49]) / max(a.epochs - 50, 1), 3)
        figures[name] = {"resident_mib": at, "growth_5_to_50_mib": round(seen[49] - seen[4], 2)}
        figures[name]["mib_per_epoch_after_50"] = late
    emit("memory", **figures, allowed_growth_mib=20)


if __name__ == "__main__":
    main()
