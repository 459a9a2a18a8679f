"""The transformer over tokens with values against a naive one in numpy; invariances, dropout,
memory, replicates.
"""

import re
from dataclasses import replace
from functools import cache, partial
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.nn import token_encoder
from omics_jax.nn.attention import sinusoidal_positions
from omics_jax.nn.initial import draw
from omics_jax.nn.token_encoder import (
    ATTENTIONS,
    NORMS,
    Randomness,
    TokenEncoder,
    encode_tokens,
    encoder_parameters,
    with_values,
)

N, T, D, HEADS, LAYERS, F, INDUCING = 3, 7, 10, 2, 2, 6, 4
# Each encoding with each attention, and each norm with each attention.
ENCODED = ("bias", "linear", "rotary")
DESIGN = [
    (attention, norm, ENCODED[(i + j) % 3])
    for i, attention in enumerate(ATTENTIONS)
    for j, norm in enumerate(NORMS)
]
CASES = [
    ("exact", "bias"),
    ("exact", "linear"),
    ("exact", "rotary"),
    ("exact", "rank"),
    ("induced", "bias"),
    ("induced", "rotary"),
]
cases = pytest.mark.parametrize(("attention", "encoding"), CASES)
both_attentions = pytest.mark.parametrize("attention", ATTENTIONS)

encode = jax.jit(encode_tokens, static_argnums=0)


@partial(jax.jit, static_argnums=0)
def gradient(shape, p, x, exists, randomness=None):
    """Of a loss of the tokens that exist, with respect to the parameters and the values."""

    def loss(p, x):
        t = encode_tokens(shape, p, x, exists, randomness)
        return jnp.sum(jnp.where(exists[..., None], jnp.sin(3 * t), 0))

    return jax.grad(loss, (0, 1))(p, x)


def encoder(attention="exact", encoding="bias", **settings):
    """Of one layer where nothing else is said: programs of two take twice as long to compile."""
    sizes = dict(tokens=T, channels=D, heads=HEADS, layers=1, feedforward=F, inducing=INDUCING)
    return TokenEncoder(**sizes | dict(encoding=encoding, attention=attention) | settings)


@cache
def parameters(shape, seed=0):
    """As they start, with norms that are not 1 and 0, and a visible effect of values."""
    p = draw(jax.random.key(seed), encoder_parameters(shape))
    rng = np.random.default_rng(seed)
    p = jax.tree.map(lambda a: a + jnp.asarray(0.3 * rng.normal(size=a.shape), jnp.float32), p)
    if shape.encoding == "bias":
        p["value"]["strength"] = jnp.arange(shape.heads) * 1.7 - 0.8
    return p


@cache
def profiles(tokens=T, seed=1):
    """(x, exists); the first token always exists."""
    rng = np.random.default_rng(seed)
    exists = rng.random((N, tokens)) < 0.7
    exists[:, 0] = True
    return jnp.asarray(rng.normal(size=(N, tokens)), jnp.float32), jnp.asarray(exists)


def present(t, exists):
    return np.asarray(t)[np.asarray(exists)]


def assert_near(left, right, atol=1e-5):
    assert_allclose(left, right, rtol=1e-5, atol=atol)


# --- the naive transformer, in float64, of the tokens that exist ----------------------------------


def naive(shape, p, x, exists, value_term=None):
    """(n, t, d), nan where a token does not exist.

    value_term: (head, values of queries, values of keys) -> what is added to the logits.
    """
    p = jax.tree.map(lambda a: np.asarray(a, float), p)
    term = partial(value_product, shape, p) if value_term is None else value_term
    found = np.full((*x.shape, shape.channels), np.nan)
    for row in range(len(x)):
        keep = np.flatnonzero(exists[row])
        found[row, keep] = naive_row(shape, p, np.asarray(x[row], float)[keep], keep, term)
    return found


