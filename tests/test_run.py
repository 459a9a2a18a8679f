"""The run's own parts: predicting new files, going on in a directory, and what a summary says."""

import json

import numpy as np
import pandas as pd
import pytest
from command import ROOT, command, config_of

from omics_jax.data.dataset.summary import summary
from omics_jax.errors import UserError
from omics_jax.file_names import file_name
from omics_jax.run.command import system_module
from omics_jax.run.directory import (
    check_config,
    flatten_keys,
    read_json,
    to_json,
    write_json,
)
from omics_jax.run.options import run_options

SMOKE = f"--config={ROOT}/configs/pertvae.py:smoke"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    outcome = command(SMOKE, f"--workdir={folder}")
    assert outcome.status == 0, outcome.err
    return folder


@pytest.fixture(scope="module")
def controls():
    """(n, genes) control profiles of the simulator's pairs, as a frame of samples by genes."""
    dataset = system_module("pertvae").read(config_of(SMOKE))
    rows = np.flatnonzero(dataset.table["drug"].to_numpy() == "inert-1")
    control = dataset.modalities["control"]
    return pd.DataFrame(
        control.values[rows], index=[f"new-{i}" for i in rows], columns=control.features
    )


def predict(folder, file, *words):
    return command(
        SMOKE,
        f"--workdir={folder}",
        "--mode=predict",
        f"--config.data.path={file}",
        "--config.data.min_genes=10",
        *words,
    )


def by_hand(folder, profiles: pd.DataFrame, drug: str) -> np.ndarray:
    """(replicates, n, genes) predicted x2 by the variables on disk, without the run's own loop."""
    import jax
    import jax.numpy as jnp

    from omics_jax.systems.pertvae import model
    from omics_jax.systems.pertvae.network import Network
    from omics_jax.training.stage_files import load_variables

    config = config_of(SMOKE)
    labels = json.loads((folder / "training.json").read_text())["pertvae"]["labels"]
    checkpoints, replicates = folder / "checkpoints" / "pertvae", range(len(labels))
    network = Network(config.model, profiles.shape[1])
    code = 0  # the platform of the pairs comes first
    n = len(profiles)
    rows = {
        "x1": jnp.asarray(profiles, jnp.float32),
        "m1": jnp.ones(profiles.shape, bool),
        "platform": jnp.full(n, code, jnp.int32),
    }
    call = jax.jit(lambda v: model.predict(network, config.model.draws, v, rows)["x2_mean"])

    def within_reach(variables):
        """Not farther outside of the training range than it is wide."""
        low, high = (variables["constants"][end][code] for end in ("low", "high"))
        return np.clip(call(variables), low - (high - low), high + (high - low))

    found = [
        within_reach(jax.tree.map(lambda a: a[0], variables))
        for r, variables in load_variables(checkpoints, "elbo", replicates, {})
        if labels[r]["group"] == drug
    ]
    assert len(found) == config.folds
    return np.stack(found)


