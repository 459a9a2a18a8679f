"""Damage to a run directory: made again with the same bits, or told in one sentence with status 2.

Finished means that every promised file stands as it was written. Whole runs of one system go
through the command line; `benchmarks/damaged_runs.py` draws damages at random in all systems.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import ROOT, command, config_of
from shared_programs import programs_compiled_once

from omics_jax.errors import Interrupted
from omics_jax.run.command import system_module
from omics_jax.run.directory import write_json
from omics_jax.run.lock import locked
from omics_jax.run.manifest import list_files, lost_files, read_manifest
from omics_jax.training.history import History

SMOKE = f"--config={ROOT}/configs/pertvae.py:smoke"
STAGES = "checkpoints/pertvae"
RECORDS = ("config.json", "data.json", "training.json", "environment.json", "metrics.json")


def train(folder, *words):
    # A run may be resumed with other blocks, but its config.json then has other bytes.
    return command(SMOKE, f"--workdir={folder}", "--config.run.block_steps=2", *words)


@pytest.fixture(scope="module", autouse=True)
def reports_without_figures():
    """Drawing takes most of the time of these runs, and has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("omics_jax.report.page.table_sections", lambda run: [])
        patch.setattr("omics_jax.report.page.training_sections", lambda run: [])
        patch.setattr("omics_jax.report.page.key_figure", lambda key, name: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def shared_programs():
    with programs_compiled_once():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    outcome = train(folder)
    assert outcome.status == 0, outcome.err
    return folder


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """Stopped by a signal, with a checkpoint in the middle of its stage."""
    folder = tmp_path_factory.mktemp("unfinished") / "run"
    write = History.write

    def write_and_stop(self, line):
        write(self, line)
        if line["epoch"] == 1 and line["replicate"] == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "write", write_and_stop)
        outcome = train(folder)
    assert outcome.status == 128 + signal.SIGTERM and "the state is saved" in outcome.err
    assert list(folder.glob("checkpoints/*/*/step_*"))
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def begun(unfinished, tmp_path):
    return shutil.copytree(unfinished, tmp_path / "run")


@pytest.fixture(scope="module")
def profiles(tmp_path_factory) -> Path:
    """Control profiles of the simulator as a user's file."""
    control = system_module("pertvae").read(config_of(SMOKE)).modalities["control"]
    frame = pd.DataFrame(control.values[:4], columns=control.features, index=["a", "b", "=c", "d"])
    file = tmp_path_factory.mktemp("profiles") / "fresh.csv"
    frame.to_csv(file)
    return file


def predict(folder, file):
    return train(
        folder, "--mode=predict", f"--config.data.path={file}", "--config.data.min_genes=10"
    )


def content(folder):
    """Everything that must be the same after a damage, but for seconds and the order of lines."""
    files = [*folder.glob("tables/*"), *folder.glob("checkpoints/*/*.npz")]
    files += [folder / "predictions.npz", folder / "data.json", folder / "training.json"]
    found = {str(file.relative_to(folder)): file.read_bytes() for file in files}
    found["history"] = sorted((folder / "history.jsonl").read_bytes().splitlines())
    metrics = json.loads((folder / "metrics.json").read_text())
    return found, {**metrics, "timing": {}}, json.loads((folder / "config.json").read_text())


def assert_finished(folder, expected):
    assert read_manifest(folder).finished and not lost_files(folder)
    assert (folder / "report.html").stat().st_size > 5000
    found, wanted = content(folder), content(expected)
    assert found[0].keys() == wanted[0].keys()
    assert [name for name in wanted[0] if found[0][name] != wanted[0][name]] == []
    assert found[1:] == wanted[1:]


def assert_told(outcome, *named):
    assert outcome.status == 2, outcome
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    for words in named:
        assert words in outcome.err


def flip(file, place=None):
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2 if place is None else place] ^= 1
    file.write_bytes(damaged)


def no_training(monkeypatch):
    import omics_jax.training.loop as loop

    monkeypatch.setattr(loop, "_train", lambda *_: pytest.fail("it trains"))


# A finished run


@pytest.mark.parametrize(
    ("lost", "damage"),
    [
        ("report.html", "removed"),
        ("report.html", "flipped"),
        ("tables/table1.csv", "removed"),
        ("tables", "removed"),
        ("tables/scores.csv", "flipped"),
        ("predictions.npz", "flipped"),
        ("metrics.json", "removed"),
    ],
)
def test_an_output_that_is_lost_is_made_again_without_training(
    finished, copy, monkeypatch, lost, damage
):
    file = copy / lost
    if damage == "flipped":
        flip(file)
    else:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    no_training(monkeypatch)
    outcome = train(copy)
    assert outcome.status == 0, outcome.err
    assert "missing or damaged in this finished run, and made again: " in outcome.out
    assert lost in outcome.out
    assert_finished(copy, finished)
    timing = json.loads((copy / "metrics.json").read_text())["timing"]
    assert (
        lost == "metrics.json"
        or timing == json.loads((finished / "metrics.json").read_text())["timing"]
    )


