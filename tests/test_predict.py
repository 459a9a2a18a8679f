"""New stays through a finished run of the EHR system, and runs that reuse what another trained."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import ROOT, command, config_of

from omics_jax.file_names import file_name
from omics_jax.run.directory import read_json, write_json
from omics_jax.run.identity import origins
from omics_jax.run.manifest import list_files
from omics_jax.run.outputs import finish_run, save_predictions, training_files
from omics_jax.run.predict import as_frame, over_replicates
from omics_jax.systems.ehr import reading

pytestmark = pytest.mark.slow

SMOKE = f"--config={ROOT}/configs/ehr.py:smoke"
STEPS, VARIABLES = 8, ("HR", "SysABP", "GCS", "RespRate")
ARMS = ["brits", "summary, gradual", "mlp2, unfrozen"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run directory with all that predicting reads; test_systems.py tests scores and report."""
    folder = tmp_path_factory.mktemp("finished") / "run"

    def finish(system, arms, config, folder, timing):
        save_predictions(folder, arms, origins(folder))
        write_json(
            folder / "metrics.json", {"arms": {name: {} for name in (ARMS[1], ARMS[0], *ARMS[2:])}}
        )
        finish_run(folder, [folder / "metrics.json"], training_files(folder, arms))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("omics_jax.run.outputs.score_and_report", finish)
        outcome = command(SMOKE, f"--workdir={folder}")
    assert outcome.status == 0, outcome.err
    return folder


def values(n=5):
    """(n, T, D) float32, NaN for missing; the last stay has no value at all."""
    rng = np.random.default_rng(1)
    X = (np.array([87, 118, 9.5, 19]) * np.exp(0.1 * rng.normal(size=(n, STEPS, 4)))).astype(
        np.float32
    )
    X[rng.random(X.shape) < 0.5] = np.nan
    X[-1] = np.nan
    return X


def ids(n=5):
    return np.array([f"new-{i}" for i in range(n)])


@pytest.fixture
def arrays(tmp_path) -> Path:
    file = tmp_path / "fresh.npz"
    np.savez(file, X=values(), ids=ids(), features=np.array(VARIABLES))
    return file


def predict(folder, file, *words):
    return command(
        SMOKE, f"--workdir={folder}", "--mode=predict", f"--config.data.path={file}", *words
    )


def predictions(folder, name="fresh", arm="summary, gradual"):
    return folder / f"predictions-{file_name(arm)}-{name}"


def table(folder, field, name="fresh", arm="summary, gradual"):
    return pd.read_csv(predictions(folder, name, arm) / f"all.{field}.csv")


def assert_one_sentence(outcome, *named):
    assert outcome.status == 2, outcome
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    for words in named:
        assert words in outcome.err


def test_the_arm_of_the_summary_gives_each_stay_a_probability(finished, arrays):
    outcome = predict(finished, arrays)
    assert outcome.status == 0, outcome.err
    assert "4 of 4 variables found" in outcome.out and "0 of 8 descriptors found" in outcome.out
    kept = "Patients without any observation are kept, and imputed from the population"
    assert kept in outcome.out
    assert "5 rows predicted by 'summary, gradual'" in outcome.out
    found = table(finished, "probability")
    spread = table(finished, "probability_between_replicates")
    assert list(found.columns) == ["id", "probability"] and found["id"].tolist() == list(ids())
    each = [np.load(predictions(finished) / f"all-{r}.npz")["probability"] for r in range(3)]
    np.testing.assert_allclose(found["probability"], np.mean(each, axis=0), rtol=1e-5)
    np.testing.assert_allclose(spread["probability"], np.std(each, axis=0), rtol=1e-3, atol=1e-7)
    assert found["probability"].between(0, 1, inclusive="neither").all()