@pytest.mark.slow
def test_predicting_a_new_file_averages_the_replicates(finished, controls, tmp_path):
    controls.to_csv(tmp_path / "fresh.csv")
    outcome = predict(finished, tmp_path / "fresh.csv")
    assert outcome.status == 0, outcome.err
    assert f"{len(controls)} rows predicted by 'pertvae' for active-1, inert-1" in outcome.out
    out = finished / "predictions-pertvae-fresh"
    for drug in ("active-1", "inert-1"):
        expected = by_hand(finished, controls, drug)
        stem = out / file_name(drug)
        mean = pd.read_csv(f"{stem}.x2_mean.csv", index_col="id")
        sd = pd.read_csv(f"{stem}.x2_mean_between_replicates.csv", index_col="id")
        assert list(mean.index) == list(controls.index)
        assert list(mean.columns) == list(controls.columns)
        np.testing.assert_allclose(mean, expected.mean(axis=0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(sd, expected.std(axis=0), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_how_the_file_is_turned_ordered_and_annotated_does_not_matter(finished, controls, tmp_path):
    controls.to_csv(tmp_path / "fresh.csv")
    controls.iloc[::-1, ::-1].T.to_csv(tmp_path / "turned.csv")
    controls.assign(tissue="lung").to_csv(tmp_path / "annotated.csv")
    for name in ("fresh", "turned", "annotated"):
        outcome = predict(finished, tmp_path / f"{name}.csv")
        assert outcome.status == 0, outcome.err

    def read(name):
        file = finished / f"predictions-pertvae-{name}" / "active-1.x2_mean.csv"
        return pd.read_csv(file, index_col="id")

    for name in ("turned", "annotated"):
        found = read(name).loc[list(controls.index)]
        pd.testing.assert_frame_equal(found, read("fresh"), rtol=1e-5, check_names=False)


@pytest.mark.slow
def test_what_a_new_file_holds_is_told(finished, controls, tmp_path):
    odd = 2**controls
    odd.iloc[1] = np.nan
    odd.iloc[:, 2] = np.nan
    odd.assign(NOSUCH=1.0).to_csv(tmp_path / "odd.csv")
    outcome = predict(finished, tmp_path / "odd.csv")
    assert outcome.status == 0, outcome.err
    assert f"23 of 24 genes found; without a value is 1 ({odd.columns[2]})" in outcome.out
    assert "unknown to the training and not used is 1 (NOSUCH)" in outcome.out
    empty = odd.index[1]
    assert f"warning: 1 row ({empty}) is without a value of these genes" in outcome.out
    assert "warning: control: 100.0% of the new values lie outside the range" in outcome.out
    out = finished / "predictions-pertvae-odd"
    mean = pd.read_csv(out / "active-1.x2_mean.csv", index_col="id")
    assert mean.loc[empty].isna().all() and mean.drop(empty).notna().all().all()
    # Nothing is predicted that the training makes impossible, whatever the scale of the file.
    low, high = controls.to_numpy().min(), controls.to_numpy().max()
    width = high - low
    assert mean.drop(empty).to_numpy().min() > low - width
    assert mean.drop(empty).to_numpy().max() < high + width


@pytest.mark.slow
def test_new_files_with_a_mistake(finished, controls, tmp_path):
    controls.rename(columns=lambda g: f"probe-{g}").to_csv(tmp_path / "other.csv")
    outcome = predict(finished, tmp_path / "other.csv")
    assert outcome.status == 2 and "none of the 24 genes" in outcome.err
    assert outcome.err.count("\n") == 1
    outcome = command(SMOKE, f"--workdir={finished}", "--mode=predict")
    assert outcome.status == 2 and "--config.data.path" in outcome.err
    outcome = predict(tmp_path / "no-run-here", tmp_path / "other.csv")
    assert outcome.status == 2 and "no finished training" in outcome.err


def test_check_config_lists_what_differs_but_how_it_is_run(tmp_path):
    config = {"seed": 0, "model": {"latent": 4, "encoder": (8, 4)}, "run": {"devices": 1}}
    check_config(tmp_path, config)  # nothing was begun here
    write_json(tmp_path / "config.json", config)
    check_config(tmp_path, {**config, "run": {"devices": 8}})
    with pytest.raises(UserError, match=r"model\.latent: 4 there, 5 now"):
        check_config(tmp_path, {**config, "model": {"latent": 5, "encoder": (8, 4)}})
    with pytest.raises(UserError, match=r"seed: 0 there, None now"):
        check_config(tmp_path, {k: v for k, v in config.items() if k != "seed"})


def test_json_holds_what_json_can():
    value = {"a": np.float32(0.5), "b": [np.nan, np.inf, np.int64(3)], "c": (1, "x"), 4: None}
    assert to_json(value) == {"a": 0.5, "b": [None, None, 3], "c": [1, "x"], "4": None}
    assert flatten_keys({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


def test_a_torn_file_of_the_directory_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(UserError, match="config.json is not valid JSON"):
        read_json(tmp_path / "config.json")
    with pytest.raises(UserError, match="data.json is missing"):
        read_json(tmp_path / "data.json")


def test_summary_counts_rows_and_missing_cells():
    dataset = system_module("pertvae").read(config_of(SMOKE, "--config.simulator.missing=0.25"))
    lines = dict(summary(dataset))
    assert lines["rows"] == str(len(dataset))
    hidden = 1 - dataset.modalities["control"].mask.mean()
    assert f"{hidden:.1%} of their cells missing" in lines["control"] and 0.2 < hidden < 0.3
    assert "active-1 (9)" in lines["drug"]


def test_summary_tells_classes_events_and_numbers_apart():
    dataset = system_module("multiomics").read(
        config_of(f"--config={ROOT}/configs/multiomics.py:smoke")
    )
    lines = dict(summary(dataset))
    kinds, known = dataset.targets["type"]
    counts = np.bincount(kinds[known])
    for name, count in zip(dataset.classes["type"], counts, strict=True):
        assert f"{name} ({count})" in lines["outcome type"]
    events, known = dataset.targets["OS.event"]
    assert lines["outcome OS.event"].startswith(
        f"{events[known].sum():.0f} of {known.sum()} ({events[known].mean():.1%})"
    )
    ages, known = dataset.targets["age"]
    assert lines["outcome age"].startswith(f"median {np.median(ages[known]):.4g}")
    assert lines["outcome age"].endswith(f"unknown in {(~known).sum()}")


def test_more_devices_than_there_are():
    import jax

    config = config_of(SMOKE, f"--config.run.devices={jax.local_device_count() + 1}")
    with pytest.raises(UserError, match="run.devices"):
        run_options(config)
