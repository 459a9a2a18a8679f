"""The classifiers on an imputer against numpy, patient by patient, and the sizes that the paper's
counts give away.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from numpy_cells import gru, lstm, waves

from omics_jax.evaluation.summary_features import summary_features
from omics_jax.systems.ehr import classifiers
from omics_jax.systems.ehr.classifiers import NETWORKS, Inputs

N, T, D, S, H, UNITS, BINS = 6, 5, 3, 2, 4, 2, 2
PLAIN = BINS * (8 * D + S) + S
EMPTY = N - 1  # a patient without any observation
CASES = [(network, "imputed") for network in NETWORKS] + [("lstm", "raw"), ("gru", "raw")]


def settings(network, series="imputed", dropout=0.3) -> ConfigDict:
    own = dict(units=UNITS, bins=BINS, plain_dropout=0.7)
    return ConfigDict(
        dict(network=network, series=series, dropout=dropout, positive_weight=1.0, **own)
    )


def weights(config):
    return waves(
        jax.eval_shape(lambda: classifiers.init_classifier(jax.random.key(0), config, H, D, S))
    )


def numpy_inputs() -> Inputs:
    """Float64; the last patient has no observation and no descriptor, the first never the second
    variable.
    """
    rng = np.random.default_rng(0)
    x, m, *_ = stays()
    return Inputs(
        plain=rng.normal(size=(N, PLAIN)),
        hidden=rng.normal(size=(N, H)),
        imputed=np.where(m, x, rng.normal(size=m.shape)),
        x=x,
        m=m,
        gap=5 * rng.random(m.shape),
        row=np.arange(N),
    )


def stays():
    """Values, mask, hours, statics and their mask; see `numpy_inputs`."""
    rng = np.random.default_rng(1)
    m, static_m = rng.random((N, T, D)) < 0.5, rng.random((N, S)) < 0.7
    m[EMPTY], m[0, :, 1], static_m[EMPTY] = False, False, False
    hours = np.cumsum(0.1 + rng.random((N, T)), axis=1)
    hours[1] = 3.0  # no slope can be known
    return (
        np.where(m, rng.normal(size=m.shape), 0),
        m,
        hours,
        np.where(static_m, rng.normal(size=(N, S)), 0),
        static_m,
    )


def inputs() -> Inputs:
    """The same in the precision of the moment."""
    return Inputs(
        *(
            jnp.asarray(a, jnp.result_type(float) if a.dtype.kind == "f" else None)
            for a in numpy_inputs()
        )
    )


@partial(jax.jit, static_argnums=(0, 1))
def classify(network, series, p, given, key=None):
    return classifiers.classify(p, settings(network, series), given, key)


def single(p):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(float)), p)


# --- against numpy --------------------------------------------------------------------------------


def affine(p, x):
    return x @ p["kernel"] + p["bias"]


def logit(p, config, given, i):
    relu, h = lambda a: np.maximum(a, 0), given.hidden[i]
    if config.network == "mlp5":
        for k in range(4):
            h = relu(affine(p[f"dense_{k}"], h))
        return affine(p["dense_4"], h)[0]
    if config.network == "summary":
        state, states = np.zeros(UNITS), []
        for t in range(T):
            state = gru(
                p["cell"],
                state,
                np.concatenate([given.imputed[i, t], given.m[i, t], np.log1p(given.gap[i, t])]),
            )
            states.append(state)
        read = np.concatenate(
            [given.plain[i], state, np.mean(states, axis=0), np.max(states, axis=0), h]
        )
        return affine(p["dense_1"], relu(affine(p["dense_0"], read)))[0]
    if config.network in ("lstm", "gru"):
        cell = np.zeros(H)
        for seen in (given.imputed if config.series == "imputed" else given.x)[i]:
            h, cell = (
                lstm(p["cell"], (h, cell), seen)
                if config.network == "lstm"
                else (gru(p["cell"], h, seen), None)
            )
    return affine(p["dense_1"], relu(affine(p["dense_0"], h)))[0]


@pytest.mark.parametrize(("network", "series"), CASES)
def test_a_classifier_gives_the_logits_of_numpy(x64, network, series):
    config, given = settings(network, series), numpy_inputs()
    p = weights(config)
    expected = [logit(p, config, given, i) for i in range(N)]
    np.testing.assert_allclose(
        classify(network, series, single(p), inputs()), expected, rtol=1e-10, atol=1e-10
    )
    assert np.ptp(expected) > 1e-3


def test_summaries_are_those_given_to_classical_baselines(x64):
    x, m, hours, static, static_m = stays()
    expected, _ = summary_features(x, m, hours, static, static_m, extended=True)
    values, known = map(
        np.asarray, classifiers.summaries(*map(jnp.asarray, (x, m, hours, static, static_m)))
    )
    np.testing.assert_array_equal(known, ~np.isnan(expected))
    np.testing.assert_allclose(values, np.where(known, expected, 0), rtol=1e-10, atol=1e-12)
    assert values.shape[1] == 8 * D + S and (~known).any(axis=0).sum() > 8 * D - D


@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_are_those_of_finite_differences(gradient_error, network):
    config, given = settings(network), inputs()
    loss = lambda p: jnp.sum(jax.nn.softplus(classifiers.classify(p, config, given)))
    assert gradient_error(loss, weights(config), step=1e-5) < 1e-5


# --- what a classifier must keep ------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_dropout_belongs_to_the_patient_and_the_key(network):
    p, given, order = single(weights(settings(network))), inputs(), np.array([4, 2, 0, 5, 1, 3])
    key = jax.random.key(1)
    noisy = classify(network, "imputed", p, given, key)
    again = classify(network, "imputed", p, Inputs(*(a[order] for a in given)), key)
    np.testing.assert_allclose(again, noisy[order], rtol=1e-5, atol=1e-5)
    assert np.all(np.abs(noisy - classify(network, "imputed", p, given, jax.random.key(2))) > 1e-6)
    assert np.all(np.abs(noisy - classify(network, "imputed", p, given)) > 1e-6)


# --- members ---


def test_members_are_classifiers_of_their_own_start_and_dropout():
    config, key = ConfigDict({**settings("gru"), "members": 3}), jax.random.key(1)
    p = classifiers.init_members(jax.random.key(0), config, H, D, S)
    one = lambda i: jax.tree.map(lambda leaf: leaf[i], p)
    clean, noisy = (classifiers.classify_members(p, config, inputs(), k) for k in (None, key))
    for i in range(3):
        np.testing.assert_allclose(
            clean[i], classify("gru", "imputed", one(i), inputs()), rtol=1e-5, atol=1e-6
        )
        alone = classify("gru", "imputed", one(i), inputs(), jax.random.fold_in(key, i))
        np.testing.assert_allclose(noisy[i], alone, rtol=1e-5, atol=1e-6)
    assert np.ptp(np.asarray(clean), axis=0).min() > 1e-3
    assert len(np.unique(np.asarray(noisy) - np.asarray(clean))) == noisy.size


def test_the_pooled_logit_is_that_of_the_mean_probability():
    logits = np.array([[2.0, -40.0, 200.0, 0.0], [-1.0, -60.0, 300.0, 0.0]])
    probability = 1 / (1 + np.exp(-logits[:, :2]))
    mean = probability.mean(axis=0)
    found = np.asarray(classifiers.pooled_logit(jnp.asarray(logits)))
    np.testing.assert_allclose(found[:2], np.log(mean) - np.log1p(-mean), rtol=1e-5)
    # 1 - p is e^-200 and e^-300 there, far below what p itself can hold.
    np.testing.assert_allclose(found[2:], [200 + np.log(2), 0], rtol=1e-5, atol=1e-6)
    single_member = np.float32([[3.0, -90.0]])
    np.testing.assert_allclose(
        classifiers.pooled_logit(jnp.asarray(single_member)), single_member[0], rtol=1e-6
    )


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("mlp2", 14_081),
        ("lstm", 76_721),
        ("gru", 61_061),
        # Ours: 108 -> 256 -> 128 -> 64 -> 32 -> 1.
        ("mlp5", 109 * 256 + 257 * 128 + 129 * 64 + 65 * 32 + 33),
        # GRU 105 -> 2 units; 2 bins of 8 summaries of 35 variables and 6 descriptors, which
        # descriptors; head of 128.
        ("summary", 3 * 2 * (105 + 2 + 2) + (2 * (280 + 6) + 6 + 6 + 108 + 1) * 128 + 129),
    ],
)
def test_a_classifier_holds_the_parameters_of_the_paper(network, expected):
    statics = 6 if network == "summary" else 0
    p = jax.eval_shape(
        lambda: classifiers.init_classifier(jax.random.key(0), settings(network), 108, 35, statics)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(p)) == expected
