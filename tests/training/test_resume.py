"""A training that is interrupted ends with the bits of an uninterrupted one.

Stopped, killed, damaged on disk, or cut into other chunks.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import toy

from omics_jax.errors import Stopped, UserError
from omics_jax.training.plan import make_plan
from omics_jax.training.stage_files import load_variables

pytestmark = pytest.mark.slow

STEPS = 7 * 3  # of a stage: ceil(203 / 32) for 3 epochs


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """variant -> (folder, outcome) of an uninterrupted run in blocks of one step."""
    outcomes = {}

    def run(variant):
        if variant not in outcomes:
            folder = tmp_path_factory.mktemp(variant)
            outcomes[variant] = folder, toy.train(toy.plan(variant, block_steps=1), folder)
        return outcomes[variant]

    return run


def assert_as_uninterrupted(folder, outcome, expected):
    other, wanted = expected
    assert {k: toy.digest(v) for k, v in outcome.items()} == {
        k: toy.digest(v) for k, v in wanted.items()
    }
    assert (folder / "history.jsonl").read_bytes() == (other / "history.jsonl").read_bytes()


@pytest.mark.parametrize("variant", ["frozen", "features"])
def test_stopped_and_resumed_at_every_step_of_every_stage(uninterrupted, tmp_path, variant):
    ready, stops = toy.plan(variant, block_steps=1), 0
    while True:
        try:
            outcome = toy.train(ready, tmp_path, toy.stop_after(1))
        except Stopped as stopped:
            assert stopped.exit_status == 143
            stops += 1
        else:
            break
    assert stops == 2 * STEPS
    assert_as_uninterrupted(tmp_path, outcome, uninterrupted(variant))
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.is_dir()]


@pytest.mark.parametrize("blocks", [1, 4, 7, 20, 21, 22, 35, 42])
def test_stopped_once(uninterrupted, tmp_path, blocks):
    ready = toy.plan("pcgrad", block_steps=1)
    with pytest.raises(Stopped):
        toy.train(ready, tmp_path, toy.stop_after(blocks))
    assert_as_uninterrupted(tmp_path, toy.train(ready, tmp_path), uninterrupted("pcgrad"))


def test_what_a_stage_hands_on_is_not_changed_by_the_next(uninterrupted):
    folder, outcome = uninterrupted("frozen")
    for stage in ("pretrain", "heads"):
        ((number, stored),) = load_variables(folder / "checkpoints", stage, [0], {})
        assert number == 0 and toy.digest(stored) == toy.digest(outcome[stage])


@pytest.mark.parametrize("stage", ["pretrain", "heads"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_stage_is_trained_again_to_the_same_bits(
    uninterrupted, tmp_path, stage, damage, caplog
):
    folder = shutil.copytree(uninterrupted("frozen")[0], tmp_path / "run")
    file = folder / "checkpoints" / f"0000-{stage}.npz"
    content = bytearray(file.read_bytes())
    with np.load(file) as arrays:
        largest = max(arrays.values(), key=lambda array: array.nbytes).tobytes()
    content[content.index(largest) + len(largest) // 2] ^= 4
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(content if damage == "flip" else content[:-40])
    outcome = toy.train(toy.plan("frozen", block_steps=1), folder)
    expected = uninterrupted("frozen")
    assert {k: toy.digest(v) for k, v in outcome.items()} == {
        k: toy.digest(v) for k, v in expected[1].items()
    }
    lines = [sorted((f / "history.jsonl").read_text().splitlines()) for f in (folder, expected[0])]
    assert lines[0] == lines[1]
    assert ("set aside" in caplog.text) == (damage != "remove")
    assert file.with_suffix(".damaged").exists() == (damage != "remove")


@pytest.mark.parametrize("missing", [False, True])
def test_a_finished_stage_of_another_model_is_refused(uninterrupted, tmp_path, missing):
    folder = shutil.copytree(uninterrupted("frozen")[0], tmp_path / "run")
    wider = [
        replace(
            toy.replicate(0),
            constants={"centre": np.zeros(3), "scale": np.ones(() if missing else (1, 3))},
        )
    ]
    ready = toy.plan("frozen", block_steps=1)
    with pytest.raises(
        UserError, match=r"0000-pretrain.npz is of another model: 'constants/scale' is \(3,\) there"
    ):
        toy.train(
            make_plan(toy.training([s.stage for s in ready.stages], wider), ready.options), folder
        )


def test_cut_into_other_chunks_between_two_commands(tmp_path):
    """Finished replicates are found again in any chunk; running ones start their stage again."""
    seeds = (5, 6, 7)
    expected = toy.train(toy.plan(seeds=seeds, chunk=3), tmp_path / "whole")
    for chunk, blocks in ((2, 3), (3, 2)):
        with pytest.raises(Stopped):
            toy.train(toy.plan(seeds=seeds, chunk=chunk), tmp_path / "cut", toy.stop_after(blocks))
    outcome = toy.train(toy.plan(seeds=seeds, chunk=2), tmp_path / "cut")
    assert toy.digest(outcome) == toy.digest(expected)
    lines = [
        sorted((tmp_path / f / "history.jsonl").read_text().splitlines()) for f in ("whole", "cut")
    ]
    assert lines[0] == lines[1]


def test_more_idle_places_than_before_in_the_axis(tmp_path):
    """The chunk is padded to another size, as when eight devices have become one."""
    two = toy.plan(seeds=(5, 6), chunk=2)
    three = replace(two, size=3)
    expected = toy.train(two, tmp_path / "whole")
    with pytest.raises(Stopped):
        toy.train(three, tmp_path / "run", toy.stop_after(2))
    with pytest.raises(Stopped):
        toy.train(two, tmp_path / "run", toy.stop_after(1))
    assert toy.digest(toy.train(three, tmp_path / "run")) == toy.digest(expected)
    assert (tmp_path / "run" / "history.jsonl").read_bytes() == (
        tmp_path / "whole" / "history.jsonl"
    ).read_bytes()


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(
        UserError, match="checkpoints.* could not be written: a file stands where a folder"
    ):
        toy.train(toy.plan("frozen", block_steps=1), tmp_path)


# In processes of their own


def start(folder, manner):
    here = Path(__file__).parent
    cache = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    command = [
        sys.executable,
        "-W",
        "error::UserWarning",
        str(here / "toy_process.py"),
        str(folder),
        manner,
    ]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | cache, **streams)


@pytest.mark.parametrize(
    ("number", "stage", "step"),
    [(signal.SIGTERM, "pretrain", 10), (signal.SIGINT, "heads", STEPS + 4)],
)
def test_a_signal_in_the_middle_of_a_stage(uninterrupted, tmp_path, number, stage, step):
    with start(tmp_path, "trains") as process:
        for line in process.stdout:
            if line == f"{stage} {step}\n":
                process.send_signal(number)
                break
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 128 + number, process.stderr.read()
    assert rest.splitlines()[-1].startswith(f"stopped by signal {number.value}; the state is saved")
    assert (tmp_path / "checkpoints" / f"0000-0000-{stage}").is_dir()
    assert_as_uninterrupted(
        tmp_path, toy.train(toy.plan("frozen", block_steps=1), tmp_path), uninterrupted("frozen")
    )


def test_killed_during_the_first_save_ever(uninterrupted, tmp_path, caplog):
    with start(tmp_path, "dies-while-saving") as process:
        process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    caplog.set_level(logging.INFO, logger="omics_jax")
    outcome = toy.train(toy.plan("frozen", block_steps=1), tmp_path)
    assert "starting from scratch" in caplog.text
    assert_as_uninterrupted(tmp_path, outcome, uninterrupted("frozen"))


def test_a_full_disk_ends_with_one_sentence_and_the_same_command_goes_on(uninterrupted, tmp_path):
    with start(tmp_path, "finds-the-disk-full") as process:
        out, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors
    assert "could not be written: File too large. Free space there" in out.splitlines()[-1]
    assert "omics_jax" not in errors  # threads of orbax may complain on their way out, we do not
    assert_as_uninterrupted(
        tmp_path, toy.train(toy.plan("frozen", block_steps=1), tmp_path), uninterrupted("frozen")
    )


def test_history_has_a_line_per_epoch_and_replicate(uninterrupted):
    lines = [
        json.loads(line)
        for line in (uninterrupted("frozen")[0] / "history.jsonl").read_text().splitlines()
    ]
    assert [(line["stage"], line["replicate"], line["epoch"]) for line in lines] == [
        (stage, 0, epoch) for stage in ("pretrain", "heads") for epoch in range(3)
    ]
    assert all(
        np.isfinite([line["objective"], line["update_norm"], line["monitor"]]).all()
        for line in lines
    )
