"""Compilations and seconds of 10 x 5 splits of one drug, by strategy and chunk size.

All splits go through `make_plan` and `fit`, as in a run. For comparison ("recompiled") one split at
a time is compiled anew in the same process, as a loop over folds would do it; that is timed on a
few splits and scaled up. Every case is a process of its own on one core, without a compilation
cache. CPU seconds are given beside wall seconds, since other work hardly adds to them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path

from measuring import Stopwatch, emit, json_of_command, load_config, one_core

CASES = (
    ("map", 0),
    ("map", 10),
    ("map", 1),
    ("vmap", 50),
    ("vmap", 10),
    ("vmap", 5),
    ("recompiled", 1),
)
SIZES = {
    "small": dict(genes=100, encoder=(32,), decoder=(32,), latent=8, context=16, flow_hidden=16),
    "moderate": dict(
        genes=200, encoder=(128, 64), decoder=(64, 128), latent=16, context=32, flow_hidden=64
    ),
}


def arm_of_splits(size: str, epochs: int):
    """The arm of one drug with its 50 replicates."""
    from omics_jax.systems import pertvae

    config = load_config("pertvae", "table1")
    network = dict(SIZES[size])
    config.simulator.update(dict(genes=network.pop("genes"), drugs=1, null_drugs=0))
    config.model.update(network)
    config.training.update(dict(epochs=epochs, patience=epochs + 1))
    config.repeats, config.folds = 10, 5
    (arm,) = pertvae.EXPERIMENTS["table1"].arms(config, pertvae.read(config))
    return arm


def fit_all(arm, replicates, strategy: str, chunk: int) -> tuple[int, str]:
    """Trains the replicates.

    Returns:
      (number of programs of the training block, digest of all final parameters).
    """
    import jax
    import numpy as np

    from omics_jax.training.history import History
    from omics_jax.training.loop import RunContext, fit
    from omics_jax.training.plan import Options, Training, make_plan

    system, dataset = arm.system, arm.dataset
    training = Training(system.stages, system.init, system.arrays(dataset), dataset.ids, replicates)
    plan = make_plan(training, Options(strategy=strategy, chunk=chunk))
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        context = RunContext(folder / "checkpoints", History(folder / "history.jsonl"))
        for members, by_stage in fit(plan, context):
            for i in range(len(members)):
                for leaf in jax.tree.leaves(by_stage[system.stages[-1].name]["params"]):
                    digest.update(np.ascontiguousarray(leaf[i]).tobytes())
    return sum(stage.block._cache_size() for stage in plan.stages), digest.hexdigest()[:12]


def one_case(size: str, strategy: str, chunk: int, epochs: int) -> dict:
    """Figures of one case; "recompiled" makes a new plan for each of its first three splits."""
    import jax

    arm = arm_of_splits(size, epochs)
    count = len(arm.replicates)
    jax.block_until_ready(jax.numpy.zeros(1))  # the start of jax itself is not counted
    with Stopwatch() as watch:
        if strategy == "recompiled":
            timed = arm.replicates[:3]
            scale, digest = count / len(timed), ""
            programs = sum(fit_all(arm, [r], "map", 1)[0] for r in timed) * scale
        else:
            programs, digest = fit_all(arm, arm.replicates, strategy, chunk)
            scale = 1.0
    return {
        "strategy": strategy,
        "chunk": chunk,
        "programs": round(programs),
        "cpu_s": round(watch.cpu * scale, 1),
        "wall_s": round(watch.wall * scale, 1),
        "parameters": digest,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=tuple(SIZES), default="moderate")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    a = parser.parse_args()
    one_core()
    if a.case:
        strategy, chunk = a.case.split(":")
        print(json.dumps(one_case(a.size, strategy, int(chunk), a.epochs)))
        return
    cases = []
    for strategy, chunk in CASES:
        flags = [f"--size={a.size}", f"--epochs={a.epochs}", f"--case={strategy}:{chunk}"]
        cases.append(json_of_command([sys.executable, __file__, *flags]))
    mapped = {case["parameters"] for case in cases if case["strategy"] == "map"}
    emit(
        "pertvae_folds",
        size=a.size,
        splits=50,
        epochs=a.epochs,
        cases=cases,
        map_bits_equal=len(mapped) == 1,
    )


if __name__ == "__main__":
    main()
