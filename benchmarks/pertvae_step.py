"""CPU and wall seconds of a PertVAE training step at the paper's size: one core, one thread.

903 genes, encoder 500-300, 100 latent dimensions, two flow steps, 300 pairs and 1,300 singletons,
batches of 200, through the project's own compiled block. With --torch the same work in torch runs
in turns on the same core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys

from measuring import Stopwatch, emit, json_of_command, load_config, one_core, spread

PAIRS, VALIDATION, SINGLETONS = 300, 60, 1300


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--epochs", type=int, default=6, help="timed epochs of 8 steps in each round"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds; each is a process of its own"
    )
    parser.add_argument(
        "--monitor", action="store_true", help="include the monitor at the end of every epoch"
    )
    parser.add_argument("--torch", default="", help="python of an environment with torch")
    parser.add_argument(
        "--script", default="", help="torch script that prints cpu_sec_per_epoch as JSON"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def paper_plan(monitor: bool):
    """The plan of one replicate of the paper's size."""
    import dataclasses

    import numpy as np

    from omics_jax.data.perturbation.simulate import simulate_perturbations
    from omics_jax.systems.pertvae import assembly
    from omics_jax.systems.pertvae.experiments import constants_of, spec_of
    from omics_jax.training.plan import Options, Training, make_plan
    from omics_jax.training.stage import Replicate

    config = load_config("pertvae", "table1,paper")
    config.simulator.update(
        dict(drugs=1, null_drugs=0, cell_lines=60, replicates=6, singletons=SINGLETONS)
    )
    dataset = simulate_perturbations(**config.simulator)[0]
    end_of_validation = PAIRS + VALIDATION
    pairs = np.arange(PAIRS)
    held_out = np.arange(PAIRS, end_of_validation)
    singletons = np.arange(end_of_validation, end_of_validation + SINGLETONS)
    rows = {"pairs": pairs, "singletons": singletons}
    constants = constants_of(dataset, np.concatenate([pairs, singletons]))
    replicate = Replicate(rows, {"pairs": held_out}, held_out, seed=0, constants=constants)
    system = assembly.build(config, spec_of(dataset, [replicate]))
    stages = system.stages
    if not monitor:
        stages = [dataclasses.replace(s, monitor=None, patience=None) for s in stages]
    training = Training(stages, system.init, system.arrays(dataset), dataset.ids, [replicate])
    return make_plan(training, Options(strategy="map"))


def time_steps(epochs: int, monitor: bool) -> dict:
    """Seconds per step in blocks of one epoch; the first block, which compiles, is separate."""
    import jax
    import numpy as np

    from omics_jax.training.plan import first_variables, run_block, start_stage

    plan = paper_plan(monitor)
    compiled = plan.stages[0]
    variables = first_variables(plan, [0])
    parameters = sum(leaf[0].size for leaf in jax.tree.leaves(variables["params"]))
    state, inputs = start_stage(plan, compiled, [0], 1, variables)
    per_epoch = compiled.shape.per_epoch
    with Stopwatch() as first:
        state, _, _ = run_block(plan, compiled, state, inputs, 0, per_epoch)
    cpu, wall, log = [], [], None
    for epoch in range(1, epochs + 1):
        with Stopwatch() as watch:
            state, log, _ = run_block(plan, compiled, state, inputs, epoch * per_epoch, per_epoch)
            jax.block_until_ready(state)
        cpu.append(watch.cpu / per_epoch)
        wall.append(watch.wall / per_epoch)
    if not np.isfinite(log["objective"]).any():
        raise RuntimeError("the objective is not finite, so the timing means nothing")
    return {
        "cpu": cpu,
        "wall": wall,
        "first_block_s": first.wall,
        "parameters": parameters,
        "per_epoch": per_epoch,
    }


def in_turns(a: argparse.Namespace) -> tuple[list[dict], list[dict]]:
    """Our figures and torch's, round by round."""
    worker = [sys.executable, __file__, "--worker", f"--epochs={a.epochs}"]
    if a.monitor:
        worker.append("--monitor")
    ours, torch = [], []
    for _ in range(a.rounds):
        ours.append(json_of_command(worker))
        if a.torch:
            torch.append(json_of_command([a.torch, a.script, f"--epochs={a.epochs}"]))
    return ours, torch


def compare_with_torch(ours: list[dict], torch: list[dict]) -> dict:
    """Torch's seconds and the ratio of ours to them.

    Both sides as the best of their rounds' medians, since other work on the machine only adds.
    """
    torch_seconds = [figures["cpu_sec_per_epoch"] / ours[0]["per_epoch"] for figures in torch]
    our_seconds = min(statistics.median_high(figures["cpu"]) for figures in ours)
    return {
        "torch_cpu_s_per_step": spread(torch_seconds),
        "ratio_to_torch": round(our_seconds / min(torch_seconds), 3),
    }


def main() -> None:
    a = arguments()
    core = one_core()
    if a.worker:
        print(json.dumps(time_steps(a.epochs, a.monitor)))
        return
    ours, torch = in_turns(a)
    emit(
        "pertvae_step",
        cpu_s_per_step=spread([seconds for figures in ours for seconds in figures["cpu"]]),
        wall_s_per_step=spread([seconds for figures in ours for seconds in figures["wall"]]),
        first_block_s=spread([figures["first_block_s"] for figures in ours], 2),
        parameters=ours[0]["parameters"],
        steps_per_epoch=ours[0]["per_epoch"],
        monitor=a.monitor,
        core=core,
        **(compare_with_torch(ours, torch) if torch else {}),
    )


if __name__ == "__main__":
    main()
