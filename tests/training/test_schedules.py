"""Schedules and optimisers of a config against closed forms, and the errors of invalid ones."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from omics_jax.errors import UserError
from omics_jax.training.plateau import Plateau
from omics_jax.training.schedules import optimizer, plateau_of, schedule

STEPS = 100
CYCLE = {"name": "cyclic", "base": 1e-5, "max": 1e-3}


def cosine(t, peak, warmup, floor):
    if t < warmup:
        return peak * t / warmup
    share = min(1.0, (t - warmup) / (STEPS - warmup))
    return floor + (peak - floor) * 0.5 * (1 + np.cos(np.pi * share))


@pytest.mark.parametrize(
    ("spec", "closed"),
    [
        (3e-3, lambda t: 3e-3),
        ({"name": "constant", "value": 1e-2}, lambda t: 1e-2),
        ({"name": "linear", "peak": 1.0, "floor": 0.2}, lambda t: 1 - 0.8 * min(t / STEPS, 1)),
        (
            {"name": "cosine", "peak": 0.1, "warmup": 20, "floor": 0.01},
            lambda t: cosine(t, 0.1, 20, 0.01),
        ),
        ({"name": "cosine", "peak": 0.1}, lambda t: cosine(t, 0.1, 0, 0.0)),
        (
            {"name": "exponential", "peak": 0.5, "rate": 0.9, "every": 10},
            lambda t: 0.5 * 0.9 ** (t / 10),
        ),
        (ConfigDict({"name": "constant", "value": 2.0}), lambda t: 2.0),
    ],
)
def test_values(spec, closed):
    rate = schedule(spec, STEPS)
    for t in (0, 1, 10, 19, 20, 50, 99, 100, 130):
        np.testing.assert_allclose(rate(t), closed(t), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            {"name": "cosin", "peak": 1.0},
            "learning_rate.name is 'cosin'; choose one of constant, cosine",
        ),
        ({"peak": 1.0}, "learning_rate.name is None"),
        ({"name": "linear"}, "'linear' does not take these arguments"),
        ({"name": "linear", "peak": 1.0, "warmup": 3}, "does not take these arguments"),
        (0, "learning_rate.value is 0; it must be a positive number"),
        (-1e-3, "learning_rate.value is -0.001"),
        (float("nan"), "learning_rate.value is nan"),
        ("fast", "learning_rate.value is 'fast'"),
        ({"name": "exponential", "peak": 1.0, "rate": 0.9, "every": 0}, "learning_rate.every is 0"),
        (
            {"name": "cosine", "peak": 0.1, "floor": 0.2},
            "learning_rate.floor is 0.2, above the peak 0.1",
        ),
        (
            {"name": "cosine", "peak": 0.1, "warmup": -1},
            "learning_rate.warmup is -1; it must be a number of 0 or more",
        ),
        (
            {"name": "cyclic", "base": 0.1, "max": 0.01},
            "learning_rate.base is 0.1, above the max 0.01; lower it",
        ),
        ({"name": "cyclic", "base": 0.1}, "'cyclic' does not take these arguments"),
        (
            {**CYCLE, "mode": "square"},
            "learning_rate.mode is 'square'; choose one of triangular, triangular2, exp_range",
        ),
        (
            {**CYCLE, "step_size_up": 0},
            "learning_rate.step_size_up is 0; it must be a positive number",
        ),
        (
            {**CYCLE, "step_size_down": 2.5},
            "learning_rate.step_size_down is 2.5; it must be a whole number",
        ),
        ({**CYCLE, "gamma": 0}, "learning_rate.gamma is 0; it must be a positive number"),
        (
            {"name": "plateau", "start": 1e-6},
            "learning_rate.floor is 1e-05, above the start 1e-06; lower it",
        ),
        (
            {"name": "plateau", "factor": 1.5},
            "the plateau's factor is 1.5; it must be a number above 0 and below 1",
        ),
        (
            {"name": "plateau", "patience": 1.5},
            "learning_rate.patience is 1.5; it must be a whole number",
        ),
        ({"name": "plateau", "watch": 3}, "learning_rate.watch is 3; name a monitored value"),
        ({"name": "plateau", "peak": 0.1}, "'plateau' does not take these arguments"),
        ({"name": "replicate", "value": 0.1}, "'replicate' does not take these arguments"),
    ],
)
def test_schedules_that_cannot_be(spec, sentence):
    with pytest.raises(UserError, match=sentence):
        schedule(spec, STEPS)


# torch 2.13's CyclicLR at the steps in STEPS_OF_CYCLES, base 1e-5, max 1e-3, gamma .999.
CYCLES = {
    "triangular": [
        1e-05, 0.0002575, 0.0007525, 0.001, 0.000835, 0.000175, 1e-05,
        0.0007525, 0.001, 0.000505, 0.001, 0.0007525, 1e-05, 0.0002575,
    ],
    "triangular2": [
        1e-05, 0.0002575, 0.0007525, 0.001, 0.000835, 0.000175, 1e-05,
        0.00038125, 0.000505, 0.0002575, 0.0002575, 0.0001028125, 1e-05, 1.024169921875e-05,
    ],
    "exp_range": [
        1e-05, 0.00025725250000000025, 0.0007502747267575001, 0.0009960459360409898,
        0.0008308832417541242, 0.00017352092616076937, 1e-05,
        0.0007429052031749328, 0.0009862297306290108, 0.0004966519845750428,
        0.0009765112467177937, 0.0007283855191276968, 1e-05, 0.00023371212035423153,
    ],
}  # fmt: skip
STEPS_OF_CYCLES = (0, 1, 3, 4, 5, 9, 10, 13, 14, 17, 24, 33, 50, 101)
LONG_CYCLES = {  # the same with torch's default step sizes of 2000
    ("triangular", 1.0): {
        1: 1.0495e-05, 999: 0.000504505, 2000: 1e-3, 3999: 1.0495e-05, 5999: 0.000999505,
    },
    ("exp_range", 0.999): {
        1: 1.0494505000000166e-05, 999: 0.00019200923526162695, 2000: 0.00014384792614352445,
        3999: 1.000905717198659e-05, 5999: 1.2447833424822722e-05, 9000: 1.0060813392694696e-05,
    },
}  # fmt: skip


@pytest.mark.parametrize("mode", CYCLES)
def test_cyclic_rates_are_those_of_torch(mode):
    rate = jax.jit(
        schedule(
            {**CYCLE, "mode": mode, "step_size_up": 4, "step_size_down": 6, "gamma": 0.999}, STEPS
        )
    )
    actual = [rate(jnp.int32(t)) for t in STEPS_OF_CYCLES]
    np.testing.assert_allclose(actual, CYCLES[mode], rtol=2e-6)


@pytest.mark.parametrize(("mode", "gamma"), LONG_CYCLES)
def test_cyclic_rates_of_the_default_step_sizes(mode, gamma):
    rate = jax.jit(schedule({**CYCLE, "mode": mode, "gamma": gamma, "step_size_down": None}, STEPS))
    for t, value in LONG_CYCLES[mode, gamma].items():
        np.testing.assert_allclose(rate(jnp.int32(t)), value, rtol=2e-6)


def test_a_plateau_of_a_config():
    """The schedule is the constant start; floor and torch's least fall are relative to it."""
    spec = ConfigDict(
        {"name": "plateau", "start": 2e-3, "factor": 0.2, "patience": 15, "floor": 1e-5}
    )
    assert plateau_of(spec) == Plateau(
        "validation_loss", 0.2, 15, floor=1e-5 / 2e-3, epsilon=1e-8 / 2e-3
    )
    assert [schedule(spec, STEPS)(t) for t in (0, 7, 1000)] == [2e-3] * 3
    assert plateau_of(1e-3) is None and plateau_of({"name": "cosine", "peak": 1.0}) is None


