"""Seconds of a pretraining epoch of BRITS and CSAI, and of imputing 1,000 rows, on one core.

4,000 series of 48 steps and 35 variables, 80 % of the cells missing, in batches of 64, 108 hidden
units, CSAI with 64 channels: the paper's size, through the project's own compiled block. With
--pypots a script times PyPOTS' networks on the same numbers, in turns with ours on the same core.
Its networks hold more parameters for the same function: decays as full matrices of which only the
diagonal is used, and in CSAI a second encoder layer that is never run. Left out: the monitor, which
PyPOTS does not have.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from functools import partial
from typing import Any

from measuring import Stopwatch, emit, json_of_command, load_config, one_core, spread

IMPUTED_ROWS = 1000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--imputers", nargs="+", choices=("brits", "csai"), default=["brits", "csai"]
    )
    parser.add_argument("--n", type=int, default=4000, help="series")
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--features", type=int, default=35)
    parser.add_argument("--missing", type=float, default=0.8, help="share of the cells")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=108)
    parser.add_argument(
        "--epochs", type=int, default=3, help="of which the first is not timed; 2 or more"
    )
    parser.add_argument(
        "--rounds", type=int, default=2, help="each a process of its own for either side"
    )
    parser.add_argument(
        "--core", type=int, default=None, help="the core to run on (default: the first allowed)"
    )
    parser.add_argument("--pypots", default="", help="python of an environment with pypots")
    parser.add_argument(
        "--script", default="", help="script that times a PyPOTS imputer, see the README here"
    )
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.epochs < 2:
        parser.error("--epochs must be 2 or more, because the first is not timed")
    if bool(a.pypots) != bool(a.script):
        parser.error("--pypots and --script go together")
    return a


def autoregressive(n: int, steps: int, features: int, missing: float):
    """AR(1) series of variance 1 and correlation .9 between steps, with missing cells.

    Every variable has its own rate of missing cells. The draws are those of the PyPOTS script, one
    by one, so that both sides train on the same numbers.
    """
    import numpy as np
    import pandas as pd

    from omics_jax.data.dataset.dataset import Dataset, Modality

    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, steps, features)).astype(np.float32)
    for t in range(1, steps):
        x[:, t] = 0.9 * x[:, t - 1] + np.sqrt(1 - 0.9**2) * x[:, t]
    rate = np.clip(rng.beta(4, 1, features), 0.05, 0.99)
    rate = np.clip(rate * missing / rate.mean(), 0.02, 0.98)
    seen = rng.random(x.shape) >= rate
    seen[:, 0, 0] = True  # no series without any value
    hours = np.tile(np.arange(steps, dtype=np.float32), (n, 1))
    ids = numbered_names(n)
    modalities = {
        "series": Modality(np.where(seen, x, 0), seen, numbered_names(features)),
        "hours": Modality(hours, np.ones(hours.shape, bool), numbered_names(steps)),
    }
    return Dataset(ids, ids, modalities, pd.DataFrame(index=ids))


def numbered_names(count: int):
    """x0, x1, ... as an array."""
    import numpy as np

    return np.array([f"x{k}" for k in range(count)])


def paper_config(a: argparse.Namespace, imputer: str) -> Any:
    """The paper's config, with the sizes of the command."""
    config = load_config("ehr", "imputation,paper")
    config.model.update(dict(imputer=imputer, hidden=a.hidden))
    config.pretrain.update(dict(epochs=a.epochs, batch_size=a.batch))
    config.classifier.network = ""
    return config


def plan_of(config: Any, dataset):
    """The plan of one replicate that trains on all rows, without a monitor."""
    import dataclasses

    import numpy as np

    from omics_jax.systems.ehr import build
    from omics_jax.systems.ehr.replicates import constants_of, spec_of
    from omics_jax.systems.ehr.stays import SLOT
    from omics_jax.training.plan import Options, Training, make_plan
    from omics_jax.training.stage import Replicate

    rows = np.arange(len(dataset))
    constants = constants_of(config, dataset, rows)
    replicate = Replicate({SLOT: rows}, {}, rows[:0], seed=0, constants=constants)
    system = build(config, spec_of(dataset, [replicate]))
    stages = [dataclasses.replace(stage, monitor=None, patience=None) for stage in system.stages]
    training = Training(stages, system.init, system.arrays(dataset), dataset.ids, [replicate])
    return make_plan(training, Options(strategy="map"))


def time_epochs(config: Any, dataset) -> dict:
    """Seconds of every epoch from the second on; "compile" is all up to the first step's end."""
    import jax
    import numpy as np

    from omics_jax.training.plan import first_variables, run_block, start_stage

    with Stopwatch() as compiling:
        plan = plan_of(config, dataset)
        compiled, variables = plan.stages[0], first_variables(plan, [0])
        parameters = sum(leaf[0].size for leaf in jax.tree.leaves(variables["params"]))
        state, inputs = start_stage(plan, compiled, [0], 1, variables)
        state, _, _ = run_block(plan, compiled, state, inputs, 0, 1)
        jax.block_until_ready(state)
    per_epoch = compiled.shape.per_epoch
    state, _, _ = run_block(plan, compiled, state, inputs, 1, per_epoch - 1)
    jax.block_until_ready(state)
    cpu, wall, objective = [], [], []
    for epoch in range(1, compiled.stage.epochs):
        with Stopwatch() as watch:
            state, log, _ = run_block(plan, compiled, state, inputs, epoch * per_epoch, per_epoch)
            jax.block_until_ready(state)
        cpu.append(watch.cpu)
        wall.append(watch.wall)
        objective.append(float(log["objective"][0, 0]))
    if not np.isfinite(objective).all():
        raise RuntimeError("the objective is not finite, so the timing means nothing")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "cpu": cpu,
        "wall": wall,
        "compile": {"cpu": compiling.cpu, "wall": compiling.wall},
        "impute": time_imputing(config, dataset, jax.tree.map(np.asarray, state.variables)),
        "parameters": parameters,
        "per_epoch": per_epoch,
        "peak_rss_mib": peak,
        "objective": objective,
    }


