"""Schedules and optimisers of a config against closed forms, and the sentences for what cannot be."""

import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from omics_jax.errors import UserError
from omics_jax.training.schedules import optimizer, schedule

STEPS = 100


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
        ({"name": "cosine", "peak": 0.1, "warmup": 20, "floor": 0.01}, lambda t: cosine(t, 0.1, 20, 0.01)),
        ({"name": "cosine", "peak": 0.1}, lambda t: cosine(t, 0.1, 0, 0.0)),
        ({"name": "exponential", "peak": 0.5, "rate": 0.9, "every": 10}, lambda t: 0.5 * 0.9 ** (t / 10)),
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
        ({"name": "cosin", "peak": 1.0}, "learning_rate.name is 'cosin'; choose one of constant, cosine"),
        ({"peak": 1.0}, "learning_rate.name is None"),
        ({"name": "linear"}, "'linear' does not take these arguments"),
        ({"name": "linear", "peak": 1.0, "warmup": 3}, "does not take these arguments"),
        (0, "learning_rate.value is 0; it must be a positive number"),
        (-1e-3, "learning_rate.value is -0.001"),
        (float("nan"), "learning_rate.value is nan"),
        ("fast", "learning_rate.value is 'fast'"),
        ({"name": "exponential", "peak": 1.0, "rate": 0.9, "every": 0}, "learning_rate.every is 0"),
        ({"name": "cosine", "peak": 0.1, "floor": 0.2}, "learning_rate.floor is 0.2, above the peak 0.1"),
        ({"name": "cosine", "peak": 0.1, "warmup": -1}, "learning_rate.warmup is -1; it must be a number of 0 or more"),
    ],
)
def test_schedules_that_cannot_be(spec, sentence):
    with pytest.raises(UserError, match=sentence):
        schedule(spec, STEPS)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "adamw"}, "optimizer.name is 'adamw'; choose one of adam, sgd"),
        ({"momentum": 0.9}, "optimizer has the unknown key 'momentum'"),
        ({"clip": -1.0}, "optimizer.clip is -1.0"),
        ({"weight_decay": float("inf")}, "optimizer.weight_decay is inf"),
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
    gradients, start = rng.normal(size=(7, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    rate = {"name": "linear", "peak": 0.1, "floor": 0.0}
    found = steps_of({"name": "adam", "learning_rate": rate, "clip": clip, "weight_decay": decay}, gradients, start)
    expected = adam_by_hand(gradients, start, lambda t: 0.1 * (1 - t / STEPS), clip, decay)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_sgd():
    gradients = np.array([[1.0, -2.0], [3.0, 0.0]], np.float32)
    found = steps_of({"name": "sgd", "learning_rate": 0.5}, gradients, np.zeros(2, np.float32))
    np.testing.assert_allclose(found, [-2.0, 1.0])
