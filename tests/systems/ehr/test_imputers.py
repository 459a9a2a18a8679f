"""BRITS and CSAI against their equations written out in numpy, patient by patient, and what an
imputer must keep.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from numpy_cells import gru, lstm, sigmoid, waves
from scipy.special import erf

from omics_jax.nn.gaps import last_observed
from omics_jax.systems.ehr import imputers
from omics_jax.systems.ehr.imputers import Series
from omics_jax.systems.ehr.stays import ModelShape, observed_series

N, T, D, S, H, C = 8, 6, 3, 2, 4, 4
EMPTY = N - 1  # a patient without any observation
USUAL = np.array([1.0, 2.5, 4.0])
DEFECTS = ("double_reversed_gaps", "cross_patient_attention", "consistency_over_all")
CASES = {
    "brits": {},
    "brits as released": dict(
        gaps="code", sigmoid_beta=False, double_reversed_gaps=True, static=False
    ),
    "csai": {},
    "csai as released": dict(
        gaps="code", sigmoid_beta=False, cross_patient_attention=True, static=False
    ),
    "csai with both of its own": dict(gaps="code", double_reversed_gaps=True),
}


def settings(imputer, **changes) -> ConfigDict:
    """`config.model`, small; the names of defects go to `compat`."""
    compat = {name: changes.pop(name, False) for name in DEFECTS}
    sizes = dict(hidden=H, channels=C, feedforward=3, heads=2)
    rest = dict(dropout=0.2, static=True, gaps="paper", sigmoid_beta=True, clip=10.0)
    config = ConfigDict(dict(imputer=imputer, **sizes, **rest, compat=compat))
    config.update(changes)
    return config


def weights(config):
    return waves(jax.eval_shape(lambda: imputers.init_imputer(jax.random.key(0), config, T, D, S)))


def batch(seed=0) -> Series:
    """Irregular hours; the last patient has no observation, the first never the second variable."""
    rng = np.random.default_rng(seed)
    m = rng.random((N, T, D)) < 0.5
    m[EMPTY], m[0, :, 1], m[0, :, 0] = False, False, True
    x = np.where(m, rng.normal(size=m.shape), 0)
    hours = np.cumsum(rng.integers(1, 12, (N, T)) / 4, axis=1)
    return Series(x, m, hours, rng.normal(size=(N, S)), np.arange(N))


@cache
def _compiled(imputer, changes):
    return jax.jit(partial(imputers.impute, config=settings(imputer, **dict(changes)), states=True))


def run(imputer, series, key=None, p=None, **changes):
    """The imputer in the precision of the moment, at the weights of the formula."""
    real = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(float)), tree)
    p = weights(settings(imputer, **changes)) if p is None else p
    series = Series(
        real(series.x), jnp.asarray(series.m), real(series.hours), real(series.static), series.row
    )
    return _compiled(imputer, tuple(changes.items()))(
        real(p), series=series, usual_gap=real(USUAL), key=key
    )


def only(series, rows) -> Series:
    return Series(*(np.asarray(a)[rows] for a in series))


# --- the equations --------------------------------------------------------------------------------


def affine(p, x):
    return x @ p["kernel"] + p["bias"]


def gaps(m, hours, convention):
    """Recurrences of the paper and of the code for one patient, (T, D)."""
    delta = np.full(m.shape, 0.0 if convention == "paper" else 1.0)
    for t in range(1, len(m)):
        if convention == "paper":
            delta[t] = hours[t] - hours[t - 1] + (1 - m[t - 1]) * delta[t - 1]
        else:
            delta[t] = 1 + (1 - m[t]) * delta[t - 1]
    return delta


def encoder(p, tokens, heads):
    """A post-norm transformer layer on the tokens (L, C) of one sequence."""
    norm = lambda q, x: (
        (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * q["scale"]
        + q["bias"]
    )
    q, k, v = (affine(p[name], tokens) for name in ("query", "key", "value"))
    out = np.empty_like(tokens)
    for part in np.split(np.arange(tokens.shape[1]), heads):
        score = np.exp(q[:, part] @ k[:, part].T / np.sqrt(len(part)))
        out[:, part] = score / score.sum(axis=1, keepdims=True) @ v[:, part]
    y = norm(p["norm_1"], tokens + affine(p["output"], out))
    wide = affine(p["wide"], y)
    return norm(p["norm_2"], y + affine(p["narrow"], wide * (1 + erf(wide / np.sqrt(2))) / 2))


def conditioned(p, config, x, m, gap):
    """CSAI's h_0 of all patients (n, H), in the published order: project every token, then mix."""
    n, steps = x.shape[:2]
    angle = np.arange(steps)[:, None] / 10000 ** (
        np.arange(0, config.channels, 2) / config.channels
    )
    positions = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(steps, config.channels)
    tokens = []
    for i in range(n):
        last = np.zeros_like(x[i])
        for t in range(1, steps):
            last[t] = np.where(m[i, t - 1], x[i, t - 1], last[t - 1])
        excess = gap[i] - USUAL[: x.shape[2]]
        w = (1 - np.tanh(np.sign(excess) * np.abs(affine(p["gap"], excess)))) / 2
        tokens.append(np.concatenate([affine(p["embed"], part) + positions for part in (last, w)]))
    tokens = np.stack(tokens)  # (n, 2T, C)
    if config.compat.cross_patient_attention:
        along = np.stack(
            [encoder(p["encoder"], tokens[:, j], config.heads) for j in range(2 * steps)], axis=1
        )
    else:
        along = np.stack([encoder(p["encoder"], tokens[i], config.heads) for i in range(n)])
    projected = affine(p["to_hidden"], along)  # (n, 2T, H)
    return np.einsum("nth,t->nh", projected, p["mix"]["kernel"][:, 0]) + p["mix"]["bias"]


