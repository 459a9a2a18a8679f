"""CPU and wall seconds of an epoch, and memory, of the three stages of the multi-omics network.

    1,000 and 8,000 patients of 5,000 + 5,000 + 1,800 features:
      python benchmarks/multiomics_epoch.py
    The same in larger batches:
      python benchmarks/multiomics_epoch.py --batch=128
    1,000 patients of 20,000 + 200,000 + 1,800 features:
      python benchmarks/multiomics_epoch.py --size=paper
    8,000 of these, streamed from a file:
      python benchmarks/multiomics_epoch.py --size=largest
    Beside flexynesis, in turns with ours:
      python benchmarks/multiomics_epoch.py --peer PYTHON --script SCRIPT
    To see that it runs:
      python benchmarks/multiomics_epoch.py --patients=64 --features=50,40,30 --rounds=1

Each prints a line of JSON per number of patients and stage (embedding, heads, all), measured on one
core with one thread. Timed is one replicate in float32 in OmiEmbed's shape (its branches, latent,
heads and 256 bins of survival), through the project's own blocks, as long as the loop makes them
but cut where an epoch ends: 33 classes, age and survival of complete patients. All values are
random, because values do not change the cost.

Two times are separate from the epochs: `compile`, all up to the end of the first step, and `start`,
what a stage does once before its first step; in the stage of the heads that is to embed every
patient. Every stage of every round is a process of its own, so that `peak_rss_mib` is that stage's:
it holds the data (`data_mib`) and what compiling takes, which at small sizes is most of it.
`peak_anonymous_mib` leaves out the pages of mapped files, which the system takes back when it needs
memory. Data above `--resident` MiB are not copied to the device: the rows of every block are
gathered on the host, from 1 GiB on out of a file mapped into memory. Left out: the monitor,
imputers, and reading and preprocessing of files.

The peer's script takes --model --n --dims --batch --latent --epochs and prints as its last line of
JSON {"cpu_sec_per_epoch", "sec_per_epoch", "peak_rss_mb", "n_params", "versions"}, the seconds
being the median of the epochs after the first. The line of the stage "all" compares it with ours,
which does more in an epoch: flexynesis' DirectPred has no decoder (its supervised_vae has one) and
drops the last batch where it is not full.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
from typing import Any

from measuring import Stopwatch, emit, json_of_command, load_config, one_core, spread

STAGES = ("embedding", "heads", "all")
MODALITIES = ("rna", "methylation", "mirna")
CLASSES, LATENT = 33, 128
SIZES = {
    "selected": dict(patients=[1000, 8000], features=(5000, 5000, 1800), rounds=2),
    "paper": dict(patients=[1000], features=(20_000, 200_000, 1800), rounds=1),
    "largest": dict(patients=[8000], features=(20_000, 200_000, 1800), rounds=1),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size",
        choices=SIZES,
        default="selected",
        help="patients, features and rounds unless given",
    )
    parser.add_argument("--patients", type=int, nargs="+", help="a line per number and stage")
    parser.add_argument(
        "--features", type=widths, help=f"numbers of {', '.join(MODALITIES)}, such as 50,40,30"
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument(
        "--epochs", type=int, default=3, help="timed epochs of a round, after one that is not timed"
    )
    parser.add_argument(
        "--rounds", type=int, help="each a process of its own for every stage and for the peer"
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument(
        "--resident",
        type=int,
        default=4096,
        help="MiB of data that are copied to the device at most",
    )
    parser.add_argument(
        "--core", type=int, default=None, help="the core to run on (default: the first allowed)"
    )
    parser.add_argument("--peer", default="", help="python of an environment with flexynesis")
    parser.add_argument("--script", default="", help="script that times flexynesis, see above")
    parser.add_argument(
        "--peer-model", choices=("DirectPred", "supervised_vae"), default="DirectPred"
    )
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    a = parser.parse_args()
    for name, value in SIZES[a.size].items():
        if getattr(a, name) is None:
            setattr(a, name, value)
    check_arguments(parser, a)
    return a


def check_arguments(parser: argparse.ArgumentParser, a: argparse.Namespace) -> None:
    smallest = {
        "patients": (min(a.patients), 2),
        "batch": (a.batch, 2),
        "epochs": (a.epochs, 1),
        "rounds": (a.rounds, 1),
    }
    for name, (value, minimum) in smallest.items():
        if value < minimum:
            parser.error(f"--{name} must be {minimum} or more")
    if bool(a.peer) != bool(a.script):
        parser.error("--peer and --script go together")
    if a.peer and "all" not in a.stages:
        parser.error("--peer is compared with the stage all; name it in --stages")


def widths(text: str) -> tuple[int, ...]:
    """The number of features of each modality, from words such as 50,40,30."""
    parts = text.split(",")
    if len(parts) != len(MODALITIES) or not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not {len(MODALITIES)} whole numbers, such as 50,40,30"
        )
    return tuple(map(int, parts))


def omiembed_config(stage: str, batch: int, epochs: int) -> Any:
    """The config in OmiEmbed's shape, with the epochs of one stage."""
    config = load_config("multiomics", "paper")
    config.missing = "complete"
    config.model.update(
        dict(fusion="intermediate", branch=(384, 256), shared=(256,), latent=LATENT)
    )
    config.heads.classification.widths = config.heads.regression.widths = (128, 64)
    config.heads.survival.widths = (512, 256)
    config.survival.update(dict(bins=256, grid="equal"))
    config.training.batch_size = batch
    config.training.epochs[stage] = epochs
    return config