@pytest.mark.parametrize("arm", ARMS[2:])
def test_other_arms_are_named_in_the_command(finished, arrays, arm):
    outcome = predict(finished, arrays, f"--config.run.arm={arm}")
    assert outcome.status == 0 and f"rows predicted by {arm!r}" in outcome.out
    assert len(table(finished, "probability", "fresh", arm)) == 5


def test_an_imputed_series_keeps_what_was_observed(finished, arrays):
    outcome = predict(finished, arrays, "--config.run.arm=brits")
    assert outcome.status == 0, outcome.err
    X = values().reshape(-1, 4)
    seen = ~np.isnan(X)
    for field in ("imputed", "disagreement"):
        found = table(finished, field, "fresh", "brits")
        assert list(found.columns) == ["id", "step", *VARIABLES]
        assert found["id"].tolist() == np.repeat(ids(), STEPS).tolist()
        assert found["step"].tolist() == list(range(STEPS)) * 5
        assert np.isfinite(found[list(VARIABLES)]).all(axis=None)

    def cells(field):
        frame = table(finished, field, "fresh", "brits")
        return frame[list(VARIABLES)].to_numpy(np.float32)

    np.testing.assert_array_equal(cells("imputed")[seen], X[seen])
    assert (cells("imputed_between_replicates")[seen] == 0).all() and (
        cells("disagreement")[seen] == 0
    ).all()
    assert (cells("imputed_between_replicates")[~seen] > 0).mean() > 0.9
    with np.load(predictions(finished, "fresh", "brits") / "all-0.npz") as stored:
        # Nothing is hidden, so there is nothing to score.
        assert not [name for name in stored.files if name.startswith(("imputed_", "disagreement_"))]


def test_predicting_a_tested_patient_gives_the_prediction_of_its_fold(finished, tmp_path):
    dataset = reading.read(config_of(SMOKE))
    series, static = dataset.modalities["series"], dataset.modalities["static"]
    missing = lambda m: np.where(m.mask, m.values, np.nan)
    rows = np.arange(8)
    np.savez(
        tmp_path / "again.npz",
        X=missing(series)[rows],
        static=missing(static)[rows],
        ids=dataset.ids[rows],
        features=series.features,
        static_features=static.features,
    )
    assert predict(finished, tmp_path / "again.npz").status == 0
    stored = np.load(finished / "predictions.npz")
    arm = "summary, gradual"
    for patient, r, p in zip(
        *(stored[f"{arm}/{k}"] for k in ("id", "replicate", "probability")), strict=True
    ):
        if patient in dataset.ids[rows]:
            found = np.load(predictions(finished, "again") / f"all-{r}.npz")
            assert found["probability"][list(found["id"]).index(patient)] == pytest.approx(
                p, rel=1e-5
            )


def test_the_mean_is_over_the_replicates_that_predict_a_cell():
    nan = np.nan
    mean, sd = over_replicates(
        np.float32([[1.7, nan, nan, 0.1], [1.7, 2, nan, 0.1], [nan, 4, nan, 0.1]])
    )
    np.testing.assert_array_equal(mean, np.float32([1.7, 3, nan, 0.1]))
    np.testing.assert_array_equal(sd, np.float32([0, 1, nan, 0]))
    assert over_replicates(np.array([[True], [False]]))[0] == 0.5


def test_a_file_of_the_same_name_and_other_rows_has_a_folder_of_its_own(finished, tmp_path):
    file = tmp_path / "twice.npz"
    others = [f"other-{i}" for i in range(5)]
    for names, number in ((ids(), ""), (ids(), ""), (others, "-2"), (ids(), ""), (others, "-2")):
        np.savez(file, X=values(), ids=names, features=np.array(VARIABLES))
        outcome = predict(finished, file)
        assert outcome.status == 0 and outcome.out.splitlines()[-1].endswith(f"-twice{number}")
        written = next(iter((finished).glob(f"predictions-*-twice{number}/*.npz")))
        assert np.load(written)["id"].tolist() == list(names)


