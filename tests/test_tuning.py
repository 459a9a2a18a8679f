"""Tuning on a problem with a closed form: gradient descent towards the mean of a column."""

import shutil
import sys
from binascii import crc32
from contextlib import suppress
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.errors import Stopped, UserError
from omics_jax.run.directory import tuning_file
from omics_jax.run.tuning import choices, choose_constants, tuning_tables, with_constants
from omics_jax.study.system import Arm, DataSpec, Range, System, Tuning
from omics_jax.training.plan import Options
from omics_jax.training.stage import Replicate, Stage, Term

N, EPOCHS = 24, 27
X = np.random.default_rng(0).normal(3.0, 1.0, size=(N, 1)).astype(np.float32)
TUNING = Tuning({"rate": Range(1e-3, 0.5)}, seed=4, trials=12, replicate=1)
EACH = replace(TUNING, replicate=None)


def loss(variables, batch, key):
    slot = batch["rows"]
    error = jnp.where(
        slot["live"], 0.5 * (slot["x"][:, 0] - variables["params"]["top"]["level"]) ** 2, 0
    )
    return {"error": Term(jnp.sum(error), jnp.sum(slot["live"], dtype=jnp.float32))}, {}


def monitor(variables, batch):
    """The distance from 3, and NaN for ever where the constant `broken` says so."""
    value = (variables["params"]["top"]["level"] - 3.0) ** 2
    return {"monitor": value, "validation_loss": value + variables["constants"]["broken"]}


def init(key, batch, constants):
    return {"params": {"top": {"level": jnp.float32(0)}}, "batch_stats": {}}


def column(dataset):
    return {"x": dataset.modalities["x"].values}


def nothing(*_):
    return {}


def arm(tuning=TUNING, broken=0.0, batch=N):
    stage = Stage(
        "fit",
        loss,
        lambda terms: terms["error"].mean,
        optax.sgd(1.0),
        EPOCHS,
        {"rows": batch},
        monitor=monitor,
        rate=lambda constants: constants["rate"],
    )
    system = System(column, init, (stage,), nothing, nothing, nothing)
    names = np.array([f"row-{i}" for i in range(N)])
    modality = Modality(X, np.ones_like(X, bool), np.array(["x"]))
    dataset = Dataset(names, names, {"x": modality}, pd.DataFrame(index=names))
    constants = {"rate": np.asarray(9, np.float32), "broken": np.asarray(broken, np.float32)}
    rows = [np.arange(N)[i::2].astype(np.int32) for i in range(2)]
    replicates = [
        Replicate({"rows": r}, {"rows": r}, r, 5, constants, {"fold": i})
        for i, r in enumerate(rows)
    ]
    return Arm(
        "toy",
        system,
        None,
        DataSpec({"x": ("x",)}, {"rows": N}),
        dataset,
        replicates,
        tuning=tuning,
    )


def values_of(rate, begin=0.0, of=1):
    """The watched value after every epoch of a replicate."""
    mean = X[of::2].mean(dtype=np.float64)
    level = mean + (begin - mean) * (1 - rate) ** np.arange(1, EPOCHS + 1)
    return (level - 3.0) ** 2


def options(block_steps=0):
    return Options(block_steps=block_steps)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    file = tmp_path_factory.mktemp("whole") / "tuning" / "toy.json"
    return file, *choose_constants(arm(), None, options(), file)