def naive_row(shape, p, x, keep, term):
    t = p["token"][keep]
    if shape.encoding == "linear":
        t = t + np.array([[v] for v in x]) * p["value"]["weight"][keep]
    if shape.encoding == "rank":
        t = t + sinusoidal_positions(len(x), shape.channels)[np.argsort(np.argsort(-x))]
    for number in range(shape.layers):
        own = p[f"layer_{number}"]
        if shape.norm == "pre":
            t = t + naive_attention(shape, own, normalised(own["norm_1"], t), x, term)
            t = t + feedforward(own, normalised(own["norm_2"], t))
        else:
            t = normalised(own["norm_1"], t + naive_attention(shape, own, t, x, term))
            t = normalised(own["norm_2"], t + feedforward(own, t))
    return t if shape.norm == "post" else normalised(p["norm"], t)


def feedforward(own, t):
    hidden = t @ own["wide"]
    gelu = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
    return gelu @ own["narrow"]


def normalised(p, t):
    return (t - t.mean(1)[:, None]) / np.sqrt(t.var(1)[:, None] + 1e-5) * p["scale"] + p["bias"]


def naive_attention(shape, own, t, x, term):
    values = [x] * shape.heads
    if shape.attention == "exact":
        return heads_of(shape, own["attention"], t, t, values, values, term)[0]
    asked = [own["inducing_value"]] * shape.heads
    inducing = own["inducing"]
    gathered, weights = heads_of(shape, own["gather"], inducing, t, asked, values, term)
    means = [w @ x for w in weights]  # of the values that an inducing token attends to
    return heads_of(shape, own["attention"], t, inducing + gathered, values, means, term)[0]


def heads_of(shape, p, asking, asked, x, y, term):
    """What the asking tokens, of values x, get from the asked ones, of values y; the weights."""
    c, outputs, weights = shape.channels // shape.heads, [], []
    for head in range(shape.heads):
        own = slice(head * c, (head + 1) * c)
        q, k, v = (
            a @ p[n][:, own] for a, n in ((asking, "query"), (asked, "key"), (asked, "value"))
        )
        if shape.encoding == "rotary":
            q, k = rotated(q, x[head]), rotated(k, y[head])
        scale = np.sqrt(2 * c if shape.encoding == "bias" else c)
        logits = q @ k.T / scale + term(head, x[head], y[head])
        w = np.exp(logits - logits.max(axis=1)[:, None])
        weights.append(w / w.sum(axis=1)[:, None])
        outputs.append(weights[-1] @ v)
    return np.concatenate(outputs, axis=1) @ p["output"], weights


def rotated(a, x):
    half = a.shape[1] // 2
    speed = np.pi / 2 * 100.0 ** -(np.arange(half) / (half - 1))
    pairs = (a[:, 0 : 2 * half : 2] + 1j * a[:, 1 : 2 * half : 2]) * np.exp(1j * np.outer(x, speed))
    found = a.copy()
    found[:, 0 : 2 * half : 2], found[:, 1 : 2 * half : 2] = pairs.real, pairs.imag
    return found


def value_product(shape, p, head, x, y):
    return p["value"]["strength"][head] * np.outer(x, y) if shape.encoding == "bias" else 0.0


def no_value(head, x, y):
    return 0.0


def in_double(shape, *profile, seed=0):
    """What `encode_tokens` gives in float64."""
    p = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, np.float64)), parameters(shape, seed))
    x, exists = profile
    return encode(shape, p, jnp.asarray(np.asarray(x, np.float64)), exists)


@pytest.mark.parametrize(("attention", "norm", "encoding"), DESIGN)
def test_tokens_are_those_of_a_naive_transformer(attention, norm, encoding, x64):
    shape = encoder(attention, encoding, norm=norm, layers=LAYERS)
    x, exists = profiles()
    found = in_double(shape, x, exists)
    expected = naive(shape, parameters(shape), x, exists)
    assert found.shape == (N, T, D) and found.dtype == jnp.float64
    assert_allclose(present(found, exists), present(expected, exists), rtol=1e-9, atol=1e-9)


