"""Mistakes on the command line, in a config or in the user's files: status 2 and one line."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import ROOT, Outcome, command

SMOKE = f"--config={ROOT}/configs/pertvae.py:smoke"

# The words after the smoke config, and what the answer must name.
MISTAKES = [
    (["--config.training.epoch=3"], ["config.training.epoch", "'epochs'"]),
    (["--config.trainin.epochs=3"], ["config.trainin.epochs", "'training'"]),
    (["--config.training.zzz=3"], ["config.training.zzz"]),
    (["--config.training.epochs=many"], ["training.epochs", "'many'", "whole number"]),
    (["--config.training.epochs=2.5"], ["training.epochs", "2.5", "whole number"]),
    (["--config.optimizer.learning_rate=fast"], ["optimizer.learning_rate", "'fast'"]),
    (["--config.model.per_drug=maybe"], ["model.per_drug", "maybe"]),
    (["--config.training.epochs=0"], ["training.epochs", "0", "1 or more"]),
    (["--config.training.batch_size=0"], ["training.batch_size", "0", "2 or more"]),
    (["--config.training.patience=0"], ["training.patience", "1 or more"]),
    (["--config.optimizer.learning_rate=-1"], ["learning_rate", "-1", "positive"]),
    (["--config.optimizer.learning_rate=0"], ["learning_rate", "0", "positive"]),
    (["--config.optimizer.name=adma"], ["optimizer.name", "'adma'", "adam"]),
    (["--config.model.latent=0"], ["model.latent", "0", "1 or more"]),
    (["--config.model.encoder=(0,)"], ["model.encoder", "0", "1 or more"]),
    (["--config.model.flow_hidden=-4"], ["model.flow_hidden", "-4", "1 or more"]),
    (["--config.model.draws=0"], ["model.draws", "1 or more"]),
    (["--config.model.posterior=flow"], ["model.posterior", "'flow'", "iaf, gaussian"]),
    (["--config.model.free_bits_mode=row"], ["model.free_bits_mode", "'row'", "batch, example"]),
    (["--config.system=pertvea"], ["config.system", "'pertvea'", "pertvae"]),
    (["--config.experiment=table9"], ["config.experiment", "'table9'", "table1"]),
    (["--config.seed=-1"], ["config.seed", "-1"]),
    (["--config.folds=12"], ["12 folds", "9 groups", "--config.folds=9"]),
    (["--config.folds=2"], ["2 folds", "3 or more"]),
    (["--config.repeats=0"], ["config.repeats is 0", "1 or more"]),
    (["--config.run.devices=64"], ["run.devices", "64"]),
    (["--config.run.devices=-1"], ["run.devices", "-1"]),
    (["--config.run.strategy=pmap"], ["run.strategy", "'pmap'", "map, vmap"]),
    (["--config.run.spread=rows"], ["run.spread", "'rows'", "data, replicates"]),
    (["--config.run.block_steps=-1"], ["run.block_steps", "-1"]),
    (["--config.simulator.genes=0"], ["genes = 0", "1 or more"]),
    (["--config.simulator.missing=1.5"], ["simulator.missing is 1.5", "below 1"]),
    (["--config.data.path=/nowhere/profiles.csv"], ["/nowhere/profiles.csv"]),
    (["--mode=fit"], ["--mode=fit", "train"]),
    (["--mode=evaluate"], ["--mode=train"]),
    (["--mode=predict"], ["train"]),
    (["--nosuch=1"], ["nosuch"]),
    (["stray"], ["'stray'", "--name=value"]),
]


def assert_one_sentence(outcome, *named):
    assert outcome.status == 2, outcome
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    assert "Traceback" not in outcome.err
    for words in named:
        assert words in outcome.err


@pytest.mark.parametrize(
    ("words", "named"), MISTAKES, ids=lambda v: " ".join(v) if v and v[0][0] in "-s" else ""
)
def test_a_mistake_is_answered_in_one_line(tmp_path, words, named):
    assert_one_sentence(command(SMOKE, f"--workdir={tmp_path / 'run'}", *words), *named)


BROKEN = {
    "syntax": ("def get_config():\n  retur 3\n", "broken.py, line 2"),
    "nothing": ("x = 3\n", "get_config"),
    "raises": ("def get_config():\n  return {}['gone']\n", "gone"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_config_file(tmp_path, kind):
    text, named = BROKEN[kind]
    file = tmp_path / "broken.py"
    file.write_text(text)
    assert_one_sentence(command(f"--config={file}", f"--workdir={tmp_path / 'run'}"), named)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], ["--config is missing", "configs/pertvae.py"]),
        (["--config="], ["no file"]),
        (["--config=configs/nothere.py"], ["configs/nothere.py", "no file"]),
        (["--config", "configs/nothere.py", "--config.folds=3"], ["configs/nothere.py", "no file"]),
        ([f"--config={ROOT}/configs/pertvae.py:tabel1"], ["'tabel1'", "table1"]),
        ([f"--config={ROOT}/configs/pertvae.py:smoke,small"], ["'small'", "paper"]),
    ],
)
def test_a_config_that_cannot_be_found(words, named):
    assert_one_sentence(command(*words), *named)


@pytest.mark.parametrize("inside", ["", "below"], ids=["a file", "a folder below a file"])
def test_a_file_where_the_run_directory_should_be(tmp_path, inside):
    (tmp_path / "taken").write_text("")
    place = tmp_path / "taken" / inside
    assert_one_sentence(
        command(SMOKE, f"--workdir={place}"), str(tmp_path / "taken"), "another folder"
    )


def test_a_mistake_leaves_the_directory_free_for_the_right_command(tmp_path):
    # A refused config is no run, so the corrected one must not be compared with it.
    for _ in range(2):
        outcome = command(SMOKE, f"--workdir={tmp_path}", "--config.model.latent=0")
        assert_one_sentence(outcome, "model.latent")
    assert_one_sentence(command(SMOKE, f"--workdir={tmp_path}", "--config.folds=12"), "12 folds")
    assert not (tmp_path / "config.json").exists()
    assert command(SMOKE, f"--workdir={tmp_path}", "--mode=inspect").status == 0
    other_seed = "--config.simulator.seed=5"
    assert command(SMOKE, f"--workdir={tmp_path}", "--mode=inspect", other_seed).status == 0


@pytest.mark.slow
def test_the_process_itself_ends_with_the_status(tmp_path):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    flags = ["--config=configs/pertvae.py:smoke", f"--workdir={tmp_path}"]
    words = [sys.executable, "experiments/main.py", *flags, "--config.model.latent=0"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert_one_sentence(Outcome(done.returncode, done.stdout, done.stderr), "model.latent")


def test_help_names_the_flags_and_the_example():
    outcome = command("--help")
    assert outcome.status == 0 and not outcome.err
    for word in ("--config=configs/", "--workdir", "--mode", "--config.training.epochs"):
        assert word in outcome.out


# A user's own study: a matrix of profiles, samples in rows, and a table of their conditions.

LINES = [f"CELL{i}" for i in range(6)]
GENES = [f"GENE{i:02d}" for i in range(60)]


@pytest.fixture
def study(tmp_path) -> Path:
    """profiles.csv and conditions.csv: 6 cell lines, one drug, 2 replicates with a control each."""
    rng = np.random.default_rng(0)
    conditions = []
    for line, replicate in itertools.product(LINES, (1, 2)):
        for drug, role in (("DMSO", "control"), ("vorinostat", "trt")):
            condition = {
                "sample": f"{line}_{drug}_{replicate}",
                "cell_id": line,
                "pert_iname": drug,
                "pert_dose": 10,
                "pert_time": 24,
                "plate": f"plate{replicate}",
                "pert_type": role,
            }
            conditions.append(condition)
    table = pd.DataFrame(conditions)
    values = 8 + rng.normal(size=(len(table), len(GENES)))
    profiles = pd.DataFrame(values.round(4), index=table["sample"], columns=GENES)
    profiles.to_csv(tmp_path / "profiles.csv")
    table.to_csv(tmp_path / "conditions.csv", index=False)
    return tmp_path


def command_on_files(folder: Path, *words):
    """The command on the files of `study`, in size smoke."""
    return command(
        SMOKE,
        f"--workdir={folder / 'run'}",
        f"--config.data.path={folder / 'profiles.csv'}",
        f"--config.data.conditions={folder / 'conditions.csv'}",
        "--config.data.columns.sample=sample",
        "--config.data.columns.batch=plate",
        *words,
    )


def rewrite(file: Path, change) -> None:
    file.write_text(change(file.read_text()))


@pytest.mark.slow
def test_own_files_are_understood_trained_and_reported(study):
    seen = command_on_files(study, "--mode=inspect")
    assert seen.status == 0, seen.err
    assert "12" in seen.out and "vorinostat" in seen.out and "60 features" in seen.out
    trained = command_on_files(study, "--config.training.epochs=1")
    assert trained.status == 0, trained.err
    predictions = np.load(study / "run" / "predictions.npz")
    expected = [f"{line}_vorinostat_{r}" for line in LINES for r in (1, 2)]
    assert sorted(predictions["pertvae/id"]) == sorted(expected)


WRONG_FILES = {
    "a word among the numbers": (
        "profiles.csv",
        lambda t: _cell(t, 3, 5, "high"),
        ["line 4", "GENE04", "'high'"],
    ),
    "a decimal comma": (
        "profiles.csv",
        lambda t: _cell(t, 2, 1, '"8,25"'),
        ["line 3", "GENE00", "8,25"],
    ),
    "a sample twice": (
        "profiles.csv",
        lambda t: t + t.splitlines()[1] + "\n",
        ["CELL0_DMSO_1", "twice"],
    ),
    "a ragged row": (
        "profiles.csv",
        lambda t: t.replace("\n", ",1\n", 3),
        ["profiles.csv", "line"],
    ),
    "no role column": (
        "conditions.csv",
        lambda t: t.replace("pert_type", "kind"),
        ["conditions.csv", "pert_type"],
    ),
    "no control": (
        "conditions.csv",
        lambda t: t.replace("control", "trt"),
        ["control", "control_values"],
    ),
    "other samples": ("conditions.csv", lambda t: t.replace("CELL", "LINE"), ["conditions.csv"]),
    "an empty table": (
        "conditions.csv",
        lambda t: t.splitlines()[0] + "\n",
        ["conditions.csv", "rows"],
    ),
}


def _cell(text: str, row: int, column: int, value: str) -> str:
    lines = [line.split(",") for line in text.splitlines()]
    lines[row][column] = value
    return "\n".join(map(",".join, lines)) + "\n"


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_own_files_with_a_mistake(study, kind):
    file, change, named = WRONG_FILES[kind]
    rewrite(study / file, change)
    assert_one_sentence(command_on_files(study), *named)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--config.data.drugs=('vorinostta',)"], ["'vorinostta'", "'vorinostat'"]),
        (["--config.data.columns.cell_line=cel_id"], ["cel_id", "cell_id"]),
        (["--config.data.min_genes=500"], ["500", "60"]),
        (["--config.data.control_profile=median"], ["control_profile", "'median'", "mean"]),
        (["--config.folds=7"], ["7 folds", "6 groups"]),
        (["--config.data.conditions="], ["profiles.csv", "'pert_type'", "data.conditions"]),
    ],
)
def test_own_files_described_wrongly(study, words, named):
    assert_one_sentence(command_on_files(study, *words), *named)


def test_lists_are_written_with_commas(tmp_path):
    samples = [(f"{line}{kind}{k}", line, kind) for line in "ABCD" for kind in "ct" for k in "12"]
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(8, 1, (16, 6)), columns=[f"ZNF{j}" for j in range(6)])
    frame.insert(0, "sample", [name for name, _, _ in samples])
    frame.insert(1, "line", [line for _, line, _ in samples])
    frame.insert(2, "role", ["control" if kind == "c" else "treated" for _, _, kind in samples])
    drugs = ["DMSO" if kind == "c" else f"5,{name[-1]}-EET" for name, _, kind in samples]
    frame.insert(3, "drug", drugs)
    frame.insert(4, "hours", "24 h")
    frame.to_csv(tmp_path / "m.csv", index=False)
    columns = dict(cell_line="line", drug="drug", dose="", time="hours", role="role")
    words = [f"--config.data.columns.{key}={name}" for key, name in columns.items()]
    words += [f"--config.data.path={tmp_path}/m.csv", "--config.data.dose=all", "--mode=inspect"]
    words += ["--config.data.pair_by=cell_line,time", "--config.data.min_genes=5"]
    plain = command(SMOKE, f"--workdir={tmp_path}/a", *words)
    assert plain.status == 0 and "8 pairs" in plain.out, plain
    for drugs in (r"5\,1-EET", "('5,1-EET',)"):
        chosen = command(SMOKE, f"--workdir={tmp_path}/b", *words, f"--config.data.drugs={drugs}")
        assert chosen.status == 0 and "4 pairs" in chosen.out, chosen
    unknown = command(SMOKE, f"--workdir={tmp_path}/c", *words, "--config.data.drugs=a,b")
    assert_one_sentence(unknown, "'a'")
    repeated = [*words, r"--config.data.drugs=5\,1-EET", r"--config.data.drugs=5\,2-EET"]
    assert "8 pairs" in command(SMOKE, f"--workdir={tmp_path}/d", *repeated).out
