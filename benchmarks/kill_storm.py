"""Whether a run killed at random times (SIGKILL) ends with the same bits as an undisturbed run.

Compared are the arrays of predictions.npz, metrics.json without its timing, and the history.
Counted are checkpoints that could not be restored, temporary files left over at the end, and the
steps that each kill cost beyond the last save.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measuring import MAIN, PERTVAE, ROOT, emit

# Many small steps in short blocks, so that most of the time goes into steps, blocks and saves.
FLAGS = (
    "--config.training.epochs={epochs}",
    "--config.training.patience=100000",
    "--config.folds=3",
    "--config.run.block_steps={block_steps}",
    "--config.run.chunk=2",
    "--config.run.checkpoint_seconds={checkpoint_seconds}",
)
ALARMS = re.compile(r"damaged|set aside|cannot be read|Traceback", re.IGNORECASE)
LEFT_OVER = ("*tmp*", "*.part*", "*partial*", "damaged-*", "*.damaged")


def command(folder: Path, a: argparse.Namespace) -> list[str]:
    """The command that trains into `folder`."""
    flags = [flag.format(**vars(a)) for flag in FLAGS]
    return [sys.executable, str(MAIN), f"--config={PERTVAE}:smoke", f"--workdir={folder}", *flags]


def start(words: list[str], cache: Path, output: Path) -> subprocess.Popen:
    """A process with this compilation cache, whose output is appended to a file."""
    environment = {**os.environ, "OMICS_JAX_CACHE": str(cache)}
    with output.open("a") as file:
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=file, stderr=file)


def run_to_end(words: list[str], cache: Path, output: Path) -> float:
    """Seconds of an undisturbed run."""
    started = time.perf_counter()
    status = start(words, cache, output).wait()
    if status:
        raise RuntimeError(f"the run ended with {status}: {output.read_text()[-800:]}")
    return time.perf_counter() - started


def kill_repeatedly(
    words: list[str], cache: Path, folder: Path, kills: int, fates: Iterator[Fate]
) -> list[dict]:
    """Kills a run up to `kills` times and lets it end; returns a record for each kill."""
    records: list[dict] = []
    output = folder.with_suffix(".txt")
    while True:
        process = start(words, cache, output)
        fate = next(fates) if len(records) < kills else None
        if fate is None:
            process.wait()
        elif is_alive_at(process, folder / "history.jsonl", fate):
            process.send_signal(signal.SIGKILL)
            process.wait()
            records.append({"saved": saved_steps(folder), "reached": reached_epochs(folder)})
            continue
        if process.returncode:
            tail = output.read_text()[-800:]
            raise RuntimeError(f"a restart ended with {process.returncode}: {tail}")
        return records


class Fate(NamedTuple):
    """When a process is killed.

    in_training: count the seconds from its first new line of history, not from its start.
    """

    seconds: float
    in_training: bool


def draw_fates(kills: int, start_s: float, train_s: float, seed: int) -> Iterator[Fate]:
    """Every fourth kill is uniform over the start of a process, the others over its training.

    Together the others take 0.9 of the whole training on average, so that the run does not end
    before them.
    """
    draw = random.Random(seed)
    longest = 2 * 0.9 * train_s / (0.75 * kills)
    for kill in count():
        if kill % 4 == 0:
            yield Fate(draw.uniform(0.05, start_s), in_training=False)
        else:
            yield Fate(draw.uniform(0.0, longest), in_training=True)


def modification_time(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else 0


def is_alive_at(process: subprocess.Popen, history: Path, fate: Fate) -> bool:
    """Waits for the moment of the fate; False if the process ended before it."""
    before = modification_time(history)
    while fate.in_training and modification_time(history) == before:
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    try:
        process.wait(timeout=fate.seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def saved_steps(folder: Path) -> dict[str, int]:
    """Running chunk (the name of its folder) -> step of its newest checkpoint, or 0."""
    newest: dict[str, int] = {}
    for stage in folder.glob("checkpoints/*/*-*-*/"):
        first, _, name = stage.name.split("-", 2)
        is_finished = (stage.parent / f"{first}-{name}.npz").exists()
        if not is_finished:
            numbers = [path.name.removeprefix("step_") for path in stage.glob("step_*")]
            steps = [int(number) for number in numbers if number.isdigit()]
            newest[stage.name] = max(steps, default=0)
    return newest


def reached_epochs(folder: Path) -> dict[str, int]:
    """Label of a replicate -> its epochs in the history."""
    epochs: dict[str, int] = {}
    history = folder / "history.jsonl"
    for text in history.read_text().splitlines() if history.exists() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # the line that was being written
            continue
        replicate = str(line["replicate"])
        epochs[replicate] = max(epochs.get(replicate, 0), line["epoch"] + 1)
    return epochs


def result_digests(folder: Path) -> dict[str, str]:
    """sha256 of the predictions' arrays, of metrics.json without timing, and of the history."""
    digest = hashlib.sha256()
    with np.load(folder / "predictions.npz") as arrays:
        for name in sorted(arrays.files):
            array = arrays[name]
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics.pop("timing", None)
    lines = sorted((folder / "history.jsonl").read_text().splitlines())
    return {
        "predictions": digest.hexdigest(),
        "metrics": hashlib.sha256(json.dumps(metrics, sort_keys=True).encode()).hexdigest(),
        "history": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def resumed_steps(output: str) -> list[int]:
    """The step of every resumption within a stage, from the log."""
    return [int(step) for step in re.findall(r"resuming \S+ at step (\d+)", output)]


def lost_steps(records: list[dict], per_epoch: int) -> list[int]:
    """Steps that each kill cost: those in the history less those in the newest checkpoint."""
    lost = []
    for record in records:
        for chunk, saved in record["saved"].items():
            # The folder of a chunk begins with the number of its first replicate.
            first = str(int(chunk.split("-")[0]))
            reached = record["reached"].get(first, 0) * per_epoch
            lost.append(max(reached - saved, 0))
    return lost


def total_steps(folder: Path, per_epoch: int, chunk: int = 2) -> int:
    """Steps of all chunks of an uninterrupted run; the replicates of a chunk share its steps."""
    epochs = reached_epochs(folder)
    first_of_chunk = [name for name in epochs if int(name) % chunk == 0]
    return sum(epochs[name] for name in first_of_chunk) * per_epoch


def steps_per_epoch(folder: Path) -> int:
    """Rows over batch size, from the training rows that the run reports."""
    config = json.loads((folder / "config.json").read_text())
    split = json.loads((folder / "metrics.json").read_text())["replicates"][0]["split"]["train"]
    return max(1, -(-sum(split.values()) // config["training"]["batch_size"]))


class Storms(NamedTuple):
    """What was seen over all killed runs: a record per kill, equality and leftovers per run."""

    records: list[dict]
    equal: list[dict[str, bool]]
    left_over: set[str]
    log: str
    output: str


def run_storms(
    top: Path, cache: Path, a: argparse.Namespace, fates: Iterator[Fate], expected: dict[str, str]
) -> Storms:
    """Runs that are killed, one after the other, until there were enough kills.

    expected: the digests of the undisturbed run.
    """
    records, equal, left_over = [], [], set()
    log = output = ""
    while len(records) < a.kills:
        folder = top / f"storm-{len(equal)}"
        kills_left = a.kills - len(records)
        records += kill_repeatedly(command(folder, a), cache, folder, kills_left, fates)
        log += (folder / "log.txt").read_text()
        output += folder.with_suffix(".txt").read_text()
        left_over |= {path.name for pattern in LEFT_OVER for path in folder.rglob(pattern)}
        digests = result_digests(folder)
        equal.append({name: digests[name] == digest for name, digest in expected.items()})
    return Storms(records, equal, left_over, log, output)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=6000)
    parser.add_argument("--block_steps", type=int, default=6)
    parser.add_argument("--checkpoint_seconds", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def measure(top: Path, a: argparse.Namespace) -> dict[str, object]:
    """Two undisturbed runs, the second with a warm cache, then the killed ones."""
    cache, quiet, again = top / "cache", top / "quiet", top / "again"
    first_run_s = run_to_end(command(quiet, a), cache, top / "quiet.txt")
    warm_run_s = run_to_end(command(again, a), cache, top / "again.txt")
    train_s = json.loads((again / "metrics.json").read_text())["timing"]["train_s"]
    expected = result_digests(quiet)
    fates = draw_fates(a.kills, max(warm_run_s - train_s, 0.1), train_s, a.seed)
    storms = run_storms(top, cache, a, fates, expected)
    per_epoch = steps_per_epoch(quiet)
    lost = lost_steps(storms.records, per_epoch)
    steps_per_second = total_steps(quiet, per_epoch) / max(train_s, 1e-9)
    return {
        "kills": len(storms.records),
        "storms": len(storms.equal),
        "train_s": round(train_s, 1),
        "uninterrupted_s": round(warm_run_s, 1),
        "first_run_s": round(first_run_s, 1),
        "equal": {name: all(run[name] for run in storms.equal) for name in expected},
        "repeat_equal": result_digests(again) == expected,
        "resumes_mid_stage": len(resumed_steps(storms.log)),
        "bad_news": sorted(set(ALARMS.findall(storms.log + storms.output))),
        "left_over": sorted(storms.left_over),
        "lost_steps": {"largest": max(lost, default=0), "kills_in_a_stage": len(lost)},
        "lost_s_of_training": round(max(lost, default=0) / steps_per_second, 3),
        "sha256_of_predictions": expected["predictions"][:16],
    }


def main() -> None:
    a = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure(Path(temporary), a)
    emit("kill_storm", **figures)


if __name__ == "__main__":
    main()