@cases
def test_single_precision_is_enough(attention, encoding):
    shape = encoder(attention, encoding)
    x, exists = profiles()
    found = encode(shape, parameters(shape), x, exists)
    assert_near(present(found, exists), present(naive(shape, parameters(shape), x, exists), exists))


@both_attentions
def test_gradients_are_those_of_finite_differences(attention, gradient_error):
    shape = encoder(attention)
    x, exists = profiles()

    def loss(given):
        t = encode_tokens(shape, given["p"], given["x"], exists)
        return jnp.sum(jnp.where(exists[..., None], t, 0) ** 3)

    assert gradient_error(loss, {"p": parameters(shape), "x": x}) < 1e-6


def test_vectors_that_are_known_of_tokens_are_added():
    shape = encoder()
    p, (x, exists) = parameters(shape), profiles()
    extra = jnp.asarray(np.random.default_rng(2).normal(size=(T, D)), jnp.float32)
    less = {**p, "token": p["token"] - extra}
    found = encode(shape, less, x, exists, None, jnp.stack(N * [extra]))
    assert_near(present(found, exists), present(encode(shape, p, x, exists), exists))


# --- values ---------------------------------------------------------------------------------------


def test_the_value_term_of_txt_collapses_to_a_number_per_head(x64):
    """((x_i q_h) . (x_j k_h)) / sqrt(2 d_h) = s_h x_i x_j with s_h = q_h . k_h / sqrt(2 d_h)."""
    rng, c = np.random.default_rng(3), D // HEADS
    q, k = rng.uniform(-1, 1, (2, HEADS, c))  # of two maps of a number, without biases
    x, exists = profiles()

    def full(head, x, y):
        return (np.outer(x, q[head]) @ np.outer(y, k[head]).T) / np.sqrt(2 * c)

    strength = jnp.asarray(np.sum(q * k, axis=1) / np.sqrt(2 * c))
    queries, keys = jnp.asarray(rng.normal(size=(2, N, HEADS, T, c)))
    own = jnp.asarray(np.asarray(x, float))[:, None]
    logits = np.einsum("nhtc,nhuc->nhtu", *with_values("bias", strength, queries, keys, own, own))
    for row in range(N):
        for head in range(HEADS):
            products = queries[row, head] @ keys[row, head].T / np.sqrt(2 * c)
            expected = products + full(head, own[row, 0], own[row, 0])
            assert_allclose(logits[row, head], expected, atol=1e-6)

    shape = encoder()
    p = parameters(shape) | {"value": {"strength": strength}}
    found = encode(shape, jax.tree.map(lambda a: jnp.asarray(a, float), p), own[:, 0], exists)
    expected = naive(shape, p, x, exists, full)
    assert_allclose(present(found, exists), present(expected, exists), atol=1e-6)
    assert abs(present(expected - naive(shape, p, x, exists, no_value), exists)).max() > 0.01


@pytest.mark.parametrize(
    ("attention", "encoding"), [*(("exact", name) for name in ENCODED), ("induced", "bias")]
)
def test_without_values_it_is_a_transformer_without_them(attention, encoding):
    shape = encoder(attention, encoding)
    p, (x, exists) = parameters(shape), profiles()
    nothing = jnp.zeros_like(x)
    found = encode(shape, p, nothing, exists)
    plain = {**p, "value": {"weight": np.zeros((T, D))}} if encoding == "linear" else p
    turnless = replace(shape, encoding="none") if encoding == "rotary" else shape
    assert_near(
        present(found, exists), present(naive(turnless, plain, x, exists, no_value), exists)
    )
    assert abs(present(found - encode(shape, p, x, exists), exists)).max() > 0.01


def test_inducing_tokens_have_values_of_their_own():
    """`rotary` turns their queries, so only without their values is nothing left at x = 0."""
    shape = encoder("induced", "rotary")
    p, (x, exists) = with_inducing_values(parameters(shape), jnp.zeros_like), profiles()
    found = encode(shape, p, jnp.zeros_like(x), exists)
    plain = naive(replace(shape, encoding="none"), p, x, exists, no_value)
    assert_near(present(found, exists), present(plain, exists))
    other = encode(shape, parameters(shape), jnp.zeros_like(x), exists)
    assert abs(present(found - other, exists)).max() > 0.01


