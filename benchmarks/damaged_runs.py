"""What damage to a run directory comes to: a bit, a cut, a lost file, zeros, a file exchanged.

    python benchmarks/damaged_runs.py [--systems pertvae,ehr] [--mutations 3] [--seed 0]

Every system makes a finished and an unfinished smoke run. Then every kind of file is damaged in
every way, `--mutations` times, and a command is given: the same one goes on with an unfinished run;
a finished one is completed, evaluated or asked for predictions. Counted is how that ends:

    same bits   exit status 0, and predictions, scores, tables and history as without the damage
    told        exit status 2 and one sentence
    traceback, silent difference, hang: none is wanted

What was told is mended as the sentence says, up to four times: what it asks for is removed, and the
training's command repeated. That must end with the same bits.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import importlib.util
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from measuring import MAIN, ROOT, emit, load_config

SYSTEMS = ("pertvae", "ehr", "multiomics")
BLOCKS = "--config.run.block_steps=2"
LONGEST = 240  # seconds of a command, before it counts as hanging
BAD = ("traceback", "silent difference", "hang")
NEW_ROWS = 6
MENDS = 4
ALWAYS = (
    "config.json",
    "data.json",
    "training.json",
    "metrics.json",
    "history.jsonl",
    "predictions.npz",
    "report.html",
)
UNTOUCHED = ("log.txt",)  # nothing reads it


class Outcome(NamedTuple):
    """How a command ended: `raised` has the traceback of an exception that it let through."""

    status: int
    out: str
    err: str
    raised: str = ""


# --- commands, in this process --------------------------------------------------------------------


def load_main() -> Callable[[list[str]], int]:
    spec = importlib.util.spec_from_file_location("experiments_main", MAIN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def command(*words: str) -> Outcome:
    """`python experiments/main.py WORDS`, ended after `LONGEST` seconds."""
    sys.modules.pop("config_config", None)  # ml_collections loads every config under this name
    out, err = io.StringIO(), io.StringIO()
    status, raised = -1, ""

    def hang(signum, frame):
        raise TimeoutError("hang")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(LONGEST)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = load_main()(["main.py", *words])
    except BaseException as error:
        raised = "hang" if isinstance(error, TimeoutError) else traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return Outcome(status, out.getvalue(), err.getvalue(), raised)


def train_words(system: str, folder: Path) -> list[str]:
    config = f"--config={ROOT / 'configs' / system}.py:smoke"
    return [config, f"--workdir={folder}", BLOCKS]


@contextlib.contextmanager
def stopped_after(lines: int) -> Iterator[None]:
    """This process gets a SIGTERM once a command has written so many lines of history."""
    from omics_jax.training.history import History

    write, written = History.write, 0

    def write_and_stop(self, line):
        nonlocal written
        write(self, line)
        written += 1
        if written == lines:
            os.kill(os.getpid(), signal.SIGTERM)

    History.write = write_and_stop
    try:
        yield
    finally:
        History.write = write


# --- runs and what they hold ----------------------------------------------------------------------


class Runs(NamedTuple):
    """Of one system: a finished run, an unfinished one, one of another seed, and new rows."""

    system: str
    finished: Path
    unfinished: Path
    other: Path
    predict: list[str]  # words of a prediction


def make_runs(system: str, top: Path) -> Runs:
    """Makes the runs; the unfinished one was stopped after half of the history."""
    folders = {name: top / f"{system}-{name}" for name in ("finished", "unfinished", "other")}
    for name, extra in (("finished", []), ("other", ["--config.seed=1"])):
        expect(command(*train_words(system, folders[name]), *extra), 0)
    lines = len((folders["finished"] / "history.jsonl").read_text().splitlines())
    with stopped_after(lines // 2):
        expect(command(*train_words(system, folders["unfinished"])), 128 + signal.SIGTERM)
    return Runs(system, *folders.values(), new_rows(system, top))


def expect(outcome: Outcome, status: int) -> None:
    if outcome.status != status:
        raise RuntimeError(f"status {outcome.status}: {outcome.err}{outcome.raised}")


def new_rows(system: str, top: Path) -> list[str]:
    """Writes the first rows of the simulator as a user's file; the words that name it."""
    from omics_jax.run.command import system_module

    config = load_config(system, "smoke")
    dataset = system_module(system).read(config)
    rows = dataset.take(np.arange(NEW_ROWS))

    def frame(name: str) -> pd.DataFrame:
        modality = rows.modalities[name]
        values = np.where(modality.mask, modality.values, np.nan)
        return pd.DataFrame(values, index=rows.ids.astype(str), columns=modality.features)

    if system == "ehr":
        series, file = rows.modalities["series"], top / "ehr.npz"
        values = np.where(series.mask, series.values, np.nan)
        np.savez(file, X=values, ids=rows.ids.astype(str), features=series.features.astype(str))
        return [f"--config.data.path={file}"]
    file = top / f"{system}.csv"
    if system == "pertvae":
        frame("control").to_csv(file)
        return [f"--config.data.path={file}", "--config.data.min_genes=10"]
    name = next(iter(rows.modalities))
    frame(name).to_csv(file)
    return [f"--config.data.modalities={name}={file}", "--config.data.orientation=samples"]


