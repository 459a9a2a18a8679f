"""Rates by replicate and plateaus: torch's traces, and trainings against a few lines of numpy."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from omics_jax.errors import Stopped, UserError
from omics_jax.training.plan import Options, Training, make_plan
from omics_jax.training.plateau import Plateau, initial_plateau, update_plateau
from omics_jax.training.stage import Stage, Term

EPOCHS, N = 8, 30
NAN = float("nan")

# Rates that torch 2.13's ReduceLROnPlateau gives after each epoch, from 1e-3.
VALUES = [1, 0.9, 0.95, 0.92, 0.9, 0.89995, 0.7, 0.71, 0.72, NAN, 0.73, 0.7, *[0.69] * 7]
TRACES = [
    (
        {"factor": 0.2, "patience": 2, "floor": 1e-5},
        VALUES,
        [1e-3] * 4 + [2e-4] * 5 + [4e-5] * 6 + [1e-5] * 4,
    ),
    (
        {"factor": 0.2, "patience": 0, "floor": 1e-5},
        VALUES,
        [1e-3] * 2 + [2e-4, 4e-5] + [1e-5] * 15,
    ),
    (
        {"factor": 0.2, "patience": 3, "floor": 4e-5},
        VALUES,
        [1e-3] * 5 + [2e-4] * 5 + [4e-5] * 9,
    ),
    (
        {"factor": 0.5, "patience": 1},
        VALUES,
        [1e-3] * 3
        + [5e-4] * 2
        + [2.5e-4] * 3
        + [1.25e-4] * 2
        + [6.25e-5] * 4
        + [3.125e-5] * 2
        + [1.5625e-5] * 2
        + [7.8125e-6],
    ),
]


def trace(plateau, start, values):
    def epoch(carry, value):
        carry = update_plateau(plateau, *carry, value)
        return carry, carry[1]

    first = initial_plateau(), jnp.float32(start)
    return jax.jit(lambda v: jax.lax.scan(epoch, first, v)[1])(jnp.asarray(values, jnp.float32))


@pytest.mark.parametrize(("settings", "values", "rates"), TRACES)
def test_the_rate_falls_when_torchs_does(settings, values, rates):
    np.testing.assert_allclose(trace(Plateau("x", **settings), 1e-3, values), rates, rtol=1e-6)
    # In the units of a config's start, as `plateau_of` gives them.
    relative = {**settings, "floor": settings.get("floor", 0) / 1e-3, "epsilon": 1e-8 / 1e-3}
    np.testing.assert_allclose(1e-3 * trace(Plateau("x", **relative), 1, values), rates, rtol=1e-6)


def test_a_fall_of_no_more_than_epsilon_is_not_made():
    plateau = Plateau("x", 0.5, 0)
    np.testing.assert_allclose(
        trace(plateau, 5e-8, [1] * 6), [5e-8, 2.5e-8] + [1.25e-8] * 4, rtol=1e-6
    )


def test_values_below_zero_are_compared_as_torch_compares_them():
    """Where best is negative, best (1 - threshold) lies above it."""
    values = [-1, -1, -0.99995, -1.1, -0.5, -0.5, -0.5]
    np.testing.assert_allclose(
        trace(Plateau("x", 0.5, 0), 1, values), [1, 1, 1, 1, 0.5, 0.25, 0.125]
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"factor": 1.0}, "factor is 1.0; it must be a number above 0 and below 1"),
        ({"patience": -1}, "patience is -1; it must be a whole number of 0 or more"),
        ({"floor": -0.1}, "floor is -0.1; it must be 0 or more"),
        ({"threshold": 1.0}, "threshold is 1.0; it must be 0 or more and below 1"),
    ],
)
def test_plateaus_that_cannot_be(change, sentence):
    with pytest.raises(UserError, match=f"the plateau's {sentence}"):
        Plateau("x", **{"factor": 0.5, "patience": 1, **change})


# In a training: one step an epoch towards the mean of x; the watched value is read from the
# replicate's constants.


def loss(variables, batch, key):
    slot = batch["rows"]
    error = jnp.where(
        slot["live"], 0.5 * (slot["x"][:, 0, 0] - variables["params"]["level"]) ** 2, 0
    )
    count = jnp.sum(slot["live"], dtype=jnp.float32)
    return {"error": Term(jnp.sum(error), count)}, {"epoch": variables["batch_stats"]["epoch"] + 1}


def monitor(variables, batch):
    epoch = variables["batch_stats"]["epoch"].astype(int) - 1
    return {
        "monitor": -variables["batch_stats"]["epoch"],
        "curve": variables["constants"]["curve"][epoch],
    }


def init(key, batch, constants):
    return {"params": {"level": jnp.float32(0)}, "batch_stats": {"epoch": jnp.float32(0)}}


CURVES = [[5, 4, 4, 4, 3, 3, 3, 3], [1, 2, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3, 2, 1]]
RATES = [0.5, 0.1, 0.02]
PLATEAU = Plateau("curve", factor=0.5, patience=1, floor=0.04)


def ready(which=(0, 1, 2), strategy="map", block_steps=0, **settings):
    constants_of = lambda i: {
        "curve": np.asarray(CURVES[i], np.float32),
        "rate": np.float32(RATES[i]),
    }
    replicates = [replace(toy.replicate(i, N), constants=constants_of(i)) for i in which]
    settings = {
        "rate": lambda constants: constants["rate"],
        "plateau": PLATEAU,
        "monitor": monitor,
        **settings,
    }
    objective = lambda terms: terms["error"].mean
    stage = Stage("only", loss, objective, optax.sgd(1.0), EPOCHS, {"rows": N}, **settings)
    options = Options(chunk=len(which), strategy=strategy, block_steps=block_steps)
    return make_plan(Training([stage], init, {"x": toy.TABLE["x"]}, toy.IDS, replicates), options)


def by_hand(i, start, plateau):
    """(level at the end, rate of each epoch): gradient descent at the rate of the rule."""
    mean = toy.TABLE["x"][toy.replicate(i, N).rows["rows"], 0, 0].mean(dtype=np.float64)
    level, rate, best, bad, rates = 0.0, start, np.inf, 0, []
    for value in CURVES[i]:
        rates.append(rate)
        level += rate * (mean - level)
        bad = 0 if value < best * (1 - 1e-4) else bad + 1
        best = min(best, value)
        if plateau and bad > PLATEAU.patience:
            rate, bad = (
                max(rate * PLATEAU.factor, PLATEAU.floor) if rate > PLATEAU.floor else rate,
                0,
            )
    return level, rates


def column(folder, name, replicate):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if line["replicate"] == replicate and name in line]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["map", "vmap"])
@pytest.mark.parametrize("rated", [True, False])
@pytest.mark.parametrize("plateau", [PLATEAU, None])
def test_every_replicate_descends_at_its_own_rate(tmp_path, strategy, rated, plateau):
    change = {} if rated else {"rate": None}
    actual = toy.train(ready(strategy=strategy, plateau=plateau, **change), tmp_path)["only"]
    for i in range(3):
        level, rates = by_hand(i, RATES[i] if rated else 1.0, plateau)
        np.testing.assert_allclose(actual["params"]["level"][i], level, rtol=1e-5)
        if rated or plateau:
            np.testing.assert_allclose(column(tmp_path, "rate", i), rates, rtol=1e-6)
        else:
            assert column(tmp_path, "rate", i) == []
        assert column(tmp_path, "curve", i) == CURVES[i]
        assert column(tmp_path, "monitor", i) == [-1, -2, -3, -4, -5, -6, -7, -8]


def test_a_replicate_in_the_axis_is_the_replicate_alone(tmp_path):
    together = toy.train(ready(), tmp_path / "together")
    for i in range(3):
        alone = toy.train(ready((i,)), tmp_path / str(i))
        assert toy.digest(jax.tree.map(lambda x, i=i: x[i : i + 1], together)) == toy.digest(alone)


def test_interrupted_at_every_block_it_ends_with_the_same_bits(tmp_path):
    plan = ready(block_steps=3)
    expected = toy.train(ready(), tmp_path / "whole")
    for _ in range(3):
        with pytest.raises(Stopped):
            toy.train(plan, tmp_path / "cut", toy.stop_after(1))
    assert toy.digest(toy.train(plan, tmp_path / "cut")) == toy.digest(expected)
    histories = [(tmp_path / f / "history.jsonl").read_bytes() for f in ("whole", "cut")]
    assert histories[0] == histories[1]


def test_between_two_looks_there_is_no_bad_epoch(tmp_path):
    """Monitored in epochs 2, 4, 6 and 8, at 2, 4, 6, 8: the rate falls after the third look."""
    toy.train(ready((1,), monitor_every=2), tmp_path)
    np.testing.assert_allclose(column(tmp_path, "rate", 0), [0.1] * 6 + [0.05] * 2, rtol=1e-6)
    assert column(tmp_path, "curve", 0) == [None, 2, None, 4, None, 6, None, 8]


@pytest.mark.parametrize(
    ("settings", "kind", "sentence"),
    [
        (
            {"plateau": replace(PLATEAU, watch="loss")},
            UserError,
            "watches 'loss'.*set learning_rate.watch to one of curve",
        ),
        (
            {"monitor": lambda v, b: {"curve": jnp.float32(0)}},
            ValueError,
            "stage 'only' gives curve: one must be 'monitor'",
        ),
        (
            {"monitor": lambda v, b: dict.fromkeys(["monitor", "rate"], jnp.float32(0))},
            ValueError,
            "'rate' stands for something else",
        ),
        ({"monitor": None}, ValueError, "stage 'only' has a plateau and no monitor"),
    ],
)
def test_monitors_that_cannot_be(settings, kind, sentence):
    with pytest.raises(kind, match=sentence):
        ready(**settings)
