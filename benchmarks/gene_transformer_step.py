"""CPU seconds and peak memory of one training step of the gene transformer: one core, one thread.

    python benchmarks/gene_transformer_step.py [--genes=1000] [--batch=16] [--attention=induced] ...

The steps are the trainer's own in the stage `all`: several in a program, rows gathered from a
table, dropout, the gradient, Adam and the checks for numbers that are not finite. The network has
the shape of the benchmarks of gene transformers: 64 channels, 4 heads, 2 layers, 256 hidden units,
the value term in the logits, and 4 outcomes of two classes. With --attention=pathways random
pathways, whose sizes vary about --members genes by a factor of 1.6, take the place of the genes.
With --torch a script of the same shape runs in turns on the same core.
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

TASKS = 4
BLOCKS = 3  # programs that are timed
MOST_STEPS = 10_000  # more than are timed
# Settings of a worker that are passed on.
PASSED = (
    *("genes", "batch", "dropout", "attention", "inducing", "pathways", "members"),
    *("encoding", "balancing", "steps"),
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--attention", default="exact")
    parser.add_argument("--inducing", type=int, default=32)
    parser.add_argument("--pathways", type=int, default=50)
    parser.add_argument("--members", type=int, default=150, help="genes of a pathway, median")
    parser.add_argument("--encoding", default="bias")
    parser.add_argument("--balancing", default="fixed")
    parser.add_argument("--steps", type=int, default=3, help="steps of each program")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, a process each")
    parser.add_argument("--torch", default="", help="python of an environment with torch")
    parser.add_argument("--script", default="", help="torch script that prints cpu_sec_per_step")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def benchmarked_config(a: argparse.Namespace) -> Any:
    """The gene transformer's config for the shape of the benchmark."""
    config = load_config("gene_transformer")
    config.model.update(channels=64, heads=4, layers=2, feedforward=256, pool="mean")
    config.model.update(attention=a.attention, inducing=a.inducing, encoding=a.encoding)
    config.model.dropout = a.dropout
    config.balancing.name = a.balancing
    config.training.batch_size = a.batch
    optimizer = dict(name="adam", learning_rate=1e-3, clip=0.0, weight_decay=0.0)
    config.training.optimizer = type(config)(optimizer)
    return config


def planned_training(a: argparse.Namespace) -> Any:
    """The stage `all` of one replicate, `a.steps` in a program."""
    import numpy as np

    from omics_jax.systems.gene_transformer.assembly import Spec, build
    from omics_jax.systems.gene_transformer.model import SLOT
    from omics_jax.tasks.task import Task
    from omics_jax.training.job import Options, Training
    from omics_jax.training.plan import make_plan
    from omics_jax.training.stage import Replicate

    spec = Spec(
        features={"rna": ()},
        rows={SLOT: a.batch},
        tasks=tuple(Task(f"T{k}", "classification", ("no", "yes")) for k in range(TASKS)),
        widths={"rna": a.genes},
        pathways=a.pathways if a.attention == "pathways" else 0,
    )
    system = build(benchmarked_config(a), spec)
    (stage,) = system.stages
    rng = np.random.default_rng(1)
    table = {
        "x_rna": rng.standard_normal((a.batch, a.genes), np.float32),
        "m_rna": np.ones((a.batch, a.genes), bool),
        "c": np.zeros((a.batch, 0), np.float32),
    }
    for k in range(TASKS):
        table[f"y_T{k}"] = rng.integers(0, 2, a.batch).astype(np.float32)
        table[f"k_T{k}"] = np.ones(a.batch, bool)
    constants = {
        "rna_columns": np.arange(a.genes, dtype=np.int32),
        "rna_alive": np.ones(a.genes, bool),
        "rna_fill": np.zeros(a.genes, np.float32),
        "rna_sd": np.ones(a.genes, np.float32),
        "rna_low": np.full(a.genes, -9, np.float32),
        "rna_high": np.full(a.genes, 9, np.float32),
        **(random_members(a) if spec.pathways else {}),
    }
    everyone = np.arange(a.batch)
    replicate = Replicate(
        rows={SLOT: everyone}, validation={}, test=everyone, seed=0, constants=constants
    )
    stage = replace(stage, monitor=None, epochs=MOST_STEPS)
    training = Training([stage], system.init, table, everyone.astype(str), [replicate])
    return make_plan(training, Options(block_steps=a.steps))


def random_members(a: argparse.Namespace) -> dict:
    """The constants of pathways of random genes."""
    import numpy as np

    from omics_jax.nn.pathway_tokens import plan_members
    from omics_jax.systems.gene_transformer.model import MEMBERS

    rng = np.random.default_rng(2)
    sizes = rng.lognormal(np.log(a.members), np.log(1.6), a.pathways).astype(int)
    sizes = sizes.clip(1, a.genes)
    members = [rng.choice(a.genes, size, replace=False) for size in sizes]
    pairs = np.stack([np.concatenate(members), np.repeat(np.arange(a.pathways), sizes)], axis=1)
    (plan,) = plan_members([pairs], a.genes, a.pathways)
    return dict(zip(MEMBERS, plan, strict=True))


def time_steps(a: argparse.Namespace) -> dict:
    """CPU seconds of a step in each program after the first, and the peak of memory."""
    import jax

    from omics_jax.training.plan import (
        compile_program,
        first_variables,
        run_block,
        start_stage,
    )

    plan = planned_training(a)
    (compiled,) = plan.stages
    state, inputs = start_stage(plan, compiled, [0], 1, first_variables(plan, [0]))
    state = compile_program(plan, compiled, state, inputs)
    cpu = []
    for block in range(BLOCKS + 1):
        with Stopwatch() as watch:
            state, log, _ = run_block(plan, compiled, state, inputs, block * a.steps, a.steps)
            jax.block_until_ready(state)
        if block:  # the first takes its memory
            cpu.append(watch.cpu / a.steps)
    return {
        "cpu": cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "objective": float(log["objective"].ravel()[-1]),
    }


def main() -> None:
    a = arguments()
    core = one_core()
    if a.worker:
        print(json.dumps(time_steps(a)))
        return
    flags = [f"--{name}={getattr(a, name)}" for name in PASSED]
    peer = [a.torch, a.script, f"--genes={a.genes}", f"--batch={a.batch}", f"--tasks={TASKS}"]
    ours, torch = [], []
    for _ in range(a.rounds):
        ours.append(json_of_command([sys.executable, __file__, "--worker", *flags]))
        if a.torch:
            torch.append(json_of_command(peer))
    medians = [statistics.median(figures["cpu"]) for figures in ours]
    compared = {}
    if torch:
        theirs = [figures["cpu_sec_per_step"] for figures in torch]
        compared = {
            "torch_cpu_s_per_step": spread(theirs),
            "ratio_to_torch": round(min(medians) / min(theirs), 3),
        }
    emit(
        "gene_transformer_step",
        **{name: getattr(a, name) for name in PASSED},
        cpu_s_per_step=spread(medians, 4),
        peak_mib=round(max(figures["peak_mib"] for figures in ours)),
        parameters=ours[0]["parameters"],
        core=core,
        **compared,
    )


if __name__ == "__main__":
    main()
