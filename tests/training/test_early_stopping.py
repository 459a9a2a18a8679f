"""Early stopping inside the compiled block: best epoch, patience, gaps, monitors that are NaN."""

import json
import logging
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from omics_jax.training.plan import (
    Options,
    Training,
    first_variables,
    make_plan,
    run_block,
    start_stage,
)
from omics_jax.training.stage import Stage, Term

pytestmark = pytest.mark.slow

EPOCHS, BATCH, N = 10, 16, 30  # two steps an epoch
NAN = float("nan")


def listed(variables, batch):
    """A monitor that reads its value from the replicate's constants.

    The bias counts the steps, see `counter`.
    """
    return variables["constants"]["monitor"][
        jnp.round(variables["params"]["bias"] / 2).astype(int) - 1
    ]


def loss(variables, batch, key):
    """Least squares with a running mean of the inputs as statistics; quick to compile."""
    slot = batch["rows"]
    x = jnp.where(slot["live"], slot["x"][:, 0, 0], 0)
    mean = 0.9 * variables["batch_stats"]["mean"] + 0.1 * jnp.sum(x) / jnp.sum(slot["live"])
    error = jnp.where(slot["live"], (x - variables["params"]["level"]) ** 2, 0)
    return {"error": Term(jnp.sum(error), jnp.sum(slot["live"], dtype=jnp.float32))}, {"mean": mean}


def counter():
    """An optimiser that adds 1 to the bias at every step and a part of the gradient to the rest."""

    def update(updates, state, params=None):
        return {"bias": jnp.ones_like(updates["bias"]), "level": -0.1 * updates["level"]}, state

    return optax.GradientTransformation(lambda params: (), update)


def init(key, batch, constants):
    return {
        "params": {"bias": jnp.float32(0), "level": jnp.float32(0)},
        "batch_stats": {"mean": jnp.float32(0)},
    }


def stage(**settings):
    settings = {"monitor": listed, **settings}
    return Stage(
        "pretrain",
        loss,
        lambda terms: terms["error"].mean,
        counter(),
        EPOCHS,
        {"rows": BATCH},
        **settings,
    )


def ready(curves, chunk=0, strategy="map", block_steps=0, **settings):
    replicates = [
        replace(one, constants={"monitor": np.asarray(curve, np.float32)})
        for one, curve in ((toy.replicate(seed, N), curve) for seed, curve in enumerate(curves))
    ]
    options = Options(chunk=chunk, strategy=strategy, block_steps=block_steps)
    return make_plan(
        Training([stage(**settings)], init, {"x": toy.TABLE["x"]}, toy.IDS, replicates), options
    )


def by_hand(curve, patience=None, every=1, start=np.inf):
    """(epoch of the best value, epochs trained) of the textbook rule.

    -1 where no epoch was better than the start.
    """
    best, best_epoch, stale = np.inf if np.isnan(start) else start, -1, 0
    for epoch, value in enumerate(curve):
        if (epoch + 1) % every and epoch + 1 != len(curve):
            continue
        better = value < best
        best, best_epoch = (value, epoch) if better else (best, best_epoch)
        stale = 0 if better else stale + 1
        if patience is not None and stale >= patience:
            return best_epoch, epoch + 1
    return best_epoch, len(curve)


def epoch_of(outcome, i=0):
    """The epoch whose variables were handed on, and -1 for those of the start."""
    return int(round(float(outcome["pretrain"]["params"]["bias"][i]) / 2)) - 1


def epochs_trained(folder, replicate=0):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return len([line for line in lines if line["replicate"] == replicate])