def with_inducing_values(p, change):
    layers = {
        name: {**own, "inducing_value": change(own["inducing_value"])}
        for name, own in p.items()
        if name.startswith("layer_")
    }
    return {**p, **layers}


def test_bias_needs_a_token_of_constant_value_to_tell_x_from_minus_x():
    shape = encoder()
    p, (x, exists) = parameters(shape), profiles()
    ahead = lambda x: encode(shape, p, x, exists)
    assert_near(present(ahead(-x), exists), present(ahead(x), exists))
    with_first = lambda x: x.at[:, 0].set(1.0)
    for others in (-x, 2 * x):
        changed = ahead(with_first(others)) - ahead(with_first(x))
        assert abs(present(changed, exists)).max() > 0.01


def test_inducing_tokens_of_constant_values_tell_x_from_minus_x():
    shape = encoder("induced")
    p, (x, exists) = parameters(shape), profiles()
    found = present(encode(shape, p, x, exists), exists)
    assert_near(
        present(encode(shape, with_inducing_values(p, jnp.negative), -x, exists), exists), found
    )
    assert abs(present(encode(shape, p, -x, exists), exists) - found).max() > 0.01


# --- tokens and rows ------------------------------------------------------------------------------


@cases
def test_the_order_of_tokens_does_not_matter(attention, encoding):
    shape = encoder(attention, encoding)
    p, (x, exists) = parameters(shape), profiles()
    order = np.random.default_rng(4).permutation(T)
    moved = {**p, "token": p["token"][order]}
    if encoding == "linear":
        moved["value"] = {"weight": p["value"]["weight"][order]}
    found = encode(shape, moved, x[:, order], exists[:, order])
    expected = np.asarray(encode(shape, p, x, exists))[:, order]
    assert_near(present(found, exists[:, order]), present(expected, exists[:, order]))


@cases
def test_absent_tokens_change_nothing_whatever_their_values(attention, encoding):
    shape = encoder(attention, encoding)
    p, (x, exists) = parameters(shape), profiles()
    found = present(encode(shape, p, x, exists), exists)
    exact = jax.tree.leaves(gradient(shape, p, x, exists))
    for absent in (np.nan, np.inf, 1e9, -1e9):
        wild = jnp.where(exists, x, absent)
        assert_array_equal(present(encode(shape, p, wild, exists), exists), found)
    for own, same in zip(jax.tree.leaves(gradient(shape, p, wild, exists)), exact, strict=True):
        assert_array_equal(own, same)
    of_values = np.asarray(exact[-1])
    assert not of_values[~np.asarray(exists)].any()


@pytest.mark.parametrize(("attention", "encoding"), [CASES[0], *CASES[3:5]])
def test_more_absent_tokens_change_nothing(attention, encoding):
    shape, wider = (encoder(attention, encoding, tokens=t) for t in (T, T + 3))
    p, (x, exists) = parameters(shape), profiles()
    more = {**p, "token": jnp.concatenate([p["token"], 9 * jnp.ones((3, D))])}
    longer = jnp.concatenate([x, jnp.full((N, 3), 5.0)], axis=1)
    absent = jnp.concatenate([exists, jnp.zeros((N, 3), bool)], axis=1)
    found = encode(wider, more, longer, absent)
    assert_near(present(found, absent), present(encode(shape, p, x, exists), exists))


@cases
def test_a_row_depends_on_that_row_alone(attention, encoding):
    shape = encoder(attention, encoding)
    p, (x, exists) = parameters(shape), profiles()
    found = encode(shape, p, x, exists)
    for row in range(N):
        others = np.arange(N) != row
        changed = encode(
            shape, p, jnp.where(others[:, None], -2 * x, x), exists.at[others].set(True)
        )
        assert_array_equal(changed[row], found[row])


