"""CPU seconds and peak memory of one training step of MIRACLE: one core, one thread.

The steps are the trainer's own in the stage `all`: several in a program, rows gathered from a
table, noise, both losses, the gradient, Adam and the checks for numbers that are not finite. The
network has the shape of the benchmarks of masked networks: one gene per site, 60 draws of genes per
pathway, mirrored, tanh, six heads of 64 units, 64 people, each with all six outcomes. Beyond that
shape it has what MIRACLE adds: a variance per pathway, a mask of observed sites, and batch norm
within the heads.

--size=selected: 20,000 sites that a fold chose, standardised once per stage, as the trainer does.
--size=array: all 365,860 sites of the 450k array that have a gene, standardised in every step.
With --torch a script of the same shape runs in turns on the same core. --plan measures the edges of
all layers alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
from dataclasses import replace
from typing import Any

from measuring import Stopwatch, emit, json_of_command, load_config, one_core, spread

SIZES = {
    "selected": dict(sites=20_000, genes=5_000, pathways=500),
    "array": dict(sites=365_860, genes=20_000, pathways=2_000),
}
SELECTION = {"selected": "t", "array": "none"}
GENES_PER_PATHWAY, PEOPLE, TASKS, HEAD = 60, 64, 6, 64
BLOCKS = 4  # programs that are timed
MOST_STEPS = 10_000  # more than are timed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="selected")
    parser.add_argument("--plan", action="store_true", help="only build the edges of all layers")
    parser.add_argument("--steps", type=int, default=10, help="steps of each program")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, a process each")
    parser.add_argument("--torch", default="", help="python of an environment with torch")
    parser.add_argument(
        "--script", default="", help="torch script that prints cpu_sec_per_step as JSON"
    )
    parser.add_argument("--impl", default="gather", help="--impl of the torch script")
    parser.add_argument("--torch-steps", type=int, default=0, help="its steps, 0 for --steps")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def random_ends(sites: int, genes: int, pathways: int) -> list:
    """The connections of both layers: one gene per site, `GENES_PER_PATHWAY` draws per pathway."""
    import numpy as np

    rng = np.random.default_rng(0)
    to_gene = np.stack([np.arange(sites), rng.integers(0, genes, sites)], axis=1)
    pathway = np.repeat(np.arange(pathways), GENES_PER_PATHWAY)
    to_pathway = np.stack([rng.integers(0, genes, len(pathway)), pathway], axis=1)
    return [to_gene, np.unique(to_pathway, axis=0)]


def planned(size: str) -> dict:
    """The constants of all layers, forwards and backwards, as a replicate has them."""
    import numpy as np

    from omics_jax.systems.miracle.wiring import wired

    shape = SIZES[size]
    everywhere = np.arange(shape["sites"], dtype=np.int32)
    return wired(random_ends(**shape), tuple(shape.values()), everywhere, [None, None])


def benchmarked_config(size: str) -> Any:
    """MIRACLE's config for the shape of the benchmark."""
    config = load_config("miracle")
    config.selection.method = SELECTION[size]
    config.selection.sites = SIZES[size]["sites"]
    config.adjust.remove = ()
    config.model.update(activation="tanh", batch_norm=False, k_autoencoder=1.0)
    config.model.update(dropout=0.0, input_dropout=0.0)  # as in the other package's script
    config.heads.classification.update(widths=(HEAD,), dropout=0.0)
    config.training.batch_size = PEOPLE
    config.training.optimizer.update(clip=0.0, weight_decay=0.0)
    return config


def people_and_scale(size: str) -> tuple[dict, dict]:
    """A table of a batch of people, uniform beta values, and a fold's scale of their sites."""
    import numpy as np

    sites, n = SIZES[size]["sites"], PEOPLE
    rng = np.random.default_rng(1)
    table = {
        "x": rng.random((n, sites), np.float32),
        "m": np.ones((n, sites), bool),
        "c": np.zeros((n, 0), np.float32),
    }
    for k in range(TASKS):
        table[f"y_D{k}"] = rng.integers(0, 2, n).astype(np.float32)
        table[f"k_D{k}"] = np.ones(n, bool)
    scale = {
        "columns": np.arange(sites, dtype=np.int32),
        "alive": np.ones(sites, bool),
        "mean": np.full(sites, 0.5, np.float32),
        "sd": np.full(sites, 0.29, np.float32),
        "coef": np.zeros((0, sites), np.float32),
        "c_mean": np.zeros(0, np.float32),
        "c_sd": np.ones(0, np.float32),
    }
    return table, scale


