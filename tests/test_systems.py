"""What every system owes its user, checked on the smoke size of every config that there is.

A new system is checked unasked as soon as its config stands in configs/. What training alone can
promise (every stage, every boundary, damaged files) is tested under tests/training on a toy; here
whole systems go through the command line.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import ROOT, command
from every_arm import (
    EXPERIMENTS,
    FIRST,
    SYSTEMS,
    arms_of,
    few_trees_and_draws,
    in_one_process,
    smoke,
    write_predicted_run,
)
from shared_programs import programs_compiled_once

from omics_jax.run.command import system_module

SHORT = ("imputation", "figure2")  # experiments that `make quick` can afford


def marks_of(name: str, experiment: str) -> list:
    if experiment == FIRST[name]:
        return [pytest.mark.optimised]
    return [] if experiment in SHORT else [pytest.mark.slow]


# The first experiment of every system is trained as users train it. The others go through scoring,
# conclusions and the report on predictions made by shape; `test_arms` checks what they train.
EVERY = pytest.mark.parametrize(
    ("name", "experiment"),
    [in_one_process(f"{n}-{e}", n, e, marks_of(n, e)) for n, e in EXPERIMENTS],
)
TRAINED = pytest.mark.parametrize(
    ("name", "experiment"),
    [in_one_process(f"{n}-{e}", n, e, [pytest.mark.optimised]) for n, e in FIRST.items()],
)


@pytest.fixture(scope="module", autouse=True)
def small_simple_models_and_shared_programs():
    with few_trees_and_draws(), programs_compiled_once():
        yield


def train(folder: Path, name: str, experiment: str, *words: str) -> Path:
    outcome = command(smoke(name, experiment), f"--workdir={folder}", *words)
    assert outcome.status == 0, outcome.err
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """`finished(system, experiment)`: the directory of a run, made once in a process.

    It was trained where the experiment is the system's first.
    """
    made = {}

    def run(name: str, experiment: str) -> Path:
        key = (name, experiment)
        if key not in made:
            folder = tmp_path_factory.mktemp("finished") / "run"
            if experiment == FIRST[name]:
                made[key] = train(folder, name, experiment)
            else:
                made[key] = evaluate_predictions(folder, name, experiment)
        return made[key]

    return run


def evaluate_predictions(folder: Path, name: str, experiment: str) -> Path:
    """A run whose predictions were made by shape, scored and reported by the command."""
    write_predicted_run(name, experiment, folder)
    outcome = command(smoke(name, experiment), f"--workdir={folder}", "--mode=evaluate")
    assert outcome.status == 0, outcome.err
    return folder


def metrics(folder: Path) -> dict:
    """metrics.json but for the seconds, the only thing in it that may differ between equal runs."""
    return {
        k: v for k, v in json.loads((folder / "metrics.json").read_text()).items() if k != "timing"
    }


def history(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as opened:
        return {key: opened[key] for key in opened.files}


def assert_same_bits(found: Path, expected: Path) -> None:
    """Equal predictions, bit by bit, equal metrics and an equal history."""
    assert_same_training(found, expected)
    assert metrics(found) == metrics(expected)


def assert_same_training(found: Path, expected: Path) -> None:
    """Equal predictions, bit by bit, and an equal history."""
    ours, theirs = arrays(found / "predictions.npz"), arrays(expected / "predictions.npz")
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert (
            ours[key].dtype == theirs[key].dtype and ours[key].tobytes() == theirs[key].tobytes()
        ), key
    line = lambda entry: (entry["arm"], entry["stage"], entry["replicate"], entry["epoch"])
    assert sorted(history(found), key=line) == sorted(history(expected), key=line)


# The run directory


@EVERY
def test_run_directory_holds_what_was_promised(finished, name, experiment):
    folder = finished(name, experiment)
    files = ["config.json", "data.json", "training.json", "metrics.json", "log.txt"]
    if experiment == FIRST[name]:
        files += ["environment.json", "history.jsonl"]
    for file in files:
        assert (folder / file).stat().st_size > 0, file
    assert json.loads((folder / "config.json").read_text())["system"] == name
    index = json.loads((folder / "tables" / "index.json").read_text())
    assert index and all((folder / "tables" / f"{table['name']}.csv").exists() for table in index)
    assert all(table["title"] and table["kind"] for table in index)
    assert not list(folder.rglob("*.part*")) and not (folder / ".writable").exists()


@TRAINED
def test_a_training_writes_down_its_environment(finished, name, experiment):
    folder = finished(name, experiment)
    environment = json.loads((folder / "environment.json").read_text())
    assert {"command", "python", "devices", "commit", "versions"} <= environment.keys()
    assert environment["versions"]["jax"] != "not installed"


def assert_summary(entry: dict) -> None:
    keys = {"mean", "sd", "ci95", "ci_method", "n"}
    assert keys <= set(entry) <= {*keys, "p_combined", "constant"}
    assert (
        isinstance(entry["ci_method"], str)
        and isinstance(entry["n"], int)
        and len(entry["ci95"]) == 2
    )
    low, high = entry["ci95"]
    assert None in (low, high) or low <= entry["mean"] <= high


@EVERY
def test_metrics_keep_their_contract(finished, name, experiment):
    found = json.loads((finished(name, experiment) / "metrics.json").read_text())
    assert (found["system"], found["experiment"]) == (name, experiment)
    first = next(iter(found["arms"].values()))
    assert (found["summary"], found["baselines"]) == (first["summary"], first["baselines"])
    assert first["baselines"], "a system reports simple baselines beside itself, always"
    for arm in found["arms"].values():
        for scores in (arm["summary"], *arm["baselines"].values()):
            assert scores
            for entry in scores.values():
                assert_summary(entry)
    keys = {"a", "b", "metric", "difference", "ci95", "p", "p_adjusted", "test"}
    assert found["comparisons"] and all(keys <= c.keys() for c in found["comparisons"])
    for replicate in found["replicates"]:
        assert {"arm", "fold", "repeat", "seed", "split"} <= replicate.keys()
        assert replicate["arm"] in found["arms"] and replicate["split"]["test"] > 0
    trained = {"compile_s", "train_s", "total_s"} if experiment == FIRST[name] else set()
    assert set(found["timing"]) == trained
    assert all(value >= 0 for value in found["timing"].values())
    assert set(found["better"].values()) <= {"higher", "lower"}
    assert "NaN" not in (finished(name, experiment) / "metrics.json").read_text()


@EVERY
def test_predictions_name_their_rows(finished, name, experiment):
    folder = finished(name, experiment)
    found, splits = arrays(folder / "predictions.npz"), metrics(folder)["replicates"]
    for arm in metrics(folder)["arms"]:
        fields = {k.removeprefix(f"{arm}/"): v for k, v in found.items() if k.startswith(f"{arm}/")}
        assert len({len(v) for v in fields.values()}) == 1
        sizes = [s["split"]["test"] for s in splits if s["arm"] == arm]
        assert np.bincount(fields["replicate"]).tolist() == sizes
        numbers = [v for v in fields.values() if v.dtype.kind == "f"]
        assert numbers and all(np.isfinite(v).all() for v in numbers)
        # Folds of one repeat partition the rows that are tested.
        pairs = list(zip(fields["replicate"].tolist(), fields["id"].tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)


@TRAINED
def test_history_has_a_line_per_epoch_and_replicate(finished, name, experiment):
    lines = history(finished(name, experiment))
    places = [(e["arm"], e["stage"], e["replicate"], e["epoch"]) for e in lines]
    assert len(set(places)) == len(places)
    trained = {(e["arm"], e["replicate"]) for e in lines}
    assert len(trained) == len(metrics(finished(name, experiment))["replicates"])
    assert all(np.isfinite(e["objective"]) and any(k.startswith("term/") for k in e) for e in lines)


@EVERY
def test_report_opens_without_a_network(finished, name, experiment):
    page = (finished(name, experiment) / "report.html").read_text()
    assert "<html" in page and len(page) > 5000
    assert not re.findall(
        r"""(?:src|href|action)\s*=\s*["']?\s*(?:https?:)?//|url\(\s*["']?(?:https?:)?//""", page
    )


