"""PertVAE on few pairs, few cell lines and controls that are all alike: left out, refused or noted
before the training, and trained without breaking down.
"""

import json

import numpy as np
import pandas as pd
import pytest
from command import ROOT, command

SMOKE = f"--config={ROOT}/configs/pertvae.py:table1,smoke"
GENES = 60
BY_DRUG = ("--config.model.per_drug=False", "--config.data.group_by=drug")


def write_profiles(path, treated, controls=2, seed=0, noise=0.3):
    """A GCT of `controls` wells per cell line and of the treated wells (cell line, drug)."""
    rng = np.random.default_rng(seed)
    typical = rng.uniform(4, 14, GENES)
    lines = sorted({line for line, _ in treated})
    of_line = {line: typical + rng.normal(0, 0.7, GENES) for line in lines}
    of_drug = {drug: rng.normal(0, 0.6, GENES) for drug in sorted({drug for _, drug in treated})}
    wells = [(line, "DMSO", "ctl_vehicle") for line in lines for _ in range(controls)]
    wells += [(line, drug, "trt_cp") for line, drug in treated]
    values = [
        of_line[line] + of_drug.get(drug, 0) + rng.normal(0, noise, GENES)
        for line, drug, _ in wells
    ]
    conditions = zip(*wells, strict=True)
    rows = [["id", *(f"w{i:02d}" for i in range(len(wells)))]]
    rows += [[name, *words] for name, words in zip(
        ("cell_id", "pert_iname", "pert_type"), conditions, strict=True)]  # fmt: skip
    rows += [["pert_dose", *["10"] * len(wells)], ["pert_time", *["24"] * len(wells)]]
    rows += [
        [f"GENE{g}", *(f"{v:.4f}" for v in column)] for g, column in enumerate(np.transpose(values))
    ]
    header = ["#1.3", f"{GENES}\t{len(wells)}\t0\t5"]
    path.write_text("\n".join([*header, *("\t".join(row) for row in rows)]) + "\n")
    return f"--config.data.path={path}"


def pairs(lines, drugs):
    return [(f"LINE{line}", drug) for drug in drugs for line in range(lines)]


def last(err):
    return err.strip().splitlines()[-1]


# Before the training


def test_a_rare_drug_is_left_out_with_a_note(tmp_path):
    treated = [*pairs(8, ["vorinostat", "trametinib"]), *pairs(2, ["rare"])]
    data = write_profiles(tmp_path / "a.gct", treated)
    outcome = command(SMOKE, data, "--mode=inspect", f"--workdir={tmp_path}/run")
    assert outcome.status == 0, outcome.err
    note = (
        "drug 'rare' is left out, having too few groups (--config.data.group_by=cell_line): 3 "
        "folds need as many groups; --config.model.per_drug=False trains one model for all drugs"
    )
    assert f"note: {note}" in outcome.out
    assert "6 replicates of elbo (at most 3 epochs), together on 16 of 18 rows" in outcome.out
    assert note in json.loads((tmp_path / "run" / "data.json").read_text())["notes"]


def test_the_sentence_about_a_single_line_names_the_settings_that_help(tmp_path):
    data = write_profiles(tmp_path / "a.gct", pairs(1, [f"d{i}" for i in range(8)]) * 3)
    outcome = command(SMOKE, data, "--mode=inspect", f"--workdir={tmp_path}/run")
    assert outcome.status == 2
    assert "24 rows x 60 features" in outcome.out  # the summary is shown all the same
    assert last(outcome.err) == (
        "error: no drug has enough pairs: drug 'd0', which has the most groups, has 3 pairs in 1 "
        "group (--config.data.group_by=cell_line), but 3 folds need as many groups; train one "
        "model for all drugs and test it on drugs that it has not seen, with "
        "--config.model.per_drug=False --config.data.group_by=drug, or give pairs of more groups "
        "(4 at least)"
    )
    outcome = command(SMOKE, data, "--mode=inspect", *BY_DRUG, f"--workdir={tmp_path}/all")
    assert outcome.status == 0 and "together on all 24 rows" in outcome.out


@pytest.mark.parametrize("mode", ["inspect", "train"])
def test_three_pairs_are_refused_before_the_training(tmp_path, mode):
    data = write_profiles(tmp_path / "a.gct", pairs(3, ["vorinostat"]), controls=1)
    outcome = command(SMOKE, data, f"--mode={mode}", f"--workdir={tmp_path}/run")
    assert outcome.status == 2 and "Traceback" not in outcome.err
    assert last(outcome.err) == (
        "error: no drug has enough pairs: drug 'vorinostat', which has the most groups, has 3 "
        "pairs in 3 groups (--config.data.group_by=cell_line), but one of 3 folds leaves 1 pair "
        "to train on, and the simple models need 2; give pairs of more groups (4 at least)"
    )
    assert not (tmp_path / "run" / "config.json").exists()


def test_another_number_of_folds_is_advised_only_where_it_helps(tmp_path):
    data = write_profiles(tmp_path / "a.gct", pairs(5, ["vorinostat"]))
    refused = command(SMOKE, data, "--mode=inspect", f"--workdir={tmp_path}/three")
    assert refused.status == 2 and "; set --config.folds=5, or give" in last(refused.err)
    advised = ("--config.folds=5", "--mode=inspect", f"--workdir={tmp_path}/five")
    assert command(SMOKE, data, *advised).status == 0


def test_controls_that_are_one_profile_are_noted(tmp_path):
    data = write_profiles(tmp_path / "a.gct", pairs(1, [f"d{i:02d}" for i in range(12)]))
    words = (SMOKE, data, *BY_DRUG, "--mode=inspect")
    outcome = command(*words, f"--workdir={tmp_path}/mean")
    assert (
        "note: all pairs of all drugs have one and the same control profile, so that x1 carries no "
        "information and no model can do better than the mean shift" in outcome.out
    )
    outcome = command(*words, "--config.data.control_profile=one", f"--workdir={tmp_path}/one")
    assert outcome.status == 0 and "control profile" not in outcome.out


# Training that does not break down


DEGENERATE = {
    "one control profile": (
        pairs(1, [f"d{i:02d}" for i in range(16)]),
        (*BY_DRUG, "--config.folds=4"),
    ),
    "few lines": (pairs(8, ["vorinostat"]), ("--config.folds=4",)),
}


@pytest.mark.parametrize("treated, words", DEGENERATE.values(), ids=DEGENERATE)
def test_training_starts_at_the_scale_of_the_data(tmp_path, treated, words):
    """At the network's default size, in which initial gains multiply."""
    data = write_profiles(tmp_path / "a.gct", treated)
    default = f"--config={ROOT}/configs/pertvae.py:table1"
    few = ("--config.repeats=1", "--config.training.epochs=30")
    folder = tmp_path / "run"
    outcome = command(default, data, *words, *few, f"--workdir={folder}")
    assert outcome.status == 0, outcome.err
    history = pd.read_json(folder / "history.jsonl", lines=True)
    start = history[history["epoch"] == 0]["monitor"]
    assert len(start) == 4 and start.max() < 10 * GENES, start.tolist()
    predicted = np.load(folder / "predictions.npz")["pertvae/x2_mean"]
    assert predicted.min() > 1 and predicted.max() < 17, "the data are within 1 to 17"
    scores = json.loads((folder / "metrics.json").read_text())
    assert scores["summary"]["rmse"]["mean"] < 1.5 * scores["baselines"]["ridge"]["rmse"]["mean"]