def test_a_long_table_says_the_same_as_arrays(finished, arrays, tmp_path):
    X = values()
    stay, step, variable = np.nonzero(~np.isnan(X))
    order = np.random.default_rng(0).permutation(len(stay))
    columns = {
        "id": ids()[stay],
        "time": step + 0.25,
        "variable": np.array(VARIABLES)[variable],
        "value": X[stay, step, variable],
    }
    frame = pd.DataFrame(columns).iloc[order]
    extra = pd.DataFrame({"id": ["new-4"], "time": [0.0], "variable": ["Lactate"], "value": [2.0]})
    pd.concat([frame, extra]).to_csv(tmp_path / "long.csv", index=False)
    for file in (arrays, tmp_path / "long.csv"):
        outcome = predict(finished, file, f"--config.data.hours={STEPS}.0")
        assert outcome.status == 0, outcome.err
    found, expected = (table(finished, "probability", name) for name in ("long", "fresh"))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)


def test_a_variable_that_a_file_lacks_is_imputed(finished, tmp_path):
    np.savez(
        tmp_path / "less.npz", X=values()[..., [2, 0]], ids=ids(), features=np.array(["GCS", "HR"])
    )
    outcome = predict(finished, tmp_path / "less.npz", "--config.run.arm=brits")
    assert outcome.status == 0 and "2 of 4 variables found" in outcome.out
    found = table(finished, "imputed", "less", "brits")
    seen = ~np.isnan(values()[..., 0].ravel())
    np.testing.assert_array_equal(
        found["HR"].to_numpy(np.float32)[seen], values()[..., 0].ravel()[seen]
    )
    assert np.isfinite(found["SysABP"]).all() and found["SysABP"].between(50, 250).all()


def test_new_stays_that_cannot_be_predicted(finished, arrays, tmp_path):
    outcome = command(SMOKE, f"--workdir={finished}", "--mode=predict")
    assert_one_sentence(outcome, "--config.data.path")
    np.savez(tmp_path / "strange.npz", X=values(), features=np.array(["a", "b", "c", "d"]))
    assert_one_sentence(
        predict(finished, tmp_path / "strange.npz"), "none of the 4 variables", "'HR'"
    )
    assert_one_sentence(
        predict(finished, arrays, "--config.data.bin_hours=0.5"),
        "0, 0.5, 1 ... 3.5",
        "0, 1, 2 ... 7",
    )
    np.savez(tmp_path / "short.npz", X=values()[:, :5], features=np.array(VARIABLES))
    assert_one_sentence(predict(finished, tmp_path / "short.npz"), "5 steps", "had 8", "data.hours")
    assert_one_sentence(
        predict(finished, arrays, "--config.run.arm=lstm"), "no arm 'lstm'", *map(str, ARMS)
    )
    old = tmp_path / "old"
    shutil.copytree(finished, old)
    record = read_json(old / "training.json")
    for arm in record.values():
        del arm["config"]["classifier"]["calibrated"]
    write_json(old / "training.json", record)
    list_files(old, ["training.json"])
    assert_one_sentence(
        predict(old, arrays), "older version", "config.classifier.calibrated", "train it again"
    )
    assert_one_sentence(predict(tmp_path / "nothing", arrays), "no finished training")
    assert_one_sentence(predict(finished, tmp_path / "gone.npz"), "gone.npz")


# Taking over what another run has trained