@EVERY
def test_a_finished_run_says_so_and_trains_nothing(finished, name, experiment):
    folder = finished(name, experiment)
    before = {
        p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != "log.txt"
    }
    outcome = command(smoke(name, experiment), f"--workdir={folder}")
    assert outcome.status == 0 and "finished" in outcome.out and "report.html" in outcome.out
    assert {
        p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != "log.txt"
    } == before


@TRAINED
def test_evaluate_reproduces_the_metrics(finished, tmp_path, name, experiment):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(finished(name, experiment), folder)
    for file in ("metrics.json", "predictions.npz", "report.html"):
        (folder / file).unlink()
    shutil.rmtree(folder / "tables")
    outcome = command(smoke(name, experiment), f"--workdir={folder}", "--mode=evaluate")
    assert outcome.status == 0, outcome.err
    assert_same_bits(folder, finished(name, experiment))
    assert (folder / "report.html").exists() and (folder / "tables" / "index.json").exists()


@EVERY
def test_inspect_says_what_it_understood_and_trains_nothing(tmp_path, name, experiment):
    outcome = command(smoke(name, experiment), f"--workdir={tmp_path}", "--mode=inspect")
    assert outcome.status == 0 and not outcome.err
    assert "would train" in outcome.out and re.search(
        r"together on (all [\d,]+|[\d,]+ of [\d,]+) rows", outcome.out
    )
    assert {p.name for p in tmp_path.iterdir()} == {"data.json", "log.txt"}