@both_attentions
def test_a_row_without_tokens_spoils_nothing(attention):
    shape = encoder(attention)
    p, (x, exists) = parameters(shape), profiles()
    without = exists.at[1].set(False)
    found, whole = (encode(shape, p, x, present) for present in (without, exists))
    assert np.isfinite(found).all()
    assert_array_equal(np.asarray(found)[[0, 2]], np.asarray(whole)[[0, 2]])
    slopes, of_values = gradient(shape, p, x, without)
    assert all(np.isfinite(slope).all() for slope in jax.tree.leaves(slopes))
    assert not np.asarray(of_values)[1].any() and np.asarray(of_values)[0].any()


@cases
def test_every_parameter_is_used(attention, encoding):
    shape = encoder(attention, encoding)
    slopes, of_values = gradient(shape, parameters(shape), *profiles())
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.isfinite(slope).all() and np.asarray(slope).any(), path
    assert np.isfinite(of_values).all() and np.asarray(of_values).any() == (encoding != "rank")


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@both_attentions
def test_parameters_are_counted(attention, norm):
    shape = encoder(attention, norm=norm, layers=LAYERS)
    p = parameters(shape)
    layer = 4 * D * D + 2 * D * F + 2 * 2 * D
    if attention == "induced":
        layer += 4 * D * D + INDUCING * (D + 1)
    last = 0 if norm == "post" else 2 * D
    count = sum(leaf.size for leaf in jax.tree.leaves(p))
    assert count == T * D + HEADS + LAYERS * layer + last
    assert "value" not in encoder_parameters(encoder(attention, "rotary", norm=norm))


def test_they_start_with_one_over_their_inputs_as_variance():
    shape = encoder("induced", layers=LAYERS, tokens=200, channels=80, feedforward=40, inducing=100)
    p = draw(jax.random.key(0), encoder_parameters(shape))
    own = p["layer_1"]
    matrices = {"wide": 80, "narrow": 40, "inducing": 80}
    for inputs, a in [
        (80, p["token"]),
        *((inputs, own[name]) for name, inputs in matrices.items()),
        *((80, own[part][name]) for part in ("attention", "gather") for name in own[part]),
    ]:
        variance = np.mean(np.square(a))
        assert abs(variance * inputs - 1) < 4 * np.sqrt(0.8 / a.size)  # of x^2, x uniform
    for norm in (own["norm_1"], own["norm_2"], p["norm"]):
        assert (np.asarray(norm["scale"]) == 1).all() and not np.asarray(norm["bias"]).any()
    assert not np.any(own["attention"]["query"] == p["layer_0"]["attention"]["query"])


# --- dropout --------------------------------------------------------------------------------------


def randomness(rows=(5, 6, 7), key=8):
    return Randomness(jax.random.key(key), jnp.asarray(rows))


@both_attentions
def test_what_is_dropped_depends_on_key_and_row_id(attention):
    shape = encoder(attention, dropout=0.4)
    p, (x, exists) = parameters(shape), profiles()
    x, exists = x[:1].repeat(N, axis=0), exists[:1].repeat(N, axis=0)  # rows differ by their ids
    train = lambda *ids, **key: np.asarray(encode(shape, p, x, exists, randomness(*ids, **key)))
    found = train()
    order = np.array([2, 0, 1])
    assert_array_equal(train((7, 5, 6)), found[order])
    assert_array_equal(train((5, 3, 7))[[0, 2]], found[[0, 2]])
    differs = lambda a, b: abs(present(a - b, exists[0])).max() > 0.01
    assert differs(found[0], found[1]) and differs(found[0], found[2])
    assert differs(train((5, 3, 7))[1], found[1])
    assert differs(train(key=9)[0], found[0])