@pytest.mark.parametrize("place", ["outputs.write_report", "outputs.save_tables", "outputs._score"])
def test_a_run_killed_while_its_outputs_are_written_is_not_finished(
    finished, copy, monkeypatch, place
):
    for name in ("report.html", "manifest.json"):
        (copy / name).unlink()

    def kill(*_):
        raise Interrupted(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(f"omics_jax.run.{place}", kill)
        assert train(copy).status == 128 + signal.SIGTERM
    assert not read_manifest(copy).finished
    no_training(monkeypatch)
    outcome = train(copy)
    assert outcome.status == 0 and "report: " in outcome.out
    assert_finished(copy, finished)


@pytest.mark.parametrize("damage", ["removed", "flipped", "of another replicate"])
def test_a_model_that_is_lost_is_not_left_out_of_a_mean(finished, copy, profiles, damage):
    file = copy / STAGES / "0000-elbo.npz"
    if damage == "removed":
        file.unlink()
    elif damage == "flipped":
        flip(file)
    else:
        shutil.copyfile(copy / STAGES / "0001-elbo.npz", file)
    assert_told(predict(copy, profiles), str(file), "--mode=train")
    assert not list(copy.glob("predictions-*/"))
    outcome = train(copy)
    if damage == "of another replicate":
        assert_told(outcome, str(file), "replicate is 1 there, 0 here", "remove it")
        file.unlink()
        outcome = train(copy)
    assert outcome.status == 0, outcome.err
    assert_finished(copy, finished)
    found = predict(copy, profiles)
    assert found.status == 0 and "(each the mean of 3 models)" in found.out


def test_a_report_without_its_history_is_not_written(copy):
    (copy / "history.jsonl").unlink()
    assert_told(train(copy, "--mode=evaluate"), str(copy / "history.jsonl"), "is missing")


@pytest.mark.parametrize("damage", ["removed", "flipped", "of another replicate"])
def test_predictions_that_are_lost_are_not_scored(finished, copy, damage):
    file = copy / STAGES / "predictions-0000.npz"
    if damage == "removed":
        file.unlink()
    elif damage == "flipped":
        flip(file, file.read_bytes().index(b"NUMPY") + 130)
    else:
        shutil.copyfile(copy / STAGES / "predictions-0001.npz", file)
    assert_told(train(copy, "--mode=evaluate"), str(file), "--mode=train")
    assert train(copy).status == 0
    assert_finished(copy, finished)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"draws": 8', '"draws": 9'),
        ('"gene-0001"', '"gene-0009"'),
        ('"flow_steps": 2', '"flow_steps": 3'),
    ],
)
def test_one_bit_of_the_training_record_changes_no_prediction(copy, profiles, old, new):
    file = copy / "training.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    assert_told(predict(copy, profiles), str(file), "is damaged", "--mode=train")
    assert train(copy).status == 0
    assert predict(copy, profiles).status == 0


@pytest.mark.parametrize("damage", ["removed", "not UTF-8"])
@pytest.mark.parametrize("name", [*RECORDS, "history.jsonl", "manifest.json"])
def test_records_that_are_lost(finished, copy, profiles, name, damage):
    file = copy / name
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(b"\xb5" + file.read_bytes()[1:])
    for mode in ("evaluate", "predict"):
        outcome = predict(copy, profiles) if mode == "predict" else train(copy, "--mode=evaluate")
        if outcome.status:
            assert_told(outcome, name, "--mode=train")
    outcome = train(copy)
    if name == "history.jsonl":
        assert_told(outcome, str(file), "is damaged", f"remove {copy / STAGES}")
    else:
        assert outcome.status == 0, outcome.err
        assert_finished(copy, finished)


def test_a_run_of_an_earlier_version_is_refused_in_words(copy, profiles):
    (copy / "manifest.json").unlink()
    records = json.loads((copy / "training.json").read_text())
    for record in records.values():
        del record["identity"]
    write_json(copy / "training.json", records)
    before = {path: path.read_bytes() for path in copy.rglob("*.*") if path.is_file()}
    for outcome in (train(copy), train(copy, "--mode=evaluate"), predict(copy, profiles)):
        assert_told(outcome, str(copy), "an earlier version", "another --workdir")
    assert all(path.read_bytes() == text for path, text in before.items() if path.name != "log.txt")