def walk(p, config, x, m, gap, h):
    """Equations (1) to (7) for one patient: chat (T, D), states (T, H), absolute errors (3, T)."""
    cell, gate = np.zeros_like(h), sigmoid if config.sigmoid_beta else (lambda b: b)
    fade = lambda z: np.exp(-np.maximum(z, 0))
    others = p["feature"]["kernel"] - np.diag(np.diag(p["feature"]["kernel"]))
    estimates, states, errors = [], [], []
    for x_t, m_t, gap_t in zip(x, m.astype(float), gap, strict=True):
        h = h * fade(affine(p["decay_h"], gap_t))
        xhat = affine(p["history"], h)
        zhat = (m_t * x_t + (1 - m_t) * xhat) @ others + p["feature"]["bias"]
        gamma = fade(p["decay_x"]["scale"] * gap_t + p["decay_x"]["bias"])
        beta = gate(affine(p["combine"], np.concatenate([gamma, m_t])))
        chat = beta * zhat + (1 - beta) * xhat
        seen = np.concatenate([m_t * x_t + (1 - m_t) * chat, m_t])
        if config.imputer == "brits":
            h, cell = lstm(p["cell"], (h, cell), seen)
        else:
            h = gru(p["cell"], h, seen)
        (
            estimates.append(chat),
            states.append(h),
            errors.append([m_t @ abs(x_t - e) for e in (xhat, zhat, chat)]),
        )
    return np.stack(estimates), np.stack(states), np.stack(errors, axis=1)