def digests(folder: Path) -> dict[str, str]:
    """What a finished run holds, but for seconds, the command and the order of the history."""
    content: dict[str, Any] = {name: b"missing" for name in ALWAYS}
    single = [path for name in ALWAYS if (path := folder / name).is_file()]
    for file in [*single, *folder.glob("tables/*"), *folder.glob("checkpoints/*/*.npz")]:
        content[str(file.relative_to(folder))] = compared(file)
    return {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}


def outputs(content: dict[str, str]) -> dict[str, str]:
    """Of the digests those of what an evaluation writes."""
    return {name: digest for name, digest in content.items() if "checkpoints" not in name}


def compared(file: Path) -> bytes:
    """The content of a file that must be the same in an equal run."""
    content = file.read_bytes()
    if file.name == "metrics.json":
        return json.dumps(json.loads(content) | {"timing": {}}, sort_keys=True).encode()
    if file.name == "history.jsonl":
        return b"\n".join(sorted(content.splitlines()))
    if file.name == "report.html":  # it shows seconds and the command
        return str(len(content) > 5000).encode()
    if file.suffix == ".npz":  # zip has bytes that say nothing
        with contextlib.suppress(Exception), np.load(io.BytesIO(content)) as arrays:
            return b"".join(name.encode() + arrays[name].tobytes() for name in arrays.files)
    return content


