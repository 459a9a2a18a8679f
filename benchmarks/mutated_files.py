"""Small sound files of every format, damaged at random by a seed and read again.

    python benchmarks/mutated_files.py --files=2000 --seed=0

Each damage is a flipped bit, several of them, a cut end, a block of zeros, a block twice or a block
in random order. A worker process with a time limit reads the damaged file. Its outcome is one of

  equal       the reader gives what it gives for the sound file
  changed     it gives something else, and so does a plain library that reads the same bytes: a
              digit of a text or of an array without checksum, which no reader can know
  silent      it gives something else than the sound file and than the plain library
  told        it gives something else, and its notes say so (a file of an archive that is no record)
  refused     one sentence, a `UserError`
  traceback   any other exception
  ended       the process crashed or passed the time limit

The goal is no silent, no traceback and no ended among 2,000. Each of these is printed with what
repeats it, and its file is kept where --keep names a folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from knowledge_files import KNOWLEDGE_FORMATS
from measuring import emit
from sound_files import FORMATS as MEASURED_FORMATS
from sound_files import Content

OUTCOMES = ("equal", "changed", "told", "silent", "refused", "traceback", "ended")
BAD = ("silent", "traceback", "ended")
SECONDS = 60  # that one file may take
FORMATS = {**MEASURED_FORMATS, **KNOWLEDGE_FORMATS}


# --- damage ---------------------------------------------------------------------------------------


def damage(data: bytes, random: np.random.Generator) -> bytes:
    """The bytes after one random damage."""
    kind = random.choice(["bit", "bits", "cut", "zeros", "twice", "shuffled"])
    changed = bytearray(data)
    start = int(random.integers(len(data)))
    stop = min(len(data), start + int(random.integers(4, 129)))
    if kind in ("bit", "bits"):
        for place in random.integers(len(data), size=1 if kind == "bit" else 12):
            changed[place] ^= 1 << int(random.integers(8))
    elif kind == "cut":
        del changed[start:]
    elif kind == "zeros":
        changed[start:stop] = bytes(stop - start)
    elif kind == "twice":
        changed[start:start] = data[start:stop]
    else:
        block = np.frombuffer(data[start:stop], np.uint8)
        changed[start:stop] = random.permutation(block).tobytes()
    return bytes(changed)


def outcome_of(name: str, path: Path, sound: Content) -> tuple[str, str]:
    """The outcome of reading one file, and what was said."""
    from omics_jax.errors import UserError

    warnings.simplefilter("ignore")
    form = FORMATS[name]
    try:
        found = form.read(path)
    except UserError as error:
        return ("traceback" if "\n" in str(error) else "refused"), str(error)
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    told, expected = found.pop("notes", ()), sound.get("notes", ())
    sound = {name: part for name, part in sound.items() if name != "notes"}
    if are_equal(found, sound):
        return "equal", ""
    if told != expected:
        return "told", ""
    try:
        same = are_equal(found, form.plain(path))
    except Exception as error:
        return "silent", f"read, and by a plain library {type(error).__name__}: {error}"
    return ("changed", "") if same else ("silent", "read otherwise than by a plain library")


def are_equal(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(are_equal(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and np.array_equal(
            one.astype(np.float32), other.astype(np.float32), equal_nan=True
        )
    return one == other


# --- the worker -----------------------------------------------------------------------------------


def work(pipe, folder: str) -> None:
    """Reads one file after the other, as the pipe names them, until it is closed."""
    sound = {}
    for name, form in FORMATS.items():
        place = Path(folder) / "sound" / name
        place.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sound[name] = form.read(form.write(place))
    pipe.send("ready")
    while True:
        try:
            name, path = pipe.recv()
        except EOFError:
            return
        pipe.send(outcome_of(name, Path(path), sound[name]))


class Worker:
    """A process that reads files; it is started again after a crash or a file without end."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, str(self.folder)), daemon=True)
        self.process.start()
        theirs.close()
        if self.pipe.recv() != "ready":
            raise RuntimeError("the worker does not answer")

    def read(self, name: str, path: Path) -> tuple[str, str]:
        try:
            self.pipe.send((name, str(path)))
            if self.pipe.poll(SECONDS):
                return self.pipe.recv()
            reason = f"no answer in {SECONDS} s"
        except (EOFError, BrokenPipeError, ConnectionResetError):
            reason = "the process ended"
        self.process.kill()
        self.process.join()
        self.start()
        return "ended", reason


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", default="", help="some of them; all without")
    parser.add_argument("--keep", default="", help="a folder for the files that break the goal")
    a = parser.parse_args()
    names = list(FORMATS) if not a.formats else [name for name in FORMATS if name in a.formats]
    counts = {name: Counter() for name in names}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        worker = Worker(folder)
        for i in range(a.files):
            name = names[i % len(names)]
            place = folder / "damaged"
            place.mkdir(exist_ok=True)
            path = FORMATS[name].write(place)
            path.write_bytes(damage(path.read_bytes(), np.random.default_rng([a.seed, i])))
            outcome, said = worker.read(name, path)
            counts[name][outcome] += 1
            if outcome in BAD:
                print(f"{outcome}: {name}, seed {a.seed}, file {i}: {said[:300]}", flush=True)
                if a.keep:
                    Path(a.keep).mkdir(parents=True, exist_ok=True)
                    kept = Path(a.keep) / f"{i}-{path.name}"
                    kept.write_bytes(path.read_bytes())
            for file in place.iterdir():
                os.remove(file)
        worker.process.kill()
    print(pd.DataFrame(counts, OUTCOMES).fillna(0).astype(int).T.to_string())
    total = sum(counts.values(), Counter())
    emit("mutated_files", seed=a.seed, files=a.files, **{o: total[o] for o in OUTCOMES})


if __name__ == "__main__":
    main()