def random_patients(patients: int, features: tuple[int, ...]):
    """Complete patients with uniform values, and outcomes that have nothing to do with them."""
    import numpy as np
    import pandas as pd

    from omics_jax.data.dataset import mapped
    from omics_jax.data.dataset.dataset import Dataset, Modality

    rng = np.random.default_rng(0)
    modalities = {}
    for name, width in zip(MODALITIES, features, strict=True):
        values = mapped.empty_or_mapped((patients, width), np.float32)
        mask = mapped.empty_or_mapped((patients, width), bool)
        for row in values:
            row[:] = rng.random(width, np.float32)
        mask[:] = True
        modalities[name] = Modality(values, mask, numbered_names(name, width))
    outcomes = {
        "type": rng.integers(0, CLASSES, patients, dtype=np.int32),
        "age": rng.normal(60, 10, patients).astype(np.float32),
        "OS.time": rng.exponential(1000, patients).astype(np.float32),
        "OS.event": rng.random(patients) < 0.4,
    }
    known = np.ones(patients, bool)
    ids = numbered_names("P", patients)
    return Dataset(
        ids=ids,
        groups=ids,
        modalities=modalities,
        table=pd.DataFrame(index=ids),
        targets={name: (values, known) for name, values in outcomes.items()},
        classes={"type": tuple(numbered_names("class", CLASSES).tolist())},
    )


def numbered_names(prefix: str, count: int):
    """prefix0, prefix1, ... as an array."""
    import numpy as np

    return np.array([f"{prefix}{k}" for k in range(count)])


def one_stage_training(config: Any, stage: str, dataset):
    """One replicate that trains one stage on all patients, without a monitor."""
    import dataclasses

    import numpy as np

    from omics_jax.data.preprocessing.features import fit_folds
    from omics_jax.data.preprocessing.selection import Rules
    from omics_jax.systems.multiomics.assembly import Spec, build
    from omics_jax.systems.multiomics.patients import SLOT
    from omics_jax.tasks.labels import fit_to_outcomes, with_bins
    from omics_jax.tasks.task import tasks_of
    from omics_jax.training.plan import Training
    from omics_jax.training.stage import Replicate

    rows = np.arange(len(dataset))
    constants = {}
    for name, modality in dataset.modalities.items():
        (fitted,) = fit_folds(modality, [rows], Rules(), name)
        constants |= {f"{name}_{key}": fitted[key] for key in ("alive", "fill", "low", "high")}
    tasks = with_bins(config, dataset, tasks_of(dataset), [rows])
    constants |= fit_to_outcomes(config, dataset, tasks, rows, "all patients")
    features = {name: tuple(m.features.tolist()) for name, m in dataset.modalities.items()}
    spec = Spec(features, {SLOT: len(rows)}, used=tuple(features), tasks=tasks)
    system = build(config, spec)
    stages = [
        dataclasses.replace(s, monitor=None, patience=None)
        for s in system.stages
        if s.name == stage
    ]
    replicate = Replicate({SLOT: rows}, {}, rows[:0], seed=0, constants=constants)
    return Training(stages, system.init, system.arrays(dataset), dataset.ids, [replicate])