def time_imputing(config: Any, dataset, variables) -> dict:
    """Seconds from a dataset of 1,000 rows to their imputed series on the host, once compiled.

    Left out: held-out shares, each of which is another pass of the system's own prediction.
    """
    import jax.numpy as jnp
    import numpy as np

    from omics_jax.systems.ehr import build, predictions
    from omics_jax.systems.ehr.replicates import spec_of
    from omics_jax.systems.ehr.stays import SLOT, ModelShape
    from omics_jax.training.rows import apply_to_rows, compile_row_function
    from omics_jax.training.stage import Replicate

    subset = dataset.take(np.arange(min(IMPUTED_ROWS, len(dataset))))
    rows = np.arange(len(subset))
    system = build(config, spec_of(subset, [Replicate({SLOT: rows}, {}, rows, seed=0)]))
    steps, features = subset.modalities["series"].values.shape[1:]
    shape = ModelShape(config, steps, features, 0, ())
    width = min(config.predict.batch_size, len(subset))
    run = compile_row_function(partial(predictions.predict_imputation, shape), width)
    for _ in range(2):  # the first compiles
        with Stopwatch() as watch:
            table = {name: jnp.asarray(values) for name, values in system.arrays(subset).items()}
            (predicted,) = apply_to_rows(run, width, variables, table, [rows])
    series = subset.modalities["series"]
    if not np.array_equal(predicted["imputed"][series.mask], series.values[series.mask]):
        raise RuntimeError("an observed value was changed, so the timing means nothing")
    return {"cpu": watch.cpu, "wall": watch.wall}


def in_turns(a: argparse.Namespace, imputer: str) -> tuple[list[dict], list[dict]]:
    """Our figures and PyPOTS', round by round."""
    names = ("n", "steps", "features", "missing", "batch", "hidden", "epochs")
    sizes = [f"--{name}={getattr(a, name)}" for name in names]
    ours, theirs = [], []
    for _ in range(a.rounds):
        ours.append(json_of_command([sys.executable, __file__, f"--worker={imputer}", *sizes]))
        if a.pypots:
            theirs.append(
                json_of_command([a.pypots, a.script, f"--model={imputer.upper()}", *sizes])
            )
    return ours, theirs


def compare_with_pypots(ours: list[dict], theirs: list[dict]) -> dict:
    """PyPOTS' figures and the ratio of our CPU seconds to them.

    Both sides by their fastest epoch, since other work on the machine only adds.
    """
    if not theirs:
        return {}
    cpu = [r["cpu_sec_per_epoch"] for r in theirs]
    our_fastest = min(seconds for r in ours for seconds in r["cpu"])
    return {
        "pypots": {
            "cpu_s_per_epoch": spread(cpu, 3),
            "wall_s_per_epoch": spread([r["sec_per_epoch"] for r in theirs], 3),
            "impute_1000_wall_s": spread([r["predict_1000_s"] for r in theirs], 3),
            "peak_rss_mib": max(r["peak_rss_mb"] for r in theirs),
            "parameters": theirs[0]["n_params"],
            "versions": theirs[0]["versions"],
        },
        "ratio_to_pypots": round(our_fastest / min(cpu), 4),
    }


def summarize(rounds: list[dict]) -> dict:
    """Our figures over all rounds."""
    first = rounds[0]
    compile_cpu, compile_wall, impute_cpu, impute_wall = (
        [r[part][clock] for r in rounds]
        for part in ("compile", "impute")
        for clock in ("cpu", "wall")
    )
    return {
        "cpu_s_per_epoch": spread([seconds for r in rounds for seconds in r["cpu"]], 3),
        "wall_s_per_epoch": spread([seconds for r in rounds for seconds in r["wall"]], 3),
        "compile_cpu_s": spread(compile_cpu, 1),
        "compile_wall_s": spread(compile_wall, 1),
        "impute_1000_cpu_s": spread(impute_cpu, 3),
        "impute_1000_wall_s": spread(impute_wall, 3),
        "peak_rss_mib": round(max(r["peak_rss_mib"] for r in rounds), 1),
        "parameters": first["parameters"],
        "steps_per_epoch": first["per_epoch"],
    }


def main() -> None:
    a = arguments()
    core = one_core(a.core)
    if a.worker:
        dataset = autoregressive(a.n, a.steps, a.features, a.missing)
        print(json.dumps(time_epochs(paper_config(a, a.worker), dataset)))
        return
    for imputer in a.imputers:
        ours, theirs = in_turns(a, imputer)
        emit(
            "ehr_imputer",
            imputer=imputer,
            shape=[a.n, a.steps, a.features],
            batch=a.batch,
            hidden=a.hidden,
            **summarize(ours),
            core=core,
            **compare_with_pypots(ours, theirs),
        )


if __name__ == "__main__":
    main()
