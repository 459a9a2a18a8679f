"""Encodings of values against numpy and scipy, by brute force, and what a value of 0 adds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from omics_jax.nn.attention import sinusoidal_positions
from omics_jax.nn.initial import Uniform, draw
from omics_jax.nn.token_encoder import with_values
from omics_jax.nn.value_encodings import (
    BINS,
    ENCODINGS,
    FREQUENCIES,
    STRENGTH,
    bin_of,
    encoding_parameters,
    rank_of,
    turned,
    value_vectors,
)

N, T, D, HEADS, C = 4, 9, 6, 2, 5
IN_LOGITS = ("bias", "rotary")
IN_TOKENS = tuple(name for name in ENCODINGS if name not in IN_LOGITS)


def parameters(name, seed=0):
    """Of an encoding, without the zeros of a start."""
    rng = np.random.default_rng(seed)
    description = encoding_parameters(name, T, D, HEADS)
    shapes = jax.tree.map(
        lambda leaf: leaf.shape, description, is_leaf=lambda leaf: hasattr(leaf, "shape")
    )
    normal = lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    return jax.tree.map(normal, shapes, is_leaf=lambda leaf: isinstance(leaf, tuple))


def values(seed=1):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(N, T)), jnp.float32), jnp.asarray(rng.random((N, T)) < 0.7)


def queries_and_keys(seed=2, c=C):
    rng = np.random.default_rng(seed)
    normal = lambda: jnp.asarray(rng.normal(size=(N, HEADS, T, c)), jnp.float32)
    return normal(), normal()


def vectors(name, p, x, exists=None):
    exists = jnp.ones(x.shape, bool) if exists is None else exists
    return value_vectors(name, p, x, exists, D)


def logits(name, p, x):
    """Among all tokens, of arbitrary queries and keys."""
    q, k = with_values(name, p.get("strength"), *queries_and_keys(), x[:, None], x[:, None])
    return jnp.einsum("nhtc,nhuc->nhtu", q, k)


def encoded(name, p, x, exists):
    return logits(name, p, x) if name in IN_LOGITS else vectors(name, p, x, exists)


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_vector_per_token_or_a_number_per_pair(name):
    p, (x, exists) = parameters(name), values()
    found = encoded(name, p, x, exists)
    assert found.shape == ((N, HEADS, T, T) if name in IN_LOGITS else (N, T, D))
    assert found.dtype == jnp.float32 and np.isfinite(found).all()
    assert (np.asarray(found) != encoded(name, p, x[::-1], exists)).any()
    if name in IN_LOGITS:
        assert vectors(name, p, x, exists) == 0


@pytest.mark.parametrize("name", ENCODINGS)
def test_gradients_are_finite_and_reach_every_parameter(name):
    x, exists = values()
    loss = lambda p, x: jnp.sum(jnp.sin(encoded(name, p, x, exists)))
    for_parameters, for_values = jax.grad(loss, (0, 1))(parameters(name), x)
    for gradient in jax.tree.leaves(for_parameters):
        assert np.isfinite(gradient).all() and np.asarray(gradient).any()
    assert bool(for_parameters) == (name not in ("rotary", "rank"))
    is_smooth = name not in ("bins", "rank")
    assert np.isfinite(for_values).all() and np.asarray(for_values).any() == is_smooth


# --- vectors in numpy -----------------------------------------------------------------------------


def affine(p, x):
    return np.einsum("nti,ij->ntj", x, np.asarray(p["kernel"], float)) + np.asarray(p["bias"])


def softmax(a):
    weights = np.exp(a - a.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def linear(p, x):
    return np.stack([[x[i, t] * p["weight"][t] for t in range(T)] for i in range(N)])


def mlp(p, x):
    return affine(p["narrow"], np.maximum(affine(p["wide"], x[:, :, None]), 0))


def bins(p, x):
    return np.asarray(p["centre"])[np.floor(norm.cdf(x) * BINS).astype(int)]


def soft_bins(p, x):
    hidden = affine(p["wide"], x[:, :, None])
    weights = softmax(affine(p["narrow"], np.where(hidden > 0, hidden, 0.01 * hidden)))
    return np.einsum("ntb,bd->ntd", weights, p["centre"])


def fourier(p, x):
    turns = np.exp(2j * np.pi * x[:, :, None] * np.asarray(p["frequency"], float))
    return affine(p["project"], np.concatenate([turns.imag, turns.real], axis=-1))


@pytest.mark.parametrize("oracle", [linear, mlp, bins, soft_bins, fourier])
def test_vectors_are_those_of_numpy(oracle):
    p, (x, _) = parameters(oracle.__name__), values()
    found = vectors(oracle.__name__, p, x)
    assert_allclose(found, oracle(p, np.asarray(x, float)), rtol=1e-5, atol=2e-5)


def test_a_rank_adds_the_position_of_that_number():
    x, exists = values()
    found = vectors("rank", {}, x, exists)
    positions = sinusoidal_positions(T, D)
    for i in range(N):
        present = [t for t in range(T) if exists[i, t]]
        for place, t in enumerate(sorted(present, key=lambda t: -x[i, t])):
            assert_array_equal(found[i, t], positions[place])


@pytest.mark.parametrize("name", IN_TOKENS)
def test_a_row_is_encoded_alone_and_absent_tokens_do_not_count(name):
    p, (x, exists) = parameters(name), values()
    whole = vectors(name, p, x, exists)
    others = x.at[1:].multiply(-3)
    assert_array_equal(vectors(name, p, others, exists.at[1:].set(True))[0], whole[0])
    wild = vectors(name, p, jnp.where(exists, x, 1e9), exists)
    assert_array_equal(np.asarray(wild)[exists], np.asarray(whole)[exists])


# --- bins and ranks -------------------------------------------------------------------------------


def test_bins_have_equal_shares_of_a_normal_distribution():
    shares = (np.arange(20 * BINS) + 0.5) / (20 * BINS)  # none of them on an edge
    found = np.asarray(bin_of(jnp.asarray(norm.ppf(shares)[None], jnp.float32)))[0]
    assert_array_equal(found, np.repeat(np.arange(BINS), 20))


def test_an_edge_belongs_to_the_bin_below_and_far_values_to_the_first_and_the_last():
    edges = norm.ppf(np.arange(1, BINS) / BINS).astype(np.float32)
    below = np.arange(BINS - 1)
    at = lambda x: np.asarray(bin_of(jnp.asarray(x, jnp.float32)[None]))[0]
    assert_array_equal(at(edges), below)
    assert_array_equal(at(np.nextafter(edges, np.float32(-9))), below)
    # XLA takes the smallest numbers for 0, on which one edge lies.
    assert_array_equal(
        at(np.where(edges == 0, 1e-30, np.nextafter(edges, np.float32(9)))), 1 + below
    )
    assert_array_equal(at([-np.inf, -1e30, -9, 9, 1e30, np.inf]), [0] * 3 + [BINS - 1] * 3)


def test_ranks_count_the_existing_tokens_that_come_before():
    rng = np.random.default_rng(3)
    x = rng.integers(-2, 3, (30, T)).astype(np.float32)  # many ties
    exists = rng.random((30, T)) < 0.6
    found = np.asarray(rank_of(jnp.asarray(x), jnp.asarray(exists)))
    for i in range(30):
        for t in np.flatnonzero(exists[i]):
            before = [
                u for u in np.flatnonzero(exists[i]) if (x[i, u], -u) > (x[i, t], -t)
            ]  # of equal values the first token
            assert found[i, t] == len(before)
        absent = found[i, ~exists[i]]
        assert_array_equal(np.sort(absent), np.arange(exists[i].sum(), T))


def test_ranks_do_not_see_absent_values_or_other_rows():
    x, exists = values()
    ranks = rank_of(x, exists)
    for wild in (1e9, -np.inf, np.inf, np.nan):
        changed = rank_of(jnp.where(exists, x, wild), exists)
        assert_array_equal(np.asarray(changed)[exists], np.asarray(ranks)[exists])
    assert_array_equal(rank_of(x[2:3], exists[2:3])[0], ranks[2])


# --- in the logits --------------------------------------------------------------------------------


def turned_by_complex_numbers(a, x):
    """Channels 2m and 2m + 1 as one complex number, times exp(i x f_m)."""
    half = a.shape[-1] // 2
    found = np.array(a, float)
    for m in range(half):
        slower = 100 ** (m / (half - 1)) if half > 1 else 1
        pair = a[..., 2 * m] + 1j * a[..., 2 * m + 1]
        pair = pair * np.exp(1j * np.asarray(x, float) * np.pi / 2 / slower)
        found[..., 2 * m], found[..., 2 * m + 1] = pair.real, pair.imag
    return found


@pytest.mark.parametrize("c", [6, 5, 3, 2, 1])
def test_turning_multiplies_pairs_of_channels_by_complex_numbers(c):
    a, _ = queries_and_keys(c=c)
    x, _ = values()
    per_head = jnp.stack([x, 2 * x], axis=1)
    for given in (x[:, None], per_head):
        found = turned(a, given)
        assert found.shape == a.shape and found.dtype == a.dtype
        assert_allclose(found, turned_by_complex_numbers(np.asarray(a), given), atol=1e-5)


@pytest.mark.parametrize("c", [6, 5])
def test_turned_vectors_keep_their_length_and_their_product_knows_differences_alone(c):
    q, k = queries_and_keys(c=c)
    x, _ = values()
    y = x[:, ::-1]
    products = lambda x, y: jnp.sum(turned(q, x[:, None]) * turned(k, y[:, None]), axis=-1)
    length = lambda a: np.linalg.norm(a, axis=-1)
    assert_allclose(length(turned(q, x[:, None])), length(q), rtol=1e-5)
    assert_allclose(products(x + 1.5, y + 1.5), products(x, y), atol=1e-5)
    assert_allclose(products(x - y, 0 * y), products(x, y), atol=1e-5)
    assert abs(products(x + 1.5, y) - products(x, y)).max() > 0.1


def test_a_value_of_zero_adds_nothing_to_tokens_or_logits():
    zero = jnp.zeros((N, T))
    assert not np.asarray(vectors("linear", parameters("linear"), zero)).any()
    q, k = queries_and_keys()
    assert_array_equal(turned(q, zero[:, None]), q)
    products = jnp.einsum("nhtc,nhuc->nhtu", q, k)
    for name, scale in (("linear", C), ("rotary", C), ("bias", 2 * C)):  # sqrt(2 c) as in TUPE
        found = logits(name, parameters(name), zero)
        assert_allclose(found, products / np.sqrt(scale), rtol=1e-5, atol=1e-5)


def test_bias_adds_a_product_of_values_to_the_logits():
    p, (x, _) = parameters("bias"), values()
    added = logits("bias", p, x) - logits("bias", p, 0 * x)
    expected = np.einsum("h,nt,nu->nhtu", p["strength"], x, x)
    assert_allclose(added, expected, rtol=1e-5, atol=1e-5)


# --- how they start -------------------------------------------------------------------------------


def test_bias_starts_with_the_same_strength_in_all_heads_of_either_sign_in_half_of_them():
    description = encoding_parameters("bias", T, D, 4)
    found = np.asarray(draw(jax.random.key(0), description)["strength"])
    assert_allclose(np.sort(found), STRENGTH * np.array([-1, -1, 1, 1]))
    assert STRENGTH > 0


@pytest.mark.parametrize(("name", "part"), [("linear", "weight"), ("bins", "centre")])
def test_added_vectors_start_with_a_length_of_about_1(name, part):
    description = encoding_parameters(name, 2000, 50, HEADS)
    rows = np.asarray(draw(jax.random.key(1), description)[part])
    assert rows.shape == ((BINS if name == "bins" else 2000), 50)
    squares = np.sum(rows**2, axis=1)
    assert abs(squares.mean() - 1) < 4 * np.sqrt(0.8 / 50 / len(rows))  # of x^2, x uniform


def test_frequencies_start_within_a_turn_per_sd():
    description = encoding_parameters("fourier", T, D, HEADS)
    assert description["frequency"] == Uniform((FREQUENCIES,), 1)
    assert description["project"]["kernel"].shape == (2 * FREQUENCIES, D)
