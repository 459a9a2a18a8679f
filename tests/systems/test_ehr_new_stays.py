"""New stays of a trained run: their files are read as those of the training were, and what differs
is told. One training for all tests.
"""

import numpy as np
import pandas as pd
import pytest
from command import ROOT, command

CONFIG = f"--config={ROOT}/configs/ehr.py:imputation,smoke"
UNITS = {"hr": (80, 10), "temp": (37, 0.6), "Weight": (70, 9)}


def measurements(stays, seed, scale=1.0):
    """Rows of stays in minutes, with a code for missing, and a daily weight."""
    rng = np.random.default_rng(seed)
    rows = []
    for stay in stays:
        for minute in range(0, 480, 30):
            for item, (mean, sd) in UNITS.items():
                if rng.random() < 0.6:
                    value = -999 if rng.random() < 0.05 else scale * rng.normal(mean, sd)
                    rows.append((stay, f"person{stay[1:]}", minute, item, round(value, 2)))
    return pd.DataFrame(rows, columns=["stay_id", "person", "offset", "item", "result"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stays")
    file = folder / "old.csv"
    measurements([f"s{i}" for i in range(30)], 0).to_csv(file, index=False)
    words = [
        "--config.model.imputer=brits",
        "--config.imputers=('brits',)",
        f"--config.data.path={file}",
        "--config.data.columns.id=stay_id",
        "--config.data.columns.time=offset",
        "--config.data.columns.variable=item",
        "--config.data.columns.value=result",
        "--config.data.columns.group=person",
        "--config.data.time_unit=minutes",
        "--config.data.hours=8",
        "--config.data.missing_values=-999",
        "--config.data.limits=hr=20:300",
    ]
    outcome = command(CONFIG, f"--workdir={folder / 'run'}", *words)
    assert outcome.status == 0, outcome
    return folder


def predict(run, frame, *words, name="new.csv"):
    frame.to_csv(run / name, index=False)
    return command(
        CONFIG,
        f"--workdir={run / 'run'}",
        "--mode=predict",
        f"--config.data.path={run / name}",
        *words,
    )


def test_everything_that_was_said_about_the_files_is_known(run):
    new = measurements(["n1", "n2", "n3"], 1).drop(columns="person")
    outcome = predict(run, new)
    assert outcome.status == 0, outcome
    assert "note: 3 of 3 variables found" in outcome.out
    codes = new["item"][new["result"] == -999].value_counts()
    assert len(codes) and all(f"{item} {count}" in outcome.out for item, count in codes.items())
    assert "Values that mean missing (data.missing_values)" in outcome.out
    assert "warning" not in outcome.out
    (written,) = (run / "run").glob("predictions-*-new/all.imputed.csv")
    imputed = pd.read_csv(written)
    assert len(imputed) == 3 * 8 and imputed["hr"].between(40, 120).all()
    # A weight per stay is not taken for a descriptor: in the training it was a series.
    assert imputed["Weight"].between(30, 110).all()


def test_what_the_command_says_counts_more(run):
    new = measurements(["n1", "n2"], 2).rename(columns={"stay_id": "who", "offset": "hour"})
    new["hour"] /= 60
    words = ["--config.data.columns.id=who", "--config.data.columns.time=hour"]
    assert predict(run, new, *words, name="who.csv").status == 0
    refused = predict(run, new, name="who.csv")
    assert refused.status == 2 and refused.err.count("\n") == 1
    assert "no column 'stay_id' (--config.data.columns.id=stay_id)" in refused.err


def test_values_in_other_units_are_told_with_their_share(run):
    outcome = predict(run, measurements(["n1", "n2"], 3, scale=1000.0), name="x1000.csv")
    assert outcome.status == 0, outcome
    assert "100.0% of the new values lie outside the range of the training values" in outcome.out
    assert "temp 100%" in outcome.out and "Weight 100%" in outcome.out
    assert "outside of data.limits, now missing: hr" in outcome.out


def test_unknown_variables_empty_stays_and_outcomes_are_named(run):
    new = measurements(["n1", "n2"], 4)
    other = pd.DataFrame([("n3", "p", 30, "lactate", "high")], columns=new.columns)
    (run / "died.csv").write_text("RecordID,In-hospital_death\nn1,1\nn2,0\n")
    outcome = predict(
        run,
        pd.concat([new, other]),
        f"--config.data.outcomes={run / 'died.csv'}",
        name="unknown.csv",
    )
    assert outcome.status == 0, outcome
    for part in (
        "note: 1 variable (lactate) is not among those to keep, and left out.",
        "warning: 1 patient (n3) is without a value of any variable of the training",
        "In-hospital_death is known of 2 of these patients; a prediction does not score it",
        "the experiment external does",
    ):
        assert part in outcome.out


def test_no_variable_of_the_training(run):
    new = measurements(["n1"], 5)
    outcome = predict(run, new.assign(item=new["item"].str.upper() + "_1"), name="other.csv")
    assert outcome.status == 2 and outcome.err.count("\n") == 1
    assert "none of the 3 variables of the training" in outcome.err
    assert "'Weight'" in outcome.err and "'HR_1'" in outcome.err