def planned_training(size: str, steps: int) -> Any:
    """The stage `all` of one replicate, `steps` in a program."""
    import numpy as np

    from omics_jax.data.methylation.simulate import MODALITY
    from omics_jax.systems.miracle.assembly import Spec, build
    from omics_jax.systems.miracle.model import SLOT
    from omics_jax.tasks.task import Task
    from omics_jax.training.job import Options, Training
    from omics_jax.training.plan import make_plan
    from omics_jax.training.stage import Replicate

    shape = SIZES[size]
    spec = Spec(
        features={MODALITY: ()},
        rows={SLOT: PEOPLE},
        tasks=tuple(Task(f"D{k}", "classification", ("control", "case")) for k in range(TASKS)),
        sites=shape["sites"],
        genes=shape["genes"],
        pathways=(shape["pathways"],),
    )
    system = build(benchmarked_config(size), spec)
    stage = next(stage for stage in system.stages if stage.name == "all")
    table, scale = people_and_scale(size)
    everyone = np.arange(PEOPLE)
    replicate = Replicate(
        rows={SLOT: everyone},
        validation={},
        test=everyone,
        seed=0,
        constants={**scale, **planned(size)},
    )
    stage = replace(stage, monitor=None, epochs=MOST_STEPS)
    training = Training([stage], system.init, table, everyone.astype(str), [replicate])
    return make_plan(training, Options(block_steps=steps))


def time_steps(size: str, steps: int) -> dict:
    """CPU seconds of a step in each program after the first, and the peak of memory."""
    import jax

    from omics_jax.training.plan import (
        compile_program,
        first_variables,
        run_block,
        start_stage,
    )

    imported = peak_mib()
    plan = planned_training(size, steps)
    (compiled,) = plan.stages
    state, inputs = start_stage(plan, compiled, [0], 1, first_variables(plan, [0]))
    # As before every training: what compiling leaves behind is given back.
    state = compile_program(plan, compiled, state, inputs)
    cpu = []
    for block in range(BLOCKS + 1):
        with Stopwatch() as watch:
            state, log, _ = run_block(plan, compiled, state, inputs, block * steps, steps)
            jax.block_until_ready(state)
        if block:  # the first takes its memory from the system, page by page
            cpu.append(watch.cpu / steps)
    return {
        "cpu": cpu,
        "imported_mib": imported,
        "peak_mib": peak_mib(),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "objective": float(log["objective"].ravel()[-1]),
    }


def time_plans(size: str) -> dict:
    """CPU seconds of building the edges of all layers and of the reversed ones."""
    with Stopwatch() as watch:
        constants = planned(size)
    return {
        "cpu": watch.cpu,
        "wall": watch.wall,
        "mib": sum(array.nbytes for array in constants.values()) / 2**20,
        "peak_mib": peak_mib(),
    }


def peak_mib() -> float:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def emit_plans(a: argparse.Namespace, core: int) -> None:
    """Prints the figures of `time_plans`; the first round also imports."""
    rounds = [json_of_command(worker_command(a)) for _ in range(a.rounds)]
    emit(
        "masked_network_plans",
        size=a.size,
        cpu_s=spread([figures["cpu"] for figures in rounds], 2),
        wall_s=spread([figures["wall"] for figures in rounds], 2),
        mib=round(rounds[0]["mib"]),
        peak_mib=round(max(figures["peak_mib"] for figures in rounds)),
        core=core,
    )


def worker_command(a: argparse.Namespace) -> list[str]:
    command = [sys.executable, __file__, "--worker", f"--size={a.size}", f"--steps={a.steps}"]
    return [*command, "--plan"] if a.plan else command


def emit_steps(a: argparse.Namespace, core: int) -> None:
    """Prints the figures of `time_steps`, beside torch's where there is one."""
    sizes = [f"--{name}={value}" for name, value in SIZES[a.size].items()]
    torch_command = [a.torch, a.script, f"--impl={a.impl}", *sizes]
    torch_command.append(f"--steps={a.torch_steps or a.steps}")
    ours, torch = [], []
    for _ in range(a.rounds):
        ours.append(json_of_command(worker_command(a)))
        if a.torch:
            torch.append(json_of_command(torch_command))
    medians = [statistics.median(figures["cpu"]) for figures in ours]
    compared = {}
    if torch:
        theirs = [figures["cpu_sec_per_step"] for figures in torch]
        compared = {
            "torch": a.impl,
            "torch_cpu_s_per_step": spread(theirs),
            "torch_peak_mib": max(figures.get("peak_rss_mb", float("nan")) for figures in torch),
            "ratio_to_torch": round(min(medians) / min(theirs), 4),
        }
    emit(
        "masked_network",
        size=a.size,
        cpu_s_per_step=spread(medians),
        peak_mib=round(max(figures["peak_mib"] for figures in ours)),
        imported_mib=round(max(figures["imported_mib"] for figures in ours)),
        parameters=ours[0]["parameters"],
        core=core,
        **compared,
    )


def main() -> None:
    a = arguments()
    core = one_core()
    if a.worker:
        print(json.dumps(time_plans(a.size) if a.plan else time_steps(a.size, a.steps)))
    elif a.plan:
        emit_plans(a, core)
    else:
        emit_steps(a, core)


if __name__ == "__main__":
    main()