# Stopping and going on (R1, R4, R7)


def last_words(err: str) -> str:
    """The one line of an error, "" for none; a slow machine also reports its progress."""
    lines = [line for line in err.splitlines() if " left (" not in line]
    assert len(lines) <= 1, err
    return lines[0] if lines else ""


@pytest.fixture
def stop_after(monkeypatch):
    """`stop_after(n)`: the next command is asked to stop at the end of its n-th block."""
    from contextlib import contextmanager

    from omics_jax.training import signals

    def ask(blocks: int | None) -> None:
        class Request:
            looks = 0

            @property
            def received(self):
                self.looks += 1
                return 15 if blocks is not None and self.looks >= blocks else None

        @contextmanager
        def requested():
            yield Request()

        monkeypatch.setattr(signals, "stop_signals", requested)

    return ask


@TRAINED
def test_a_run_stopped_at_block_ends_ends_with_the_same_bits(
    finished, tmp_path, stop_after, name, experiment
):
    words = (smoke(name, experiment), f"--workdir={tmp_path}", "--config.run.block_steps=1")
    # After the first block of all and in the middle of an epoch.
    for blocks in (1, 2):
        stop_after(blocks)
        outcome = command(*words)
        assert outcome.status == 128 + 15 and "continues from here" in last_words(outcome.err)
        assert not (tmp_path / "metrics.json").exists()
    stop_after(None)
    assert command(*words).status == 0
    assert_same_bits(tmp_path, finished(name, experiment))


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_run_stopped_in_a_tuning_ends_with_the_same_bits(tmp_path, stop_after, name):
    """Of the first experiment that tunes; a system without tuning has none to stop."""
    tuned = [e for n, e in EXPERIMENTS if n == name and any(a.tuning for a in arms_of(n, e))]
    for experiment in tuned[:1]:
        words = (smoke(name, experiment), "--config.run.block_steps=1")
        undisturbed = train(tmp_path / "undisturbed", name, experiment)
        stop_after(8)  # late enough to be in a second arm
        outcome = command(*words, f"--workdir={tmp_path / 'stopped'}")
        assert outcome.status == 128 + 15 and "continues from here" in last_words(outcome.err)
        stop_after(None)
        assert command(*words, f"--workdir={tmp_path / 'stopped'}").status == 0
        assert_same_bits(tmp_path / "stopped", undisturbed)


ON_ONE_CORE = """
import os
os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
"""

SIGNAL_ITSELF = """
import os, sys
sys.path.insert(0, {folder!r})
from omics_jax.training.history import History
write = History.write
def write_and_signal(self, line):
    write(self, line)
    if line["epoch"] == {epoch}:
        os.kill(os.getpid(), {signum})
        History.write = write
History.write = write_and_signal
import main
sys.exit(main.main(["main.py", *{words!r}]))
"""


def process(code: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **variables}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.slow
@TRAINED
def test_signals_processes_and_threads_change_no_bit(finished, tmp_path, name, experiment):
    """A SIGTERM or, every other system, a SIGINT, then a process that has one core, against one run
    on all cores.
    """
    words = [smoke(name, experiment), f"--workdir={tmp_path}", "--config.run.block_steps=1"]
    for signum, epoch in ((2 if SYSTEMS.index(name) % 2 else 15, 1), (None, -1)):
        code = SIGNAL_ITSELF.format(
            folder=str(ROOT / "experiments"), signum=signum, epoch=epoch, words=words
        )
        ended = process(code if signum else ON_ONE_CORE + code)
        assert ended.returncode == (128 + signum if signum else 0), ended.stderr
        assert bool(last_words(ended.stderr)) == bool(signum) and "Traceback" not in ended.stderr
    # Scores are numpy's, whose sums may round differently on other numbers of threads.
    assert_same_training(tmp_path, finished(name, experiment))


