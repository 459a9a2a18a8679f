"""CPU and wall seconds of an epoch of pretraining BRITS and CSAI, and of imputing 1,000 rows: one
core, one thread.

4,000 series of 48 steps and 35 variables, 80 % of the cells missing, in batches of 64, 108 hidden
units, CSAI with 64 channels: the paper's size, through the project's own compiled block. With
--pypots a script times PyPOTS' networks on the same numbers, in turns with ours on the same core.
Its networks hold more parameters for the same function: decays as full matrices of which the
diagonal acts, and in CSAI a second encoder layer that is never run. Left out is the monitor, which
the other side does not have.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import sys
from functools import partial
from typing import Any

from measuring import ROOT, Stopwatch, emit, one_core, spread
from pertvae_step import last_json

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


def ehr_config(choice: str = "") -> Any:
    """`configs/ehr.py` with a choice such as "imputation,best"."""
    spec = importlib.util.spec_from_file_location("ehr_config", ROOT / "configs" / "ehr.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(choice)


def autoregressive(n: int, steps: int, features: int, missing: float):
    """AR(1) series of variance 1 and correlation .9 between steps; every variable has its own rate
    of missing cells.

    The draws are those of the PyPOTS script, one by one, so that both sides train on the same
    numbers.
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
    names = lambda count: np.array([f"x{k}" for k in range(count)])
    series = Modality(np.where(seen, x, 0), seen, names(features))
    ids = names(n)
    modalities = {
        "series": series,
        "hours": Modality(hours, np.ones(hours.shape, bool), names(steps)),
    }
    return Dataset(ids, ids, modalities, pd.DataFrame(index=ids))


def size_of_paper(a: argparse.Namespace, imputer: str) -> Any:
    """The paper's config, with the sizes of the command."""
    config = ehr_config("imputation,paper")
    config.model.update(dict(imputer=imputer, hidden=a.hidden))
    config.pretrain.update(dict(epochs=a.epochs, batch_size=a.batch))
    config.classifier.network = ""
    return config


def plan_of(config: Any, dataset):
    """The plan of one replicate that trains on all rows, without a monitor."""
    import dataclasses

    import numpy as np

    from omics_jax.systems.ehr import build
    from omics_jax.systems.ehr.experiments import constants_of, spec_of
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
    """Seconds of every epoch from the second on; what comes before the first step has ended stands
    apart.
    """
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
        with Stopwatch() as took:
            state, log, _ = run_block(plan, compiled, state, inputs, epoch * per_epoch, per_epoch)
            jax.block_until_ready(state)
        cpu.append(took.cpu)
        wall.append(took.wall)
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
    """Seconds from a dataset of 1,000 rows to their imputed series on the host, one pass over them,
    already compiled.

    Held-out shares, each of which is another pass of the system's own prediction, are left out.
    """
    import jax.numpy as jnp
    import numpy as np

    from omics_jax.systems.ehr import build, model
    from omics_jax.systems.ehr.experiments import spec_of
    from omics_jax.systems.ehr.stays import SLOT, Network
    from omics_jax.training.rows import apply_to_rows, compile_row_function
    from omics_jax.training.stage import Replicate

    few = dataset.take(np.arange(min(IMPUTED_ROWS, len(dataset))))
    rows = np.arange(len(few))
    system = build(config, spec_of(few, [Replicate({SLOT: rows}, {}, rows, seed=0)]))
    steps, features = few.modalities["series"].values.shape[1:]
    network = Network(config, steps, features, 0, ())
    width = min(config.predict.batch_size, len(few))
    run = compile_row_function(partial(model.predict_imputation, network), width)
    for _ in range(2):  # the first compiles
        with Stopwatch() as took:
            table = {name: jnp.asarray(values) for name, values in system.arrays(few).items()}
            (found,) = apply_to_rows(run, width, variables, table, [rows])
    seen = few.modalities["series"].mask
    if not np.array_equal(found["imputed"][seen], few.modalities["series"].values[seen]):
        raise RuntimeError("an observed value was changed, so the timing means nothing")
    return {"cpu": took.cpu, "wall": took.wall}


def beside(a: argparse.Namespace, imputer: str) -> tuple[list[dict], list[dict]]:
    """Ours and PyPOTS' figures, round by round, in turns."""
    sizes = [
        f"--{name}={getattr(a, name)}"
        for name in "n steps features missing batch hidden epochs".split()
    ]
    ours, theirs = [], []
    for _ in range(a.rounds):
        ours.append(last_json([sys.executable, __file__, f"--worker={imputer}", *sizes]))
        if a.pypots:
            theirs.append(last_json([a.pypots, a.script, f"--model={imputer.upper()}", *sizes]))
    return ours, theirs


def compared(ours: list[dict], theirs: list[dict]) -> dict:
    """PyPOTS' figures and the ratios of ours to them, both sides by their fastest, since other work
    only adds.
    """
    if not theirs:
        return {}
    cpu = [r["cpu_sec_per_epoch"] for r in theirs]
    return {
        "pypots": {
            "cpu_s_per_epoch": spread(cpu, 3),
            "wall_s_per_epoch": spread([r["sec_per_epoch"] for r in theirs], 3),
            "impute_1000_wall_s": spread([r["predict_1000_s"] for r in theirs], 3),
            "peak_rss_mib": max(r["peak_rss_mb"] for r in theirs),
            "parameters": theirs[0]["n_params"],
            "versions": theirs[0]["versions"],
        },
        "ratio_to_pypots": round(min(x for r in ours for x in r["cpu"]) / min(cpu), 4),
    }


def main() -> None:
    a = arguments()
    core = one_core(a.core)
    if a.worker:
        dataset = autoregressive(a.n, a.steps, a.features, a.missing)
        print(json.dumps(time_epochs(size_of_paper(a, a.worker), dataset)))
        return
    for imputer in a.imputers:
        ours, theirs = beside(a, imputer)
        over = lambda part, clock, found=ours: [r[part][clock] for r in found]
        emit(
            "ehr_imputer",
            imputer=imputer,
            shape=[a.n, a.steps, a.features],
            batch=a.batch,
            hidden=a.hidden,
            cpu_s_per_epoch=spread([x for r in ours for x in r["cpu"]], 3),
            wall_s_per_epoch=spread([x for r in ours for x in r["wall"]], 3),
            compile_cpu_s=spread(over("compile", "cpu"), 1),
            compile_wall_s=spread(over("compile", "wall"), 1),
            impute_1000_cpu_s=spread(over("impute", "cpu"), 3),
            impute_1000_wall_s=spread(over("impute", "wall"), 3),
            peak_rss_mib=round(max(r["peak_rss_mib"] for r in ours), 1),
            parameters=ours[0]["parameters"],
            steps_per_epoch=ours[0]["per_epoch"],
            core=core,
            **compared(ours, theirs),
        )


if __name__ == "__main__":
    main()