def test_the_rate_of_a_replicate_is_not_the_schedules():
    assert schedule({"name": "replicate"}, STEPS)(123) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "adamw"}, "optimizer.name is 'adamw'; choose one of adam, sgd"),
        ({"momentum": 0.9}, "optimizer has the unknown key 'momentum'"),
        ({"clip": -1.0}, "optimizer.clip is -1.0"),
        ({"weight_decay": float("inf")}, "optimizer.weight_decay is inf"),
        ({"multiple": 0.0}, "optimizer.multiple is 0.0; it must be a positive number"),
        ({"name": None}, "optimizer has no name"),
        ({"learning_rate": None}, "optimizer has no learning_rate"),
    ],
)
def test_optimisers_that_cannot_be(change, sentence):
    spec = {"name": "adam", "learning_rate": 1e-3, **change}
    with pytest.raises(UserError, match=sentence):
        optimizer({key: value for key, value in spec.items() if value is not None}, STEPS)


def steps_of(spec, gradients, start):
    tx = optimizer(spec, STEPS)
    params, state = start, tx.init(start)
    for g in gradients:
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params)


def adam_by_hand(gradients, p, rate, clip=0.0, decay=0.0):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(gradients, 1):
        if clip:
            g = g * min(1, clip / np.linalg.norm(g))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - rate(t - 1) * (m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + decay * p)
    return p


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_with_clip_and_decoupled_decay_under_a_schedule(clip, decay):
    rng = np.random.default_rng(0)
    gradients, start = (
        rng.normal(size=(7, 4)).astype(np.float32),
        rng.normal(size=4).astype(np.float32),
    )
    rate = {"name": "linear", "peak": 0.1, "floor": 0.0}
    actual = steps_of(
        {"name": "adam", "learning_rate": rate, "clip": clip, "weight_decay": decay},
        gradients,
        start,
    )
    expected = adam_by_hand(gradients, start, lambda t: 0.1 * (1 - t / STEPS), clip, decay)
    np.testing.assert_allclose(actual, expected, rtol=2e-5)