def asha(rates):
    """Hyperband as Optuna documents it: trial -> the epochs after which it is pruned.

    Within a bracket b a trial that is in epoch 3^(b + k) must be among the best third of those seen
    there so far, or the best of them while they are fewer than three.
    """
    brackets = 4  # floor(log_3 27) + 1
    budgets = [27, 12, 6, 4]  # ceil(4 * 3^s / (s + 1)) for s = 3, 2, 1, 0
    place = {
        n: np.searchsorted(
            np.cumsum(budgets), crc32(f"tuning_{n}".encode()) % sum(budgets), "right"
        )
        for n in rates
    }
    seen, pruned = {}, {}
    for epoch in range(EPOCHS):
        for n, rate in rates.items():
            rungs = [3 ** (place[n] + k) for k in range(brackets)]
            if n not in pruned and epoch in rungs:
                others = seen.setdefault((place[n], epoch), [])
                others.append(values_of(rate)[epoch])
                if others[-1] > sorted(others)[max(len(others) // 3 - 1, 0)]:
                    pruned[n] = epoch + 1
    return pruned


def test_the_trial_of_the_least_value_is_chosen_and_hyperband_prunes_the_others(whole):
    _, chosen, trials = whole
    assert trials["rate"].between(1e-3, 0.5).all() and trials["rate"].nunique() == TUNING.trials
    rates = dict(zip(trials["trial"], trials["rate"], strict=True))
    pruned = asha(rates)
    assert pruned and len(pruned) < TUNING.trials
    for trial in trials.itertuples():
        assert trial.state == ("pruned" if trial.trial in pruned else "complete")
        assert trial.epochs == pruned.get(trial.trial, EPOCHS)
        np.testing.assert_allclose(
            trial.value, values_of(trial.rate)[: trial.epochs].min(), rtol=1e-3, atol=1e-6
        )
    complete = trials[trials["state"] == "complete"]
    best = complete.loc[complete["value"].idxmin()]
    assert trials.loc[trials["best"], "trial"].tolist() == [best["trial"]]
    assert chosen == [{"rate": np.float32(best["rate"])}] * 2
    assert chosen[0]["rate"].dtype == np.float32


def test_the_seed_decides_what_is_tried(whole, tmp_path):
    _, again = choose_constants(arm(), None, options(), tmp_path / "a.json")
    pd.testing.assert_frame_equal(again, whole[2])
    other = choose_constants(
        arm(replace(TUNING, seed=5, trials=2)), None, options(), tmp_path / "b.json"
    )[1]
    assert not set(other["rate"]) & set(again["rate"])


@pytest.mark.slow
@pytest.mark.parametrize("block_steps", [5, 26])
@pytest.mark.parametrize("tuning", [TUNING, EACH], ids=["one", "each"])
def test_interrupted_at_every_block_it_ends_with_the_same_file(
    whole, each, tmp_path, block_steps, tuning
):
    file, stops = tmp_path / "toy.json", 0
    while True:
        try:
            choose_constants(arm(tuning), None, options(block_steps), file, stop=lambda: 15)
            break
        except Stopped:
            assert not file.exists()
            stops += 1
    assert stops >= EPOCHS // block_steps
    assert file.read_bytes() == (each if tuning is EACH else whole)[0].read_bytes()
    assert not (tmp_path / "toy" / "checkpoints").exists()


def test_a_finished_tuning_is_read_and_not_trained(whole, monkeypatch):
    monkeypatch.setattr("omics_jax.run.tuning.fit", lambda *_: pytest.fail("it trains"))
    again, frame = choose_constants(arm(), None, options(), whole[0])
    assert again == whole[1]
    pd.testing.assert_frame_equal(frame, whole[2])


def test_a_tuning_of_another_kind_in_its_place_is_refused(whole):
    with pytest.raises(
        UserError, match="toy.json is of another tuning; give the config of that run, or another"
    ):
        choose_constants(arm(replace(TUNING, seed=8)), None, options(), whole[0])


def test_trials_start_from_the_variables_of_their_replicate(tmp_path):
    start = {
        "params": {"top": {"level": np.array([0, 2.5], np.float32)}},
        "batch_stats": {},
        "constants": {},
    }
    _, trials = choose_constants(
        arm(replace(TUNING, trials=2)), start, options(), tmp_path / "t.json"
    )
    for trial in trials.itertuples():
        expected = values_of(trial.rate, 2.5)[: trial.epochs].min()
        np.testing.assert_allclose(trial.value, expected, rtol=1e-3, atol=1e-6)


def test_several_constants_one_of_them_without_logarithm(tmp_path):
    space = {"rate": Range(1e-3, 1e-2), "broken": Range(-1.0, 1.0, log=False)}
    chosen, trials = choose_constants(
        arm(replace(TUNING, space=space, trials=40)), None, options(), tmp_path / "t.json"
    )
    assert chosen[0].keys() == space.keys()
    assert (
        abs(np.log(trials["rate"] / 1e-2).mean() + np.log(10) / 2) < 0.4
        and trials["broken"].min() < -0.5
    )
    assert abs(trials["broken"].mean()) < 0.4


def test_every_replicate_gets_its_own_constants():
    tuned = with_constants(arm(), [{"rate": np.asarray(rate, np.float32)} for rate in (0.25, 0.5)])
    values = [
        (r.constants["rate"], r.constants["broken"], r.labels["fold"]) for r in tuned.replicates
    ]
    assert values == [(0.25, 0, 0), (0.5, 0, 1)]


@pytest.fixture(scope="module")
def each(tmp_path_factory):
    file = tmp_path_factory.mktemp("each") / "toy.json"
    return file, *choose_constants(arm(EACH), None, options(), file)


def test_every_replicate_chooses_as_if_it_were_alone(whole, each):
    """The trials of the second replicate are those of a tuning on it, among others or not."""
    _, chosen, trials = each
    assert trials["replicate"].tolist() == [0] * EACH.trials + [1] * EACH.trials
    assert (trials["fold"] == trials["replicate"]).all()
    columns = ["trial", "rate", "state", "value", "epochs", "best"]
    second = trials[trials["replicate"] == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(second[columns], whole[2][columns])
    assert chosen[1] == whole[1][1]


def test_every_replicate_chooses_on_its_own_rows(each):
    _, chosen, trials = each
    np.testing.assert_array_equal(*(g["rate"] for _, g in trials.groupby("replicate")))
    for replicate, table in trials.groupby("replicate"):
        for trial in table.itertuples():
            expected = values_of(trial.rate, of=replicate)[: trial.epochs].min()
            np.testing.assert_allclose(trial.value, expected, rtol=1e-3, atol=1e-6)
        complete = table[table["state"] == "complete"]
        best = complete.loc[complete["value"].idxmin()]
        assert table.loc[table["best"], "trial"].tolist() == [best["trial"]]
        assert chosen[replicate] == {"rate": np.float32(best["rate"])}


def test_rows_of_other_replicates_change_no_choice(each, tmp_path):
    """The rows that the first replicate does not train on are those that the second does."""
    _, chosen, trials = each
    spoiled = X.copy()
    spoiled[1::2] = 10 - 3 * spoiled[1::2]
    other = arm(EACH)
    modality = replace(other.dataset.modalities["x"], values=spoiled)
    other = replace(other, dataset=replace(other.dataset, modalities={"x": modality}))
    again, others = choose_constants(other, None, options(), tmp_path / "t.json")
    assert again[0] == chosen[0]
    mine = [table[table["replicate"] == 0] for table in (trials, others)]
    pd.testing.assert_frame_equal(*mine)
    second = [table.loc[table["replicate"] == 1, "value"] for table in (trials, others)]
    assert (second[0] != second[1]).all()


@pytest.mark.parametrize("chunk", [1, 2 * EACH.trials])
def test_how_trials_are_cut_into_chunks_changes_no_choice(each, tmp_path, chunk):
    file = tmp_path / "toy.json"
    choose_constants(arm(EACH), None, replace(options(), chunk=chunk), file)
    assert file.read_bytes() == each[0].read_bytes()


@pytest.mark.parametrize(
    ("tuning", "expected"),
    [
        (EACH, ["for fold 0, the best of 12 trials", "for fold 1, the best of 12 trials"]),
        (TUNING, ["for all replicates, on fold 1, the best of 12 trials"]),
    ],
)
def test_what_was_chosen_is_said(whole, each, tuning, expected):
    _, chosen, trials = each if tuning is EACH else whole
    said = choices(arm(tuning), trials)
    last = chosen[-1]["rate"]
    assert [sentence.split(" ", 3)[3] for sentence in said] == expected
    assert said[-1].startswith(f"toy: rate {last:.3g} for ")


def test_the_report_has_a_line_per_choice(each):
    file, chosen, trials = each
    folder, origin = file.parent / "run", {"toy": {}}
    assert tuning_tables(folder, [arm(EACH)], origin) == {}
    (folder / "tuning").mkdir(parents=True)
    shutil.copy(file, tuning_file(folder, arm(EACH)))
    frame = tuning_tables(folder, [arm(EACH), arm(None)], origin)["tuning"].frame
    assert frame["fold"].tolist() == [0, 1] and set(frame["arm"]) == {"toy"}
    np.testing.assert_array_equal(frame["rate"].astype(np.float32), [c["rate"] for c in chosen])
    for line, (_, table) in zip(frame.itertuples(), trials.groupby("replicate"), strict=True):
        states = table["state"].value_counts()
        assert (line.complete, line.pruned, line.diverged) == (
            states["complete"],
            states["pruned"],
            0,
        )


def test_without_optuna(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        UserError, match=r"tuning needs Optuna; install it with pip install 'omics_jax\[tune\]'"
    ):
        choose_constants(arm(), None, options(), tmp_path / "t.json")


def test_a_watched_value_that_nobody_monitors(tmp_path):
    sentence = (
        "watches 'auc', which stage 'fit' does not monitor; watch one of monitor, validation_loss"
    )
    with pytest.raises(UserError, match=f"the tuning of toy {sentence}"):
        choose_constants(arm(replace(TUNING, watch="auc")), None, options(), tmp_path / "t.json")


def test_a_watched_value_that_is_never_finite(tmp_path):
    with pytest.raises(
        UserError,
        match="no trial of the tuning of toy ended with a finite 'validation_loss' for fold 1; nar",
    ):
        choose_constants(
            arm(replace(TUNING, trials=2), broken=np.nan), None, options(), tmp_path / "t.json"
        )


@pytest.mark.slow
@pytest.mark.parametrize("block_steps", [0, 13])
def test_a_trial_that_diverges_ends_alone(tmp_path, block_steps):
    """Rates above 2 grow as (1 - rate)^step and overflow, some in the middle of an epoch."""
    tuning = replace(TUNING, space={"rate": Range(1e-3, 1e4)}, trials=24)
    file, stop = tmp_path / "t.json", (lambda: 15) if block_steps else (lambda: None)
    for _ in range(4 * EPOCHS):  # where it is stopped at every block
        with suppress(Stopped):
            chosen, trials = choose_constants(
                arm(tuning, batch=3), None, options(block_steps), file, stop=stop
            )
            break
    assert set(trials["state"]) == {"complete", "pruned", "diverged"}
    diverged = trials[trials["state"] == "diverged"]
    assert (
        (diverged["rate"] > 2).all()
        and (diverged["epochs"] < EPOCHS).all()
        and not diverged["best"].any()
    )
    assert chosen[1]["rate"] < 2
    again = choose_constants(
        arm(tuning, batch=3), None, options(block_steps=1), tmp_path / "other.json"
    )[1]
    pd.testing.assert_frame_equal(trials, again)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Range(0.0, 1.0), "0.0 to 1.0; it must have 0 < low < high"),
        (lambda: Range(2.0, 1.0, log=False), "2.0 to 1.0; it must have low < high"),
        (
            lambda: replace(TUNING, trials=0),
            "the number of trials of a tuning is 0; give 1 or more",
        ),
    ],
)
def test_tunings_that_cannot_be(make, sentence):
    with pytest.raises(UserError, match=sentence):
        make()