def test_inspecting_changes_nothing_in_a_run(copy):
    before = (copy / "data.json").read_bytes()
    assert train(copy, "--mode=inspect").status == 0
    assert (copy / "data.json").read_bytes() == before and not lost_files(copy)


# An unfinished run


@pytest.mark.parametrize("damage", ["a comma", "not UTF-8", "a digit", "removed", "a place"])
def test_a_damaged_history_of_an_unfinished_run(finished, begun, damage):
    file = begun / "history.jsonl"
    lines = file.read_bytes().split(b"\n")
    if damage == "removed":
        file.unlink()
    else:
        edits = {
            "a comma": (b",", b"."),
            "not UTF-8": (b"stage", b"sta\xb5e"),
            "a digit": (b'"update_norm": ', b'"update_norm": 1'),
            "a place": (b'"elbo"', b'"elbn"'),
        }
        lines[0] = lines[0].replace(*edits[damage], 1)
        file.write_bytes(b"\n".join(lines))
    outcome = train(begun)
    assert_told(outcome, str(file), "is damaged", "stage 'elbo', replicate 0", "remove ")
    for folder in begun.glob("checkpoints/*/*-*-elbo/"):
        shutil.rmtree(folder)
    for stage in begun.glob("checkpoints/*/*-elbo.npz"):
        stage.unlink()
    assert train(begun).status == 0
    assert_finished(begun, finished)


def test_what_came_after_the_checkpoint_may_be_lost(finished, begun):
    file = begun / "history.jsonl"
    with file.open("ab") as lines:
        lines.write(b'{"arm": "pertvae", "stage": "elbo", "replicate": 0, "epoch": 9.0}\n')
        lines.write(b'{"arm": "pertvaf", "stage": "elbo", "replicate": 0, "epoch": 9}\n{"arm"')
    assert train(begun).status == 0
    assert_finished(begun, finished)