def expected(both, config, series):
    """estimates, hidden, states and errors as `Imputation` has them."""
    found = []
    for k in (0, 1):
        p = jax.tree.map(lambda leaf, k=k: leaf[k], both)
        turn = slice(None, None, -1) if k else slice(None)
        x, m = series.x[:, turn], series.m[:, turn]
        hours = series.hours[:, -1:] - series.hours[:, ::-1] if k else series.hours
        defect = config.compat.double_reversed_gaps
        gap = [
            gaps(
                series.m[i] if defect else m[i],
                series.hours[i] if defect else hours[i],
                config.gaps,
            )
            for i in range(len(x))
        ]
        h = (
            conditioned(p, config, x, m, gap)
            if config.imputer == "csai"
            else np.zeros((len(x), config.hidden))
        )
        h = h + affine(p["static"], series.static) if config.static else h
        estimates, states, errors = zip(
            *(walk(p, config, *row) for row in zip(x, m, gap, h, strict=True)), strict=True
        )
        estimates, states = np.stack(estimates), np.stack(states)
        found.append((estimates[:, turn], states[:, -1], states[:, turn], np.sum(errors, axis=0)))
    estimates, hidden, states, errors = (np.stack(parts) for parts in zip(*found, strict=True))
    return dict(
        estimates=estimates, hidden=hidden, states=states, errors=np.moveaxis(errors, 0, -1)
    )


@pytest.mark.parametrize("case", CASES)
def test_an_imputer_follows_its_equations_in_both_directions(x64, case):
    imputer, changes = case.split()[0], CASES[case]
    config, series = settings(imputer, **changes), batch()
    found = run(imputer, series, **changes)
    for name, value in expected(weights(config), config, series).items():
        np.testing.assert_allclose(getattr(found, name), value, atol=2e-7, err_msg=name)


def test_mixing_before_projecting_is_the_published_order_at_the_released_width():
    config, steps, width = (
        settings("csai", hidden=12, channels=64, feedforward=64, heads=8),
        24,
        len(USUAL),
    )
    both = jax.eval_shape(lambda: imputers.init_imputer(jax.random.key(0), config, steps, width, S))
    rng = np.random.default_rng(1)
    p = jax.tree.map(lambda leaf: np.float32(rng.normal(0, 0.2, leaf.shape[1:])), both)
    m = rng.random((3, steps, width)) < 0.4
    x = np.where(m, rng.normal(size=m.shape), 0).astype(np.float32)
    gap = np.stack([gaps(row, np.arange(steps), "paper") for row in m]).astype(np.float32)

    @jax.jit
    def found(p, x, m, gap):
        return imputers.conditional_state(
            p,
            config,
            last_observed(x, m),
            gap,
            jnp.asarray(USUAL, jnp.float32),
            jnp.arange(3),
            None,
        )

    expected = conditioned(jax.tree.map(np.float64, p), config, x, m, gap)
    np.testing.assert_allclose(found(p, x, m, gap), expected, atol=1e-5)
    assert np.ptp(expected) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("imputer", ["brits", "csai"])
def test_gradients_are_those_of_finite_differences(gradient_error, imputer):
    config, series = settings(imputer), jax.tree.map(jnp.asarray, only(batch(), [0, 1, EMPTY, 2]))

    def loss(p):
        found = imputers.impute(p, config, series, jnp.asarray(USUAL))
        return jnp.sum(found.estimates**2) + jnp.sum(found.hidden**2) + jnp.sum(found.errors)

    assert gradient_error(loss, weights(config), step=1e-5) < 1e-5


# --- what an imputer must keep --------------------------------------------------------------------


@pytest.mark.parametrize("imputer", ["brits", "csai"])
def test_observed_cells_are_returned_bit_by_bit_and_missing_ones_are_the_mean(imputer):
    series = batch()
    series = series._replace(x=series.x.astype(np.float32))
    found = run(imputer, series)
    full, m = np.asarray(imputers.completed(series, found)), series.m
    np.testing.assert_array_equal(full[m], series.x[m])
    mean = (np.asarray(found.estimates[0]) + np.asarray(found.estimates[1])) / 2
    np.testing.assert_allclose(full[~m], mean[~m], rtol=1e-6)
    assert np.all(np.isfinite(full[EMPTY])) and not m[EMPTY].any()


