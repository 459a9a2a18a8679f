"""A run killed again and again (SIGKILL at uniform random times) against the same run left alone:
equal to the bit?

Compared are the arrays of predictions.npz and metrics.json without its timing. Counted are
checkpoints that could not be restored, temporary files left over at the end, and the steps that a
kill cost beyond the last save.
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

# Small steps, but many of them and blocks of few: most of the time goes into steps, blocks and
# saves.
WORDS = (
    "--config.training.epochs={epochs}",
    "--config.training.patience=100000",
    "--config.folds=3",
    "--config.run.block_steps={block_steps}",
    "--config.run.chunk=2",
    "--config.run.checkpoint_seconds={checkpoint_seconds}",
)
BAD_NEWS = re.compile(r"damaged|set aside|cannot be read|Traceback", re.IGNORECASE)
LEFT_OVER = ("*tmp*", "*.part*", "*partial*", "damaged-*", "*.damaged")


def command(folder: Path, a: argparse.Namespace) -> list[str]:
    words = [word.format(**vars(a)) for word in WORDS]
    return [sys.executable, str(MAIN), f"--config={PERTVAE}:smoke", f"--workdir={folder}", *words]


def start(words: list[str], cache: Path, output: Path) -> subprocess.Popen:
    with output.open("a") as file:
        return subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, "OMICS_JAX_CACHE": str(cache)},
            stdout=file,
            stderr=file,
        )


def run_to_end(words: list[str], cache: Path, output: Path) -> float:
    """Seconds of a run that nobody disturbs."""
    began = time.perf_counter()
    status = start(words, cache, output).wait()
    if status:
        raise RuntimeError(f"the run ended with {status}: {output.read_text()[-800:]}")
    return time.perf_counter() - began


def storm(
    words: list[str], cache: Path, folder: Path, kills: int, fates: Iterator[Fate]
) -> list[dict]:
    """Kills a run until it has had so many kills or ends, then lets it end; a record per kill."""
    records: list[dict] = []
    output = folder.with_suffix(".txt")
    while True:
        process = start(words, cache, output)
        fate = next(fates) if len(records) < kills else None
        if fate is None:
            process.wait()
        elif lived_until(process, folder / "history.jsonl", fate):
            process.send_signal(signal.SIGKILL)
            process.wait()
            records.append({"saved": saved_steps(folder), "reached": reached(folder)})
            continue
        if process.returncode:
            raise RuntimeError(
                f"a restart ended with {process.returncode}: {output.read_text()[-800:]}"
            )
        return records


class Fate(NamedTuple):
    """A process is killed `seconds` after its start, or after its first new line of history."""

    seconds: float
    training: bool


def draw_fates(kills: int, start_s: float, train_s: float, seed: int) -> Iterator[Fate]:
    """Every fourth kill falls uniformly into the starting of a process, the others uniformly into
    its training.

    The latter get 0.9 of the whole training between them on average, so that the run does not end
    before them.
    """
    draw = random.Random(seed)
    for kill in count():
        if kill % 4 == 0:
            yield Fate(draw.uniform(0.05, start_s), False)
        else:
            yield Fate(draw.uniform(0.0, 2 * 0.9 * train_s / (0.75 * kills)), True)


def lived_until(process: subprocess.Popen, history: Path, fate: Fate) -> bool:
    """Waits for the moment of the fate; False if the process ended before."""
    changed = lambda: history.stat().st_mtime_ns if history.exists() else 0
    before = changed()
    while fate.training and changed() == before:
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    try:
        process.wait(timeout=fate.seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def saved_steps(folder: Path) -> dict[str, int]:
    """Running chunk (its folder's name) -> newest finished checkpoint, 0 where there is none yet."""
    found: dict[str, int] = {}
    for stage in folder.glob("checkpoints/*/*-*-*/"):
        first, _, name = stage.name.split("-", 2)
        if not (stage.parent / f"{first}-{name}.npz").exists():
            steps = [int(path.name[5:]) for path in stage.glob("step_*") if path.name[5:].isdigit()]
            found[stage.name] = max(steps, default=0)
    return found


def reached(folder: Path) -> dict[str, int]:
    """Label of a replicate -> its epochs in the history at the moment of the kill."""
    found: dict[str, int] = {}
    history = folder / "history.jsonl"
    for text in history.read_text().splitlines() if history.exists() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # the line that was being written
            continue
        found[str(line["replicate"])] = max(found.get(str(line["replicate"]), 0), line["epoch"] + 1)
    return found


def results(folder: Path) -> dict[str, str]:
    """sha256 of the predictions' arrays, of metrics.json without timing and of the history."""
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


def resumes(output: str) -> list[int]:
    return [int(step) for step in re.findall(r"resuming \S+ at step (\d+)", output)]


def lost_steps(records: list[dict], per_epoch: int) -> list[int]:
    """Steps that each kill threw away: those the history had reached, less those in the newest
    checkpoint.
    """
    lost = []
    for record in records:
        for stage, step in record["saved"].items():
            first = str(
                int(stage.split("-")[0])
            )  # a running chunk's folder begins with its first replicate
            lost.append(max(record["reached"].get(first, 0) * per_epoch - step, 0))
    return lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=6000)
    parser.add_argument("--block_steps", type=int, default=6)
    parser.add_argument("--checkpoint_seconds", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        cache, quiet = top / "cache", top / "quiet"
        first = run_to_end(command(quiet, a), cache, top / "quiet.txt")
        whole = run_to_end(command(top / "again", a), cache, top / "again.txt")
        timing = json.loads((top / "again" / "metrics.json").read_text())["timing"]
        expected, repeated = results(quiet), results(top / "again")
        fates = draw_fates(a.kills, max(whole - timing["train_s"], 0.1), timing["train_s"], a.seed)
        records: list[dict] = []
        storms, log, output, left, equal = 0, "", "", set(), []
        while len(records) < a.kills:
            folder = top / f"storm-{storms}"
            records += storm(command(folder, a), cache, folder, a.kills - len(records), fates)
            log += (folder / "log.txt").read_text()
            output += folder.with_suffix(".txt").read_text()
            left |= {p.name for pattern in LEFT_OVER for p in folder.rglob(pattern)}
            equal.append(
                {name: results(folder)[name] == digest for name, digest in expected.items()}
            )
            storms += 1
        per_epoch = epoch_steps(quiet)
        lost = lost_steps(records, per_epoch)
        rate = steps_in_all(quiet, per_epoch) / max(timing["train_s"], 1e-9)
    emit(
        "kill_storm",
        kills=len(records),
        storms=storms,
        train_s=round(timing["train_s"], 1),
        uninterrupted_s=round(whole, 1),
        first_run_s=round(first, 1),
        equal={name: all(e[name] for e in equal) for name in expected},
        repeat_equal=repeated == expected,
        resumes_mid_stage=len(resumes(log)),
        bad_news=sorted(set(BAD_NEWS.findall(log + output))),
        left_over=sorted(left),
        lost_steps={"largest": max(lost, default=0), "kills_in_a_stage": len(lost)},
        lost_s_of_training=round(max(lost, default=0) / rate, 3),
        sha256_of_predictions=expected["predictions"][:16],
    )


def steps_in_all(folder: Path, per_epoch: int, chunk: int = 2) -> int:
    """Steps of all chunks of an uninterrupted run, on the chunks' shared time axis."""
    return (
        sum(epochs for name, epochs in reached(folder).items() if int(name) % chunk == 0)
        * per_epoch
    )


def epoch_steps(folder: Path) -> int:
    """Steps of an epoch: rows over batch size, from what the run says of its splits."""
    config = json.loads((folder / "config.json").read_text())
    split = json.loads((folder / "metrics.json").read_text())["replicates"][0]["split"]["train"]
    return max(1, -(-sum(split.values()) // config["training"]["batch_size"]))


if __name__ == "__main__":
    main()