@TRAINED
def test_a_run_of_another_config_is_refused_with_the_keys(finished, name, experiment):
    folder = finished(name, experiment)
    outcome = command(
        smoke(name, experiment), f"--workdir={folder}", "--config.seed=7", "--config.folds=4"
    )
    assert outcome.status == 2
    assert "seed: 0 there, 7 now" in outcome.err and "folds: 3 there, 4 now" in outcome.err
    # How a run is carried out is no part of what it is.
    assert (
        command(
            smoke(name, experiment), f"--workdir={folder}", "--config.run.block_seconds=3.0"
        ).status
        == 0
    )


def with_modalities(dataset, change):
    return replace(dataset, modalities={name: change(m) for name, m in dataset.modalities.items()})


def with_other_values(dataset):
    return with_modalities(
        dataset, lambda m: replace(m, values=np.where(m.mask, m.values + 1, 0).astype(np.float32))
    )


def with_other_features(dataset):
    rename = lambda m: replace(m, features=np.array([*m.features[:-1], f"{m.features[-1]}-b"]))
    return with_modalities(dataset, rename)


@TRAINED
def test_a_run_begun_with_other_data_is_refused(
    tmp_path, stop_after, monkeypatch, name, experiment
):
    system = system_module(name)
    words = (smoke(name, experiment), f"--workdir={tmp_path}")
    stop_after(1)
    assert command(*words).status == 128 + 15
    read = system.read
    for change in (with_other_values, with_other_features, lambda d: d.take(np.arange(len(d) - 1))):
        monkeypatch.setattr(
            system,
            "read",
            lambda config, on_progress, change=change: change(read(config, on_progress)),
        )
        outcome = command(*words)
        assert (
            outcome.status == 2
            and "data are not those" in outcome.err
            and outcome.err.count("\n") == 1
        )


# Devices, processes and threads (R10, R11, R14)

ON_DEVICES = """
import json, sys
sys.path.insert(0, {folder!r})
import jax, numpy as np
from omics_jax.run import outputs
from omics_jax.training import loop
outputs.score_and_report = lambda *_: None  # what is compared is the history
run_block, replicas = loop.run_block, []
def watched(*arguments):
    out = run_block(*arguments)
    for leaf in jax.tree.leaves(out[0]):
        bits = [np.asarray(shard.data).tobytes() for shard in leaf.addressable_shards]
        replicas.append((len(bits), len(set(bits))))
    return out
loop.run_block = watched
import main
status = main.main(["main.py", *{words!r}])
print(json.dumps([min(replicas), max(replicas)]))
sys.exit(status)
"""


@pytest.mark.slow
@TRAINED
def test_devices_change_only_the_last_digits(finished, tmp_path, name, experiment, devices=8):
    words = [
        smoke(name, experiment),
        f"--workdir={tmp_path}",
        "--config.run.spread=data",
        "--config.run.devices=0",
    ]
    code = ON_DEVICES.format(folder=str(ROOT / "experiments"), words=words)
    # Nor does how the program for several devices is compiled: here in a third of the time.
    quick = os.environ.get("QUICK_XLA_FLAGS", "")  # from the Makefile
    own = os.environ.get("XLA_FLAGS", "")
    flags = f"{own} {quick} --xla_force_host_platform_device_count={devices}"
    found = process(code, XLA_FLAGS=flags, JAX_DISABLE_MOST_OPTIMIZATIONS="1")
    assert found.returncode == 0, found.stderr
    # Every device holds the same bits of the state.
    assert json.loads(found.stdout.splitlines()[-1]) == [[devices, 1], [devices, 1]]
    ours, theirs = history(tmp_path), history(finished(name, experiment))
    assert len(ours) == len(theirs)
    for key in ("objective", "monitor"):
        a, b = (np.array([line[key] for line in lines], float) for lines in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=HISTORY_TOLERANCE)


# Sums over devices round differently in the last bit; 2e-7 was measured on 2 and on 8 devices.
HISTORY_TOLERANCE = 2e-6