def time_epochs(training, resident: int) -> dict:
    """Seconds of every epoch of the one stage from the second on, and of what comes before."""
    import jax

    from omics_jax.training.plan import Options, first_variables, make_plan, start_stage

    memory = watch_anonymous_memory()
    with Stopwatch() as compiling:
        plan = make_plan(training, Options(strategy="map", resident_bytes=resident << 20))
        variables = first_variables(plan, [0])
        take_first_step(plan, variables)
    parameters = sum(leaf[0].size for leaf in jax.tree.leaves(variables["params"]))
    with Stopwatch() as starting:
        state, inputs = start_stage(plan, plan.stages[0], [0], 1, variables)
        jax.block_until_ready((state, inputs.replicate_table))
    # No name keeps the state here, because the blocks reuse its memory.
    return {
        **run_epochs(plan, state, inputs),
        "compile": {"cpu": compiling.cpu, "wall": compiling.wall},
        "start": {"cpu": starting.cpu, "wall": starting.wall},
        "parameters": parameters,
        "per_epoch": plan.stages[0].shape.per_epoch,
        "resident": plan.resident,
        "data_mib": sum(values.nbytes for values in training.table.values()) / 2**20,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_anonymous_mib": max(memory),
    }


def watch_anonymous_memory() -> list[float]:
    """MiB of anonymous memory (backed by no file), ten times a second from now on."""
    import threading
    import time
    from pathlib import Path

    memory = []

    def watch() -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            kib = next(line.split()[1] for line in lines if line.startswith("RssAnon"))
            memory.append(int(kib) / 1024)
            time.sleep(0.1)

    threading.Thread(target=watch, daemon=True).start()
    return memory


def take_first_step(plan, variables) -> None:
    """Compiles the stage; its state ends here, so that it adds nothing to the peak of memory."""
    from omics_jax.training.plan import run_block, start_stage

    state, inputs = start_stage(plan, plan.stages[0], [0], 1, variables)
    run_block(plan, plan.stages[0], state, inputs, 0, 1)


def run_epochs(plan, state, inputs) -> dict:
    """CPU and wall seconds of all epochs but the first, and how many blocks each took."""
    import jax
    import numpy as np

    from omics_jax.training.block_sizer import BlockSizer
    from omics_jax.training.plan import run_block

    (compiled,) = plan.stages
    pace, per_epoch = BlockSizer(plan.options, compiled.shape.length), compiled.shape.per_epoch
    cpu, wall, blocks, objective = [], [], [], []
    for epoch in range(compiled.stage.epochs):
        at, end, count = epoch * per_epoch, (epoch + 1) * per_epoch, 0
        with Stopwatch() as watch:
            while at < end:
                steps = pace.next_size(end - at)
                with Stopwatch() as block:
                    state, log, _ = run_block(plan, compiled, state, inputs, at, steps)
                    jax.block_until_ready(state)
                pace.record(block.wall, steps)
                at, count = at + steps, count + 1
        cpu.append(watch.cpu)
        wall.append(watch.wall)
        blocks.append(count)
        objective.append(float(log["objective"][0, 0]))
    if (np.asarray(state.bad_step) >= 0).any() or not np.isfinite(objective).all():
        raise RuntimeError("a step was not finite, so the timing means nothing")
    return {"cpu": cpu[1:], "wall": wall[1:], "blocks": blocks[1:], "objective": objective}