CURVES = {
    "falling": [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    "rising": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    "late": [5, 4, 6, 6, 3, 7, 7, 7, 2, 7],
    "ties": [3, 3, 3, 2, 2, 2, 2, 1, 1, 1],
    "gaps": [NAN, 4, NAN, NAN, 3, NAN, 5, NAN, 2, NAN],
    "infinite": [np.inf, np.inf, 4, -np.inf, 3, 2, 1, 0, -1, -2],
}


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("patience", [None, 1, 3])
def test_the_best_epoch_and_the_last_one_are_those_of_the_rule(tmp_path, patience, every):
    """All curves as replicates of one axis, each stopping by itself."""
    plan = ready(CURVES.values(), chunk=len(CURVES), patience=patience, monitor_every=every)
    outcome = toy.train(plan, tmp_path)
    for i, curve in enumerate(CURVES.values()):
        best, trained = by_hand(curve, patience, every)
        assert epochs_trained(tmp_path, i) == trained, curve
        assert epoch_of(outcome, i) == (best if best >= 0 else trained - 1), curve


def test_the_best_variables_are_those_of_a_replay_to_that_epoch(tmp_path):
    """Parameters and statistics of the best epoch, bit for bit."""
    plan = ready([CURVES["late"]])
    outcome = toy.train(plan, tmp_path / "whole")["pretrain"]
    short = replace(plan.stages[0].stage, epochs=9, monitor=None)  # the minimum stands at epoch 8
    replay = make_plan(replace(plan.training, stages=[short]), plan.options)
    assert toy.digest(outcome) == toy.digest(toy.train(replay, tmp_path / "replay")["pretrain"])
    assert outcome["batch_stats"]["mean"] != 0 and outcome["params"]["level"] != 0


@pytest.mark.parametrize("strategy", ["map", "vmap"])
def test_a_stopped_replicate_stays_frozen_while_the_others_go_on(strategy):
    """Stopped within a block, in the middle of the axis.

    Its state stays bit for bit that of the end of the block before.
    """
    plan = ready(
        [CURVES["falling"], CURVES["rising"]], chunk=2, strategy=strategy, patience=2, block_steps=6
    )
    compiled = plan.stages[0]
    state, inputs = start_stage(plan, compiled, [0, 1], 2, first_variables(plan, [0, 1]))
    state, _, _ = run_block(plan, compiled, state, inputs, 0, 6)
    assert np.asarray(state.stopped).tolist() == [False, True]
    before = jax.tree.map(lambda x: np.array(x), state)
    for at in (6, 12, 18):
        state, entries, _ = run_block(plan, compiled, state, inputs, at, min(6, 20 - at))
        assert not entries["trained"][1].any() and entries["trained"][0].any()
    second = lambda tree: jax.tree.map(lambda x: np.asarray(x)[1], tree)
    assert toy.digest(second(state)) == toy.digest(second(before))
    assert np.asarray(state.step).tolist() == [20, 6]


@pytest.mark.parametrize("length", [1, 3, 20])
def test_where_blocks_end_does_not_matter(tmp_path, length):
    plan = ready([CURVES["late"]], patience=3, block_steps=length)
    outcome = toy.train(plan, tmp_path)
    assert (epoch_of(outcome), epochs_trained(tmp_path)) == by_hand(CURVES["late"], 3)


def test_a_monitor_that_is_never_a_number_keeps_the_last_variables_and_says_so(tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="omics_jax")
    outcome = toy.train(ready([[NAN] * EPOCHS]), tmp_path)
    assert epoch_of(outcome) == EPOCHS - 1
    assert (
        "stage pretrain, toy fold 0: the monitor was never finite; the last variables are kept"
        in caplog.text
    )
    assert all(
        json.loads(line)["monitor"] is None
        for line in (tmp_path / "history.jsonl").read_text().splitlines()
    )


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("length", [1, 3, 20])
@pytest.mark.parametrize("name", CURVES)
def test_what_a_later_stage_is_handed_is_a_candidate_for_its_best(tmp_path, name, length, every):
    """The curve's first value is that of the start, which does not count against patience."""
    start, *curve = CURVES[name]
    plan = ready([[NAN] * (EPOCHS - 1) + CURVES[name] + [10.0]], block_steps=length)
    stages = [stage(monitor=None), replace(stage(patience=3, monitor_every=every), name="finetune")]
    outcome = toy.train(make_plan(replace(plan.training, stages=stages), plan.options), tmp_path)
    best, trained = by_hand([*curve, 10.0], 3, every, start)
    assert epochs_trained(tmp_path) == EPOCHS + trained
    expected = best if best >= 0 or start < np.inf else trained - 1
    assert epoch_of({"pretrain": outcome["finetune"]}) == EPOCHS + expected


def test_without_a_monitor_the_last_variables_are_handed_on(tmp_path):
    assert epoch_of(toy.train(ready([[0.0] * EPOCHS], monitor=None), tmp_path)) == EPOCHS - 1