def test_a_run_takes_over_what_another_has_trained(finished, tmp_path, monkeypatch):
    import omics_jax.training.loop as loop

    monkeypatch.setattr(loop, "_train", lambda *_: pytest.fail("it trains"))
    monkeypatch.setattr(
        "omics_jax.run.train.estimate_seconds", lambda *_: pytest.fail("it compiles")
    )
    monkeypatch.setattr("omics_jax.run.outputs.score_and_report", lambda *_: None)
    outcome = command(SMOKE, f"--workdir={tmp_path}", f"--config.run.reuse={finished}")
    assert outcome.status == 0, outcome.err
    assert f"taken over from {finished}: {', '.join(ARMS)}" in outcome.out
    for arm in ARMS:
        for r in range(3):
            file = Path("checkpoints") / file_name(arm) / f"predictions-{r:04d}.npz"
            found, expected = np.load(tmp_path / file), np.load(finished / file)
            assert found.files == expected.files
            for field in found.files:
                np.testing.assert_array_equal(found[field], expected[field])
    lines = lambda folder: sorted((folder / "history.jsonl").read_text().splitlines())
    assert lines(tmp_path) == lines(finished)


def test_only_arms_of_the_same_config_are_taken_over(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("omics_jax.run.train.train_arms", lambda *_: {})
    monkeypatch.setattr("omics_jax.run.outputs.score_and_report", lambda *_: None)
    words = ("--config.model.clip=5.0", f"--config.run.reuse={finished}")
    assert_one_sentence(
        command(SMOKE, f"--workdir={tmp_path / 'a'}", *words), "no arm of the same name and config"
    )
    # The imputer of another experiment is the same imputer.
    other = command(
        f"--config={ROOT}/configs/ehr.py:table3,smoke",
        f"--workdir={tmp_path / 'b'}",
        "--config.tables.networks=('mlp2',)",
        f"--config.run.reuse={finished}",
    )
    assert other.status == 0 and "taken over" in other.out
    assert other.out.rstrip().endswith(": brits")
    assert [p.name for p in (tmp_path / "b" / "checkpoints").iterdir()] == ["brits"]


def test_a_tuning_is_taken_over_with_its_arm(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("omics_jax.run.train.train_arms", lambda *_: {})
    monkeypatch.setattr("omics_jax.run.outputs.score_and_report", lambda *_: None)
    words = (f"--config={ROOT}/configs/ehr.py:table3,smoke",)
    assert command(*words, f"--workdir={tmp_path / 'a'}").status == 0
    name = "mlp2, unfrozen, optuna"
    (tmp_path / "a" / "tuning").mkdir()
    (tmp_path / "a" / "tuning" / f"{file_name(name)}.json").write_text("{}")
    outcome = command(
        *words, f"--workdir={tmp_path / 'b'}", f"--config.run.reuse={tmp_path / 'a'}, {finished}"
    )
    assert outcome.status == 0, outcome.err
    # Nothing else of that run had been begun.
    assert f"taken over from {tmp_path / 'a'}: {name}\n" in outcome.out
    assert f"taken over from {finished}: brits" in outcome.out
    again = command(*words, f"--workdir={tmp_path / 'b'}", f"--config.run.reuse={finished}")
    assert f"taken over from {finished}: nothing new" in again.out
    assert [p.name for p in (tmp_path / "b" / "tuning").iterdir()] == [f"{file_name(name)}.json"]


def test_runs_that_cannot_be_taken_over(finished, tmp_path):

    def reuse(folder, *words):
        run = f"--workdir={tmp_path / 'run'}"
        return command(SMOKE, run, f"--config.run.reuse={folder}", *words)

    assert_one_sentence(reuse(tmp_path / "nowhere"), "run.reuse", "nowhere", "holds no run")
    shutil.rmtree(tmp_path / "run")
    assert_one_sentence(
        reuse(finished, "--config.simulator.seed=1"), "run.reuse", "the data of", "train without it"
    )


# Frames


def test_frames_of_vectors_tables_and_series():
    frame = as_frame(np.array(["a", "b"]), np.array([0.1, 0.2], np.float32), ("p",))
    assert frame.to_csv(index=False) == "id,p\na,0.1\nb,0.2\n"
    frame = as_frame(np.array(["a"]), np.arange(4.0).reshape(1, 2, 2), ("x", "y"))
    assert frame.to_csv(index=False) == "id,step,x,y\na,0,0.0,1.0\na,1,2.0,3.0\n"