def test_without_randomness_or_with_a_rate_of_0_nothing_is_dropped():
    shape = encoder()
    p, (x, exists) = parameters(shape), profiles()
    whole = encode(shape, p, x, exists)
    assert_array_equal(encode(replace(shape, dropout=0.4), p, x, exists), whole)
    assert_array_equal(encode(shape, p, x, exists, randomness()), whole)


@both_attentions
def test_every_site_of_every_layer_has_its_own_stream(attention, monkeypatch):
    drops, weights = drawn(attention, 8, monkeypatch)
    others, other_weights = drawn(attention, 9, monkeypatch)
    keys, other_keys = (
        {key for key, *_ in all_of_them}
        for all_of_them in ((*drops, *weights), (*others, *other_weights))
    )
    assert len(keys) == len(drops) + len(weights) == 4 * LAYERS
    assert len(keys | other_keys) == 8 * LAYERS
    in_turn = LAYERS * [(N, T, D), (N, T, F), (N, T, D)]
    assert [drop[1:] for drop in drops] == [([5, 6, 7], 0.4, shape) for shape in in_turn]
    keys_of_attention = T if attention == "exact" else INDUCING
    assert [drop[1:] for drop in weights] == LAYERS * [([5, 6, 7], 0.4, keys_of_attention)]


def drawn(attention, key, monkeypatch):
    """(key, row ids, rate, size) of all dropouts, and of those of attention weights."""
    drops, weights = [], []
    number = lambda key: tuple(jax.random.key_data(key).tolist())

    def row_dropout(key, rows, a, rate):
        drops.append((number(key), rows.tolist(), rate, a.shape))
        return a

    def long_attention(q, k, v, exists, dropout=None):
        if dropout is not None:
            own = number(dropout.key), dropout.rows.tolist(), dropout.rate, k.shape[2]
            weights.append(own)
        return jnp.zeros((*q.shape[:3], v.shape[-1]))

    monkeypatch.setattr(token_encoder, "row_dropout", row_dropout)
    monkeypatch.setattr(token_encoder, "long_attention", long_attention)
    shape = encoder(attention, layers=LAYERS, dropout=0.4)
    encode_tokens(shape, parameters(shape), *profiles(), randomness(key=key))
    return drops, weights


# --- memory and replicates ------------------------------------------------------------------------


def arrays_of(attention, t):
    """The shapes of all arrays of a training step's gradient."""
    shape = encoder(attention, tokens=t, dropout=0.4)
    p = jax.eval_shape(lambda: draw(jax.random.key(0), encoder_parameters(shape)))
    profile = jnp.zeros((N, t)), jnp.ones((N, t), bool)
    text = str(jax.make_jaxpr(gradient, static_argnums=0)(shape, p, *profile, randomness()))
    found = re.findall(r"\b[a-z]+\d*\[(\d+(?:,\d+)*)\]", text)
    return [tuple(map(int, sizes.split(","))) for sizes in found]


@both_attentions
def test_no_array_of_tokens_by_tokens_is_made_and_the_largest_grows_with_the_tokens(attention):
    few, many = 300, 600
    largest = []
    for t in (few, many):
        arrays = arrays_of(attention, t)
        assert (N, t, D) in arrays and (N, t, F) in arrays
        largest.append(max(map(prod, arrays)))
        assert largest[-1] < t * t  # in whatever shape
    assert largest[1] <= 1.01 * many / few * largest[0]
    if attention == "induced":
        assert largest[0] <= N * few * 2 * D


@both_attentions
def test_replicates_by_vmap_are_each_alone(attention):
    shape = encoder(attention, dropout=0.4)
    profile = profiles()
    both = [parameters(shape, seed) for seed in (0, 1)]
    together = jax.jit(
        jax.vmap(partial(gradient, shape), in_axes=(0, None, None, None)),
    )(jax.tree.map(lambda *a: jnp.stack(a), *both), *profile, randomness())
    for place, p in enumerate(both):
        alone = gradient(shape, p, *profile, randomness())
        jax.tree.map(lambda a, b, i=place: assert_near(a[i], b, 1e-4), together, alone)