def predicted(folder: Path) -> dict[str, str]:
    """The files of all predictions of new rows, by their content."""
    files = sorted(folder.glob("predictions-*/*"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


# --- damage ---------------------------------------------------------------------------------------


def flip(file: Path, draw: random.Random, runs: Runs) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def cut(file: Path, draw: random.Random, runs: Runs) -> None:
    file.write_bytes(file.read_bytes()[: draw.randrange(file.stat().st_size)])


def delete(file: Path, draw: random.Random, runs: Runs) -> None:
    file.unlink()


def zero(file: Path, draw: random.Random, runs: Runs) -> None:
    """A block of zeros, as a disk leaves it behind."""
    content = bytearray(file.read_bytes())
    start = draw.randrange(len(content))
    block = content[start : start + 512]
    content[start : start + 512] = bytes(len(block))
    file.write_bytes(content)


def swap(file: Path, draw: random.Random, runs: Runs) -> None:
    """The content of another file of its kind, of this run or of one of another seed."""
    run = next(p for p in file.parents if (p / "config.json").exists() or p.name == "run")
    candidates = [*run.rglob(f"*{file.suffix}"), *runs.other.rglob(f"*{file.suffix}")]
    content = file.read_bytes()
    others = [p for p in candidates if p.is_file() and kind_of(p.name) == kind_of(file.name)]
    others = [p for p in others if p.read_bytes() != content]
    if others:
        shutil.copyfile(draw.choice(sorted(others)), file)


WAYS = {"flip": flip, "cut": cut, "delete": delete, "zero": zero, "swap": swap}


def kind_of(name: str) -> str:
    """The name of a file without what counts within its kind."""
    return re.sub(r"\d+", "N", name)


def kinds(folder: Path) -> dict[str, list[Path]]:
    """Kind -> the files of a run (relative) that are of it; checkpoints of steps are one kind."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or not path.stat().st_size or path.name in UNTOUCHED:
            continue
        step = next((part for part in relative.parts if part.startswith("step_")), "")
        table = relative.parts[0] == "tables" and path.suffix == ".csv"
        kind = "step of a checkpoint" if step else "table" if table else kind_of(path.name)
        found.setdefault(kind, []).append(relative)
    return found


# --- trials ---------------------------------------------------------------------------------------


class Trial(NamedTuple):
    """One damage and the command after it."""

    runs: Runs
    state: str  # "finished" or "unfinished"
    mode: str
    kind: str
    way: str
    file: Path


class Ending(NamedTuple):
    """How a command ended, and what it said."""

    name: str
    text: str


def report(place: str, ending: Ending) -> None:
    print(f"{ending.name}: {place}: {ending.text[-1500:]}", file=sys.stderr, flush=True)


def judge(outcome: Outcome, same: Callable[[], bool]) -> str:
    """How a command ended."""
    if outcome.raised:
        return "hang" if outcome.raised == "hang" else "traceback"
    if outcome.status == 0:
        return "same bits" if same() else "silent difference"
    lines = [line for line in outcome.err.splitlines() if " left (" not in line]
    one_sentence = outcome.status == 2 and len(lines) == 1 and lines[0].startswith("error: ")
    return "told" if one_sentence else "traceback"


def attempt(
    trial: Trial, expected: dict[str, Any], folder: Path, draw: random.Random
) -> list[Ending]:
    """Damages a copy and gives the command; as long as it tells, mends and trains. The endings."""
    runs = trial.runs
    source = runs.finished if trial.state == "finished" else runs.unfinished
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    WAYS[trial.way](folder / trial.file, draw, runs)
    train = train_words(runs.system, folder)
    words = [*train, f"--mode={trial.mode}"]
    words += runs.predict if trial.mode == "predict" else []
    outcome = command(*words)

    def same() -> bool:
        if trial.mode == "predict":
            return predicted(folder) == expected["predicted"]
        found, wanted = digests(folder), expected["digests"]
        if trial.mode == "evaluate":  # what it does not read may stay damaged
            found, wanted = outputs(found), outputs(wanted)
        return found == wanted

    endings = [Ending(judge(outcome, same), outcome.err + outcome.raised)]
    while endings[-1].name == "told" and len(endings) <= MENDS:
        for path in named_for_removal(outcome.err):
            remove(path, folder)
        outcome = command(*train)
        ending = judge(outcome, lambda: digests(folder) == expected["digests"])
        endings.append(Ending(ending, outcome.err + outcome.raised))
    return endings


def named_for_removal(sentence: str) -> list[Path]:
    """What an error asks to remove: "it", its first path, or the paths that are listed."""
    listed = re.search(r"remove (.+?) and repeat", sentence)
    if listed is None:
        return []
    words = re.findall(r"/\S+", sentence)[:1] if listed[1] == "it" else listed[1].split(", ")
    return [Path(word) for word in words]


def remove(path: Path, folder: Path) -> None:
    """Removes a file or a folder that lies within the run."""
    if folder in path.parents:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def trials(runs: Runs, mutations: int, draw: random.Random) -> Iterator[Trial]:
    """Every kind of file in every way; a finished run gets one of its three commands in turn."""
    for state, folder in (("unfinished", runs.unfinished), ("finished", runs.finished)):
        for kind, files in kinds(folder).items():
            for way in WAYS:
                for _ in range(mutations):
                    modes = (
                        ("train",) if state == "unfinished" else ("train", "evaluate", "predict")
                    )
                    yield Trial(runs, state, draw.choice(modes), kind, way, draw.choice(files))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--mutations", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=10**9, help="trials of a system, drawn")
    return parser.parse_args()


def main() -> None:
    a = arguments()
    spend_less()
    with tempfile.TemporaryDirectory() as temporary:
        for system in a.systems.split(","):
            emit("damaged_runs", system=system, **measure(system, Path(temporary), a))


def spend_less() -> None:
    """Most of the time would go into compilation and figures, of which nothing is read here."""
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    from omics_jax.report import page

    page.table_sections = page.training_sections = lambda run: []
    page.key_figure = lambda key, name: None


def measure(system: str, top: Path, a: argparse.Namespace) -> dict[str, Any]:
    """The counts of one system; what is not wanted is printed with the trial."""
    runs, draw = make_runs(system, top), random.Random(a.seed)
    reference = top / f"{system}-reference"
    shutil.copytree(runs.finished, reference)
    expect(command(*train_words(system, reference), "--mode=predict", *runs.predict), 0)
    expected = {"digests": digests(runs.finished), "predicted": predicted(reference)}
    drawn = list(trials(runs, a.mutations, draw))
    drawn = draw.sample(drawn, min(a.most, len(drawn)))
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for number, trial in enumerate(drawn):
        first, *mended = attempt(trial, expected, top / "run", draw)
        counts[trial.state][first.name] += 1
        if mended:
            counts["mended"][mended[-1].name] += 1
        place = f"{number}: {trial.state} {trial.mode} {trial.way} {trial.file}"
        if first.name in BAD:
            report(place, first)
        if mended and mended[-1].name != "same bits":
            report(place, mended[-1])
    return {"trials": len(drawn), **{name: dict(counter) for name, counter in counts.items()}}


if __name__ == "__main__":
    main()