@pytest.mark.parametrize("name", ["config.json", "data.json", "training.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["removed", "not UTF-8"])
def test_the_same_command_writes_the_records_of_an_unfinished_run_again(
    finished, begun, name, damage
):
    file = begun / name
    file.unlink() if damage == "removed" else file.write_bytes(b"\xb5" + file.read_bytes()[1:])
    assert train(begun).status == 0
    assert_finished(begun, finished)


@pytest.mark.parametrize("name", ["config.json", "data.json"])
def test_a_lost_record_of_another_command_is_asked_to_be_removed(finished, begun, name):
    """Where the command does not give the same bytes: here its section `run` differs."""
    file = begun / name
    if name == "data.json":
        record = json.loads(file.read_text())
        write_json(file, {**record, "notes": ["another"]})
        list_files(begun, [name])
    file.write_bytes(b"\xb5" + file.read_bytes()[1:])
    words = ("--config.run.block_steps=3",)
    assert_told(train(begun, *words), str(file), "is damaged", "remove it and repeat")
    file.unlink()
    assert_told(train(begun, *words, "--mode=evaluate"), name, "is missing")
    assert train(begun, *words).status == 0
    found, expected = content(begun)[0], content(finished)[0]
    for run in (found, expected):
        del run["training.json"]  # which has the section, too
    assert found == expected


def test_a_config_that_was_removed_lets_no_other_one_in(begun):
    for name in ("config.json", "data.json"):
        (begun / name).unlink()
    outcome = train(begun, "--config.optimizer.learning_rate=0.5")
    assert_told(outcome, str(begun / STAGES), "belongs elsewhere (training is")


def test_a_damaged_config_is_not_replaced_by_another_one(begun):
    (begun / "config.json").write_bytes(b"\xb5")
    outcome = train(begun, "--config.seed=3")
    assert_told(outcome, str(begun / "config.json"), "is damaged")
    assert (begun / "config.json").read_bytes() == b"\xb5"


def test_a_checkpoint_of_other_replicates_is_refused(begun):
    folder = next(begun.glob("checkpoints/*/*-*-elbo/"))
    record = next(folder.glob("step_*/record/metadata"))
    assert '"replicates"' in record.read_text()
    other = folder.with_name("0007-0008-elbo")
    folder.rename(other)
    assert train(begun).status == 0  # it is of a chunk that does not exist


# Predictions of new rows


def test_cut_files_of_earlier_predictions_block_no_later_ones(copy, profiles):
    def folder_of_prediction():
        outcome = predict(copy, profiles)
        assert outcome.status == 0, outcome.err
        return outcome.out.splitlines()[-1].rpartition("/")[2]

    assert folder_of_prediction() == "predictions-pertvae-fresh"
    files = sorted((copy / "predictions-pertvae-fresh").glob("*.npz"))
    files[0].write_bytes(files[0].read_bytes()[:100])
    # One of the other files says whose rows they are.
    assert folder_of_prediction() == "predictions-pertvae-fresh"
    assert np.load(files[0])["id"].tolist() == ["a", "b", "=c", "d"]
    for file in files:
        file.write_bytes(b"")
    assert folder_of_prediction() == "predictions-pertvae-fresh-2"
    assert not any(file.stat().st_size for file in files)


def test_ids_stay_as_the_user_wrote_them(copy, profiles):
    """Also those that a spreadsheet takes for a formula: tables are joined on them."""
    assert predict(copy, profiles).status == 0
    frame = pd.read_csv(copy / "predictions-pertvae-fresh" / "active-1.x2_mean.csv")
    assert frame["id"].tolist() == ["a", "b", "=c", "d"]


# Processes


def test_a_second_process_in_a_run_directory_is_refused(copy, profiles):
    history = (copy / "history.jsonl").read_bytes()
    with locked(copy):
        for mode in ("train", "evaluate", "tune", "inspect", "predict"):
            outcome = train(copy, f"--mode={mode}")
            assert_told(outcome, f"another process ({os.getpid()}) is at work in {copy}", "wait")
    assert (copy / "history.jsonl").read_bytes() == history
    assert not (copy / ".lock").exists()
    with locked(copy, shared=True):
        assert predict(copy, profiles).status == 0
        assert_told(train(copy), "is at work in")


def test_a_lock_that_a_dead_process_left_behind_blocks_nobody(copy):
    (copy / ".lock").write_text("1")
    assert train(copy).status == 0
    assert not (copy / ".lock").exists()


@pytest.mark.parametrize("mode", ["train", "inspect"])
def test_a_folder_where_the_log_should_be(tmp_path, mode):
    (tmp_path / "log.txt").mkdir()
    outcome = train(tmp_path, f"--mode={mode}")
    assert_told(outcome, "log.txt could not be written: a folder stands where a file is needed")


def test_a_log_that_cannot_grow_any_more(copy, monkeypatch):
    import logging

    def full(self, record):
        raise OSError(28, "No space left on device")

    def emit(self, record):
        try:
            full(self, record)
        except Exception:
            self.handleError(record)

    monkeypatch.setattr(logging.FileHandler, "emit", emit)
    assert_told(train(copy), "log.txt could not be written: No space left on device. Free space")


@pytest.mark.parametrize(
    ("place", "number"),
    [
        ("prepare.arms_of", signal.SIGINT),
        ("train.make_plan", signal.SIGTERM),
        ("outputs.score_arms", signal.SIGINT),
        ("outputs.save_tables", signal.SIGTERM),
        ("outputs.write_report", signal.SIGINT),
    ],
)
def test_a_signal_at_any_moment_is_answered_in_one_sentence(
    finished, begun, monkeypatch, place, number
):
    import importlib

    room, name = place.split(".")
    module = importlib.import_module(f"omics_jax.run.{room}")
    function = getattr(module, name)

    def signalled(*arguments, **named):
        os.kill(os.getpid(), number)
        return function(*arguments, **named)

    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(module, name, signalled)
        outcome = train(begun)
    assert outcome.status == 128 + number
    assert outcome.err.count("\n") == 1 and f"error: stopped by signal {number}" in outcome.err
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not (begun / ".lock").exists() and not list(begun.rglob("*.tmp"))
    assert train(begun).status == 0
    assert_finished(begun, finished)


# In processes of their own

SIGNAL_AT_IMPORT = """
import os, runpy, sys
class Signal:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Signal())
sys.argv = ["main.py", *{words!r}]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def process(code, **options):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=ROOT / "experiments",
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
        **options,
    )


@pytest.mark.parametrize(
    ("module", "number"),
    [("absl", signal.SIGINT), ("jax", signal.SIGTERM), ("omics_jax.run.inspection", signal.SIGINT)],
)
def test_a_signal_while_python_imports(tmp_path, module, number):
    words = [SMOKE, f"--workdir={tmp_path}", "--mode=inspect"]
    done = process(SIGNAL_AT_IMPORT.format(module=module, number=int(number), words=words))
    assert done.returncode == 128 + number
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: stopped by signal {number}")


def test_a_full_disk_behind_standard_output(tmp_path):
    words = [SMOKE, f"--workdir={tmp_path}", "--mode=inspect"]
    with open("/dev/full", "w") as full:
        done = process(SIGNAL_AT_IMPORT.format(module="", number=0, words=words), stdout=full)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "standard output could not be written: No space left on device" in done.stderr