@pytest.mark.parametrize("imputer", ["brits", "csai"])
def test_errors_are_summed_over_observed_cells_in_each_networks_own_time(imputer):
    series = batch()
    found = run(imputer, series)
    error = np.where(series.m, np.abs(series.x - np.asarray(found.estimates)), 0).sum(axis=(1, 3))
    np.testing.assert_allclose(
        found.errors[2], np.stack([error[0], error[1, ::-1]], axis=1), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(found.states[0, :, -1], found.hidden[0])
    np.testing.assert_array_equal(found.states[1, :, 0], found.hidden[1])


@pytest.mark.parametrize("imputer", ["brits", "csai"])
def test_values_that_are_not_observed_are_never_read(imputer):
    series = batch()
    poisoned = series._replace(x=np.where(series.m, series.x, np.nan))
    for before, after in zip(run(imputer, series), run(imputer, poisoned), strict=True):
        np.testing.assert_array_equal(before, after)


def test_hiding_a_value_or_changing_a_hidden_one_is_the_same_to_the_network():
    network = ModelShape(ConfigDict(dict(model=settings("csai"))), T, D, S, ())
    series, rng = batch(), np.random.default_rng(4)
    constants = {
        "mean": jnp.array([3.0, -1.0, 0.5]), "sd": jnp.array([2.0, 1.0, 0.2]),
        "static_mean": jnp.zeros(S), "static_sd": jnp.ones(S), "hiding_rate": jnp.full(3, 0.1),
    }  # fmt: skip
    for name, limit in {
        "low": -np.inf,
        "high": np.inf,
        "far_low": -np.inf,
        "far_high": 1e5,
    }.items():
        constants |= {name: jnp.full(3, limit), f"static_{name}": jnp.full(S, limit)}
    rows = {
        "x": jnp.asarray(series.x, jnp.float32),
        "m": jnp.asarray(series.m),
        "hours": jnp.asarray(series.hours),
        "static": jnp.asarray(series.static),
        "static_m": jnp.ones((N, S), bool),
        "row": jnp.asarray(series.row),
        "held": jnp.zeros((N, T, D), jnp.int8),
    }
    shown = rows["m"] & jnp.asarray(rng.random((N, T, D)) < 0.6)
    seen = observed_series(network, constants, rows, shown)
    other = observed_series(
        network, constants, {**rows, "x": jnp.where(shown, rows["x"], 1e6)}, shown
    )
    for one, two in zip(seen, other, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.any(np.asarray(seen.x)[~np.asarray(shown)])
    np.testing.assert_array_equal(
        imputers.completed(seen, run("csai", seen)), imputers.completed(other, run("csai", other))
    )


def test_an_estimate_sees_neither_its_own_cell_nor_the_future():
    series, t, d = batch(), 3, 1
    series.m[:, t, d] = True
    moved = series._replace(x=series.x + 0.0)
    moved.x[:, t, d] += 1.0
    forward, other = (np.asarray(run("brits", each).estimates[0]) for each in (series, moved))
    np.testing.assert_array_equal(forward[:, :t], other[:, :t])
    np.testing.assert_array_equal(forward[:, t, d], other[:, t, d])
    beside = np.arange(D) != d
    assert np.all(forward[:, t, beside] != other[:, t, beside]) and np.all(
        forward[:, t + 1 :] != other[:, t + 1 :]
    )


@pytest.mark.parametrize("imputer", ["brits", "csai"])
def test_a_patient_is_imputed_the_same_whoever_stands_beside_it(imputer):
    series, others = batch(), batch(seed=1)
    whole = run(imputer, series).estimates
    mixed = Series(*(np.concatenate([a[:3], b[3:]]) for a, b in zip(series, others, strict=True)))
    np.testing.assert_allclose(run(imputer, mixed).estimates[:, :3], whole[:, :3], atol=1e-6)
    for rows in (
        [2],
        [5, 2, 0, 1, 6, 7],
    ):  # chunks of one and of two patients, where the whole has four
        np.testing.assert_allclose(
            run(imputer, only(series, rows)).estimates, whole[:, rows], atol=1e-6
        )


def test_the_released_attention_lets_patients_see_each_other():
    series = batch()
    other = series._replace(x=np.where(np.arange(N)[:, None, None] == 2, series.x, 20 * series.x))
    with_defect, found = (
        run("csai", each, cross_patient_attention=True).estimates[:, 2] for each in (series, other)
    )
    assert np.abs(with_defect - found).max() > 1e-3
    right, found = (run("csai", each).estimates[:, 2] for each in (series, other))
    np.testing.assert_allclose(right, found, atol=1e-6)


def test_dropout_belongs_to_the_patient_and_the_key():
    series, order = batch(), np.array([5, 2, 7, 0, 1, 6, 3, 4])
    noisy = run("csai", series, jax.random.key(1)).estimates
    np.testing.assert_allclose(
        run("csai", only(series, order), jax.random.key(1)).estimates, noisy[:, order], atol=1e-6
    )
    apart = lambda a, b: np.abs(a - b).max(axis=(2, 3))
    assert np.all(apart(noisy, run("csai", series, jax.random.key(2)).estimates) > 1e-4)
    assert np.all(apart(noisy, run("csai", series).estimates) > 1e-4)


def test_doubly_reversed_gaps_change_the_backward_pass_alone():
    right, defect = run("brits", batch()), run("brits", batch(), double_reversed_gaps=True)
    np.testing.assert_array_equal(right.estimates[0], defect.estimates[0])
    np.testing.assert_array_equal(right.errors[..., 0], defect.errors[..., 0])
    assert np.abs(right.estimates[1] - defect.estimates[1]).max() > 1e-2


def test_gradients_of_first_weights_are_finite_and_zero_on_the_diagonal_of_the_regression():
    p = imputers.init_imputer(jax.random.key(0), settings("csai"), T, D, S)
    slope = jax.grad(lambda p: jnp.sum(run("csai", batch(), p=p).errors))(p)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))
    feature = np.asarray(slope["feature"]["kernel"])
    np.testing.assert_array_equal(feature == 0, np.stack([np.eye(D, dtype=bool)] * 2))
    assert all(any(np.any(leaf) for leaf in jax.tree.leaves(part)) for part in slope.values())


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("imputer", "variables", "channels", "published"),
    [
        ("brits", 35, 64, 180_936),
        ("brits", 89, 64, 351_576),
        ("csai", 35, 512, 2_530_228),
        ("csai", 35, 64, 214_068),
    ],
)
def test_an_imputer_holds_the_published_parameters_but_for_dead_ones_and_heads(
    imputer, variables, channels, published
):
    config = settings(imputer, hidden=108, channels=channels, feedforward=64, heads=8, static=False)
    p = jax.eval_shape(lambda: imputers.init_imputer(jax.random.key(0), config, 48, variables, 0))
    dead = (
        2 * variables * (variables - 1)
    )  # off the diagonal of the decay of x, which the releases hold in full
    heads = 2 * (108 + 1) if imputer == "csai" else 0
    assert sum(leaf.size for leaf in jax.tree.leaves(p)) + dead + heads == published


def test_directions_start_apart_and_statics_are_held_only_where_wanted():
    p = imputers.init_imputer(jax.random.key(0), settings("csai"), T, D, S)
    assert not np.any(p["cell"]["input"][0] == p["cell"]["input"][1])
    assert p["static"]["kernel"].shape == (2, S, H)
    assert "static" not in imputers.init_imputer(
        jax.random.key(0), settings("csai", static=False), T, D, S
    )
    config = settings("brits")
    none = imputers.init_imputer(jax.random.key(0), config, T, D, 0)
    series = batch()._replace(static=jnp.zeros((N, 0)))
    gap, usual = jnp.zeros((2, N, T, D)), jnp.ones(D)
    start = imputers.initial_state(none, config, series, gap, usual, None)
    np.testing.assert_array_equal(start, np.zeros((2, N, H)))