def test_weight_decay_spares_the_parameters_that_are_named():
    rng = np.random.default_rng(1)
    names = (("encoder", "kernel"), ("decoder", "kernel"))
    start = {a: {b: rng.normal(size=3).astype(np.float32)} for a, b in names}
    gradients = rng.normal(size=(5, 3)).astype(np.float32)
    tx = optimizer(
        {"name": "adam", "learning_rate": 0.1, "weight_decay": 0.2}, STEPS, ("decoder/.*",)
    )
    params, state = start, tx.init(start)
    for g in gradients:
        updates, state = tx.update({a: {b: g} for a, b in names}, state, params)
        params = optax.apply_updates(params, updates)
    for (a, b), decay in zip(names, (0.2, 0.0), strict=True):
        expected = adam_by_hand(gradients, start[a][b], lambda t: 0.1, decay=decay)
        np.testing.assert_allclose(params[a][b], expected, rtol=2e-5)


def test_a_multiple_of_a_scheduled_rate():
    rng = np.random.default_rng(2)
    gradients, start = rng.normal(size=(5, 3)), rng.normal(size=3)
    spec = {"name": "adam", "learning_rate": {"name": "linear", "peak": 0.1}, "weight_decay": 0.2}
    actual = steps_of({**spec, "multiple": 0.25}, gradients, start)
    expected = adam_by_hand(gradients, start, lambda t: 0.025 * (1 - t / STEPS), decay=0.2)
    np.testing.assert_allclose(actual, expected, rtol=2e-5)


def test_sgd():
    gradients = np.array([[1.0, -2.0], [3.0, 0.0]], np.float32)
    actual = steps_of({"name": "sgd", "learning_rate": 0.5}, gradients, np.zeros(2, np.float32))
    np.testing.assert_allclose(actual, [-2.0, 1.0])