def in_turns(a: argparse.Namespace, patients: int) -> tuple[dict[str, list[dict]], list[dict]]:
    """Stage -> our figures, and the peer's, round by round."""
    sizes = [f"--features={','.join(map(str, a.features))}", f"--patients={patients}"]
    sizes += [f"--batch={a.batch}", f"--epochs={a.epochs}", f"--resident={a.resident}"]
    theirs_sizes = [f"--model={a.peer_model}", f"--n={patients}", "--dims", *map(str, a.features)]
    theirs_sizes += [f"--batch={a.batch}", f"--latent={LATENT}", f"--epochs={a.epochs + 1}"]
    ours, theirs = {stage: [] for stage in a.stages}, []
    for _ in range(a.rounds):
        for stage, rounds in ours.items():
            rounds.append(json_of_command([sys.executable, __file__, f"--worker={stage}", *sizes]))
        if a.peer:
            theirs.append(json_of_command([a.peer, a.script, *theirs_sizes]))
    return ours, theirs


def compare_with_peer(ours: list[dict], theirs: list[dict], model: str) -> dict:
    """The peer's figures and the ratio of ours to them, both by the best of their rounds' medians.

    Other work on the machine only adds, and the peer prints only the median of each round.
    """
    if not theirs:
        return {}
    cpu = [r["cpu_sec_per_epoch"] for r in theirs]
    our_median = min(statistics.median(r["cpu"]) for r in ours)
    return {
        "peer": {
            "model": f"flexynesis {model}",
            "cpu_s_per_epoch": spread(cpu, 4),
            "wall_s_per_epoch": spread([r["sec_per_epoch"] for r in theirs], 4),
            "peak_rss_mib": max(r["peak_rss_mb"] for r in theirs),
            "parameters": theirs[0]["n_params"],
            "versions": theirs[0]["versions"],
        },
        "ratio_to_peer": round(our_median / min(cpu), 4),
    }


def summarize(rounds: list[dict]) -> dict:
    """The figures of one stage over all rounds."""
    first = rounds[0]
    cpu = [seconds for r in rounds for seconds in r["cpu"]]
    wall = [seconds for r in rounds for seconds in r["wall"]]
    return {
        "cpu_s_per_epoch": spread(cpu, 4),
        "wall_s_per_epoch": spread(wall, 4),
        "cpu_s_per_step": round(min(cpu) / first["per_epoch"], 5),
        "compile_cpu_s": spread([r["compile"]["cpu"] for r in rounds], 3),
        "compile_wall_s": spread([r["compile"]["wall"] for r in rounds], 3),
        "start_cpu_s": spread([r["start"]["cpu"] for r in rounds], 3),
        "peak_rss_mib": round(max(r["peak_rss_mib"] for r in rounds), 1),
        "peak_anonymous_mib": round(max(r["peak_anonymous_mib"] for r in rounds), 1),
        "data_mib": round(first["data_mib"], 1),
        "resident": first["resident"],
        "parameters": first["parameters"],
        "steps_per_epoch": first["per_epoch"],
        "blocks_per_epoch": statistics.median(n for r in rounds for n in r["blocks"]),
    }


def main() -> None:
    a = arguments()
    core = one_core(a.core)
    if a.worker:
        config = omiembed_config(a.worker, a.batch, a.epochs + 1)
        training = one_stage_training(config, a.worker, random_patients(a.patients[0], a.features))
        print(json.dumps(time_epochs(training, a.resident)))
        return
    for patients in a.patients:
        ours, theirs = in_turns(a, patients)
        for stage, rounds in ours.items():
            emit(
                "multiomics_epoch",
                stage=stage,
                patients=patients,
                features=a.features,
                batch=a.batch,
                **summarize(rounds),
                core=core,
                **(compare_with_peer(rounds, theirs, a.peer_model) if stage == "all" else {}),
            )


if __name__ == "__main__":
    main()
